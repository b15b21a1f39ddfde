//! Lets a connection's requests go on: answers the reads at the head of its queue, submits the
//! writes. Called by the connection with new requests, and by the driving task when answers came.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::MutexGuard;

use super::connection::{Core, Phase};
use super::published::Shared;
use super::queue::Next;
use super::reads::ReadFailure;
use super::waiters::Waiter;
use super::{Answer, Inner, ReadOp, Request, RequestError, Response, Work};
use crate::consensus::Fatal;
use crate::limits;
use crate::session::SessionId;
use crate::state_machine::{Command, Op, Origin};
use crate::tree::AuthId;

pub(super) fn command(
    inner: &Inner,
    request: u64,
    session: SessionId,
    attach: u64,
    auth: &[AuthId],
    op: Op,
) -> Command {
    let origin = Origin {
        node: inner.config.node,
        boot: inner.config.boot,
        request,
    };
    let wait_ms = i64::try_from(inner.config.forward_deadline.as_millis()).unwrap_or(i64::MAX);
    Command {
        origin,
        session,
        attach,
        auth: auth.to_vec(),
        deadline_ms: inner.clock.wall_clock_ms().saturating_add(wait_ms),
        trace: [0; 16],
        op,
    }
}

/// Starts every request that may start: answers reads, submits writes.
pub(super) fn advance(inner: &Inner, core: &Arc<Core>) {
    let _order = core.order.lock();
    loop {
        let commands = start(inner, core);
        if commands.is_empty() {
            return;
        }
        let requests: Vec<u64> = commands.iter().map(|c| c.origin.request).collect();
        if let Err(not_done) = inner.replicator.submit(commands) {
            let mut shared = inner.published.lock();
            shared.settle_all(&requests, &RequestError::NotDone(not_done));
            // What waits behind them may start now: once more.
        }
    }
}

/// Answers the reads at the head of the queue, and takes the writes that come next.
fn start(inner: &Inner, core: &Arc<Core>) -> Vec<Command> {
    let mut commands = Vec::new();
    let mut shared = inner.published.lock();
    let mut turn = 0;
    loop {
        let mut state = core.state.lock();
        let Phase::Live(session, attach) = state.phase else {
            return commands;
        };
        let Some(next) = state.queue.take_next() else {
            return commands;
        };
        match next {
            Next::Write(queued, reply) => {
                let Request::Write(op) = queued.request else {
                    unreachable!("only writes are queued as writes")
                };
                let request = inner.next_request.fetch_add(1, Ordering::Relaxed);
                let mut command = command(inner, request, session, attach, &queued.auth, op);
                let reply = match &queued.arrived {
                    None => reply,
                    Some(arrived) => {
                        let spans = inner.published.spans();
                        spans.follow(arrived, &mut command, reply)
                    }
                };
                state.queue.submitted(request, reply);
                drop(state);
                shared.wait(request, Waiter::Request(Arc::clone(core)));
                commands.push(command);
            }
            Next::Read(queued, reply) => {
                drop(state);
                let result = match queued.request {
                    Request::Read(op) => {
                        read(inner, &mut shared, core, (session, &queued.auth), op)
                    }
                    Request::Refuse(error) => Err(error.into()),
                    Request::Write(_) => unreachable!("writes are never queued as reads"),
                };
                let zxid = shared.zxid();
                if let Ok(Response::Read(reply)) = &result {
                    turn += reply.size_bytes();
                }
                reply(Answer { zxid, result });
                if turn > limits::READ_TURN_BYTES {
                    turn = 0;
                    MutexGuard::bump(&mut shared);
                }
            }
        }
    }
}

fn read(
    inner: &Inner,
    shared: &mut Shared,
    core: &Arc<Core>,
    (session, auth): (SessionId, &[AuthId]),
    op: ReadOp,
) -> Result<Response, RequestError> {
    match shared.read(core, session, auth, op) {
        Ok(reply) => Ok(Response::Read(reply)),
        Err(ReadFailure::Op(error)) => Err(error.into()),
        Err(ReadFailure::Store(error)) => {
            inner.published.fatal(&Fatal::new(error.to_string()));
            Err(RequestError::OutcomeUnknown)
        }
    }
}

/// Work for the driving task; a queue behind this must never be dropped before the node stops.
pub(super) fn schedule(to: &tokio::sync::mpsc::UnboundedSender<Work>, core: &Arc<Core>) {
    // The receiver ends with the front door; then there is nobody to go on for.
    let _ = to.send(Work::Advance(Arc::clone(core)));
}
