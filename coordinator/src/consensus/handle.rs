//! The handle that the rest of the node holds.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use raft::eraftpb::ConfChangeV2;
use tokio::sync::{oneshot, watch};

use super::applier::{Applier, Fatal, NotDone, Unanswered};
use super::config::{ConsensusConfig, Listeners};
use super::core::ProposeError;
use super::driver::{self, Event, Events};
use super::status::Status;
use crate::session::SessionId;
use crate::session::report::{self, Heard, Left};
use crate::state_machine::Command;
use crate::storage::identity::IdentityError;
use crate::storage::raft_log::{Disk, FileDisk, LogError};

/// Why a node could not start its part in consensus.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The raft log can't be used.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Log and state contradict each other, or raft refused them.
    #[error(transparent)]
    Fatal(#[from] Fatal),
    /// The raft log is gone, and with it this node's votes and what it acknowledged.
    #[error(
        "the state is applied up to {applied}, but there is no raft log in {}; without it this node must not vote: \
         put its disk back, or run: zweig coordinator wipe --config FILE", folder.display()
    )]
    LogLost {
        /// Where it should be.
        folder: PathBuf,
        /// The last applied index.
        applied: u64,
    },
    /// Its identity can't be read or written.
    #[error("{0}; if it can't be mended, run: zweig coordinator wipe --config FILE")]
    Identity(#[from] IdentityError),
    /// The data of another node.
    #[error("{} holds the data of node {server}, this is node {node}", folder.display())]
    Another {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        server: u64,
        /// Who this node is.
        node: u64,
    },
    /// A folder, socket or thread could not be had.
    #[error("consensus: {operation}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Why there is no index to read at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadIndexError {
    /// No majority confirmed a leader in time.
    #[error("no quorum confirmed a leader in time")]
    NoQuorum,
    /// This node is stopping.
    #[error("this node is stopping")]
    Stopping,
}

impl ReadIndexError {
    /// Whether it may work later.
    pub fn retriable(self) -> bool {
        self == Self::NoQuorum
    }
}

/// What handle and raft thread share.
#[derive(Debug)]
pub(super) struct Shared {
    pub started: Instant,
    /// Commands in the event queue, not yet with the forwarder.
    pub queued: AtomicUsize,
    /// Commands that the forwarder holds.
    pub in_flight: AtomicUsize,
    pub commands_limit: usize,
    /// No leader for longer than the forward deadline.
    pub refuses: AtomicBool,
    pub stopping: AtomicBool,
    pub heard: Mutex<Heard>,
    /// When the last acknowledged report was sent, milliseconds since `started`; `u64::MAX` before the first.
    pub reported_ms: AtomicU64,
    pub grace_ms: u64,
}

struct Inner {
    events: Events,
    shared: Arc<Shared>,
    status: watch::Receiver<Arc<Status>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // The raft thread may have ended already; then there is nothing to stop.
        let _ = self.events.send(Event::Stop {
            gently: false,
            stopped: None,
        });
    }
}

/// This node's part in consensus. Clones share it; when the last one is dropped, its threads end.
#[derive(Clone)]
pub struct Consensus {
    inner: Arc<Inner>,
}

impl Consensus {
    /// Opens the log, reconciles it with the state, and joins the ensemble. Sockets are served by `runtime`.
    ///
    /// # Errors
    /// When the log is damaged, contradicts the state, or something can't be opened.
    pub fn start(
        config: &ConsensusConfig,
        listeners: Listeners,
        applier: Box<dyn Applier>,
        unanswered: &Arc<dyn Unanswered>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, StartError> {
        let disk = FileDisk::new(&config.folder.join("raft")).map_err(|source| StartError::Io {
            operation: "the folder of the raft log",
            source,
        })?;
        Self::start_on(disk, config, listeners, applier, unanswered, runtime)
    }

    /// As [`Consensus::start`], with the raft log on a disk of the caller's.
    ///
    /// # Errors
    /// As there.
    pub fn start_on(
        disk: impl Disk + 'static,
        config: &ConsensusConfig,
        listeners: Listeners,
        applier: Box<dyn Applier>,
        unanswered: &Arc<dyn Unanswered>,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Self, StartError> {
        let running = driver::start(disk, config, listeners, applier, unanswered, runtime)?;
        let inner = Inner {
            events: running.events,
            shared: running.shared,
            status: running.status,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// Submits commands, in order, behind all before them. `origin.request` names each one's waiter.
    ///
    /// # Errors
    /// None of them was or will be done.
    pub fn submit(&self, commands: Vec<Command>) -> Result<(), NotDone> {
        let shared = &self.inner.shared;
        if shared.stopping.load(Ordering::Acquire) {
            return Err(NotDone::Stopping);
        }
        if shared.refuses.load(Ordering::Relaxed) {
            return Err(NotDone::NoQuorum);
        }
        let count = commands.len();
        let waiting = shared.queued.fetch_add(count, Ordering::Relaxed)
            + shared.in_flight.load(Ordering::Relaxed);
        if waiting + count > shared.commands_limit {
            shared.queued.fetch_sub(count, Ordering::Relaxed);
            return Err(NotDone::Overloaded);
        }
        self.inner
            .events
            .send(Event::Submit(commands))
            .map_err(|_| NotDone::Stopping)
    }

    /// An index such that a read on this node, once that is applied, sees every write answered anywhere before
    /// this call.
    ///
    /// # Errors
    /// When no majority confirms a leader in time.
    pub async fn read_index(&self) -> Result<u64, ReadIndexError> {
        let (answer, answered) = oneshot::channel();
        self.inner
            .events
            .send(Event::Read(answer))
            .map_err(|_| ReadIndexError::Stopping)?;
        answered.await.unwrap_or(Err(ReadIndexError::Stopping))
    }

    /// What this node knows of the ensemble; at most 50 ms old.
    pub fn status(&self) -> Arc<Status> {
        self.inner.status.borrow().clone()
    }

    /// The status, whenever it changes.
    pub fn status_watch(&self) -> watch::Receiver<Arc<Status>> {
        self.inner.status.clone()
    }

    /// The session's client was heard from; the leader is told with the next report.
    pub fn touch(&self, session: SessionId, attach: u64) {
        let mut heard = self.inner.shared.heard.lock();
        let known = heard.entry(session).or_default();
        *known = (*known).max(attach);
    }

    /// The session's client has ended its connection; the leader is told soon.
    pub fn left(&self, left: Left) {
        // A node that stops drops its connections by itself.
        if !self.inner.shared.stopping.load(Ordering::Acquire) {
            // Nobody listens any more: the session ends by its timeout.
            let _ = self.inner.events.send(Event::Left(left));
        }
    }

    /// Whether the leader still hears from this node often enough that none of its sessions can have expired
    /// unnoticed: otherwise it closes its clients' connections. To be asked before each answer.
    pub fn in_touch(&self, now: Instant) -> bool {
        let shared = &self.inner.shared;
        let reported_ms = shared.reported_ms.load(Ordering::Acquire);
        let now_ms = u64::try_from(now.saturating_duration_since(shared.started).as_millis())
            .unwrap_or(u64::MAX);
        let reported_ms = (reported_ms != u64::MAX).then_some(reported_ms);
        report::may_answer(now_ms, reported_ms, shared.grace_ms)
    }

    /// Proposes a change of the members; done when the status shows it. Leaders only.
    ///
    /// # Errors
    /// When this node does not lead, or another change is under way.
    pub async fn change_members(&self, change: ConfChangeV2) -> Result<(), ProposeError> {
        let (answer, answered) = oneshot::channel();
        let event = Event::ChangeMembers(Box::new(change), answer);
        self.inner
            .events
            .send(event)
            .map_err(|_| ProposeError::NotLeader)?;
        answered.await.unwrap_or(Err(ProposeError::NotLeader))
    }

    /// Hands leadership over if this node has it, then ends all threads and closes all links.
    pub async fn shutdown(&self) {
        self.inner.shared.stopping.store(true, Ordering::Release);
        let (stopped, wait) = oneshot::channel();
        if self
            .inner
            .events
            .send(Event::Stop {
                gently: true,
                stopped: Some(stopped),
            })
            .is_ok()
        {
            // An error means that the thread has ended: just what was asked for.
            let _ = wait.await;
        }
    }
}
