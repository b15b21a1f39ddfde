//! The ensemble as its port promises it (`ensemble::port`), and not better: one tree, linearizable writes and reads
//! with delay; answers that get lost, requests that get lost, refusals for want of a quorum; sessions that live by
//! virtual time; watch streams that lag, fall behind and begin anew. Each broker has a link to it of its own.
//!
//! ```text
//!   call ──▶ queue of the session ──(delay, link?)──▶ tree ──(delay, link?)──▶ answer
//!                 one after the other: what comes later takes effect later
//! ```
//!
//! A request that meets a cut link or an outage is held until that is over, refused, or lost; the caller is told
//! "outcome unknown" at once where it was sent, though it may take effect afterwards: but before any later call of
//! that port does. `port` is a session as its broker holds it, `stream` what a watcher gets.

mod port;
mod stream;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};
use zweig_broker::ensemble::played::{Nodes, Tree};
use zweig_broker::ensemble::port::{GetResult, GroupResult, MultiResult};
use zweig_client::ensemble::{Batch, ConnectError, Credentials, Error, WatchItem, WriteOp};

use crate::trace::Trace;

pub use port::Door;

/// What brokers ask for, and are granted.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// And once their process has ended, if the ensemble sees that.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How long a call waits for a connection.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// The ensemble; clones are the same.
#[derive(Clone)]
pub struct SimEnsemble {
    inner: Arc<Mutex<Inner>>,
    /// Told at each write and each change of a link.
    moved: Arc<Notify>,
    trace: Trace,
}

struct Inner {
    tree: Tree,
    chance: StdRng,
    next_session: i64,
    sessions: BTreeMap<i64, Session>,
    cut: BTreeSet<i32>,
    out: bool,
    /// Streams of these brokers lag by so many milliseconds more.
    lag_ms: BTreeMap<i32, u64>,
    /// Calls of these brokers take up to so many milliseconds more, each way.
    slow_ms: BTreeMap<i32, u64>,
    /// The last session opened for each broker.
    latest: BTreeMap<i32, i64>,
    /// When brokers were last told that their session has ended.
    told: BTreeMap<i32, u64>,
    /// Of a thousand writes, so many lose their answer, their request, or are refused.
    spoiled: [u32; 3],
    counts: Counts,
}

/// What happened.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// Writes that took effect or failed on a condition.
    pub writes: u64,
    /// Answers lost: done, and outcome unknown.
    pub answers_lost: u64,
    /// Requests lost: not done, and outcome unknown.
    pub requests_lost: u64,
    /// Refused.
    pub refused: u64,
    /// Sessions that expired.
    pub expired: u64,
    /// Streams that began anew in the middle.
    pub resets: u64,
    /// Batches whose fence did not hold.
    pub fenced: u64,
    /// Writes that failed on the version of a znode.
    pub conflicts: u64,
}

struct Session {
    broker: i32,
    deadline: Instant,
    attach: u64,
}

enum Call {
    Multi(Vec<WriteOp>),
    Batch((String, i32), Vec<Vec<WriteOp>>),
    Get(String),
    Sync,
    Close,
}

enum Answer {
    Multi(MultiResult),
    Batch(Result<Batch<GroupResult>, Error>),
    Get(GetResult),
    Done(Result<(), Error>),
}

impl Call {
    fn failed(&self, error: Error) -> Answer {
        match self {
            Call::Multi(_) => Answer::Multi(Err(error.into())),
            Call::Batch(..) => Answer::Batch(Err(error)),
            Call::Get(_) => Answer::Get(Err(error)),
            Call::Sync | Call::Close => Answer::Done(Err(error)),
        }
    }

    fn is_read(&self) -> bool {
        matches!(self, Call::Get(_) | Call::Sync)
    }
}

impl SimEnsemble {
    /// An empty tree.
    pub fn new(seed: u64, trace: Trace) -> SimEnsemble {
        let inner = Inner {
            tree: Tree::default(),
            chance: StdRng::seed_from_u64(seed ^ 0x656e_7365),
            next_session: 0,
            sessions: BTreeMap::new(),
            cut: BTreeSet::new(),
            out: false,
            lag_ms: BTreeMap::new(),
            slow_ms: BTreeMap::new(),
            latest: BTreeMap::new(),
            told: BTreeMap::new(),
            spoiled: [0; 3],
            counts: Counts::default(),
        };
        SimEnsemble {
            inner: Arc::new(Mutex::new(inner)),
            moved: Arc::new(Notify::new()),
            trace,
        }
    }

    /// Ends sessions whose time has passed; to be run beside everything else.
    pub async fn expire(self) {
        loop {
            sleep(Duration::from_millis(100)).await;
            let now = Instant::now();
            let due: Vec<i64> = {
                let inner = self.inner.lock();
                if inner.out {
                    continue;
                }
                let due = inner.sessions.iter().filter(|(_, s)| s.deadline <= now);
                due.map(|(id, _)| *id).collect()
            };
            for session in due {
                self.end(session, "expired");
                self.inner.lock().counts.expired += 1;
            }
        }
    }

    fn end(&self, session: i64, how: &str) {
        let mut inner = self.inner.lock();
        let Some(ended) = inner.sessions.remove(&session) else {
            return;
        };
        inner.tree.end_session(session);
        drop(inner);
        self.trace.line(|| {
            format!(
                "ensemble: session {session} of broker {} {how}",
                ended.broker
            )
        });
        self.moved.notify_waiters();
    }

    /// Ends the session of a living broker, as an operator may.
    pub fn expire_now(&self, broker: i32) {
        let sessions: Vec<i64> = {
            let inner = self.inner.lock();
            let of = inner.sessions.iter().filter(|(_, s)| s.broker == broker);
            of.map(|(id, _)| *id).collect()
        };
        for session in sessions {
            self.end(session, "ended by hand");
            self.inner.lock().counts.expired += 1;
        }
    }

    /// A broker's process has ended, and its connections with it. The ensemble may not see that.
    pub fn process_ended(&self, broker: i32) {
        let mut inner = self.inner.lock();
        if inner.out || inner.cut.contains(&broker) || inner.chance.random_bool(0.5) {
            return;
        }
        let soon = Instant::now() + DISCONNECT_TIMEOUT;
        let of = inner.sessions.values_mut().filter(|s| s.broker == broker);
        of.for_each(|session| session.deadline = session.deadline.min(soon));
    }

    /// Cuts a broker off, or connects it again.
    pub fn set_cut(&self, broker: i32, cut: bool) {
        let mut inner = self.inner.lock();
        let _ = match cut {
            true => inner.cut.insert(broker),
            false => inner.cut.remove(&broker),
        };
        drop(inner);
        self.moved.notify_waiters();
    }

    /// No quorum, or one again: then every session has its full timeout.
    pub fn set_out(&self, out: bool) {
        let mut inner = self.inner.lock();
        inner.out = out;
        let deadline = Instant::now() + SESSION_TIMEOUT;
        if !out {
            inner
                .sessions
                .values_mut()
                .for_each(|s| s.deadline = deadline);
        }
        drop(inner);
        self.moved.notify_waiters();
    }

    /// The watch stream of a broker lags.
    pub fn set_lag(&self, broker: i32, ms: u64) {
        self.inner.lock().lag_ms.insert(broker, ms);
    }

    /// The calls of a broker take up to so much longer.
    pub fn set_slow(&self, broker: i32, ms: u64) {
        self.inner.lock().slow_ms.insert(broker, ms);
    }

    /// When a broker was last told that its session has ended, in milliseconds since the start.
    pub fn told_of_end(&self, broker: i32) -> Option<u64> {
        self.inner.lock().told.get(&broker).copied()
    }

    /// The last write.
    pub fn zxid(&self) -> i64 {
        self.inner.lock().tree.zxid
    }

    /// The writes behind a zxid.
    pub fn since(&self, zxid: i64) -> Vec<(i64, Arc<Vec<WatchItem>>)> {
        self.inner.lock().tree.since(zxid).to_vec()
    }

    /// Of a thousand writes: answers lost, requests lost, refused.
    pub fn set_spoiled(&self, spoiled: [u32; 3]) {
        self.inner.lock().spoiled = spoiled;
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.inner.lock().counts
    }

    /// Looks at the tree.
    pub fn look<T>(&self, look: impl FnOnce(&Nodes) -> T) -> T {
        look(&self.inner.lock().tree.nodes)
    }

    /// Writes as an operator would, at once.
    pub fn write(&self, ops: &[WriteOp]) -> Result<(), Error> {
        let done = self.inner.lock().tree.multi(0, ops);
        self.moved.notify_waiters();
        Ok(done.map(drop)?)
    }

    fn reachable(&self, broker: i32) -> bool {
        let inner = self.inner.lock();
        !inner.out && !inner.cut.contains(&broker)
    }

    /// Waits for a link and a quorum.
    async fn until_reachable(&self, broker: i32) {
        loop {
            let moved = self.moved.notified();
            if self.reachable(broker) {
                return;
            }
            moved.await;
        }
    }

    fn chance(&self, below: u32) -> u32 {
        self.inner.lock().chance.random_range(0..below)
    }

    fn delay(&self) -> Duration {
        let mut inner = self.inner.lock();
        let ms = match inner.chance.random_range(0..100) {
            0..70 => 1,
            70..95 => inner.chance.random_range(1..8),
            _ => inner.chance.random_range(8..80),
        };
        Duration::from_millis(ms)
    }

    /// How long a call of a broker, or its answer, is under way.
    fn call_delay(&self, broker: i32) -> Duration {
        let delay = self.delay();
        let mut inner = self.inner.lock();
        match inner.slow_ms.get(&broker).copied() {
            Some(ms) if ms > 0 => delay + Duration::from_millis(inner.chance.random_range(0..ms)),
            _ => delay,
        }
    }

    fn apply(&self, session: i64, attach: u64, call: &Call) -> Answer {
        let mut inner = self.inner.lock();
        let known = inner.sessions.get(&session).map(|s| s.attach);
        if known != Some(attach) {
            return call.failed(Error::SessionExpired);
        }
        let tree = &mut inner.tree;
        let conflicts = |error: &Error| u64::from(matches!(error, Error::BadVersion { .. }));
        let answer = match call {
            Call::Get(path) => return Answer::Get(Ok(tree.nodes.get(path).cloned())),
            Call::Sync => return Answer::Done(Ok(())),
            Call::Close => {
                drop(inner);
                self.end(session, "closed");
                return Answer::Done(Ok(()));
            }
            Call::Multi(ops) => {
                let done = tree.multi(session, ops);
                inner.counts.conflicts += done.as_ref().err().map_or(0, |e| conflicts(&e.error));
                Answer::Multi(done)
            }
            Call::Batch((fence, version), groups) => {
                let done = tree.fenced_batch(session, (fence.as_str(), *version), groups);
                let failed = done.iter().flat_map(|batch| &batch.results);
                let failed = failed.filter_map(|result| result.as_ref().err());
                inner.counts.conflicts += failed.map(|e| conflicts(&e.error)).sum::<u64>();
                inner.counts.fenced += u64::from(done.is_err());
                Answer::Batch(done)
            }
        };
        inner.counts.writes += 1;
        self.trace_write(session, &inner.tree);
        drop(inner);
        self.moved.notify_waiters();
        answer
    }

    fn trace_write(&self, session: i64, tree: &Tree) {
        let Some((zxid, items)) = tree.history.last() else {
            return;
        };
        for item in &**items {
            if let WatchItem::Change {
                path, data, stat, ..
            } = item
            {
                self.trace.line(|| {
                    let data = data.clone().unwrap_or_default();
                    let text = String::from_utf8_lossy(&data);
                    let version = stat.map_or(-1, |s| s.version);
                    format!("  tree {zxid} by {session}: {path} v{version} {text}")
                });
            }
        }
    }

    fn attach(
        &self,
        broker: i32,
        resume: Option<&Credentials>,
    ) -> Result<(i64, u64, i32), ConnectError> {
        let mut inner = self.inner.lock();
        let deadline = Instant::now() + SESSION_TIMEOUT;
        if let Some(wanted) = resume {
            let known = inner.sessions.get_mut(&wanted.session);
            let session = known.ok_or(ConnectError::SessionExpired)?;
            session.attach += 1;
            session.deadline = deadline;
            return Ok((wanted.session, session.attach, broker));
        }
        inner.next_session += 1;
        let id = inner.next_session;
        let session = Session {
            broker,
            deadline,
            attach: 0,
        };
        inner.sessions.insert(id, session);
        inner.latest.insert(broker, id);
        drop(inner);
        self.trace
            .line(|| format!("ensemble: session {id} for broker {broker}"));
        Ok((id, 0, broker))
    }
}
