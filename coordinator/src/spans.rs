//! What a node tells of the writes that are followed (`zweig_monitoring::trace`).
//!
//! ```text
//!  caller's span ─▶ the node that serves it: "multi", from its arrival to its answer
//!                     ├─▶ the leader: "agree", from when it was offered the command to when it had applied it; not for
//!                     │   what was on its way while the leader changed
//!                     └─▶ every node: "apply"
//! ```
//! A command carries the id of its trace and nothing else; the id of the span under which the other nodes hang theirs
//! is derived from that and the command's origin.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;
use parking_lot::Mutex;
use zweig_monitoring::Tracer;
use zweig_monitoring::trace::{Span, SpanId, SpanKind, TraceContext, TraceId, derived, now};

use crate::request::{Answer, ReplyTo, RequestKind};
use crate::state_machine::{Command, Op, Origin, Outcome};
use crate::tree::Zxid;

/// Commands that a leader has taken and not applied yet, of those that are followed. Beyond, it is forgotten when those before
/// were taken.
const TAKEN: usize = 1_024;

/// What was proposed longer ago is applied anew by a node that starts, and was told of before.
const NEWS_MS: i64 = 60_000;

/// A write that is followed, on its way to the head of its session's queue.
#[derive(Debug)]
pub struct Arrived {
    parent: TraceContext,
    at: SystemTime,
}

/// A command that was applied, and is followed.
#[derive(Debug, Clone, Copy)]
pub struct Followed {
    trace: TraceId,
    origin: Origin,
    zxid: Zxid,
}

impl Followed {
    /// If the command with this outcome is followed, and not one of long ago.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let trace = TraceId::from_bytes(outcome.trace);
        let followed = trace != TraceId::INVALID
            && crate::clock::wall_clock_ms().saturating_sub(outcome.deadline_ms) < NEWS_MS;
        followed.then_some(Self {
            trace,
            origin: outcome.origin,
            zxid: outcome.zxid,
        })
    }
}

/// See the module. The default follows nothing.
#[derive(Debug, Default)]
pub struct Spans {
    tracer: Tracer,
    /// With the term in which it was taken.
    taken: Mutex<HashMap<Origin, (u64, SystemTime)>>,
}

impl Spans {
    /// Told through this tracer.
    pub fn new(tracer: Tracer) -> Self {
        Self {
            tracer,
            taken: Mutex::default(),
        }
    }

    /// Whether anything is followed.
    pub fn is_on(&self) -> bool {
        self.tracer.is_on()
    }

    /// Delivers what is queued. Blocks, for some seconds at most.
    pub fn stop(&self) {
        self.tracer.stop();
    }

    /// A write comes in: whether it is followed, because its caller is or because chance has it.
    pub fn arrived(&self, parent: Option<TraceContext>) -> Option<Box<Arrived>> {
        if !self.is_on() {
            return None;
        }
        let parent = parent.or_else(|| self.tracer.sample())?;
        let at = now();
        Some(Box::new(Arrived { parent, at }))
    }

    /// The write becomes this command: it carries the trace on, and the span ends with its answer, under the publication lock:
    /// then it goes into the tracer's queue, which waits for nothing.
    pub fn follow(&self, arrived: &Arrived, command: &mut Command, reply: ReplyTo) -> ReplyTo {
        let trace = arrived.parent.trace;
        command.trace = trace.to_bytes();
        let name = RequestKind::of_write(&command.op).name();
        let span = self.tracer.span(name, SpanKind::Server, arrived.parent);
        let mut span = span.since(arrived.at);
        span.set_id(serving(trace, command.origin));
        span.set("zweig.session", format!("{:#x}", command.session.0));
        if let Some(path) = path_of(&command.op) {
            span.set("zweig.path", path.to_owned());
        }
        Box::new(move |answer: Answer| {
            end(span, &answer);
            reply(answer);
        })
    }

    /// As the leader of `term`, this node was offered these encoded commands.
    pub fn taken<'a>(&self, term: u64, commands: impl IntoIterator<Item = &'a Bytes>) {
        if self.is_on() {
            for command in commands {
                if let Ok((origin, trace)) = Command::peek(command.clone()) {
                    self.take(term, origin, trace);
                }
            }
        }
    }

    /// The same of its own clients' commands.
    pub fn taken_own(&self, term: u64, commands: &[Command]) {
        if self.is_on() {
            for command in commands {
                self.take(term, command.origin, command.trace);
            }
        }
    }

    fn take(&self, term: u64, origin: Origin, trace: [u8; 16]) {
        if trace == [0; 16] {
            return;
        }
        let mut taken = self.taken.lock();
        if taken.len() >= TAKEN {
            // Those of former terms, and those that were never proposed after all.
            taken.clear();
        }
        // One that is sent again in the same term was taken before.
        let entry = taken.entry(origin).or_insert_with(|| (term, now()));
        if entry.0 != term {
            *entry = (term, now());
        }
    }

    /// This node has applied these commands of one entry, from `begun` to now.
    pub fn applied(&self, followed: &[Followed], (index, term): (u64, u64), begun: SystemTime) {
        for command in followed {
            let parent = TraceContext {
                trace: command.trace,
                span: serving(command.trace, command.origin),
            };
            let tell = |name, begun| {
                let span = self.tracer.span(name, SpanKind::Internal, parent);
                let mut span = span.since(begun);
                span.set("zweig.zxid", format!("{:#x}", command.zxid.0));
                span.set("zweig.raft.index", number(index));
                span.set("zweig.raft.term", number(term));
            };
            tell("apply", begun);
            let taken = self.taken.lock().remove(&command.origin);
            if let Some((_, taken)) = taken.filter(|(taken_in, _)| *taken_in == term) {
                tell("agree", taken);
            }
        }
    }
}

/// The id of the span of the node that serves the command's client.
fn serving(trace: TraceId, origin: Origin) -> SpanId {
    let parts = [origin.node, origin.boot, origin.request].map(u64::to_be_bytes);
    derived(trace, &[&parts[0], &parts[1], &parts[2]])
}

fn end(mut span: Span, answer: &Answer) {
    span.set("zweig.zxid", format!("{:#x}", answer.zxid.0));
    if let Err(error) = &answer.result {
        span.fail(error.to_string());
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What the command is about; of many operations the last one, since conditions stand first.
fn path_of(op: &Op) -> Option<&str> {
    match op {
        Op::Create(create) | Op::CreateContainer(create) => Some(&create.path),
        Op::Delete { path, .. }
        | Op::SetData { path, .. }
        | Op::SetAcl { path, .. }
        | Op::Check { path, .. }
        | Op::CheckCreated { path, .. }
        | Op::DeleteContainer { path } => Some(path),
        Op::Multi(ops) => ops.last().and_then(path_of),
        Op::FencedBatch { fence_path, .. } => Some(fence_path),
        Op::OpenSession { .. }
        | Op::AttachSession { .. }
        | Op::CloseSession
        | Op::ExpireSession
        | Op::Sync
        | Op::SetLimits { .. } => None,
    }
}

#[cfg(test)]
mod tests;
