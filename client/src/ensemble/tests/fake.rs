//! An ensemble in this process: real gRPC over loopback, a toy tree behind it, and faults on order.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};
use zweig_proto::grpc as proto;
use zweig_proto::grpc::ensemble_server::{Ensemble, EnsembleServer};
use zweig_proto::grpc::session_request::Request as Asked;
use zweig_proto::grpc::session_response::Response as Said;
use zweig_proto::grpc::watch_response::Response as Told;
use zweig_proto::grpc::write_op::Op;

/// What a node does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// Does writes, answers none, and breaks the stream at the first.
    LoseAnswers,
    /// Takes everything, answers nothing.
    Silent,
    /// Refuses to open sessions.
    Refuse,
    /// Breaks a watch stream after each change, before its end mark, unless it was a resumed one.
    BreakInsideZxid,
    /// Answers everything but reads with "not done", as a node that has lost its leader.
    OutOfTouch,
    /// Answers the next write with "moved", once.
    MovedOnce,
}

struct Node {
    data: Option<Bytes>,
    stat: proto::Stat,
}

/// The state that all nodes of a fake ensemble share.
pub struct State {
    zxid: i64,
    nodes: BTreeMap<String, Node>,
    sessions: HashMap<i64, u64>,
    /// Every change, in order.
    changes: Vec<proto::Change>,
    /// Changes up to here are forgotten.
    pub floor: i64,
    pub writes_done: usize,
    sequence: i32,
}

/// One node.
pub struct FakeNode {
    pub address: SocketAddr,
    pub fault: Arc<Mutex<Fault>>,
    stop: CancellationToken,
}

/// Several nodes over one state.
pub struct Fake {
    pub nodes: Vec<FakeNode>,
    pub state: Arc<Mutex<State>>,
    moved_on: watch::Sender<i64>,
}

#[derive(Clone)]
struct Service {
    state: Arc<Mutex<State>>,
    fault: Arc<Mutex<Fault>>,
    moved_on: watch::Sender<i64>,
    stop: CancellationToken,
}

const PASSWORD: [u8; 16] = [7; 16];

impl Fake {
    pub async fn start(count: usize) -> Self {
        let root = Node {
            data: None,
            stat: proto::Stat::default(),
        };
        let state = Arc::new(Mutex::new(State {
            zxid: 1,
            nodes: BTreeMap::from([("/".to_owned(), root)]),
            sessions: HashMap::new(),
            changes: Vec::new(),
            floor: 0,
            writes_done: 0,
            sequence: 0,
        }));
        let moved_on = watch::Sender::new(1);
        let mut nodes = Vec::new();
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
            let address = listener.local_addr().expect("bound");
            let fault = Arc::new(Mutex::new(Fault::None));
            let stop = CancellationToken::new();
            let service = Service {
                state: Arc::clone(&state),
                fault: Arc::clone(&fault),
                moved_on: moved_on.clone(),
                stop: stop.clone(),
            };
            let served = Server::builder()
                .add_service(EnsembleServer::new(service))
                .serve_with_incoming_shutdown(
                    TcpListenerStream::new(listener),
                    stop.clone().cancelled_owned(),
                );
            tokio::spawn(served);
            nodes.push(FakeNode {
                address,
                fault,
                stop,
            });
        }
        Self {
            nodes,
            state,
            moved_on,
        }
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.nodes.iter().map(|n| n.address.to_string()).collect()
    }

    /// Ends the node's streams and its port.
    pub fn kill(&self, endpoint: &str) {
        self.node(endpoint).stop.cancel();
    }

    pub fn set_fault(&self, endpoint: &str, fault: Fault) {
        *self.node(endpoint).fault.lock() = fault;
    }

    fn node(&self, endpoint: &str) -> &FakeNode {
        let found = self
            .nodes
            .iter()
            .find(|n| n.address.to_string() == endpoint);
        found.expect("an endpoint of this ensemble")
    }

    /// Ends every session, with its ephemeral nodes, as its timeout would.
    pub fn expire_sessions(&self) {
        let mut state = self.state.lock();
        let owned: Vec<String> = state
            .nodes
            .iter()
            .filter(|(_, node)| node.stat.ephemeral_owner != 0)
            .map(|(path, _)| path.clone())
            .collect();
        state.sessions.clear();
        state.zxid += 1;
        for path in owned {
            state.delete(&path);
        }
        self.moved_on.send_replace(state.zxid);
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        for node in &self.nodes {
            node.stop.cancel();
        }
    }
}

impl State {
    fn changed(&mut self, kind: proto::change::Kind, path: &str) {
        let node = self.nodes.get(path);
        let node = proto::WatchedNode {
            path: path.to_owned(),
            data: node.and_then(|n| n.data.clone()),
            stat: node.map(|n| n.stat),
            readable: true,
        };
        let zxid = self.zxid;
        self.changes.push(proto::Change {
            kind: kind.into(),
            zxid,
            node: Some(node),
        });
    }

    fn delete(&mut self, path: &str) -> bool {
        let was_there = self.nodes.remove(path).is_some();
        if was_there {
            self.changed(proto::change::Kind::Deleted, path);
        }
        was_there
    }

    /// All or nothing is not played: tests of multis use operations that succeed, or one that fails.
    fn write(&mut self, session: i64, op: proto::WriteOp) -> proto::WriteResult {
        use proto::change::Kind;
        match op.op.expect("an operation") {
            Op::Create(create) => {
                let mut path = create.path;
                if create.sequential {
                    path = format!("{path}{:010}", self.sequence);
                    self.sequence += 1;
                }
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let parent = if parent.is_empty() { "/" } else { parent };
                if !self.nodes.contains_key(parent) {
                    return failed(proto::Code::NoNode);
                }
                if self.nodes.contains_key(&path) {
                    return failed(proto::Code::NodeExists);
                }
                let stat = proto::Stat {
                    czxid: self.zxid,
                    mzxid: self.zxid,
                    ephemeral_owner: if create.ephemeral { session } else { 0 },
                    ..proto::Stat::default()
                };
                let data = create.data;
                self.nodes.insert(path.clone(), Node { data, stat });
                self.changed(Kind::Created, &path);
                proto::WriteResult {
                    result: Some(proto::write_result::Result::Path(path)),
                    stat: Some(stat),
                }
            }
            Op::Delete(delete) => match self.delete(&delete.path) {
                true => done(None),
                false => failed(proto::Code::NoNode),
            },
            Op::SetData(set) => {
                let zxid = self.zxid;
                let Some(node) = self.nodes.get_mut(&set.path) else {
                    return failed(proto::Code::NoNode);
                };
                if set.version >= 0 && set.version != node.stat.version {
                    return failed(proto::Code::BadVersion);
                }
                node.data = set.data;
                node.stat.version += 1;
                node.stat.mzxid = zxid;
                let stat = node.stat;
                self.changed(Kind::Data, &set.path);
                done(Some(stat))
            }
            Op::Check(check) => match self.nodes.contains_key(&check.path) {
                true => done(None),
                false => failed(proto::Code::NoNode),
            },
            Op::SetAcl(_) => failed(proto::Code::Unimplemented),
        }
    }

    fn read(&self, op: &proto::ReadOp) -> proto::ReadResult {
        let Some(node) = self.nodes.get(&op.path) else {
            let error = failed(proto::Code::NoNode).result;
            let Some(proto::write_result::Result::Error(error)) = error else {
                unreachable!("made above")
            };
            return proto::ReadResult {
                error: Some(error),
                ..proto::ReadResult::default()
            };
        };
        let prefix = format!("{}/", op.path.trim_end_matches('/'));
        let below = self
            .nodes
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix));
        let children = below.filter(|name| !name.is_empty() && !name.contains('/'));
        proto::ReadResult {
            data: node.data.clone(),
            stat: Some(node.stat),
            children: children.map(str::to_owned).collect(),
            ..proto::ReadResult::default()
        }
    }
}

fn done(stat: Option<proto::Stat>) -> proto::WriteResult {
    proto::WriteResult {
        result: Some(proto::write_result::Result::Done(proto::Empty {})),
        stat,
    }
}

fn error(code: proto::Code) -> proto::Error {
    proto::Error {
        code: code.into(),
        message: "as ordered".into(),
    }
}

fn failed(code: proto::Code) -> proto::WriteResult {
    proto::WriteResult {
        result: Some(proto::write_result::Result::Error(error(code))),
        stat: None,
    }
}

impl Service {
    fn fault(&self) -> Fault {
        *self.fault.lock()
    }

    fn opened(&self, open: &proto::OpenSession) -> Said {
        let mut state = self.state.lock();
        state.zxid += 1;
        let session = if open.session == 0 {
            let id = 100 + i64::try_from(state.sessions.len()).expect("few");
            state.sessions.insert(id, 0);
            id
        } else {
            open.session
        };
        let known = open.session == 0 || open.password == PASSWORD[..];
        match state.sessions.get_mut(&session) {
            Some(attach) if known => {
                *attach += 1;
                Said::Opened(proto::SessionOpened {
                    session,
                    password: Bytes::copy_from_slice(&PASSWORD),
                    timeout_ms: open.timeout_ms,
                    attach: *attach,
                    node: 1,
                })
            }
            _ => Said::Error(error(proto::Code::SessionExpired)),
        }
    }

    /// `None`: the stream breaks.
    fn answer(&self, session: i64, asked: Asked) -> Option<Said> {
        let mut state = self.state.lock();
        if !state.sessions.contains_key(&session) {
            return Some(Said::Error(error(proto::Code::SessionExpired)));
        }
        let said = match asked {
            Asked::Write(write) => {
                let mut fault = self.fault.lock();
                if *fault == Fault::MovedOnce {
                    *fault = Fault::None;
                    return Some(Said::Error(error(proto::Code::SessionMoved)));
                }
                state.zxid += 1;
                state.writes_done += 1;
                let ops = write.ops.into_iter();
                let results = ops.map(|op| state.write(session, op)).collect();
                self.moved_on.send_replace(state.zxid);
                if *fault == Fault::LoseAnswers {
                    return None;
                }
                Said::Write(proto::WriteResults { results })
            }
            Asked::Read(read) => Said::Read(proto::ReadResults {
                results: read.ops.iter().map(|op| state.read(op)).collect(),
            }),
            Asked::Close(_) => {
                state.sessions.remove(&session);
                Said::Done(proto::Empty {})
            }
            Asked::FencedBatch(_) => Said::Error(error(proto::Code::Fenced)),
            _ => Said::Done(proto::Empty {}),
        };
        Some(said)
    }

    async fn serve_session(
        self,
        mut requests: Streaming<proto::SessionRequest>,
        out: mpsc::Sender<Result<proto::SessionResponse, Status>>,
    ) {
        let mut session = 0;
        while let Ok(Some(message)) = requests.message().await {
            let Some(asked) = message.request else { return };
            let said = match (self.fault(), asked) {
                (Fault::Silent, _) => continue,
                (Fault::Refuse, Asked::Open(_)) => Said::Error(error(proto::Code::NotDone)),
                (_, Asked::Open(open)) => self.opened(&open),
                (Fault::OutOfTouch, Asked::Ping(_) | Asked::Write(_)) => {
                    Said::Error(error(proto::Code::NotDone))
                }
                (_, asked) => match self.answer(session, asked) {
                    Some(said) => said,
                    None => return,
                },
            };
            if let Said::Opened(opened) = &said {
                session = opened.session;
            }
            let zxid = self.state.lock().zxid;
            let response = proto::SessionResponse {
                id: message.id,
                zxid,
                response: Some(said),
            };
            if out.send(Ok(response)).await.is_err() {
                return;
            }
        }
    }

    async fn serve_watch(
        self,
        request: proto::WatchRequest,
        out: mpsc::Sender<Result<proto::WatchResponse, Status>>,
    ) -> Option<()> {
        let told = async |told| {
            let response = proto::WatchResponse {
                response: Some(told),
            };
            out.send(Ok(response)).await.ok()
        };
        let within = |path: &str| {
            path == request.path
                || request.recursive
                    && (request.path == "/" || path.starts_with(&format!("{}/", request.path)))
        };
        let mut from = request.from_zxid;
        if from == 0 {
            let (nodes, at) = {
                let state = self.state.lock();
                let there = state.nodes.iter().filter(|(path, _)| within(path));
                let nodes = there.map(|(path, node)| proto::WatchedNode {
                    path: path.clone(),
                    data: node.data.clone(),
                    stat: Some(node.stat),
                    readable: true,
                });
                (nodes.collect::<Vec<_>>(), state.zxid)
            };
            for node in nodes {
                told(Told::Subtree(proto::SubtreeChunk { nodes: vec![node] })).await?;
            }
            told(Told::SubtreeEnd(at)).await?;
            from = at;
        } else if from < self.state.lock().floor {
            let lowest_zxid = self.state.lock().floor;
            return told(Told::TooOld(proto::TooOld { lowest_zxid })).await;
        }
        let mut moved_on = self.moved_on.subscribe();
        loop {
            let next: Vec<proto::Change> = {
                let state = self.state.lock();
                let after = state.changes.iter().filter(|change| change.zxid > from);
                let zxid = after.clone().map(|change| change.zxid).next();
                after
                    .filter(|change| Some(change.zxid) == zxid)
                    .cloned()
                    .collect()
            };
            let Some(first) = next.first() else {
                moved_on.changed().await.ok()?;
                continue;
            };
            from = first.zxid;
            for change in next {
                if within(&change.node.as_ref().expect("made here").path) {
                    told(Told::Change(change)).await?;
                    if self.fault() == Fault::BreakInsideZxid {
                        return None;
                    }
                }
            }
            told(Told::EndOfZxid(from)).await?;
        }
    }
}

#[tonic::async_trait]
impl Ensemble for Service {
    type SessionStream = ReceiverStream<Result<proto::SessionResponse, Status>>;
    type WatchStream = ReceiverStream<Result<proto::WatchResponse, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<proto::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let (out, responses) = mpsc::channel(16);
        let served = self.clone().serve_session(request.into_inner(), out);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(served));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn watch(
        &self,
        request: Request<proto::WatchRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (out, responses) = mpsc::channel(16);
        let served = self.clone().serve_watch(request.into_inner(), out);
        tokio::spawn(self.stop.clone().run_until_cancelled_owned(served));
        Ok(Response::new(ReceiverStream::new(responses)))
    }

    async fn status(
        &self,
        _: Request<proto::StatusRequest>,
    ) -> Result<Response<proto::StatusResponse>, Status> {
        let status = proto::StatusResponse {
            node: 1,
            role: "leader".into(),
            leader: 1,
            ..proto::StatusResponse::default()
        };
        Ok(Response::new(status))
    }
}

/// A deadline for whatever must happen.
pub async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    match tokio::time::timeout(patience, happens).await {
        Ok(happened) => happened,
        Err(_) => panic!("{what}: not within {patience:?}"),
    }
}
