//! Settings of consensus, as `server` hands them down.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;

use zweig_monitoring::Histogram;

use crate::spans::Spans;
use crate::storage::raft_log::LogOptions;

/// How to reach another node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `host:port` for raft and forwarded commands (zoo.cfg's first port).
    pub quorum: String,
    /// `host:port` for checkpoints in bulk (zoo.cfg's second port), so that heartbeats never wait behind them.
    pub bulk: String,
    /// An observer: gets the log, has no vote.
    pub learner: bool,
}

/// Both listening sockets, already bound.
#[derive(Debug)]
pub struct Listeners {
    /// For raft and forwarded commands.
    pub quorum: TcpListener,
    /// For checkpoints.
    pub bulk: TcpListener,
}

/// Settings of one node.
#[derive(Clone, Debug)]
pub struct ConsensusConfig {
    /// This node's id, at least 1.
    pub node: u64,
    /// Drawn at random at each start: tells this life of the node from its former ones.
    pub boot: u64,
    /// Name of the ensemble; nodes of different names refuse each other. May be empty.
    pub cluster: String,
    /// Every node, this one included. The voters among them are the first configuration.
    pub members: BTreeMap<u64, Member>,
    /// Folder for the raft log and for checkpoints in transfer.
    pub folder: PathBuf,
    /// One tick of raft, milliseconds.
    pub tick_ms: u64,
    /// Shortest time without a leader before an election; the longest is twice as long. Milliseconds.
    pub election_timeout_ms: u64,
    /// Between two heartbeats of the leader, milliseconds.
    pub heartbeat_ms: u64,
    /// Nodes report the sessions they heard from this often (half of `tickTime`), milliseconds.
    pub report_period_ms: u64,
    /// The shortest timeout a session may have (`minSessionTimeout`), milliseconds.
    pub shortest_session_timeout_ms: u64,
    /// Commands wait this long for a leader before they fail as not done, milliseconds.
    pub forward_deadline_ms: u64,
    /// A read index that is not answered within this fails, milliseconds.
    pub read_index_deadline_ms: u64,
    /// Bytes of commands in one raft entry, unless a single one is larger.
    pub entry_bytes: usize,
    /// Commands of this node that may wait for their outcome.
    pub commands_in_flight: usize,
    /// Bytes of applied entries kept in the log for followers that lag.
    pub log_reserve_bytes: u64,
    /// Folder of the state, if the space of its disk counts too.
    pub state_folder: Option<PathBuf>,
    /// Files of the raft log.
    pub log: LogOptions,
    /// Size of the file given up when the disk is nearly full; 0: none.
    pub ballast_bytes: u64,
    /// Below so many free bytes this node is short: it admits as a leader only what frees space or concerns
    /// sessions, and leaves leading to others; 0: never.
    pub watermark_bytes: u64,
    /// Where it is counted how long writes of the log take until they are on the disk.
    pub syncs: Arc<Histogram>,
    /// Told of the commands that this node takes as a leader, for those that are followed.
    pub spans: Arc<Spans>,
}

impl ConsensusConfig {
    /// The defaults, for a node among `members`.
    pub fn new(node: u64, boot: u64, members: BTreeMap<u64, Member>, folder: PathBuf) -> Self {
        Self {
            node,
            boot,
            cluster: String::new(),
            members,
            folder,
            tick_ms: 5,
            election_timeout_ms: 500,
            heartbeat_ms: 50,
            report_period_ms: 1_000,
            shortest_session_timeout_ms: 4_000,
            forward_deadline_ms: 10_000,
            read_index_deadline_ms: 10_000,
            entry_bytes: 1 << 20,
            commands_in_flight: 65_536,
            log_reserve_bytes: 64 << 20,
            state_folder: None,
            log: LogOptions::default(),
            ballast_bytes: 64 << 20,
            watermark_bytes: 256 << 20,
            syncs: Arc::default(),
            spans: Arc::default(),
        }
    }

    /// Every server by its N, and whether it votes.
    pub fn servers(&self) -> BTreeMap<u64, bool> {
        let servers = self.members.iter();
        servers.map(|(&id, member)| (id, !member.learner)).collect()
    }

    /// Ids of all voters.
    pub fn voters(&self) -> Vec<u64> {
        self.members
            .iter()
            .filter(|(_, member)| !member.learner)
            .map(|(&id, _)| id)
            .collect()
    }

    /// Ids of all observers.
    pub fn learners(&self) -> Vec<u64> {
        self.members
            .iter()
            .filter(|(_, member)| member.learner)
            .map(|(&id, _)| id)
            .collect()
    }
}
