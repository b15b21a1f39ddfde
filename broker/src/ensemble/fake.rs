//! An ensemble in memory, for tests: one tree, sessions that can be made to expire, watch streams,
//! and writes whose answers can be made to get lost. It follows ZooKeeper's rules as far as this
//! package relies on them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::UnboundedReceiverStream;
use zweig_client::ensemble::{
    Batch, ChangeKind, ConnectError, CreateMode, Created, Credentials, Error, MultiError,
    SessionState, Stat, WatchItem, WriteOp, WriteResult,
};

use crate::metadata::Image;

use super::fold::Fold;
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

type Nodes = BTreeMap<String, (Option<Bytes>, Stat)>;
type Step = Result<(WriteResult, Option<WatchItem>), Error>;

#[derive(Default)]
struct Tree {
    nodes: Nodes,
    zxid: i64,
    next_session: i64,
    sessions: BTreeMap<i64, watch::Sender<SessionState>>,
    streams: Vec<mpsc::UnboundedSender<WatchItem>>,
    faults: VecDeque<Fault>,
    batches: usize,
}

/// The ensemble; clones share the tree.
#[derive(Clone, Default)]
pub struct FakeEnsemble {
    tree: Arc<Mutex<Tree>>,
}

/// One session of it.
pub struct FakePort {
    tree: Arc<Mutex<Tree>>,
    session: i64,
    state: watch::Receiver<SessionState>,
    silence: Mutex<Duration>,
}

impl FakeEnsemble {
    /// A session, as the concrete type.
    pub fn session(&self) -> Arc<FakePort> {
        let mut tree = self.tree.lock();
        tree.next_session += 1;
        let session = tree.next_session;
        let (sender, state) = watch::channel(SessionState::Connected);
        tree.sessions.insert(session, sender);
        Arc::new(FakePort {
            tree: self.tree.clone(),
            session,
            state,
            silence: Mutex::new(Duration::ZERO),
        })
    }

    /// Ends a session as the ensemble would: its ephemerals go.
    pub fn expire(&self, session: i64) {
        self.tree.lock().end(session, SessionState::Expired);
    }

    /// Spoils writes to come, in order.
    pub fn spoil(&self, faults: &[Fault]) {
        self.tree.lock().faults.extend(faults);
    }

    /// The text of a znode.
    pub fn text(&self, path: &str) -> Option<String> {
        let tree = self.tree.lock();
        let (data, _) = tree.nodes.get(path)?;
        let data = data.clone().unwrap_or_default();
        Some(String::from_utf8_lossy(&data).into_owned())
    }

    /// The stat of a znode.
    pub fn stat(&self, path: &str) -> Option<Stat> {
        self.tree.lock().nodes.get(path).map(|(_, stat)| *stat)
    }

    /// All paths.
    pub fn paths(&self) -> Vec<String> {
        self.tree.lock().nodes.keys().cloned().collect()
    }

    /// How many fenced batches were carried out.
    pub fn batches(&self) -> usize {
        self.tree.lock().batches
    }
}

impl Tree {
    fn end(&mut self, session: i64, how: SessionState) {
        let Some(sender) = self.sessions.remove(&session) else {
            return;
        };
        sender.send_replace(how);
        let owned: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, (_, stat))| stat.ephemeral_owner == session)
            .map(|(path, _)| path.clone())
            .collect();
        self.zxid += 1;
        let items = owned.into_iter().map(|path| {
            self.nodes.remove(&path);
            change(ChangeKind::Deleted, path, None, self.zxid)
        });
        let items: Vec<_> = items.collect();
        self.publish(&items);
    }

    fn publish(&mut self, items: &[WatchItem]) {
        let zxid = self.zxid;
        self.streams.retain(|stream| {
            let sent = items.iter().all(|item| stream.send(item.clone()).is_ok());
            sent && stream.send(WatchItem::End { zxid }).is_ok()
        });
    }

    /// One group at the current zxid, all or nothing.
    fn group(&mut self, session: i64, ops: &[WriteOp]) -> Result<Done, MultiError> {
        let before = self.nodes.clone();
        let mut done = Done::default();
        for (index, op) in ops.iter().enumerate() {
            match self.step(session, op) {
                Ok((result, item)) => {
                    done.results.push(result);
                    done.items.extend(item);
                }
                Err(error) => {
                    self.nodes = before;
                    let index = Some(index);
                    return Err(MultiError { index, error });
                }
            }
        }
        Ok(done)
    }

    fn step(&mut self, session: i64, op: &WriteOp) -> Step {
        let zxid = self.zxid;
        match op {
            WriteOp::Create {
                path, data, mode, ..
            } => self.create(session, path, data.clone(), *mode),
            WriteOp::Delete { path, version } => {
                self.at(path, *version)?;
                let below = format!("{path}/");
                if self.nodes.keys().any(|other| other.starts_with(&below)) {
                    return Err(Error::NotEmpty(path.clone()));
                }
                self.nodes.remove(path);
                let item = change(ChangeKind::Deleted, path.clone(), None, zxid);
                Ok((WriteResult::Done, Some(item)))
            }
            WriteOp::Set {
                path,
                data,
                version,
            } => {
                let (old, stat) = self.at(path, *version)?;
                old.clone_from(data);
                stat.version += 1;
                stat.mzxid = zxid;
                let after = Some((data.clone(), *stat));
                let result = WriteResult::Stat(*stat);
                let item = change(ChangeKind::Data, path.clone(), after, zxid);
                Ok((result, Some(item)))
            }
            WriteOp::Check { path, version } => {
                self.at(path, *version)?;
                Ok((WriteResult::Done, None))
            }
            WriteOp::SetAcl { path, .. } => Err(Error::Unimplemented(path.clone())),
        }
    }

    fn at(
        &mut self,
        path: &str,
        version: Option<i32>,
    ) -> Result<&mut (Option<Bytes>, Stat), Error> {
        let missing = || Error::NoNode(path.to_owned());
        let node = self.nodes.get_mut(path).ok_or_else(missing)?;
        match version {
            Some(version) if version != node.1.version => Err(Error::BadVersion {
                path: path.to_owned(),
                detail: format!("expected {version}, found {}", node.1.version),
            }),
            _ => Ok(node),
        }
    }

    fn create(&mut self, session: i64, path: &str, data: Option<Bytes>, mode: CreateMode) -> Step {
        assert!(!mode.sequential(), "not needed here");
        let parent = &path[..path.rfind('/').unwrap_or(0)];
        if !parent.is_empty() && !self.nodes.contains_key(parent) {
            return Err(Error::NoNode(parent.to_owned()));
        }
        if self.nodes.contains_key(path) {
            return Err(Error::NodeExists(path.to_owned()));
        }
        let stat = Stat {
            czxid: self.zxid,
            mzxid: self.zxid,
            ephemeral_owner: if mode.ephemeral() { session } else { 0 },
            ..Stat::default()
        };
        self.nodes.insert(path.to_owned(), (data.clone(), stat));
        let created = Created {
            path: path.to_owned(),
            stat,
        };
        let after = Some((data, stat));
        let item = change(ChangeKind::Created, path.to_owned(), after, self.zxid);
        Ok((WriteResult::Created(created), Some(item)))
    }
}

#[derive(Default)]
struct Done {
    results: Vec<WriteResult>,
    items: Vec<WatchItem>,
}

fn change(
    kind: ChangeKind,
    path: String,
    after: Option<(Option<Bytes>, Stat)>,
    zxid: i64,
) -> WatchItem {
    let (data, stat) = after.map_or((None, None), |(data, stat)| (data, Some(stat)));
    WatchItem::Change {
        kind,
        path,
        data,
        stat,
        readable: true,
        zxid,
    }
}

impl FakePort {
    /// Pretends that no renewal was acknowledged for this long.
    pub fn silent_for(&self, silence: Duration) {
        *self.silence.lock() = silence;
    }

    /// Carries out a write, or its fault; `write` runs at a zxid of its own.
    fn write<T>(
        &self,
        write: impl FnOnce(&mut Tree) -> (T, Vec<WatchItem>),
    ) -> Result<(i64, T), Error> {
        let mut tree = self.tree.lock();
        let lost = || Error::OutcomeUnknown("the connection broke".to_owned());
        let fault = tree.faults.pop_front();
        match fault {
            Some(Fault::NotDone) => return Err(Error::NotDone("no quorum".to_owned())),
            Some(Fault::LoseRequest) => return Err(lost()),
            _ => {}
        }
        if !tree.sessions.contains_key(&self.session) {
            return Err(Error::SessionExpired);
        }
        tree.zxid += 1;
        let (result, items) = write(&mut tree);
        tree.publish(&items);
        match fault {
            Some(Fault::LoseAnswer) => Err(lost()),
            _ => Ok((tree.zxid, result)),
        }
    }

    fn multi_now(&self, ops: &[WriteOp]) -> MultiResult {
        let session = self.session;
        let (zxid, results) = self.write(|tree| match tree.group(session, ops) {
            Ok(done) => (Ok(done.results), done.items),
            Err(error) => (Err(error), Vec::new()),
        })?;
        let results = results?;
        Ok(Batch { zxid, results })
    }

    fn batch_now(
        &self,
        fence: &(String, i32),
        groups: &[Vec<WriteOp>],
    ) -> Result<Batch<GroupResult>, Error> {
        let session = self.session;
        let (zxid, results) = self.write(|tree| {
            if tree.at(&fence.0, Some(fence.1)).is_err() {
                return (Err(Error::Fenced(fence.0.clone())), Vec::new());
            }
            tree.batches += 1;
            let mut results = Vec::new();
            let mut items = Vec::new();
            for group in groups {
                let done = tree.group(session, group).map(|done| {
                    items.extend(done.items);
                    done.results
                });
                results.push(done);
            }
            (Ok(results), items)
        })?;
        let results = results?;
        Ok(Batch { zxid, results })
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
            Ok(self.tree.lock().nodes.get(&path).cloned())
        })
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async { Ok(()) })
    }

    fn watch(&self) -> Result<BoxStream<'static, WatchItem>, Error> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut tree = self.tree.lock();
        let send = |item| {
            let sent = sender.send(item);
            assert!(sent.is_ok(), "the receiver is here");
        };
        send(WatchItem::Reset);
        for (path, (data, stat)) in &tree.nodes {
            send(WatchItem::Node {
                path: path.clone(),
                data: data.clone(),
                stat: *stat,
                readable: true,
            });
        }
        send(WatchItem::SubtreeEnd { zxid: tree.zxid });
        tree.streams.push(sender);
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
        self.state.clone()
    }

    fn since_renewal(&self) -> Duration {
        *self.silence.lock()
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(async {
            self.tree.lock().end(self.session, SessionState::Closed);
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
            let tree = self.tree.lock();
            let Some(sender) = tree.sessions.get(&wanted.session) else {
                return Err(ConnectError::SessionExpired);
            };
            Ok(Arc::new(FakePort {
                tree: self.tree.clone(),
                session: wanted.session,
                state: sender.subscribe(),
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
