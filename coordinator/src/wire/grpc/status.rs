//! What this node knows of itself and of the ensemble; asks for no quorum.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use zweig_proto::grpc as proto;

use crate::clock::wall_clock_ms;
use crate::config::Config;
use crate::consensus::Role;
use crate::request::FrontDoor;

/// Where each member is, as configured: the other members' way to it, and the clients'.
pub(super) type Addresses = BTreeMap<u64, (String, String)>;

/// Reads the addresses out of the configuration. A wildcard is no address to connect to: the
/// member's own host stands in for it.
pub(super) fn addresses(config: &Config) -> Addresses {
    let mut addresses = BTreeMap::new();
    for server in &config.servers {
        let client = match &server.client {
            None if server.node == config.node => Some(&config.client),
            client => client.as_ref(),
        };
        let client = client.map_or(String::new(), |client| {
            let wildcard = matches!(client.host.as_str(), "" | "0.0.0.0" | "::" | "[::]");
            let host = if wildcard { &server.host } else { &client.host };
            format!("{host}:{}", client.port)
        });
        let quorum = match server.quorum_port {
            0 => String::new(),
            port => format!("{}:{port}", server.host),
        };
        addresses.insert(server.node, (quorum, client));
    }
    addresses
}

/// How long a disk may take to tell its size; one that hangs is left out.
const DISK_PATIENCE: Duration = Duration::from_secs(1);

/// The disks under a node's data.
#[derive(Clone)]
pub(super) struct Disks {
    folders: Vec<PathBuf>,
    /// One look at a time: a disk that hangs costs one thread, however often somebody asks.
    looking: Arc<Semaphore>,
}

impl Disks {
    /// Of the folders that the configuration names.
    pub(super) fn new(config: &Config) -> Self {
        let mut folders = vec![config.data_dir.clone(), config.data_log_dir.clone()];
        folders.dedup();
        Self {
            folders,
            looking: Arc::new(Semaphore::new(1)),
        }
    }

    /// Their sizes; none of them while one hangs.
    pub(super) async fn look(&self) -> Vec<proto::Disk> {
        let looked = async {
            let permit = Arc::clone(&self.looking).acquire_owned().await.ok()?;
            let folders = self.folders.clone();
            let disks = tokio::task::spawn_blocking(move || {
                let disks = folders.iter().filter_map(|folder| disk(folder)).collect();
                drop(permit);
                disks
            });
            disks.await.ok()
        };
        let looked = tokio::time::timeout(DISK_PATIENCE, looked).await;
        looked.ok().flatten().unwrap_or_default()
    }
}

fn disk(folder: &Path) -> Option<proto::Disk> {
    let stat = rustix::fs::statvfs(folder).ok()?;
    Some(proto::Disk {
        folder: folder.display().to_string(),
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
    })
}

/// The status now.
pub(super) fn of(
    door: &FrontDoor,
    addresses: &Addresses,
    disks: Vec<proto::Disk>,
) -> proto::StatusResponse {
    let status = door.status();
    let (applied, znodes, sessions) = door.read(|state| {
        (
            state.applied(),
            state.counts().znodes,
            state.session_count(),
        )
    });
    let clients = door.client_counts();
    let role = match status.role {
        Role::Leader => "leader",
        Role::Follower => "follower",
        Role::Candidate => "candidate",
        Role::Observer => "learner",
    };
    let member = |member: &crate::consensus::MemberStatus| {
        let (quorum, client) = addresses.get(&member.node).cloned().unwrap_or_default();
        proto::Member {
            node: member.node,
            quorum_address: quorum,
            client_address: client,
            voter: member.voter,
            matched: member.matched,
            reachable: member.active,
        }
    };
    proto::StatusResponse {
        node: status.node,
        role: role.to_owned(),
        term: status.term,
        leader: status.leader.unwrap_or(0),
        committed: status.committed,
        applied: applied.index,
        zxid: applied.zxid.0,
        sessions: sessions as u64,
        connections: clients.connections as u64,
        watches: clients.watches as u64,
        znodes,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        members: status.members.iter().map(member).collect(),
        time_ms: wall_clock_ms(),
        disks,
    }
}
