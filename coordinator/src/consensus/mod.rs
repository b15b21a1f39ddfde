//! Agreement between the nodes: one log of commands, replicated by raft, applied in order on each.
//!
//! `server` starts it with an [`Applier`]; `request` submits commands and asks for read indexes through the
//! [`Consensus`] handle. Inside, from the innermost ring outwards:
//!
//! - `core`: raft-rs as a state machine without I/O; `view` is the log as raft reads it, in memory.
//! - `node`: `core` together with the forwarder, the leader's batches, read indexes, session reports and
//!   expiry. One input in, effects out. The simulation in `tests/sim` runs exactly this.
//! - `membership`: who is a member, and how one that lost its disk gets its place back.
//! - `checkpoints`: which folder holds the checkpoint that raft announces.
//! - `founding`: whether a node that is new begins an ensemble or comes to one that exists.
//! - `driver`: the threads that feed it (raft, log, apply) and carry its effects out; `transport` and `bulk`:
//!   its links to the other nodes.
//!
//! Invariants:
//! - A message that promises something leaves only after what it promises is on disk.
//! - Only the raft thread proposes, checking role and term in the same step.
//! - The thread that ticks shares nothing with fsync and apply.
//!
//! What a command means is `state_machine`'s; who waits for its outcome is `request`'s.

mod agreement;
mod applier;
mod bulk;
mod campaign;
pub mod checkpoints;
mod config;
pub mod core;
mod driver;
pub mod founding;
mod frame;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod handle;
mod logger;
pub mod membership;
pub mod node;
pub mod pending;
mod propose;
mod read_index;
mod status;
mod transport;
mod view;

pub use applier::{
    Applier, CheckpointMark, Committed, CommittedData, Fatal, Feedback, LiveSession, NotDone,
    SessionUpdate, Unanswered,
};
pub use config::{ConsensusConfig, Listeners, Member};
pub use handle::{Consensus, ReadIndexError, StartError};
pub use status::{MemberStatus, Role, Status};

pub use crate::storage::raft_log::Position;
