//! The native API as its bytes stand, on one real node: fenced batches, order in a session, and watch
//! streams that resume, hide what may not be read, and say when a zxid is too old.

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

const PATIENCE: Duration = Duration::from_secs(20);

async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let happened = tokio::time::timeout(PATIENCE, happens).await;
    happened.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// A node alone, with a client of its own.
struct Node {
    server: Server,
    client: EnsembleClient<Channel>,
    _folder: tempfile::TempDir,
}

impl Node {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let data_dir = folder.path().to_str().expect("text").to_owned();
        let settings = [("dataDir", data_dir.as_str()), ("clientPort", "0")];
        let settings = settings.map(|(key, value)| (key.to_owned(), value.to_owned()));
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
    async fn session(&self) -> Session {
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
        let (ask, queue) = mpsc::channel(64);
        let mut client = self.client.clone();
        let stream = client.session(ReceiverStream::new(queue));
        let answers = soon("a stream", stream).await.expect("served").into_inner();
        let mut session = Session { ask, answers };
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

    async fn watch(&self, path: &str, from_zxid: i64) -> Streaming<proto::WatchResponse> {
        let request = proto::WatchRequest {
            path: path.to_owned(),
            recursive: true,
            from_zxid,
            auth: Vec::new(),
        };
        let mut client = self.client.clone();
        let stream = soon("a watch", client.watch(request)).await;
        stream.expect("served").into_inner()
    }
}

struct Session {
    ask: mpsc::Sender<proto::SessionRequest>,
    answers: Streaming<proto::SessionResponse>,
}

impl Session {
    async fn send(&self, id: u64, asked: Asked) {
        let request = proto::SessionRequest {
            id,
            request: Some(asked),
        };
        self.ask.send(request).await.expect("the stream is open");
    }

    async fn answer(&mut self) -> proto::SessionResponse {
        let answer = soon("an answer", self.answers.message()).await;
        answer.expect("no failure").expect("the stream goes on")
    }

    async fn ask(&mut self, asked: Asked) -> Said {
        self.send(0, asked).await;
        self.answer().await.response.expect("an answer")
    }

    async fn write(&mut self, ops: Vec<proto::WriteOp>) -> Vec<proto::WriteResult> {
        match self.ask(Asked::Write(proto::Write { ops })).await {
            Said::Write(results) => results.results,
            other => panic!("{other:?}"),
        }
    }
}

fn create(path: &str, acl: Vec<proto::Acl>) -> proto::WriteOp {
    proto::WriteOp {
        op: Some(Op::Create(proto::Create {
            path: path.to_owned(),
            data: Some("secret".into()),
            acl,
            ..proto::Create::default()
        })),
    }
}

fn set(path: &str, version: i32) -> proto::WriteOp {
    proto::WriteOp {
        op: Some(Op::SetData(proto::SetData {
            path: path.to_owned(),
            data: Some("new".into()),
            version,
        })),
    }
}

fn code(result: &proto::WriteResult) -> Option<proto::Code> {
    match result.result.as_ref().expect("a result") {
        Outcome::Error(error) => Some(error.code()),
        _ => None,
    }
}

fn only_others_may_read() -> Vec<proto::Acl> {
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
async fn until_mark(
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

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_batch_is_each_group_on_its_own_or_nothing() {
    let node = Node::start().await;
    let mut session = node.session().await;
    let all = ["/fence", "/a", "/b"].map(|path| create(path, Vec::new()));
    assert!(
        session
            .write(all.to_vec())
            .await
            .iter()
            .all(|r| code(r).is_none())
    );
    let batch = |fence_version| {
        let groups = [vec![set("/a", 7)], vec![set("/b", 0)]];
        Asked::FencedBatch(proto::FencedBatch {
            fence_path: "/fence".into(),
            fence_version,
            ops: groups.map(|ops| proto::Write { ops }).to_vec(),
        })
    };
    match session.ask(batch(0)).await {
        Said::FencedBatch(done) => {
            let codes: Vec<_> = done
                .results
                .iter()
                .map(|group| code(&group.results[0]))
                .collect();
            assert_eq!(codes, [Some(proto::Code::BadVersion), None]);
        }
        other => panic!("{other:?}"),
    }
    match session.ask(batch(1)).await {
        Said::Error(error) => assert_eq!(error.code(), proto::Code::Fenced),
        other => panic!("{other:?}"),
    }
    node.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_at_once_takes_effect_in_order() {
    let node = Node::start().await;
    let mut session = node.session().await;
    session.write(vec![create("/a", Vec::new())]).await;
    // A linearizable read between two writes sees the first and not the second.
    let write = |version| {
        Asked::Write(proto::Write {
            ops: vec![set("/a", version)],
        })
    };
    session.send(1, write(0)).await;
    let read = proto::Read {
        ops: vec![proto::ReadOp {
            kind: proto::read_op::Kind::Get.into(),
            path: "/a".into(),
        }],
        consistency: proto::Consistency::Linearizable.into(),
    };
    session.send(2, Asked::Read(read)).await;
    session.send(3, write(1)).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        let answer = session.answer().await;
        order.push(answer.id);
        if let Some(Said::Read(results)) = answer.response {
            let stat = results.results[0].stat.expect("a stat");
            assert_eq!(stat.version, 1);
        }
    }
    assert_eq!(order, [1, 2, 3]);
    node.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_from_a_mark_and_shows_no_data_that_may_not_be_read() {
    let node = Node::start().await;
    let mut session = node.session().await;
    session.write(vec![create("/w", Vec::new())]).await;
    session
        .write(vec![create("/w/hidden", only_others_may_read())])
        .await;
    let secret = Some("secret".to_owned());
    let mut stream = node.watch("/w", 0).await;
    let (nodes, mark) = until_mark(&mut stream).await;
    assert_eq!(
        nodes,
        [
            ("/w".to_owned(), secret.clone()),
            ("/w/hidden".to_owned(), None)
        ]
    );
    drop(stream);

    // While nobody listens: one transaction of two, one elsewhere.
    let both = ["/w/1", "/w/2"].map(|path| create(path, Vec::new()));
    session.write(both.to_vec()).await;
    session.write(vec![create("/elsewhere", Vec::new())]).await;
    let mut stream = node.watch("/w", mark).await;
    let (nodes, next) = until_mark(&mut stream).await;
    assert_eq!(
        nodes,
        [
            ("/w/1".to_owned(), secret.clone()),
            ("/w/2".to_owned(), secret)
        ]
    );
    assert!(next > mark);
    // Live from here on; what may not be read is told without its data.
    session.write(vec![set("/w/hidden", 0)]).await;
    let (nodes, last) = until_mark(&mut stream).await;
    assert_eq!(nodes, [("/w/hidden".to_owned(), None)]);
    assert!(last > next);
    // A zxid that this ensemble has never reached is another ensemble's.
    let mut stream = node.watch("/w", last + 1_000_000).await;
    let told = soon("an end", stream.message()).await.expect("no failure");
    let told = told.and_then(|message| message.response);
    assert!(matches!(told, Some(Told::TooOld(_))), "{told:?}");
    node.server.stop().await;
}
