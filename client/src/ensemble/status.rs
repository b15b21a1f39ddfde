//! What one node says of itself and of its ensemble; needs neither session nor quorum.

use std::time::Duration;

use serde::Serialize;
use zweig_proto::grpc as proto;

use super::connection::{client, said};
use super::error::Error;

/// One node's own view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Status {
    /// Its id, as in `server.N`.
    pub node: u64,
    /// `leader`, `follower`, `candidate` or `learner`.
    pub role: String,
    /// The raft term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// The last raft index known to be committed.
    pub committed: u64,
    /// The last raft index applied here.
    pub applied: u64,
    /// The last zxid applied here.
    pub zxid: i64,
    /// Sessions of the whole ensemble.
    pub sessions: u64,
    /// Clients connected to this node.
    pub connections: u64,
    /// Watches armed on this node.
    pub watches: u64,
    /// Znodes in the tree.
    pub znodes: u64,
    /// Of the software.
    pub version: String,
    /// Everyone in the ensemble.
    pub members: Vec<Member>,
    /// Its clock, in milliseconds since 1970; `None` from a node too old to say.
    pub time_ms: Option<i64>,
    /// The disks under its folders, as far as it can tell.
    pub disks: Vec<Disk>,
}

/// A disk under a folder of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Disk {
    /// The folder.
    pub folder: String,
    /// Bytes that are free.
    pub free_bytes: u64,
    /// Bytes there are.
    pub bytes: u64,
}

/// One member as the asked node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Member {
    /// Its id.
    pub node: u64,
    /// Where the other members reach it.
    pub quorum_address: String,
    /// Where clients reach it.
    pub client_address: String,
    /// Whether it votes.
    pub voter: bool,
    /// The index known to be on its disk; only a leader knows.
    pub matched: u64,
    /// Whether it was heard from lately; only a leader knows.
    pub reachable: bool,
}

/// Asks the node at `endpoint` (`host:port`).
///
/// # Errors
/// `Unavailable` if it does not answer within `patience`.
pub async fn status(endpoint: &str, patience: Duration) -> Result<Status, Error> {
    let asked = async {
        let mut node = client(endpoint, None).await?;
        let answer = node.status(proto::StatusRequest {}).await;
        answer
            .map(tonic::Response::into_inner)
            .map_err(|s| said(&s))
    };
    match tokio::time::timeout(patience, asked).await {
        Ok(Ok(answer)) => Ok(from_wire(answer)),
        Ok(Err(why)) => Err(Error::Unavailable(format!("{endpoint}: {why}"))),
        Err(_) => Err(Error::Unavailable(format!(
            "{endpoint}: no answer in {} ms",
            patience.as_millis()
        ))),
    }
}

fn from_wire(status: proto::StatusResponse) -> Status {
    Status {
        node: status.node,
        role: status.role,
        term: status.term,
        leader: (status.leader != 0).then_some(status.leader),
        committed: status.committed,
        applied: status.applied,
        zxid: status.zxid,
        sessions: status.sessions,
        connections: status.connections,
        watches: status.watches,
        znodes: status.znodes,
        version: status.version,
        members: status.members.into_iter().map(member).collect(),
        time_ms: (status.time_ms > 0).then_some(status.time_ms),
        disks: status.disks.into_iter().map(disk).collect(),
    }
}

fn disk(disk: proto::Disk) -> Disk {
    Disk {
        folder: disk.folder,
        free_bytes: disk.free_bytes,
        bytes: disk.bytes,
    }
}

fn member(member: proto::Member) -> Member {
    Member {
        node: member.node,
        quorum_address: member.quorum_address,
        client_address: member.client_address,
        voter: member.voter,
        matched: member.matched,
        reachable: member.reachable,
    }
}
