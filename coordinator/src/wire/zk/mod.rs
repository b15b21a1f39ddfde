//! ZooKeeper's protocol on a socket.
//!
//! - [`connection`]: reads all frames that a read brought, and starts them at once.
//! - `handshake`: the first frame.
//! - `dispatch`: the registry: one row per operation, from a frame to a request.
//! - `encode`: from an answer to bytes; `codes`: our errors as ZooKeeper's numbers, nowhere else.
//! - `outbox`: what waits to be written; `writer`: writes all answers and events that are ready in one write.
//! - [`four_letter`]: `ruok` and the like.
//!
//! Invariants: answers and events leave in the order in which they entered the outbox; before each
//! write the node's right to answer is checked; no bytes of a client make this panic.

mod codes;
pub mod connection;
mod dispatch;
mod encode;
pub mod four_letter;
mod handshake;
mod outbox;
mod writer;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::request::FrontDoor;

/// What every connection shares.
pub struct Services {
    /// Where requests go.
    pub door: FrontDoor,
    /// What `mntr` and `srvr` tell.
    pub metrics: Arc<Metrics>,
    /// For the words that show settings, and the frame limit.
    pub config: Config,
    clients: Mutex<BTreeMap<u64, Arc<ClientInfo>>>,
    started: Instant,
}

/// One connection, as `stat` and `cons` show it.
struct ClientInfo {
    peer: SocketAddr,
    /// 0 until the session is open.
    session: AtomicI64,
    timeout_ms: AtomicU64,
    received: AtomicU64,
    sent: AtomicU64,
}

impl Services {
    /// Shared by all connections of a node.
    pub fn new(door: FrontDoor, config: Config) -> Arc<Self> {
        Arc::new(Self {
            metrics: Arc::clone(door.metrics()),
            door,
            config,
            clients: Mutex::new(BTreeMap::new()),
            started: clock::now(),
        })
    }

    /// Connections with a session that speak ZooKeeper's protocol.
    pub fn connections(&self) -> usize {
        self.clients.lock().len()
    }

    /// How long this node has run.
    pub fn uptime(&self) -> Duration {
        clock::now().saturating_duration_since(self.started)
    }

    fn clients(&self) -> Vec<Arc<ClientInfo>> {
        self.clients.lock().values().map(Arc::clone).collect()
    }
}
