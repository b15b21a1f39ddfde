//! An ensemble in this process: real gRPC over loopback (`service.rs`), a toy tree behind it (`state.rs`), and faults on
//! order.

mod service;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use zweig_proto::grpc::ensemble_server::EnsembleServer;

use service::Service;
use state::State;

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

impl Fake {
    pub async fn start(count: usize) -> Self {
        let state = Arc::new(Mutex::new(State::new()));
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

/// A deadline for whatever must happen.
pub async fn soon<T>(what: &str, happens: impl Future<Output = T>) -> T {
    let patience = Duration::from_secs(20);
    match tokio::time::timeout(patience, happens).await {
        Ok(happened) => happened,
        Err(_) => panic!("{what}: not within {patience:?}"),
    }
}
