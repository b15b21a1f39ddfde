//! The log: what a partition has on disk, in Kafka's own format.
//!
//! Called by `replica` (append, read, truncate, retention), `shard` (through `replica`) and
//! `server` (open and shut down). Calls nothing of the other rooms.
//!
//! The files of this folder are pure: they decide over values and never touch a file, a clock or
//! a channel. `format` turns each kind of file into values and back; `store` does the reading,
//! writing and fsync. Time is always an argument, `now_ms` in milliseconds since 1970.
//!
//! Invariants: `log_start_offset <= flushed_end_offset <= log_end_offset`; offsets of batches only
//! rise; a batch is in the log whole or not at all; the bytes between two batches' checksums are
//! as the producer sent them, only base offset and leader epoch (outside the checksum) and, for
//! `LogAppendTime`, the timestamp are ours.
//!
//! Not here: high watermark and ISR (`replica`), who may append (`replica`), compaction (later).
//! See Kafka's documentation, "Implementation / Log", KIP-98 (record batch version 2, idempotent
//! producers), KIP-101 (leader epochs), KIP-516 (topic ids), KIP-966 (clean shutdown file).

pub mod config;
pub mod error;
pub mod format;
pub mod leader_epoch;
pub mod producer_state;
pub mod retention;
pub mod store;
pub mod validator;

use std::fmt;

pub use config::{CleanupPolicy, LogConfig, LogConfigError, TimestampType};
pub use error::{AppendError, FileError, LogError, ManagerError, OpenError, ReadError};
pub use leader_epoch::EpochEnd;
pub use store::log::{FileSlice, Log, Records, TimestampOffset};
pub use store::manager::{Identity, LogManager, Stop};

/// The id a topic gets at creation and keeps for life (KIP-516).
pub type TopicId = uuid::Uuid;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names a partition.
    pub fn new(topic: impl Into<String>, partition: i32) -> TopicPartition {
        TopicPartition {
            topic: topic.into(),
            partition,
        }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}-{}", self.topic, self.partition)
    }
}

/// Who asks for an append; clients are trusted less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AppendOrigin {
    /// A producer: its batch is checked in full and against its sequence numbers.
    Client,
    /// This broker's own group or transaction coordinator: may write control batches.
    Coordinator,
}

/// What an append did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Offset of the first record.
    pub first_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The timestamp stamped on the records; -1 where they keep the producer's.
    pub log_append_time_ms: i64,
    /// First offset the log still holds.
    pub log_start_offset: i64,
    /// True when nothing was appended, as this batch is in the log already (a producer's retry).
    pub duplicate: bool,
}
