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
//! that port does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use zweig_broker::ensemble::port::{GetResult, GroupResult, MultiResult, Port, Ports};
use zweig_broker::sim;
use zweig_client::ensemble::{
    Batch, ConnectError, Credentials, Error, SessionState, WatchItem, WriteOp,
};

use crate::trace::Trace;
use crate::tree::{Nodes, Tree, replay};

/// What brokers ask for, and are granted.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

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

struct Asked {
    call: Call,
    at: Instant,
    answer: oneshot::Sender<Answer>,
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
        let mut inner = self.inner.lock();
        inner.tree.begin();
        let done = inner.tree.group(0, ops);
        let (items, result) = match done {
            Ok(done) => (done.items, Ok(())),
            Err(failed) => (Vec::new(), Err(failed.error)),
        };
        inner.tree.end(items);
        drop(inner);
        self.moved.notify_waiters();
        result
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

    fn apply(&self, session: i64, attach: u64, call: &Call) -> Answer {
        let mut inner = self.inner.lock();
        let known = inner.sessions.get(&session).map(|s| s.attach);
        if known != Some(attach) {
            return call.failed(Error::SessionExpired);
        }
        let tree = &mut inner.tree;
        match call {
            Call::Get(path) => return Answer::Get(Ok(tree.nodes.get(path).cloned())),
            Call::Sync => return Answer::Done(Ok(())),
            Call::Close => {
                drop(inner);
                self.end(session, "closed");
                return Answer::Done(Ok(()));
            }
            Call::Multi(_) | Call::Batch(..) => {}
        }
        tree.begin();
        let zxid = tree.zxid;
        let (answer, items, conflict) = match call {
            Call::Multi(ops) => match tree.group(session, ops) {
                Ok(done) => {
                    let results = done.results;
                    (
                        Answer::Multi(Ok(Batch { zxid, results })),
                        done.items,
                        false,
                    )
                }
                Err(failed) => {
                    let conflict = matches!(failed.error, Error::BadVersion { .. });
                    (Answer::Multi(Err(failed)), Vec::new(), conflict)
                }
            },
            Call::Batch(fence, groups) => {
                if tree.at(&fence.0, Some(fence.1)).is_err() {
                    inner.counts.fenced += 1;
                    let error = Error::Fenced(fence.0.clone());
                    inner.tree.end(Vec::new());
                    return Answer::Batch(Err(error));
                }
                let mut items = Vec::new();
                let mut conflict = false;
                let results = groups
                    .iter()
                    .map(|group| match tree.group(session, group) {
                        Ok(done) => {
                            items.extend(done.items);
                            Ok(done.results)
                        }
                        Err(failed) => {
                            conflict |= matches!(failed.error, Error::BadVersion { .. });
                            Err(failed)
                        }
                    })
                    .collect();
                (Answer::Batch(Ok(Batch { zxid, results })), items, conflict)
            }
            Call::Get(_) | Call::Sync | Call::Close => return call.failed(Error::Closed),
        };
        inner.counts.writes += 1;
        inner.counts.conflicts += u64::from(conflict);
        self.trace_write(session, zxid, &items);
        inner.tree.end(items);
        drop(inner);
        self.moved.notify_waiters();
        answer
    }

    fn trace_write(&self, session: i64, zxid: i64, items: &[WatchItem]) {
        for item in items {
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
}

/// One session, as its broker holds it.
pub struct SimPort {
    ensemble: SimEnsemble,
    session: i64,
    calls: mpsc::UnboundedSender<Asked>,
    state: watch::Receiver<SessionState>,
    renewed: Arc<Mutex<Duration>>,
    broker: i32,
}

fn since_boot() -> Duration {
    sim::with(|world| world.since_boot()).unwrap_or_default()
}

impl SimPort {
    async fn call(&self, call: Call) -> Answer {
        let (answer, answered) = oneshot::channel();
        let at = Instant::now();
        match *self.state.borrow() {
            SessionState::Expired => return call.failed(Error::SessionExpired),
            SessionState::Closed => return call.failed(Error::Closed),
            SessionState::Connected | SessionState::Disconnected => {}
        }
        let asked = Asked { call, at, answer };
        if self.calls.send(asked).is_err() {
            return Answer::Done(Err(Error::SessionExpired));
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }
}

/// The way of one session's requests to the tree, and back.
async fn carry(
    ensemble: SimEnsemble,
    (session, attach, broker): (i64, u64, i32),
    mut calls: mpsc::UnboundedReceiver<Asked>,
) {
    let (back, answers) = mpsc::unbounded_channel();
    tokio::spawn(bring_back(answers));
    while let Some(Asked { call, at, answer }) = calls.recv().await {
        sleep_until(at + ensemble.delay()).await;
        let answer_at = |ensemble: &SimEnsemble| Instant::now() + ensemble.delay();
        if !ensemble.reachable(broker) {
            // Not sent yet: certainly not done. Or sent into a link that was about to go.
            if ensemble.chance(2) == 0 || call.is_read() {
                let limit = (at + REQUEST_TIMEOUT).saturating_duration_since(Instant::now());
                let back_in_time = timeout(limit, ensemble.until_reachable(broker))
                    .await
                    .is_ok();
                if !back_in_time {
                    let failed = call.failed(Error::Unavailable("no node reached".to_owned()));
                    let _ = back.send((Instant::now(), answer, failed));
                    continue;
                }
            } else {
                let failed = call.failed(Error::OutcomeUnknown("the connection broke".to_owned()));
                let _ = back.send((answer_at(&ensemble), answer, failed));
                if ensemble.chance(2) == 0 {
                    ensemble.inner.lock().counts.requests_lost += 1;
                } else {
                    // It hangs somewhere, and takes effect before whatever comes after it.
                    ensemble.until_reachable(broker).await;
                    sleep(ensemble.delay()).await;
                    ensemble.apply(session, attach, &call);
                    ensemble.inner.lock().counts.answers_lost += 1;
                }
                continue;
            }
        }
        let spoiled = ensemble.inner.lock().spoiled;
        let draw = if call.is_read() {
            1000
        } else {
            ensemble.chance(1000)
        };
        let unknown = || call.failed(Error::OutcomeUnknown("the answer was lost".to_owned()));
        if draw < spoiled[0] {
            ensemble.apply(session, attach, &call);
            ensemble.inner.lock().counts.answers_lost += 1;
            let _ = back.send((answer_at(&ensemble), answer, unknown()));
        } else if draw < spoiled[0] + spoiled[1] {
            ensemble.inner.lock().counts.requests_lost += 1;
            let _ = back.send((answer_at(&ensemble), answer, unknown()));
        } else if draw < spoiled.iter().sum() {
            ensemble.inner.lock().counts.refused += 1;
            let refused = call.failed(Error::NotDone("no quorum".to_owned()));
            let _ = back.send((answer_at(&ensemble), answer, refused));
        } else {
            let done = ensemble.apply(session, attach, &call);
            let at = answer_at(&ensemble);
            let lost = !ensemble.reachable(broker) && !call.is_read();
            let done = if lost { unknown() } else { done };
            let _ = back.send((at, answer, done));
        }
    }
}

async fn bring_back(
    mut answers: mpsc::UnboundedReceiver<(Instant, oneshot::Sender<Answer>, Answer)>,
) {
    while let Some((at, answer, value)) = answers.recv().await {
        sleep_until(at).await;
        // Nobody waits any more, perhaps.
        let _ = answer.send(value);
    }
}

/// Keeps a session alive, from the broker's side.
async fn renew(
    ensemble: SimEnsemble,
    (session, attach, broker): (i64, u64, i32),
    state: watch::Sender<SessionState>,
    renewed: Arc<Mutex<Duration>>,
) {
    loop {
        let sent = since_boot();
        sleep(ensemble.delay()).await;
        if ensemble.reachable(broker) {
            let alive = {
                let mut inner = ensemble.inner.lock();
                let alive = inner
                    .sessions
                    .get_mut(&session)
                    .filter(|s| s.attach == attach);
                if let Some(session) = alive {
                    session.deadline = Instant::now() + SESSION_TIMEOUT;
                    true
                } else {
                    false
                }
            };
            sleep(ensemble.delay()).await;
            if ensemble.reachable(broker) {
                if !alive {
                    state.send_if_modified(|state| {
                        let closed = *state == SessionState::Closed;
                        if !closed {
                            *state = SessionState::Expired;
                        }
                        !closed
                    });
                    return;
                }
                *renewed.lock() = sent;
                set_state(&state, SessionState::Connected);
                sleep(SESSION_TIMEOUT / 3).await;
                continue;
            }
        }
        set_state(&state, SessionState::Disconnected);
        sleep(Duration::from_millis(300)).await;
    }
}

fn set_state(state: &watch::Sender<SessionState>, new: SessionState) {
    state.send_if_modified(|state| {
        let changed = *state != new && *state != SessionState::Closed;
        if changed {
            *state = new;
        }
        changed
    });
}

/// Sends a watcher the tree and its changes, late.
async fn stream(ensemble: SimEnsemble, broker: i32, items: mpsc::UnboundedSender<WatchItem>) {
    let mut at = {
        // A node that is behind, perhaps.
        let behind = i64::from(ensemble.chance(4));
        let behind = if ensemble.chance(3) == 0 { behind } else { 0 };
        (ensemble.inner.lock().tree.zxid - behind).max(0)
    };
    let mut whole = true;
    loop {
        let lag = ensemble
            .inner
            .lock()
            .lag_ms
            .get(&broker)
            .copied()
            .unwrap_or(0);
        sleep(ensemble.delay() + Duration::from_millis(lag)).await;
        ensemble.until_reachable(broker).await;
        if whole {
            let nodes = replay(&ensemble.inner.lock().tree.history, at);
            let _ = items.send(WatchItem::Reset);
            for (path, (data, stat)) in nodes {
                let _ = items.send(WatchItem::Node {
                    path,
                    data,
                    stat,
                    readable: true,
                });
            }
            if items.send(WatchItem::SubtreeEnd { zxid: at }).is_err() {
                return;
            }
            whole = false;
        }
        loop {
            let moved = ensemble.moved.notified();
            let news = {
                let inner = ensemble.inner.lock();
                let begin = inner.tree.history.partition_point(|(zxid, _)| *zxid <= at);
                let upto = inner.tree.history.len().min(begin + 8);
                inner.tree.history[begin..upto].to_vec()
            };
            if news.is_empty() {
                moved.await;
                continue;
            }
            if news.len() == 8 && ensemble.chance(4) == 0 {
                // It fell behind: what it missed is not kept.
                let mut inner = ensemble.inner.lock();
                at = inner.tree.zxid;
                inner.counts.resets += 1;
                whole = true;
                break;
            }
            for (zxid, changes) in news {
                for change in &*changes {
                    let _ = items.send(change.clone());
                }
                at = zxid;
                if items.send(WatchItem::End { zxid }).is_err() {
                    return;
                }
            }
            break;
        }
    }
}

impl Port for SimPort {
    fn multi(&self, ops: Vec<WriteOp>) -> BoxFuture<'_, MultiResult> {
        async {
            match self.call(Call::Multi(ops)).await {
                Answer::Multi(result) => result,
                _ => Err(Error::SessionExpired.into()),
            }
        }
        .boxed()
    }

    fn fenced_batch(
        &self,
        fence: (String, i32),
        groups: Vec<Vec<WriteOp>>,
    ) -> BoxFuture<'_, Result<Batch<GroupResult>, Error>> {
        async {
            match self.call(Call::Batch(fence, groups)).await {
                Answer::Batch(result) => result,
                _ => Err(Error::SessionExpired),
            }
        }
        .boxed()
    }

    fn get(&self, path: String) -> BoxFuture<'_, GetResult> {
        async {
            match self.call(Call::Get(path)).await {
                Answer::Get(result) => result,
                _ => Err(Error::SessionExpired),
            }
        }
        .boxed()
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        async {
            match self.call(Call::Sync).await {
                Answer::Done(result) => result,
                _ => Err(Error::SessionExpired),
            }
        }
        .boxed()
    }

    fn watch(&self) -> Result<BoxStream<'static, WatchItem>, Error> {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(stream(self.ensemble.clone(), self.broker, sender));
        Ok(UnboundedReceiverStream::new(receiver).boxed())
    }

    fn credentials(&self) -> Credentials {
        Credentials {
            session: self.session,
            password: [7; 16],
        }
    }

    fn timeout(&self) -> Duration {
        SESSION_TIMEOUT
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    fn since_renewal(&self) -> Duration {
        since_boot().saturating_sub(*self.renewed.lock())
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        async {
            match self.call(Call::Close).await {
                Answer::Done(result) => result,
                _ => Err(Error::SessionExpired),
            }
        }
        .boxed()
    }
}

/// The door of one broker.
pub struct Door {
    /// The ensemble.
    pub ensemble: SimEnsemble,
    /// Whose link leads there.
    pub broker: i32,
}

impl Ports for Door {
    fn connect(
        &self,
        resume: Option<Credentials>,
    ) -> BoxFuture<'_, Result<Arc<dyn Port>, ConnectError>> {
        let ensemble = self.ensemble.clone();
        let broker = self.broker;
        async move {
            let sent = since_boot();
            loop {
                sleep(ensemble.delay()).await;
                ensemble.until_reachable(broker).await;
                let granted = ensemble.attach(broker, resume.as_ref())?;
                sleep(ensemble.delay()).await;
                // A session granted in vain ends by its timeout; one resumed is resumed again.
                if ensemble.reachable(broker) {
                    return Ok(ensemble.port(granted, sent));
                }
            }
        }
        .boxed()
    }
}

impl SimEnsemble {
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
        drop(inner);
        self.trace
            .line(|| format!("ensemble: session {id} for broker {broker}"));
        Ok((id, 0, broker))
    }

    fn port(&self, granted: (i64, u64, i32), sent: Duration) -> Arc<dyn Port> {
        let (calls, asked) = mpsc::unbounded_channel();
        tokio::spawn(carry(self.clone(), granted, asked));
        let (sender, state) = watch::channel(SessionState::Connected);
        let renewed = Arc::new(Mutex::new(sent));
        let keeping = renew(self.clone(), granted, sender, renewed.clone());
        drop(tokio::spawn(sim::bound(keeping)));
        Arc::new(SimPort {
            ensemble: self.clone(),
            session: granted.0,
            calls,
            state,
            renewed,
            broker: granted.2,
        })
    }
}
