//! An ensemble in memory, for tests: the tree of `played`, sessions that can be made to expire, watch streams,
//! and writes whose answers can be made to get lost.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use zweig_client::ensemble::{
    Batch, ConnectError, Credentials, Error, SessionState, Stat, WatchItem, WriteOp,
};

use crate::metadata::Image;

use super::fold::Fold;
use super::played::Tree;
use super::port::{GetResult, GroupResult, MultiResult, Port, Ports};
use super::registration::{Registered, Registrar, settle};

/// What to do with the next write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Do it, and lose the answer.
    LoseAnswer,
    /// Lose it before it was done; the caller cannot tell.
    LoseRequest,
    /// Refuse it: no quorum.
    NotDone,
}

#[derive(Default)]
struct State {
    tree: Tree,
    next_session: i64,
    sessions: BTreeMap<i64, watch::Sender<SessionState>>,
    streams: Vec<mpsc::UnboundedSender<WatchItem>>,
    faults: VecDeque<Fault>,
    batches: usize,
}

/// The ensemble; clones share the tree.
#[derive(Clone, Default)]
pub struct FakeEnsemble {
    state: Arc<Mutex<State>>,
}

/// One session of it.
pub struct FakePort {
    state: Arc<Mutex<State>>,
    session: i64,
    standing: watch::Receiver<SessionState>,
    silence: Mutex<Duration>,
}

impl FakeEnsemble {
    /// A session, as the concrete type.
    pub fn session(&self) -> Arc<FakePort> {
        let mut state = self.state.lock();
        state.next_session += 1;
        let session = state.next_session;
        let (sender, standing) = watch::channel(SessionState::Connected);
        state.sessions.insert(session, sender);
        Arc::new(FakePort {
            state: self.state.clone(),
            session,
            standing,
            silence: Mutex::new(Duration::ZERO),
        })
    }

    /// Ends a session as the ensemble would: its ephemerals go.
    pub fn expire(&self, session: i64) {
        self.state.lock().end(session, SessionState::Expired);
    }

    /// Spoils writes to come, in order.
    pub fn spoil(&self, faults: &[Fault]) {
        self.state.lock().faults.extend(faults);
    }

    /// The text of a znode.
    pub fn text(&self, path: &str) -> Option<String> {
        let state = self.state.lock();
        let (data, _) = state.tree.nodes.get(path)?;
        let data = data.clone().unwrap_or_default();
        Some(String::from_utf8_lossy(&data).into_owned())
    }

    /// The stat of a znode.
    pub fn stat(&self, path: &str) -> Option<Stat> {
        self.state
            .lock()
            .tree
            .nodes
            .get(path)
            .map(|(_, stat)| *stat)
    }

    /// All paths.
    pub fn paths(&self) -> Vec<String> {
        self.state.lock().tree.nodes.keys().cloned().collect()
    }

    /// How many fenced batches were carried out.
    pub fn batches(&self) -> usize {
        self.state.lock().batches
    }
}

impl State {
    fn end(&mut self, session: i64, how: SessionState) {
        let Some(sender) = self.sessions.remove(&session) else {
            return;
        };
        sender.send_replace(how);
        self.tree.end_session(session);
        self.publish();
    }

    /// Tells the streams of the last write.
    fn publish(&mut self) {
        let Some((zxid, items)) = self.tree.history.last() else {
            return;
        };
        self.streams.retain(|stream| {
            let sent = items.iter().all(|item| stream.send(item.clone()).is_ok());
            sent && stream.send(WatchItem::End { zxid: *zxid }).is_ok()
        });
    }
}

impl FakePort {
    /// Pretends that no renewal was acknowledged for this long.
    pub fn silent_for(&self, silence: Duration) {
        *self.silence.lock() = silence;
    }

    /// Carries out a write, or its fault.
    fn write<T>(&self, write: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        let mut state = self.state.lock();
        let lost = || Error::OutcomeUnknown("the connection broke".to_owned());
        let fault = state.faults.pop_front();
        match fault {
            Some(Fault::NotDone) => return Err(Error::NotDone("no quorum".to_owned())),
            Some(Fault::LoseRequest) => return Err(lost()),
            _ => {}
        }
        if !state.sessions.contains_key(&self.session) {
            return Err(Error::SessionExpired);
        }
        let result = write(&mut state);
        state.publish();
        match fault {
            Some(Fault::LoseAnswer) => Err(lost()),
            _ => Ok(result),
        }
    }

    fn multi_now(&self, ops: &[WriteOp]) -> MultiResult {
        self.write(|state| state.tree.multi(self.session, ops))?
    }

    fn batch_now(
        &self,
        (fence, version): &(String, i32),
        groups: &[Vec<WriteOp>],
    ) -> Result<Batch<GroupResult>, Error> {
        self.write(|state| {
            let tree = &mut state.tree;
            let done = tree.fenced_batch(self.session, (fence.as_str(), *version), groups);
            state.batches += usize::from(done.is_ok());
            done
        })?
    }
}

impl Port for FakePort {
    fn multi(&self, ops: Vec<WriteOp>) -> BoxFuture<'_, MultiResult> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.multi_now(&ops)
        })
    }

    fn fenced_batch(
        &self,
        fence: (String, i32),
        groups: Vec<Vec<WriteOp>>,
    ) -> BoxFuture<'_, Result<Batch<GroupResult>, Error>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            self.batch_now(&fence, &groups)
        })
    }

    fn get(&self, path: String) -> BoxFuture<'_, GetResult> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            Ok(self.state.lock().tree.nodes.get(&path).cloned())
        })
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn watch(&self) -> Result<BoxStream<'static, WatchItem>, Error> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.state.lock();
        let send = |item| {
            let sent = sender.send(item);
            assert!(sent.is_ok(), "the receiver is here");
        };
        send(WatchItem::Reset);
        for (path, (data, stat)) in &state.tree.nodes {
            send(WatchItem::Node {
                path: path.clone(),
                data: data.clone(),
                stat: *stat,
                readable: true,
            });
        }
        send(WatchItem::SubtreeEnd {
            zxid: state.tree.zxid,
        });
        state.streams.push(sender);
        Ok(UnboundedReceiverStream::new(receiver).boxed())
    }

    fn credentials(&self) -> Credentials {
        Credentials {
            session: self.session,
            password: [7; 16],
        }
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(18)
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.standing.clone()
    }

    fn in_doubt(&self) -> bool {
        *self.silence.lock() > self.timeout() * 2 / 3
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.state.lock().end(self.session, SessionState::Closed);
            Ok(())
        })
    }
}

impl Ports for FakeEnsemble {
    fn connect(
        &self,
        resume: Option<Credentials>,
    ) -> BoxFuture<'_, Result<Arc<dyn Port>, ConnectError>> {
        Box::pin(async move {
            let Some(wanted) = resume else {
                return Ok(self.session() as Arc<dyn Port>);
            };
            let state = self.state.lock();
            let Some(sender) = state.sessions.get(&wanted.session) else {
                return Err(ConnectError::SessionExpired);
            };
            Ok(Arc::new(FakePort {
                state: self.state.clone(),
                session: wanted.session,
                standing: sender.subscribe(),
                silence: Mutex::new(Duration::ZERO),
            }) as Arc<dyn Port>)
        })
    }
}

/// A session that stands in a fresh tree as a registered broker, with the images folded so far.
pub async fn registered(ensemble: &FakeEnsemble, id: i32) -> (Arc<FakePort>, Registered) {
    let port = ensemble.session();
    let settled = settle(&*port, Some(id), 1000, None).await.expect("settled");
    assert_eq!(settled.broker_id, id);
    let dir = tempfile::tempdir().expect("dir");
    let registrar = Registrar {
        disk: crate::disk::real(),
        dir: dir.path().to_owned(),
        endpoints: Vec::new(),
        rack: None,
        boot_id: "boot".to_owned(),
        synced: false,
    };
    let registered = registrar.register(port.clone(), id, None).await;
    (port, registered.expect("registered"))
}

/// The image of the whole tree as it stands.
pub async fn image(ensemble: &FakeEnsemble) -> Arc<Image> {
    let mut items = ensemble.session().watch().expect("stream");
    let mut fold = Fold::default();
    loop {
        let item = items.next().await.expect("item");
        if let Some(folded) = fold.push(item) {
            assert_eq!(folded.problems, []);
            return folded.image;
        }
    }
}

/// The names directly below a path.
pub fn children(ensemble: &FakeEnsemble, path: &str) -> BTreeSet<String> {
    let below = format!("{path}/");
    let names = ensemble.paths();
    let names = names.iter().filter_map(|p| p.strip_prefix(&below));
    names
        .filter(|name| !name.contains('/'))
        .map(str::to_owned)
        .collect()
}
