//! Consumer groups, the classic protocol: who is in a group, who reads what, what was committed.
//!
//! Pure: requests, the time and the results of appends come in as arguments; replies and records
//! to append come out as [`Effect`]s. `shard/` is the shell around it: it appends the records to a
//! partition of `__consumer_offsets`, reports back through [`table::Groups::appended`] and hands
//! the replies to the requests that wait for them, each known here by a [`Ticket`] alone.
//!
//! The rules are those of Kafka 3.9's group coordinator: KIP-62 (two timeouts), KIP-134 (initial
//! rebalance delay), KIP-345 (static members), KIP-394 (member id required), KIP-211 (offset
//! retention), KIP-814 (skip assignment). Error codes are not known here, see `handlers/`.
//!
//! Invariants: state of a group that outlives a change of leader is what [`record`] describes,
//! and it changes only after the record was committed; every parked request gets exactly one
//! reply; a group's generation never falls.
//!
//! `state.rs` the states and their legal moves; `member.rs`, `membership.rs` the data; `join.rs`,
//! `rebalance.rs`, `sync.rs`, `heartbeat.rs` (leaving too), `offsets.rs` the requests; `forget.rs` what
//! becomes of offsets when topics go; `record.rs`
//! the bytes in the log; `table.rs` all groups of one partition, replay and timers.

pub mod describe;
mod forget;
pub mod heartbeat;
pub mod join;
pub mod member;
pub mod membership;
pub mod offsets;
pub mod rebalance;
pub mod record;
pub mod state;
pub mod sync;
pub mod table;

use bytes::Bytes;

pub use join::{JoinRequest, Joined, JoinedMember, TakeOver};
pub use membership::Group;
pub use offsets::{CommitRequest, Committed, OffsetToCommit, PartitionName};
pub use state::GroupState;
pub use sync::{SyncRequest, Synced};
pub use table::Groups;

/// The time, as the shell read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic milliseconds, for timeouts.
    pub mono_ms: i64,
    /// Milliseconds since the epoch, for what is stored.
    pub wall_ms: i64,
}

/// A request that waits for its reply, numbered by the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Bounds and delays; the keys of `server.properties` are in the names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`
    pub max_session_timeout_ms: i32,
    /// `group.max.size`, members.
    pub max_size: usize,
    /// `group.initial.rebalance.delay.ms`: how long a new group waits for more members.
    pub initial_rebalance_delay_ms: i64,
    /// `offset.metadata.max.bytes`
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds: counted from when the group became empty.
    pub offsets_retention_ms: i64,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6_000,
            max_session_timeout_ms: 1_800_000,
            max_size: usize::MAX,
            initial_rebalance_delay_ms: 3_000,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
        }
    }
}

/// Why a group refused something. Each is one of Kafka's error codes, mapped in `handlers/`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The group has no such member.
    #[error("unknown member id")]
    UnknownMember,
    /// A newer member took this `group.instance.id`.
    #[error("the instance id belongs to a newer member")]
    FencedInstance,
    /// The member's generation is not the group's.
    #[error("not the current generation")]
    IllegalGeneration,
    /// The member must join again.
    #[error("a rebalance is in progress")]
    RebalanceInProgress,
    /// No protocol in common with the other members.
    #[error("no protocol in common with the group")]
    InconsistentProtocol,
    /// Outside `group.min.session.timeout.ms` to `group.max.session.timeout.ms`.
    #[error("session timeout outside the allowed range")]
    InvalidSessionTimeout,
    /// A group id that is empty, or an id or name that no record can hold.
    #[error("invalid group id")]
    InvalidGroupId,
    /// The member must join again with the id it was given.
    #[error("join again with the given member id")]
    MemberIdRequired,
    /// `group.max.size` reached.
    #[error("the group is full")]
    MaxSizeReached,
    /// The record could not be committed.
    #[error("the group's log is not available")]
    NotAvailable,
    /// This broker does not, or no longer, coordinate the group.
    #[error("not the coordinator of this group")]
    NotCoordinator,
    /// The group's log is still being read.
    #[error("the group is being loaded")]
    LoadInProgress,
    /// Longer than `offset.metadata.max.bytes`.
    #[error("offset metadata too large")]
    MetadataTooLarge,
    /// The commit does not fit into one batch of the log.
    #[error("the commit is larger than a batch of the log may be")]
    CommitTooLarge,
    /// The group still has members.
    #[error("the group has members")]
    NonEmpty,
    /// There is no such group.
    #[error("no such group")]
    NotFound,
    /// The partition is not one the cluster has.
    #[error("unknown topic or partition")]
    UnknownPartition,
}

/// A record for the group's log: key, and value or tombstone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    /// Encoded key.
    pub key: Bytes,
    /// Encoded value; `None` deletes.
    pub value: Option<Bytes>,
}

/// What a request or a timer asks of the shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Answer a parked join.
    Joined(Ticket, Joined),
    /// Answer a parked sync.
    Synced(Ticket, Result<Synced, GroupError>),
    /// Answer a parked commit, partition by partition.
    Committed(Ticket, Vec<Committed>),
    /// Answer a parked deletion.
    Deleted(Ticket, Result<(), GroupError>),
    /// Append these records as one batch, then report to [`table::Groups::appended`].
    Append {
        /// At least one record.
        records: Vec<LogRecord>,
        /// What becomes true when they are committed.
        then: Then,
    },
}

/// What becomes true when an append is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Then {
    /// The leader's assignment holds: the group is stable.
    Assigned {
        /// Group id.
        group: String,
        /// Generation it is for.
        generation: i32,
        /// Assignment by member id.
        assignments: Vec<(String, Bytes)>,
    },
    /// A static member got a new member id without a rebalance.
    Replaced {
        /// Group id.
        group: String,
        /// By whom, and who was there before.
        by: Box<TakeOver>,
    },
    /// Offsets are committed.
    Committed {
        /// Who waits.
        ticket: Ticket,
        /// Group id.
        group: String,
        /// The offsets.
        offsets: Vec<OffsetToCommit>,
        /// Partitions refused beforehand.
        refused: Vec<Committed>,
    },
    /// A group is gone.
    Deleted {
        /// Who waits, if anyone.
        ticket: Option<Ticket>,
        /// Group id.
        group: String,
    },
    /// Offsets of topics that are gone are forgotten.
    Forgotten {
        /// Group id.
        group: String,
        /// Of what.
        partitions: Vec<PartitionName>,
    },
    /// Nothing to do.
    Noted,
}

/// Why an append came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendFailure {
    /// This broker no longer leads the partition.
    NotLeader,
    /// Not enough replicas, or no answer in time: it may or may not be committed later.
    Unavailable,
    /// Larger than a batch may be.
    TooLarge,
}

impl AppendFailure {
    fn as_error(self) -> GroupError {
        match self {
            Self::NotLeader => GroupError::NotCoordinator,
            Self::Unavailable => GroupError::NotAvailable,
            Self::TooLarge => GroupError::CommitTooLarge,
        }
    }
}

/// The partition of `__consumer_offsets` that holds a group: Java's hash of its id.
pub fn partition_of(group: &str, partitions: i32) -> i32 {
    let hash = group.encode_utf16().fold(0i32, |hash, unit| {
        hash.wrapping_mul(31).wrapping_add(i32::from(unit))
    });
    hash.checked_abs().unwrap_or(0) % partitions.max(1)
}

#[cfg(test)]
mod tests;
