//! A node alone, and clients of its native API.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;
use zweig_coordinator::Config;
use zweig_coordinator::server::Server;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::ensemble_client::EnsembleClient;
use zweig_proto::grpc::session_request::Request as Asked;
use zweig_proto::grpc::session_response::Response as Said;
use zweig_proto::grpc::watch_response::Response as Told;
use zweig_proto::grpc::write_op::Op;
use zweig_proto::grpc::write_result::Result as Outcome;

pub const PATIENCE: Duration = Duration::from_secs(20);

pub async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, happens).await;
    happened.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// A node alone, with a client of its own.
pub struct Node {
    pub server: Server,
    pub client: EnsembleClient<Channel>,
    _folder: tempfile::TempDir,
}

impl Node {
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub async fn start_with(more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().to_str().expect("text").to_owned();
        let settings = [("dataDir", data_dir.as_str()), ("clientPort", "0")];
        let settings = settings.iter().chain(more);
        let settings = settings.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        let settings: Vec<_> = settings.collect();
        let config = Config::from_overrides(&settings, None).expect("a valid configuration");
        let server = Server::start(config).await.expect("it starts");
        let address = format!("http://{}", server.client_address());
        let client = EnsembleClient::connect(address).await.expect("it listens");
        Self {
            server,
            client,
            _folder: folder,
        }
    }

    /// Asks until a session is granted: a node that has just started may not lead yet.
    pub async fn session(&self) -> Session {
        let granted = async {
            loop {
                if let Some(session) = self.try_session().await {
                    return session;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        soon("a session", granted).await
    }

    async fn try_session(&self) -> Option<Session> {
        let mut session = stream(&self.client).await;
        let open = proto::OpenSession {
            timeout_ms: 10_000,
            ..proto::OpenSession::default()
        };
        match session.ask(Asked::Open(open)).await {
            Said::Opened(_) => Some(session),
            Said::Error(error) if error.code() == proto::Code::NotDone => None,
            other => panic!("{other:?}"),
        }
    }

    pub async fn watch(&self, path: &str, from_zxid: i64) -> Streaming<proto::WatchResponse> {
        watch(&self.client, path, from_zxid).await
    }
}

/// A stream on which nothing was said yet.
pub async fn stream(client: &EnsembleClient<Channel>) -> Session {
    let (ask, queue) = mpsc::channel(64);
    let mut client = client.clone();
    let stream = client.session(ReceiverStream::new(queue));
    let answers = soon("a stream", stream).await.expect("served").into_inner();
    Session { ask, answers }
}

pub async fn watch(
    client: &EnsembleClient<Channel>,
    path: &str,
    from_zxid: i64,
) -> Streaming<proto::WatchResponse> {
    let request = proto::WatchRequest {
        path: path.to_owned(),
        recursive: true,
        from_zxid,
        auth: Vec::new(),
    };
    let mut client = client.clone();
    let stream = soon("a watch", client.watch(request)).await;
    stream.expect("served").into_inner()
}

/// How a watch stream ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    FellBehind(i64),
    TooOld,
    Unavailable,
    /// It did not: this change was waited for.
    NotYet,
}

/// Changes of one znode as a client sees them, over all of its streams: each once, in order, none but those
/// between two marks.
#[derive(Debug, Default)]
pub struct Seen {
    pub zxids: Vec<i64>,
    pub mark: i64,
}

impl Seen {
    /// Reads until the end mark of `until`, or the stream's end.
    pub async fn read(
        &mut self,
        stream: &mut Streaming<proto::WatchResponse>,
        until: i64,
    ) -> Ended {
        let mut open = Vec::new();
        loop {
            let told = match soon("a message", stream.message()).await {
                Ok(message) => message.expect("an end is said").response,
                Err(status) => {
                    assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
                    return Ended::Unavailable;
                }
            };
            match told.expect("something") {
                Told::Subtree(_) => assert_eq!(self.mark, 0, "resumed, not begun anew"),
                Told::SubtreeEnd(zxid) => self.mark = zxid,
                Told::Change(change) => {
                    assert!(change.zxid > self.mark, "{} is told twice", change.zxid);
                    open.push(change.zxid);
                }
                Told::EndOfZxid(zxid) => {
                    assert!(zxid >= self.mark, "{zxid} after {}", self.mark);
                    // What comes without its mark is told again.
                    self.zxids.append(&mut open);
                    self.mark = zxid;
                    if zxid >= until {
                        return Ended::NotYet;
                    }
                }
                Told::FellBehind(end) => return Ended::FellBehind(end.last_zxid),
                Told::TooOld(_) => return Ended::TooOld,
            }
        }
    }
}

pub struct Session {
    pub ask: mpsc::Sender<proto::SessionRequest>,
    pub answers: Streaming<proto::SessionResponse>,
}

impl Session {
    pub async fn send(&self, id: u64, asked: Asked) {
        let request = proto::SessionRequest {
            id,
            trace: None,
            request: Some(asked),
        };
        self.ask.send(request).await.expect("the stream is open");
    }

    pub async fn answer(&mut self) -> proto::SessionResponse {
        let answer = soon("an answer", self.answers.message()).await;
        answer.expect("no failure").expect("the stream goes on")
    }

    pub async fn ask(&mut self, asked: Asked) -> Said {
        self.send(0, asked).await;
        self.answer().await.response.expect("an answer")
    }

    pub async fn write(&mut self, ops: Vec<proto::WriteOp>) -> Vec<proto::WriteResult> {
        match self.ask(Asked::Write(proto::Write { ops })).await {
            Said::Write(results) => results.results,
            other => panic!("{other:?}"),
        }
    }
}

pub fn create(path: &str, acl: Vec<proto::Acl>) -> proto::WriteOp {
    proto::WriteOp {
        op: Some(Op::Create(proto::Create {
            path: path.to_owned(),
            data: Some("secret".into()),
            acl,
            ..proto::Create::default()
        })),
    }
}

pub fn set(path: &str, version: i32) -> proto::WriteOp {
    proto::WriteOp {
        op: Some(Op::SetData(proto::SetData {
            path: path.to_owned(),
            data: Some("new".into()),
            version,
        })),
    }
}

pub fn code(result: &proto::WriteResult) -> Option<proto::Code> {
    match result.result.as_ref().expect("a result") {
        Outcome::Error(error) => Some(error.code()),
        _ => None,
    }
}

pub fn only_others_may_read() -> Vec<proto::Acl> {
    let id = proto::AuthId {
        scheme: "world".into(),
        id: "anyone".into(),
    };
    vec![proto::Acl {
        permissions: 2 | 4 | 8 | 16,
        id: Some(id),
    }]
}

/// The stream up to its next mark: paths with their data, and the mark.
pub async fn until_mark(
    stream: &mut Streaming<proto::WatchResponse>,
) -> (Vec<(String, Option<String>)>, i64) {
    let shown = |node: proto::WatchedNode| {
        let data = node
            .data
            .map(|data| String::from_utf8_lossy(&data).into_owned());
        (node.path, data)
    };
    let mut nodes = Vec::new();
    loop {
        let message = soon("a message", stream.message()).await;
        let message = message.expect("no failure").expect("the stream goes on");
        match message.response.expect("something") {
            Told::Subtree(chunk) => nodes.extend(chunk.nodes.into_iter().map(shown)),
            Told::Change(change) => nodes.push(shown(change.node.expect("a node"))),
            Told::SubtreeEnd(zxid) => return (nodes, zxid),
            Told::EndOfZxid(zxid) if !nodes.is_empty() => return (nodes, zxid),
            Told::EndOfZxid(_) => {}
            other => panic!("{other:?}"),
        }
    }
}
