//! A client that asked to be missed soon once its side has ended the connection, as the death of its process does.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::ensemble_client::EnsembleClient;
use zweig_proto::grpc::session_request::Request as Asked;
use zweig_proto::grpc::session_response::Response as Said;
use zweig_proto::grpc::write_op::Op;

use super::node::*;

/// Longer than any test waits.
const TIMEOUT_MS: u32 = 600_000;
const SOON_MS: u32 = 200;

/// Hands on what one client and the node say, until it is cut: then both see the other's end.
struct Way {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Way {
    async fn to(node: &Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("bound");
        let target = node.server.client_address();
        let task = tokio::spawn(async move {
            let (mut client, _) = listener.accept().await.expect("a client");
            let mut node = TcpStream::connect(target).await.expect("the node listens");
            // One of them may end it first.
            let _ = copy_bidirectional(&mut client, &mut node).await;
        });
        Self { address, task }
    }

    async fn cut(self) {
        self.task.abort();
        let _ = self.task.await;
    }
}

struct Client {
    way: Way,
    /// Or the connection ends with the session's stream.
    _client: EnsembleClient<Channel>,
    session: Session,
    opened: proto::SessionOpened,
}

async fn attach(node: &Node, open: proto::OpenSession) -> Client {
    let way = Way::to(node).await;
    let target = format!("http://{}", way.address);
    let client = EnsembleClient::connect(target).await.expect("a way");
    let mut session = stream(&client).await;
    match session.ask(Asked::Open(open)).await {
        Said::Opened(opened) => Client {
            way,
            _client: client,
            session,
            opened,
        },
        other => panic!("{other:?}"),
    }
}

fn opening(disconnect_timeout_ms: u32) -> proto::OpenSession {
    proto::OpenSession {
        timeout_ms: TIMEOUT_MS,
        disconnect_timeout_ms,
        ..proto::OpenSession::default()
    }
}

/// A session with an ephemeral znode.
async fn holder(node: &Node, path: &str, disconnect_timeout_ms: u32) -> Client {
    let mut client = attach(node, opening(disconnect_timeout_ms)).await;
    let create = Op::Create(proto::Create {
        path: path.to_owned(),
        ephemeral: true,
        ..proto::Create::default()
    });
    let done = client
        .session
        .write(vec![proto::WriteOp { op: Some(create) }]);
    assert_eq!(code(&done.await[0]), None);
    client
}

async fn exists(session: &mut Session, path: &str) -> bool {
    let ops = vec![proto::ReadOp {
        kind: proto::read_op::Kind::Exists.into(),
        path: path.to_owned(),
    }];
    let read = proto::Read {
        ops,
        consistency: proto::Consistency::Linearizable.into(),
    };
    match session.ask(Asked::Read(read)).await {
        Said::Read(results) => results.results[0].stat.is_some(),
        other => panic!("{other:?}"),
    }
}

async fn gone(session: &mut Session, path: &str) {
    let gone = async {
        while exists(session, path).await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    soon("the session's end", gone).await;
}

async fn patient_node() -> Node {
    let longest = TIMEOUT_MS.to_string();
    Node::start_with(&[("maxSessionTimeout", &longest)]).await
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asked_for_it_is_missed_soon_and_nobody_else() {
    let node = patient_node().await;
    let mut watcher = node.session().await;
    let asked = holder(&node, "/asked", SOON_MS).await;
    let as_ever = holder(&node, "/as-ever", 0).await;
    let hangs_up = holder(&node, "/hangs-up", SOON_MS).await;
    as_ever.way.cut().await;
    // It ends its stream, not its connection: it lives.
    drop(hangs_up.session.answers);
    asked.way.cut().await;
    gone(&mut watcher, "/asked").await;
    assert!(exists(&mut watcher, "/as-ever").await);
    assert!(exists(&mut watcher, "/hangs-up").await);
    node.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_comes_back_in_time_stays_though_others_are_missed() {
    let node = patient_node().await;
    let mut watcher = node.session().await;
    let first = holder(&node, "/back", 2 * PATIENCE.as_millis() as u32).await;
    let again = proto::OpenSession {
        session: first.opened.session,
        password: first.opened.password.clone(),
        ..opening(SOON_MS)
    };
    first.way.cut().await;
    let second = attach(&node, again).await;
    assert_eq!(second.opened.attach, first.opened.attach + 1);
    holder(&node, "/other", SOON_MS).await.way.cut().await;
    gone(&mut watcher, "/other").await;
    assert!(exists(&mut watcher, "/back").await);
    second.way.cut().await;
    gone(&mut watcher, "/back").await;
    node.server.stop().await;
}
