//! Accepts clients on the one client port, and hands each to the protocol that it speaks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::detect::{self, Protocol, Rewound};
use super::zk::{self, Services};

/// How long a new connection may take for its first four bytes.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);

/// How long to wait when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the listener needs.
pub struct Listener {
    /// Bound already.
    pub socket: TcpListener,
    /// For ZooKeeper's protocol.
    pub services: Arc<Services>,
    /// Takes connections that speak HTTP/2.
    pub grpc: mpsc::Sender<Rewound>,
    /// Connections from one address at a time; 0 is no limit.
    pub max_client_cnxns: u32,
}

/// Connections by address.
#[derive(Debug, Default)]
struct PerAddress {
    counts: Mutex<HashMap<IpAddr, u32>>,
}

/// Counts one connection while it lives.
#[derive(Debug)]
struct Counted {
    address: IpAddr,
    all: Arc<PerAddress>,
}

impl PerAddress {
    fn admit(self: &Arc<Self>, address: IpAddr, most: u32) -> Option<Counted> {
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_insert(0);
        if most != 0 && *count >= most {
            return None;
        }
        *count += 1;
        let all = Arc::clone(self);
        Some(Counted { address, all })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut counts = self.all.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

impl Listener {
    /// Serves until `shutdown`, then waits for the connections to end.
    pub async fn run(self, shutdown: CancellationToken) {
        let connections = TaskTracker::new();
        let per_address = Arc::new(PerAddress::default());
        loop {
            let accepted = tokio::select! {
                () = shutdown.cancelled() => break,
                accepted = self.socket.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a client's connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let most = self.max_client_cnxns;
            let Some(counted) = per_address.admit(peer.ip(), most) else {
                self.services.metrics.connections_rejected.one();
                tracing::warn!(%peer, most, "too many connections from this address: closed");
                continue;
            };
            let services = Arc::clone(&self.services);
            let (grpc, shutdown) = (self.grpc.clone(), shutdown.clone());
            connections.spawn(async move {
                serve(stream, counted, services, grpc, shutdown).await;
            });
        }
        connections.close();
        connections.wait().await;
    }
}

async fn serve(
    mut stream: TcpStream,
    counted: Counted,
    services: Arc<Services>,
    grpc: mpsc::Sender<Rewound>,
    shutdown: CancellationToken,
) {
    let Ok(peer) = stream.peer_addr() else {
        return;
    };
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%peer, %error, "no TCP_NODELAY");
    }
    let head = tokio::select! {
        () = shutdown.cancelled() => return,
        head = tokio::time::timeout(HEAD_DEADLINE, detect::read_head(&mut stream)) => head,
    };
    let Ok(Ok(head)) = head else {
        tracing::debug!(%peer, "closed before it said anything");
        return;
    };
    match detect::protocol(head) {
        Protocol::Jute => zk::connection::serve(stream, peer, head, services, shutdown).await,
        Protocol::FourLetterWord => zk::four_letter::serve(stream, peer, head, &services).await,
        Protocol::Http2 => {
            let connection = Rewound::new(head, stream, Box::new(counted));
            if grpc.send(connection).await.is_err() {
                tracing::debug!(%peer, "gRPC is not served any more");
            }
        }
        Protocol::Tls => {
            tracing::warn!(%peer, "this client speaks TLS, which is not served yet: closed");
        }
    }
}
