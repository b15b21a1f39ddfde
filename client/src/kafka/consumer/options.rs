//! How a consumer reads, and what it gives.

use std::time::Duration;

use bytes::Bytes;

use super::GroupOptions;

/// Topic and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
}

impl TopicPartition {
    /// `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// The first record kept.
    Earliest,
    /// Behind the last record.
    Latest,
    /// The first record that is no older than this, in milliseconds since 1970; behind the last record if all are.
    Time(i64),
    /// This offset.
    Offset(i64),
}

/// How a consumer reads.
#[derive(Debug, Clone)]
pub struct ConsumerOptions {
    /// Membership in a group, for `Consumer::subscribe`.
    pub group: Option<GroupOptions>,
    /// Where to begin without a committed offset, or when it is no longer kept; `None` is an error.
    pub reset: Option<Position>,
    /// Time between commits; `None` to commit by `Consumer::commit` alone.
    pub auto_commit: Option<Duration>,
    /// The broker holds a fetch back until it has this many bytes,
    pub fetch_min_bytes: i32,
    /// or this long.
    pub fetch_max_wait: Duration,
    /// Bytes of one fetch.
    pub fetch_max_bytes: i32,
    /// Bytes of one partition in one fetch.
    pub partition_max_bytes: i32,
    /// Records one poll returns at most.
    pub max_poll_records: usize,
}

impl Default for ConsumerOptions {
    fn default() -> Self {
        Self {
            group: None,
            reset: Some(Position::Latest),
            auto_commit: Some(Duration::from_secs(5)),
            fetch_min_bytes: 1,
            fetch_max_wait: Duration::from_millis(500),
            fetch_max_bytes: 16 << 20,
            partition_max_bytes: 1 << 20,
            max_poll_records: 5_000,
        }
    }
}

/// A record read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumedRecord {
    /// From where.
    pub topic: String,
    /// Partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Key.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Vec<(String, Option<Bytes>)>,
}
