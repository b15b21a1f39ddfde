//! Accepts connections of one listener until shutdown.

use super::connection;
use super::socket::TcpListener;
use crate::handlers::{Caller, Context, Services};
use crate::metrics::Connections;
use crate::tasks;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

/// Pause after a failed accept (out of file descriptors, most likely), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Settings of one listener.
#[derive(Debug, Clone)]
pub struct ListenerConfig {
    /// The listener's name, as in `listeners`.
    pub name: Arc<str>,
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `connections.max.idle.ms`; `None`: never.
    pub max_idle: Option<Duration>,
    /// `max.connections`: more are closed as soon as they come.
    pub max_connections: usize,
    /// `max.connections.per.ip`: more from one address are closed as soon as they come.
    pub max_connections_per_ip: usize,
}

/// How many connections each address has.
#[derive(Debug, Default)]
struct PerAddress(Mutex<HashMap<IpAddr, usize>>);

/// One connection's place; given back when dropped.
struct Place {
    all: Arc<PerAddress>,
    address: IpAddr,
}

impl PerAddress {
    /// A place for one more connection from an address, if it has fewer than `most`.
    fn take(self: &Arc<Self>, address: IpAddr, most: usize) -> Option<Place> {
        let mut counts = self.0.lock();
        let count = counts.get(&address).copied().unwrap_or(0);
        (count < most).then(|| {
            counts.insert(address, count + 1);
            Place {
                all: Arc::clone(self),
                address,
            }
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.all.0.lock();
        match counts.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.address)),
        }
    }
}

/// Counts a connection while it lives.
struct Open(Arc<Connections>);

impl Open {
    fn new(counts: &Arc<Connections>) -> Self {
        counts.opened.one();
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.closed.one();
    }
}

/// Serves `socket` until `shutdown`; returns when its last connection has closed.
pub async fn serve(
    socket: TcpListener,
    config: ListenerConfig,
    services: Arc<Services>,
    shutdown: CancellationToken,
) {
    let counts = services.replicas.metrics().listener(&config.name);
    let connections = TaskTracker::new();
    let per_address = Arc::new(PerAddress::default());
    let slots = Arc::new(Semaphore::new(
        config.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    loop {
        let accepted = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            accepted = socket.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(listener = %config.name, %error, "accept failed");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            counts.refused.one();
            info!(%peer, max_connections = config.max_connections, "closed: too many connections");
            continue;
        };
        let most = config.max_connections_per_ip;
        let Some(place) = per_address.take(peer.ip(), most) else {
            counts.refused.one();
            info!(%peer, max_connections_per_ip = most, "closed: too many connections from there");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "closed before it began");
            continue;
        }
        let caller = Caller {
            client_id: None,
            host: peer.ip(),
            listener: Arc::clone(&config.name),
        };
        let context = Context {
            services: Arc::clone(&services),
            caller,
        };
        let settings = connection::Settings {
            request_max_bytes: config.request_max_bytes,
            max_idle: config.max_idle,
        };
        let shutdown = shutdown.clone();
        let open = Open::new(&counts);
        connections.spawn(tasks::bound(async move {
            match connection::run(stream, context, settings, shutdown).await {
                Ok(()) => debug!(%peer, "connection ended"),
                Err(error) => info!(%peer, "connection closed: {error}"),
            }
            drop((slot, place, open));
        }));
    }
    connections.close();
    connections.wait().await;
}
