//! What goes into the core and what comes out of it.

use raft::eraftpb::{Entry, HardState, Message};

use crate::consensus::applier::{CheckpointMark, Committed};

/// How a node waits before it stands for election.
#[derive(Clone, Copy, Debug)]
pub enum Patience {
    /// Drawn anew by raft each time, between the election timeout and twice as much.
    Random,
    /// So many ticks each time. At least the election timeout.
    Fixed(usize),
    /// As [`Patience::Random`], but the same each time for the same seed, term, leader and role: in simulation.
    Seeded(u64),
}

/// Settings of the core.
#[derive(Clone, Copy, Debug)]
pub struct CoreConfig {
    /// This node's raft id.
    pub node: u64,
    /// Length of a tick, milliseconds.
    pub tick_ms: u64,
    /// Election timeout in ticks.
    pub election_ticks: usize,
    /// Ticks between two heartbeats.
    pub heartbeat_ticks: usize,
    /// The part of the timeout that is chance.
    pub patience: Patience,
}

/// What happens to the core.
#[derive(Debug)]
pub enum Input {
    /// One tick of time ran.
    Tick,
    /// A message of another node.
    Message(Box<Message>),
    /// The log thread has synced everything up to this [`Persist::number`].
    Persisted(u64),
    /// The apply thread has applied everything up to this index.
    Applied(u64),
    /// The connection to that server's process closed.
    LinkLost(u64),
    /// A message to that server could not be sent.
    Unreachable(u64),
    /// Asks for an index to read at; the context must be unique in the whole ensemble.
    ReadIndex(Vec<u8>),
    /// The snapshot of [`Outputs::install`] is in place, state and log.
    Installed,
    /// A checkpoint may be sent to others.
    Checkpoint(CheckpointMark),
    /// The checkpoint is gone.
    CheckpointGone,
    /// A checkpoint reached that node, or did not.
    SnapshotSent {
        /// The receiver.
        to: u64,
        /// Whether it has all of it.
        done: bool,
    },
    /// Entries up to this index are no longer needed.
    Compact(u64),
    /// This node has started: if nobody leads, there is nothing to wait for; if somebody does, who hears it refuses.
    Started,
    /// Hands leadership over.
    Transfer(u64),
}

/// Something to make durable, in the order of the numbers.
#[derive(Debug)]
pub struct Persist {
    /// To be given back in [`Input::Persisted`].
    pub number: u64,
    /// The newest HardState.
    pub hard_state: HardState,
    /// Term of the entry before the first of `entries`.
    pub previous_term: u64,
    /// They replace what stands at their indexes and behind.
    pub entries: Vec<Entry>,
}

/// A checkpoint to install, with the log to be reset behind it.
#[derive(Debug)]
pub struct Install {
    /// What it holds.
    pub mark: CheckpointMark,
    /// HardState that goes into the reset log.
    pub hard_state: HardState,
}

/// What the core wants done.
#[derive(Debug, Default)]
pub struct Outputs {
    /// To send now.
    pub messages: Vec<Message>,
    /// To send together with the checkpoint they announce.
    pub snapshots: Vec<Message>,
    /// To write and sync.
    pub persist: Vec<Persist>,
    /// To apply.
    pub committed: Vec<Committed>,
    /// Read indexes by their contexts.
    pub reads: Vec<(Vec<u8>, u64)>,
    /// To install; nothing else happens before [`Input::Installed`].
    pub install: Option<Install>,
    /// Someone lags so far that it needs a checkpoint.
    pub wants_checkpoint: bool,
}

/// Why a proposal was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// This node does not lead that term.
    #[error("not the leader of that term")]
    NotLeader,
    /// Too much is uncommitted, or leadership is being handed over: try again later.
    #[error("the leader takes no proposals just now")]
    Busy,
}
