//! One client's connection: opens or attaches its session, keeps its requests in order, closes.
//!
//! ```text
//!            open                        session closed, expired, moved; outcome unknown; dropped
//!   Idle ──────────▶ Opening ──▶ Live ─────────────────────────────────────────────────▶ Closed
//!                       └── refused ──▶ Closed
//! ```
//! Locks, in the order in which they may be taken: `Core::order`, the publication lock, `Core::state`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine;
use parking_lot::Mutex;
use rand::Rng;
use sha1::{Digest, Sha1};
use tokio::sync::oneshot;
use zweig_monitoring::TraceContext;

use super::advance::{advance, command};
use super::queue::{Kind, Queue};
use super::waiters::Waiter;
use super::{Answer, Closed, EventSink, FrontDoor, ReplyTo, Request, RequestError};
use crate::clock;
use crate::consensus::NotDone;
use crate::limits;
use crate::mutants::{self, Mutant};
use crate::session::report::Left;
use crate::session::{Password, SessionId};
use crate::spans::Arrived;
use crate::state_machine::{Op, OpError, SessionGrant};
use crate::tree::{AuthId, Zxid, acl};
use crate::watch::Event;

/// Why a session could not be opened or attached.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// There is no such session, or the password is another.
    #[error("the session has expired")]
    Expired,
    /// The client has seen newer state than this node has.
    #[error("the client has seen zxid {seen}, this node has applied {applied}")]
    Behind {
        /// What the client has seen.
        seen: Zxid,
        /// What this node has.
        applied: Zxid,
    },
    /// This node is out of touch with the leader.
    #[error("this node is out of touch with the leader")]
    OutOfTouch,
    /// It was not done, or nobody can tell.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The connection has been closed, or has a session already.
    #[error("the connection cannot open a session any more")]
    NotIdle,
}

/// What the connection's requests carry.
pub(crate) struct Queued {
    pub(super) request: Request,
    /// The identities at the time when the request came in.
    pub(super) auth: Arc<[AuthId]>,
    /// Of a write that is followed.
    pub(super) arrived: Option<Box<Arrived>>,
}

/// The states of a connection.
pub(super) enum Phase {
    Idle,
    Opening,
    Live(SessionId, u64),
    Closed,
}

/// What the publication side knows of a connection.
pub(crate) struct Core {
    pub(super) id: u64,
    pub(super) sink: Arc<dyn EventSink>,
    /// Held while requests are started, so that two threads cannot submit them out of order.
    pub(super) order: Mutex<()>,
    pub(super) state: Mutex<State>,
    /// It was said that this connection watches too much.
    complained: AtomicBool,
}

pub(super) struct State {
    pub(super) phase: Phase,
    pub(super) queue: Queue<Queued, ReplyTo, Answer>,
    auth: Arc<[AuthId]>,
}

impl Core {
    /// The session is this connection's. False if the connection has gone meanwhile.
    pub(super) fn go_live(&self, grant: &SessionGrant) -> bool {
        let mut state = self.state.lock();
        match state.phase {
            Phase::Opening => {
                state.phase = Phase::Live(grant.id, grant.attach);
                true
            }
            _ => false,
        }
    }

    /// It was to watch more than a connection may: says so once.
    pub(super) fn watches_too_much(&self) {
        if !self.complained.swap(true, Ordering::Relaxed) {
            let session = match self.state.lock().phase {
                Phase::Live(session, _) => session.0,
                _ => 0,
            };
            let most = limits::WATCH_BYTES;
            tracing::warn!(
                session = format_args!("{session:#x}"),
                most,
                "a client watches too much: it leaves watches behind, or watches path by path what one \
                 recursive watch would tell"
            );
        }
    }

    /// Queues an event, unless its znode may not be read by this connection.
    pub(super) fn tell(&self, event: Event) {
        let readable = event.acl.as_ref().is_none_or(|list| {
            let auth = Arc::clone(&self.state.lock().auth);
            acl::allows(list, acl::READ, &auth)
        });
        if readable || mutants::is(Mutant::HiddenTold) {
            self.sink.event(event);
        }
    }

    /// The attach number under which this connection holds its session.
    pub(super) fn attach(&self) -> Option<u64> {
        match self.state.lock().phase {
            Phase::Live(_, attach) => Some(attach),
            _ => None,
        }
    }

    /// A write has its answer; gives out all answers that may leave now. True if requests behind it
    /// may start.
    pub(super) fn settle(&self, request: u64, answer: Answer) -> bool {
        let mut state = self.state.lock();
        if !state.queue.settle(request, answer) {
            return false;
        }
        while let Some((reply, answer)) = state.queue.pop_answered() {
            reply(answer);
        }
        state.queue.can_advance()
    }

    /// Ends the connection; what is in flight ends as unknown, what never started as not done.
    /// Returns the session it held and the requests that nobody waits for any more.
    pub(super) fn close(&self, zxid: Zxid, why: Option<Closed>) -> (Option<SessionId>, Vec<u64>) {
        let mut state = self.state.lock();
        let session = match state.phase {
            Phase::Live(session, _) => Some(session),
            Phase::Closed => return (None, Vec::new()),
            Phase::Idle | Phase::Opening => None,
        };
        state.phase = Phase::Closed;
        let forgotten = state.queue.unanswered().collect();
        let (in_flight, waiting) = state.queue.drain();
        for (reply, answer) in in_flight {
            reply(answer.unwrap_or(Answer {
                zxid,
                result: Err(RequestError::OutcomeUnknown),
            }));
        }
        for reply in waiting {
            let result = Err(NotDone::Stopping.into());
            reply(Answer { zxid, result });
        }
        if let Some(why) = why {
            self.sink.closed(why);
        }
        (session, forgotten)
    }
}

/// A client's connection, as its wire holds it. Dropping it lets go of the session without closing
/// it: the client may come back, here or elsewhere, until its timeout.
pub struct Connection {
    door: FrontDoor,
    core: Arc<Core>,
}

impl Connection {
    pub(super) fn new(door: FrontDoor, id: u64, sink: Arc<dyn EventSink>) -> Self {
        let state = State {
            phase: Phase::Idle,
            queue: Queue::new(),
            auth: Arc::from([]),
        };
        let core = Arc::new(Core {
            id,
            sink,
            order: Mutex::new(()),
            state: Mutex::new(state),
            complained: AtomicBool::new(false),
        });
        Self { door, core }
    }

    /// This connection's number, for logs; unique within this boot.
    pub fn id(&self) -> u64 {
        self.core.id
    }

    /// The session, once it is open.
    pub fn session(&self) -> Option<SessionId> {
        match self.core.state.lock().phase {
            Phase::Live(session, _) => Some(session),
            _ => None,
        }
    }

    /// Opens a new session, or attaches the one of `resume`. The timeout is brought within bounds.
    pub async fn open(
        &self,
        timeout_ms: u32,
        resume: Option<(SessionId, Password)>,
        last_zxid_seen: Zxid,
    ) -> Result<SessionGrant, OpenError> {
        {
            let mut state = self.core.state.lock();
            if !matches!(state.phase, Phase::Idle) {
                return Err(OpenError::NotIdle);
            }
            state.phase = Phase::Opening;
        }
        let what = match resume {
            Some(_) => "a session goes on here",
            None => "a session is open",
        };
        let opened = self.open_now(timeout_ms, resume, last_zxid_seen).await;
        match &opened {
            Ok(grant) => {
                if self.may_tell() {
                    let (session, timeout_ms) = (grant.id, grant.timeout_ms);
                    tracing::info!(connection = self.core.id, %session, timeout_ms, "{what}");
                }
            }
            Err(_) => self.close(None),
        }
        opened
    }

    /// Tells the log why the connection of a session is over, and with it perhaps the session.
    pub fn tell_end(&self, session: SessionId, reason: &dyn std::fmt::Display) {
        if self.may_tell() {
            tracing::info!(connection = self.core.id, %session, %reason, "a session's connection is over");
        }
    }

    /// Whether there may be a line about this client in the log now.
    pub fn may_tell(&self) -> bool {
        let inner = &self.door.inner;
        inner.sparing.may_tell(inner.clock.now())
    }

    async fn open_now(
        &self,
        timeout_ms: u32,
        resume: Option<(SessionId, Password)>,
        last_zxid_seen: Zxid,
    ) -> Result<SessionGrant, OpenError> {
        let inner = &self.door.inner;
        if !inner.replicator.in_touch(inner.clock.now()) {
            return Err(OpenError::OutOfTouch);
        }
        self.catch_up(last_zxid_seen).await?;
        let (low, high) = inner.config.session_timeout_ms;
        let timeout_ms = timeout_ms.clamp(low, high);
        let (session, op) = match resume {
            Some((session, password)) => {
                let op = Op::AttachSession {
                    timeout_ms,
                    password,
                };
                (session, op)
            }
            None => {
                let (session, password) = self.new_session();
                let op = Op::OpenSession {
                    timeout_ms,
                    password,
                };
                (session, op)
            }
        };
        inner.published.metrics().asked_for_session(&op);
        let request = inner.next_request.fetch_add(1, Ordering::Relaxed);
        let (told, opened) = oneshot::channel();
        let waiter = Waiter::Open(Arc::clone(&self.core), told);
        inner.published.lock().wait(request, waiter);
        let command = command(inner, request, session, 0, &[], op);
        if let Err(not_done) = inner.replicator.submit(vec![command]) {
            inner.published.lock().forget(&[request]);
            return Err(RequestError::NotDone(not_done).into());
        }
        match opened.await {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(RequestError::Op(OpError::SessionExpired { .. }))) => Err(OpenError::Expired),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(RequestError::OutcomeUnknown.into()),
        }
    }

    /// A client that has seen newer state than this node must not see time run backwards.
    async fn catch_up(&self, seen: Zxid) -> Result<(), OpenError> {
        let inner = &self.door.inner;
        let mut progress = inner.published.progress();
        let reached = progress.wait_for(|applied| applied.zxid >= seen);
        if clock::timeout(&*inner.clock, inner.config.catch_up, reached)
            .await
            .is_some()
        {
            return Ok(());
        }
        let applied = inner.published.progress().borrow().zxid;
        Err(OpenError::Behind { seen, applied })
    }

    fn new_session(&self) -> (SessionId, Password) {
        let inner = &self.door.inner;
        let mut chance = inner.chance.lock();
        let low = loop {
            // 56 random bits; 0 below the node's byte is left out, so no id is 0.
            match chance.random::<u64>() >> 8 {
                0 => {}
                low => break low,
            }
        };
        let id = (inner.config.node << 56) | low;
        (SessionId(id.cast_signed()), chance.random())
    }

    /// Adds an identity to what later requests may do. Only `digest` proves one: `user:password`. Each
    /// write carries all of them, so their number and size are bounded.
    pub fn add_auth(&self, scheme: &str, credentials: &[u8]) -> Result<(), OpError> {
        let id = match scheme {
            "digest" => digest_id(&String::from_utf8_lossy(credentials)),
            _ => return Err(OpError::AuthFailed),
        };
        let mut state = self.core.state.lock();
        if state.auth.contains(&id) {
            return Ok(());
        }
        let bytes: usize = state.auth.iter().map(AuthId::size_bytes).sum();
        if state.auth.len() == limits::IDENTITIES
            || bytes + id.size_bytes() > limits::IDENTITIES_BYTES
        {
            tracing::info!(connection = self.core.id, "too many identities");
            return Err(OpError::AuthFailed);
        }
        state.auth = state.auth.iter().cloned().chain([id]).collect();
        Ok(())
    }

    /// The identities proved so far.
    pub fn auth(&self) -> Arc<[AuthId]> {
        Arc::clone(&self.core.state.lock().auth)
    }

    /// The client was heard from.
    pub fn touch(&self) {
        let state = self.core.state.lock();
        if let Phase::Live(session, attach) = state.phase {
            drop(state);
            self.door.inner.replicator.touch(session, attach);
        }
    }

    /// The client's side has ended the connection, as a process that dies does: unless it attaches anew within
    /// `disconnect_timeout_ms`, its session may end before its timeout. Nothing more is answered here.
    pub fn left(&self, disconnect_timeout_ms: u32) {
        let phase = match self.core.state.lock().phase {
            Phase::Live(session, attach) => Some((session, attach)),
            _ => None,
        };
        self.close(None);
        if let Some((session, attach)) = phase
            && disconnect_timeout_ms > 0
        {
            tracing::info!(
                session = format_args!("{:#x}", session.0),
                disconnect_timeout_ms,
                "its client has ended the connection: the session ends unless it comes back in time"
            );
            self.door.inner.replicator.left(Left {
                session,
                attach,
                disconnect_timeout_ms,
            });
        }
    }

    /// Adds requests behind those before, and starts what may start. Each `ReplyTo` is called once,
    /// in the order of requests.
    pub fn send(&self, requests: impl IntoIterator<Item = (Request, ReplyTo)>) {
        self.send_within(None, requests);
    }

    /// The same, of a client that says where in which trace it is.
    pub fn send_within(
        &self,
        trace: Option<TraceContext>,
        requests: impl IntoIterator<Item = (Request, ReplyTo)>,
    ) {
        self.touch();
        let spans = self.door.inner.published.spans();
        {
            let mut state = self.core.state.lock();
            let live = matches!(state.phase, Phase::Live(..));
            for (request, reply) in requests {
                if !live {
                    let result = Err(NotDone::Stopping.into());
                    let zxid = Zxid(0);
                    reply(Answer { zxid, result });
                    continue;
                }
                let (kind, arrived) = match &request {
                    Request::Write(_) => (Kind::Write, spans.arrived(trace)),
                    Request::Read(_) | Request::Refuse(_) => (Kind::Read, None),
                };
                let queued = Queued {
                    request,
                    auth: Arc::clone(&state.auth),
                    arrived,
                };
                state.queue.push(kind, queued, reply);
            }
        }
        advance(&self.door.inner, &self.core);
    }

    /// One request, and its answer. The request is in its place in the order when this returns;
    /// the future only waits. An answer that this node may no longer give becomes unknown.
    pub fn request(&self, request: Request) -> impl Future<Output = Answer> + Send + use<> {
        let (told, answered) = oneshot::channel();
        let reply: ReplyTo = Box::new(move |answer| {
            // Whoever asked may have gone.
            let _ = told.send(answer);
        });
        self.send([(request, reply)]);
        let door = self.door.clone();
        async move {
            let unknown = |zxid| Answer {
                zxid,
                result: Err(RequestError::OutcomeUnknown),
            };
            match answered.await {
                Ok(answer) if door.in_touch(door.clock().now()) => answer,
                Ok(answer) => unknown(answer.zxid),
                Err(_) => unknown(Zxid(0)),
            }
        }
    }

    /// The last transaction applied here, told under the publication lock: for a ping's answer,
    /// which waits for nothing.
    pub fn ping(&self, reply: impl FnOnce(Zxid)) {
        self.touch();
        let shared = self.door.inner.published.lock();
        reply(shared.zxid());
    }

    fn close(&self, why: Option<Closed>) {
        self.door.inner.published.lock().close(&self.core, why);
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close(None);
    }
}

/// ZooKeeper's digest: `user:base64(sha1(user:password))`. Without a colon all of it is the user.
fn digest_id(credentials: &str) -> AuthId {
    let user = credentials.split(':').next().unwrap_or_default();
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha1::digest(credentials));
    AuthId {
        scheme: "digest".to_owned(),
        id: format!("{user}:{hash}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_needs_no_colon() {
        let user = |text: &str| {
            let id = digest_id(text).id;
            id.split_once(':').expect("a user and a hash").0.to_owned()
        };
        assert_eq!(digest_id("bob:bob").id, "bob:X1SKGw3XQQSIPMZRf5lW7e07VPY=");
        assert_eq!(
            (user("bob"), user(":"), user("")),
            ("bob".into(), "".into(), "".into())
        );
        assert_eq!(user("a:b:c"), "a");
    }
}
