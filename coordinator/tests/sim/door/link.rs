//! Consensus as the front door of one process sees it: what the handle in `consensus` does, without its threads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::oneshot;
use zweig_coordinator::consensus::node::{Effects, Node, NodeInput, Now};
use zweig_coordinator::consensus::{NotDone, ReadIndexError, Status, Unanswered};
use zweig_coordinator::request::{Published, ReadIndex, Replicator};
use zweig_coordinator::session::SessionId;
use zweig_coordinator::session::report::{self, Heard, Left};
use zweig_coordinator::state_machine::Command;

use super::time::Time;

/// Commands without an outcome; beyond, more are refused.
const IN_FLIGHT: usize = 60;

type Reader = oneshot::Sender<Result<u64, ReadIndexError>>;

#[derive(Default)]
struct State {
    /// For the node, in order.
    inputs: Vec<NodeInput>,
    /// Commands among them.
    queued: usize,
    /// Handed over since the world looked last.
    submitted: Vec<Command>,
    in_flight: usize,
    refuses: bool,
    heard: Heard,
    reported_ms: Option<u64>,
    readers: BTreeMap<u64, Reader>,
    next_reader: u64,
    status: Arc<Status>,
}

/// Clones share it.
#[derive(Clone)]
pub struct Link {
    state: Arc<Mutex<State>>,
    grace_ms: u64,
}

impl Link {
    /// Its node may answer clients for `grace_ms` after it sent a report that was acknowledged.
    pub fn new(grace_ms: u64) -> Self {
        let state = Arc::default();
        Self { state, grace_ms }
    }

    /// What the node has to hear of.
    pub fn take_inputs(&self) -> Vec<NodeInput> {
        let mut state = self.state.lock();
        state.queued = 0;
        std::mem::take(&mut state.inputs)
    }

    pub fn has_inputs(&self) -> bool {
        !self.state.lock().inputs.is_empty()
    }

    /// Commands that were submitted since the last time.
    pub fn take_submitted(&self) -> Vec<Command> {
        std::mem::take(&mut self.state.lock().submitted)
    }

    /// Whom this node heard from, for the report that is due.
    pub fn take_heard(&self) -> Heard {
        std::mem::take(&mut self.state.lock().heard)
    }

    /// What the raft thread publishes behind its effects.
    pub fn observe(&self, node: &Node, now: Now) {
        let mut state = self.state.lock();
        state.reported_ms = node.reported_ms();
        state.in_flight = node.in_flight();
        state.refuses = node.refuses(now);
        state.status = Arc::new(node.status());
    }

    /// Hands on what concerns clients.
    pub fn carry(&self, effects: &mut Effects, published: &Published) {
        let mut state = self.state.lock();
        for (reader, index) in effects.reads.drain(..) {
            if let Some(waiting) = state.readers.remove(&reader) {
                // The reader may have given up.
                let _ = waiting.send(Ok(index));
            }
        }
        for reader in effects.reads_failed.drain(..) {
            if let Some(waiting) = state.readers.remove(&reader) {
                let _ = waiting.send(Err(ReadIndexError::NoQuorum));
            }
        }
        drop(state);
        for (requests, why) in effects.not_done.drain(..) {
            published.not_done(&requests, why);
        }
        if !effects.unknown.is_empty() {
            published.unknown(&std::mem::take(&mut effects.unknown));
        }
    }
}

impl Replicator for Link {
    fn submit(&self, commands: Vec<Command>) -> Result<(), NotDone> {
        let mut state = self.state.lock();
        state.submitted.extend(commands.iter().cloned());
        if state.refuses {
            return Err(NotDone::NoQuorum);
        }
        if state.queued + state.in_flight + commands.len() > IN_FLIGHT {
            return Err(NotDone::Overloaded);
        }
        state.queued += commands.len();
        state.inputs.push(NodeInput::Submit(commands));
        Ok(())
    }

    fn touch(&self, session: SessionId, attach: u64) {
        let mut state = self.state.lock();
        let known = state.heard.entry(session).or_default();
        *known = (*known).max(attach);
    }

    fn left(&self, left: Left) {
        self.state.lock().inputs.push(NodeInput::Left(left));
    }

    fn in_touch(&self, now: Instant) -> bool {
        let reported_ms = self.state.lock().reported_ms;
        report::may_answer(Time::ms_of(now), reported_ms, self.grace_ms)
    }

    fn read_index(&self) -> ReadIndex {
        let (answer, answered) = oneshot::channel();
        let mut state = self.state.lock();
        state.next_reader += 1;
        let reader = state.next_reader;
        state.readers.insert(reader, answer);
        state.inputs.push(NodeInput::Read(reader));
        Box::pin(async move { answered.await.unwrap_or(Err(ReadIndexError::Stopping)) })
    }

    fn status(&self) -> Arc<Status> {
        Arc::clone(&self.state.lock().status)
    }
}
