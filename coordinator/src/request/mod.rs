//! The front door: what both wires (ZooKeeper's and gRPC) ask of this node, whatever the bytes were.
//!
//! ```text
//!  wire ─▶ Connection ─▶ Queue (order per session) ─┬─ read ──▶ Published ──▶ the wire's outbox
//!                                                   └─ write ─▶ Replicator (consensus)
//!  consensus ─▶ Published::apply ─▶ state machine ─▶ watch events, then the waiting answers ─▶ outbox
//! ```
//! - [`queue`]: the order of one session's requests; pure.
//! - [`published`]: the state and the watches under one lock, so that a read looks and arms in one
//!   step against `apply`; and who waits for which outcome (`waiters`).
//! - [`reads`]: what can be read, and how watches are armed.
//! - [`connection`]: one client's session: opening, requests, closing. `advance`: its requests go on.
//! - [`applier`]: what consensus calls.
//! - [`flush`]: the thread that writes the state to the disk, behind all this.
//! - [`forward`]: how commands reach the leader, exactly once.
//! - [`kind`]: what requests are counted by. `sparing`: how many lines of the log clients are worth.
//!
//! Invariants: a watch event is queued before any answer that could show the newer state, and after
//! the answer of the read that armed it; answers of one connection leave in the order of its
//! requests; each request is answered at most once; nothing here waits while it holds the lock.
//!
//! Not here: bytes (`wire`), what an operation means (`state_machine`), how commands are agreed on
//! (`consensus`).

mod advance;
pub mod applier;
pub mod connection;
pub mod flush;
pub mod forward;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod kind;
pub mod published;
pub mod queue;
pub mod reads;
mod sparing;
pub mod together;
mod waiters;

#[cfg(test)]
mod tests;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::rngs::StdRng;
use tokio::sync::{broadcast, mpsc};

use crate::clock::Clock;
use crate::consensus::{NotDone, ReadIndexError, Status};
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::session::SessionId;
use crate::session::report::Left;
use crate::state_machine::{Command, Op, OpError, Reply};
use crate::tree::Zxid;
use crate::watch::Event;
use sparing::Sparing;
use together::Together;

pub use connection::{Connection, OpenError};
pub use kind::RequestKind;
pub use published::{ChangeSet, Published, State};
pub use reads::{ReadOp, ReadReply};

/// What a connection may ask for.
#[derive(Debug)]
pub enum Request {
    /// Goes through the log; `Sync` and `CloseSession` too.
    Write(Op),
    /// Answered from this node's state.
    Read(ReadOp),
    /// Keeps its place in the order and is answered with this error: a request that could not be
    /// decoded, or that does not exist.
    Refuse(OpError),
}

/// What a request was answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum Response {
    /// Of a write.
    Written(Reply),
    /// Of a read.
    Read(ReadReply),
}

/// Why a request has no response.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The state machine decided so.
    #[error(transparent)]
    Op(#[from] OpError),
    /// It was not done and will not be.
    #[error(transparent)]
    NotDone(#[from] NotDone),
    /// It may have been done or not; the connection closes.
    #[error("the outcome is unknown")]
    OutcomeUnknown,
}

impl RequestError {
    /// Whether what was not done for this reason might be done a moment later.
    fn is_passing(&self) -> bool {
        use NotDone::{Deadline, NoQuorum, NoSpace, Overloaded, Stopping, TooLarge};
        match self {
            RequestError::NotDone(NoQuorum | Deadline | Overloaded | Stopping) => true,
            RequestError::NotDone(NoSpace | TooLarge) => false,
            RequestError::Op(_) | RequestError::OutcomeUnknown => false,
        }
    }
}

/// The answer to one request.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Of the write itself; for a read the last transaction that it saw. Every watch event up to it
    /// has been queued before, none after it.
    pub zxid: Zxid,
    /// What came of it.
    pub result: Result<Response, RequestError>,
}

/// Where an answer goes. Called under the publication lock: must only queue.
pub type ReplyTo = Box<dyn FnOnce(Answer) + Send>;

/// Why the server closes a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The client closed its session.
    BySession,
    /// The session has expired.
    Expired,
    /// Another connection has taken the session.
    Moved,
    /// A request's outcome is unknown.
    OutcomeUnknown,
    /// A write was not done, for want of a quorum, time or room; nothing behind it may be done either.
    NotDone,
    /// This node may no longer answer its clients: it has not heard from the leader for too long.
    OutOfTouch,
    /// This node's state was replaced as a whole, so watch events are missing.
    StateReplaced,
    /// It was to watch more than a connection may.
    WatchesTooMuch,
    /// This node is stopping.
    Stopping,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BySession => "its client has closed the session",
            Self::Expired => "the session has expired",
            Self::Moved => "another connection has taken the session",
            Self::OutcomeUnknown => "the outcome of a request is unknown",
            Self::NotDone => "a write was not done",
            Self::OutOfTouch => "this node has not heard from the leader for too long",
            Self::StateReplaced => "this node's state was replaced",
            Self::WatchesTooMuch => "it watches more than a connection may",
            Self::Stopping => "this node is stopping",
        })
    }
}

/// The client's side of a connection. Both are called under the publication lock: must only queue.
pub trait EventSink: Send + Sync {
    /// A watch has fired.
    fn event(&self, event: Event);
    /// The connection must close; nothing follows.
    fn closed(&self, why: Closed);
    /// Whether the client takes an unanswered write for the end of all behind it, as ZooKeeper's do: its
    /// connection then closes behind the first write that was not done. The others are told of each
    /// write by itself.
    fn writes_in_order_or_not_at_all(&self) -> bool {
        false
    }
}

/// A future of a read index.
pub type ReadIndex = Pin<Box<dyn Future<Output = Result<u64, ReadIndexError>> + Send>>;

/// What the front door asks of consensus. A trait so that tests need no ensemble.
pub trait Replicator: Send + Sync {
    /// Submits commands in this order; on an error none of them will be done.
    fn submit(&self, commands: Vec<Command>) -> Result<(), NotDone>;
    /// The client of this session was heard from.
    fn touch(&self, session: SessionId, attach: u64);
    /// The client of this session has ended its connection, and asked to be missed soon then.
    fn left(&self, left: Left);
    /// May this node answer its clients?
    fn in_touch(&self, now: Instant) -> bool;
    /// The index that a linearizable read must wait for.
    fn read_index(&self) -> ReadIndex;
    /// Role, term, leader, members.
    fn status(&self) -> Arc<Status>;
}

/// What the front door must know of the configuration.
#[derive(Debug, Clone)]
pub struct FrontDoorConfig {
    /// This node; the top byte of the session ids that it gives out.
    pub node: u64,
    /// Drawn at each start: an outcome of a former life is nobody's.
    pub boot: u64,
    /// Lower and upper bound of a session's timeout, milliseconds.
    pub session_timeout_ms: (u32, u32),
    /// How long a command may wait for a leader.
    pub forward_deadline: Duration,
    /// How long an opening client that has seen newer state waits for this node to catch up.
    pub catch_up: Duration,
}

/// How much clients ask of this node at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClientCounts {
    /// Connections with a session.
    pub connections: usize,
    /// Connections that watch something.
    pub watching: usize,
    /// Paths that are watched.
    pub watched_paths: usize,
    /// Watched paths, counted once per connection.
    pub watches: usize,
    /// Writes without an outcome yet.
    pub outstanding: usize,
}

/// Where clients' requests come in. Cheap to clone.
#[derive(Clone)]
pub struct FrontDoor {
    inner: Arc<Inner>,
}

struct Inner {
    config: FrontDoorConfig,
    published: Arc<Published>,
    replicator: Arc<dyn Replicator>,
    clock: Arc<dyn Clock>,
    next_request: AtomicU64,
    next_connection: AtomicU64,
    /// For session ids and passwords.
    chance: Mutex<StdRng>,
    sparing: Sparing,
}

impl FrontDoor {
    /// A front door to `published` and `replicator`; `chance` seeds session ids and passwords and
    /// must be a good source. Somebody must run the [`Driver`]: without it, requests stay where they wait
    /// behind others.
    pub fn new(
        config: FrontDoorConfig,
        published: Arc<Published>,
        replicator: Arc<dyn Replicator>,
        clock: Arc<dyn Clock>,
        chance: StdRng,
    ) -> (Self, Driver) {
        let work = published.take_work();
        let inner = Inner {
            config,
            published,
            replicator,
            clock,
            next_request: AtomicU64::new(1),
            next_connection: AtomicU64::new(1),
            chance: Mutex::new(chance),
            sparing: Sparing::default(),
        };
        let inner = Arc::new(inner);
        let door = Arc::downgrade(&inner);
        (Self { inner }, Driver { door, work })
    }

    /// The time as this door sees it.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// What both wires count.
    pub fn metrics(&self) -> &Arc<Metrics> {
        self.inner.published.metrics()
    }

    /// A new client connection; it has no session yet.
    pub fn connect(&self, sink: Arc<dyn EventSink>) -> Connection {
        let id = self.inner.next_connection.fetch_add(1, Ordering::Relaxed);
        Connection::new(self.clone(), id, sink)
    }

    /// Looks at the state, under the publication lock: keep it short.
    pub fn read<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(self.inner.published.lock().state())
    }

    /// Looks at the state and subscribes to every change after it, in one step.
    pub fn read_and_follow<R>(
        &self,
        look: impl FnOnce(&State) -> R,
    ) -> (R, broadcast::Receiver<Arc<ChangeSet>>) {
        let shared = self.inner.published.lock();
        (look(shared.state()), shared.changes())
    }

    /// Every change from now on. A receiver that falls behind by [`crate::limits::CHANGES_KEPT`]
    /// transactions is told so; all end when the state is replaced as a whole.
    pub fn changes(&self) -> broadcast::Receiver<Arc<ChangeSet>> {
        self.inner.published.lock().changes()
    }

    /// Waits until this node's state is no older than the call.
    pub async fn linearizable(&self) -> Result<(), ReadIndexError> {
        if mutants::is(Mutant::LinearizableAtOnce) {
            return Ok(());
        }
        let index = self.inner.replicator.read_index().await?;
        let mut progress = self.inner.published.progress();
        let reached = progress.wait_for(|applied| applied.index >= index).await;
        reached.map(|_| ()).map_err(|_| ReadIndexError::Stopping)
    }

    /// May this node answer its clients now? Asked before each answer leaves.
    pub fn in_touch(&self, now: Instant) -> bool {
        self.inner.replicator.in_touch(now)
    }

    /// What this node knows of itself and of the ensemble.
    pub fn status(&self) -> Arc<Status> {
        self.inner.replicator.status()
    }

    /// What `mntr` and the like count.
    pub fn client_counts(&self) -> ClientCounts {
        self.inner.published.lock().client_counts()
    }

    /// The paths that each connection watches. Costs a look at every watch, under the lock.
    pub fn watches(&self) -> Vec<(u64, Vec<Arc<str>>)> {
        let shared = self.inner.published.lock();
        let watches = shared.watches.by_connection();
        watches
            .map(|(connection, paths)| (connection, paths.iter().cloned().collect()))
            .collect()
    }

    /// The lowest and the highest session timeout, milliseconds.
    pub fn session_timeout_bounds(&self) -> (u32, u32) {
        self.inner.config.session_timeout_ms
    }

    /// Submits this server's own operations, on behalf of no session. Whether they were done shows in
    /// the state.
    pub fn propose(&self, ops: Vec<Op>) -> Result<(), NotDone> {
        let command = |op| {
            let request = self.inner.next_request.fetch_add(1, Ordering::Relaxed);
            advance::command(&self.inner, request, SessionId::NONE, 0, &[], op)
        };
        let commands = ops.into_iter().map(command).collect();
        self.inner.replicator.submit(commands)
    }

    /// Closes every connection.
    pub fn close_all(&self, why: Closed) {
        self.inner.published.lock().close_all(why);
    }
}

/// How often the watchman looks.
const WATCHMAN_PERIOD: Duration = Duration::from_millis(100);

/// Closes the connections of clients that wait for nothing while this node may not answer them: each answer
/// asks too.
pub async fn watchman(door: FrontDoor) {
    let clock = Arc::clone(door.clock());
    loop {
        if !door.in_touch(clock.now()) {
            door.close_all(Closed::OutOfTouch);
        }
        clock.sleep(WATCHMAN_PERIOD).await;
    }
}

/// Work that must not be done where it arises: on the raft thread, or under the publication lock.
pub(crate) enum Work {
    /// Requests of this connection may go on.
    Advance(Arc<connection::Core>),
    /// These requests were certainly not done.
    NotDone(Vec<u64>, NotDone),
    /// Nobody can tell whether these were done.
    Unknown(Vec<u64>),
}

/// Pieces of work of which the answers leave together.
const WORK_TOGETHER: usize = 64;

/// Does what others have left to be done. Ends with the front door.
pub struct Driver {
    door: Weak<Inner>,
    work: mpsc::UnboundedReceiver<Work>,
}

impl Driver {
    /// Does all of it, as it comes.
    pub async fn run(mut self) {
        while let Some(work) = self.work.recv().await {
            let Some(inner) = self.door.upgrade() else {
                return;
            };
            // What is for many clients is written by their own tasks.
            let _together = Together::begin();
            inner.carry_out(work);
            for _ in 0..WORK_TOGETHER {
                match self.work.try_recv() {
                    Ok(work) => inner.carry_out(work),
                    Err(_) => break,
                }
            }
        }
    }

    /// Does what there is to do now; false if that was nothing.
    pub fn run_once(&mut self) -> bool {
        let mut any = false;
        while let Ok(work) = self.work.try_recv() {
            let Some(inner) = self.door.upgrade() else {
                return any;
            };
            inner.carry_out(work);
            any = true;
        }
        any
    }
}

impl Inner {
    fn carry_out(&self, work: Work) {
        let _together = Together::begin();
        match work {
            Work::Advance(core) => advance::advance(self, &core),
            Work::NotDone(requests, why) => {
                let mut shared = self.published.lock();
                shared.settle_all(&requests, &RequestError::NotDone(why));
            }
            Work::Unknown(requests) => {
                let mut shared = self.published.lock();
                shared.settle_all(&requests, &RequestError::OutcomeUnknown);
            }
        }
    }
}
