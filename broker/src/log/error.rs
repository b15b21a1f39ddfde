//! What can fail, one enum per operation; the Kafka codes for these are mapped in `handlers`.
//!
//! `is_fatal()` marks what no one may retry: after a failed write or fsync the page cache can't be
//! trusted, so the caller ends the process and recovery reads the disk again. A full disk is not
//! fatal: the append that met it left nothing behind.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{TopicId, TopicPartition};

/// A file operation that failed, and where.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct FileError {
    /// What was being done.
    pub operation: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// The system's answer.
    pub source: Arc<io::Error>,
}

impl FileError {
    /// Wraps the system's answer.
    pub fn new(operation: &'static str, path: impl Into<PathBuf>, source: io::Error) -> FileError {
        FileError {
            operation,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    /// True when the disk, or the quota on it, is full.
    pub fn is_no_space(&self) -> bool {
        matches!(
            self.source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        )
    }

    /// True when the file isn't there.
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Why truncation, retention, flush and the like failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// The disk is full; nothing was changed.
    #[error("no space left: {0}")]
    NoSpace(FileError),
    /// The disk failed: end the process.
    #[error("log storage failed: {0}")]
    Fatal(FileError),
    /// The offset lies outside of the log.
    #[error("offset {offset} is outside of {log_start}..={log_end}")]
    OutOfRange {
        /// The offset asked for.
        offset: i64,
        /// First offset the log still holds.
        log_start: i64,
        /// Offset the next record will get.
        log_end: i64,
    },
    /// The log was closed or deleted.
    #[error("log {0} is closed")]
    Closed(TopicPartition),
}

impl LogError {
    /// True when the process must end.
    pub fn is_fatal(&self) -> bool {
        matches!(self, LogError::Fatal(_))
    }

    /// The write that found the disk full.
    pub fn no_space(&self) -> Option<&FileError> {
        match self {
            LogError::NoSpace(error) => Some(error),
            _ => None,
        }
    }
}

impl From<FileError> for LogError {
    fn from(error: FileError) -> LogError {
        if error.is_no_space() {
            LogError::NoSpace(error)
        } else {
            LogError::Fatal(error)
        }
    }
}

/// Why records were not appended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// A checksum doesn't match, or a length runs out of the buffer.
    #[error("corrupt record batch: {0}")]
    Corrupt(String),
    /// The batch contradicts itself or the rules.
    #[error("invalid record batch: {0}")]
    InvalidRecord(String),
    /// An unknown compression codec.
    #[error("unknown compression type {0}")]
    UnsupportedCompression(u8),
    /// Larger than `max.message.bytes`.
    #[error("record batch of {size} bytes exceeds the maximum of {max}")]
    RecordTooLarge {
        /// The batch, header included.
        size: usize,
        /// The topic's bound.
        max: usize,
    },
    /// Larger than a segment may become.
    #[error("records of {size} bytes exceed the segment size of {max}")]
    RecordBatchTooLarge {
        /// All batches together.
        size: usize,
        /// The topic's `segment.bytes`.
        max: usize,
    },
    /// The producer's timestamp is too far from the broker's clock.
    #[error("timestamp {timestamp_ms} is outside of {low_ms}..={high_ms}")]
    InvalidTimestamp {
        /// The offending timestamp.
        timestamp_ms: i64,
        /// Earliest allowed.
        low_ms: i64,
        /// Latest allowed.
        high_ms: i64,
    },
    /// A gap in a producer's sequence numbers.
    #[error("producer {producer_id}: sequence {found}, expected {expected}")]
    OutOfOrderSequence {
        /// The producer.
        producer_id: i64,
        /// What would have been in order.
        expected: i32,
        /// What came.
        found: i32,
    },
    /// The producer was replaced by one of a higher epoch.
    #[error("producer {producer_id}: epoch {found} is older than {current}")]
    InvalidProducerEpoch {
        /// The producer.
        producer_id: i64,
        /// What came.
        found: i16,
        /// What is known.
        current: i16,
    },
    /// A plain write from a producer whose transaction is open.
    #[error("producer {0}: a transactional write was expected")]
    InvalidTxnState(i64),
    /// Records of a transaction, which nobody here could end.
    #[error("transactional records are not supported")]
    Transactional,
    /// A transaction marker of a deposed transaction coordinator.
    #[error("producer {producer_id}: marker of coordinator epoch {found}, known is {current}")]
    TransactionCoordinatorFenced {
        /// The producer.
        producer_id: i64,
        /// What came.
        found: i32,
        /// What is known.
        current: i32,
    },
    /// The leader's records don't continue this follower's log.
    #[error("record batch at offset {found} does not continue the log, which ends at {log_end}")]
    UnexpectedOffset {
        /// First offset that came.
        found: i64,
        /// Offset the next record must reach.
        log_end: i64,
    },
    /// The append's leader epoch is older than the log's last.
    #[error("leader epoch {found} is older than the log's last, {latest}")]
    StaleLeaderEpoch {
        /// What came.
        found: i32,
        /// What the log has.
        latest: i32,
    },
    /// The storage refused.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why records could not be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The offset lies outside of the log.
    #[error("offset {offset} is outside of {log_start}..={log_end}")]
    OutOfRange {
        /// The offset asked for.
        offset: i64,
        /// First offset the log still holds.
        log_start: i64,
        /// Offset the next record will get.
        log_end: i64,
    },
    /// What stands in the file is no record batch.
    #[error("log is damaged: {0}")]
    Corrupt(String),
    /// The disk failed.
    #[error("log storage failed: {0}")]
    Storage(FileError),
}

impl ReadError {
    /// True when the process must end. A read never is: it changes nothing.
    pub fn is_fatal(&self) -> bool {
        false
    }

    /// The write that found the disk full; a read is none.
    pub fn no_space(&self) -> Option<&FileError> {
        None
    }
}

impl From<FileError> for ReadError {
    fn from(error: FileError) -> ReadError {
        ReadError::Storage(error)
    }
}

/// Why a partition's log could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OpenError {
    /// The log on disk is of an earlier topic of this name.
    #[error("log {partition} has topic id {found}, asked for {asked}")]
    WrongTopicId {
        /// The partition.
        partition: TopicPartition,
        /// What the disk says.
        found: TopicId,
        /// What the caller wants.
        asked: TopicId,
    },
    /// A damaged batch has good ones behind it, or lies where the checkpoint says all is flushed:
    /// cutting it off could lose acknowledged records, so the log stays offline.
    #[error("log {partition} is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The partition.
        partition: TopicPartition,
        /// The first offset that can't be read.
        offset: i64,
        /// What was found.
        reason: String,
    },
    /// A file of ours that is not in its format.
    #[error("{}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// This process has nearly as many files open as it may have, and has to keep some for what it has already.
    #[error(
        "log {partition} can't be opened: nearly all of the {limit} files that this process may have open are; a higher limit (ulimit -n, LimitNOFILE) or fewer partitions help"
    )]
    TooManyFiles {
        /// The partition.
        partition: TopicPartition,
        /// How many files this process may have open.
        limit: u64,
    },
    /// The storage refused.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why the log directories could not be opened or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ManagerError {
    /// No directory is configured.
    #[error("no log directory is configured")]
    NoDirectory,
    /// Another process, or this one, holds the directory.
    #[error("log directory {} is locked by another broker", .0.display())]
    Locked(PathBuf),
    /// Two directories hold the same partition.
    #[error("partition {partition} is in {} and in {}", first.display(), second.display())]
    Twice {
        /// The partition.
        partition: TopicPartition,
        /// One folder of it.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The directories are of another broker or cluster.
    #[error("log directory {} belongs to broker {found}, configured is {configured}", path.display())]
    WrongIdentity {
        /// The directory.
        path: PathBuf,
        /// What `meta.properties` says.
        found: String,
        /// What was configured.
        configured: String,
    },
    /// A file of ours that is not in its format.
    #[error("{}: {reason}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The storage refused.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What the errors have in common that pass a [`LogError`] on.
macro_rules! pass_on_log_errors {
    ($($error:ident),*) => {$(
        impl $error {
            /// True when the process must end.
            pub fn is_fatal(&self) -> bool {
                matches!(self, $error::Log(error) if error.is_fatal())
            }

            /// The write that found the disk full.
            pub fn no_space(&self) -> Option<&FileError> {
                match self {
                    $error::Log(error) => error.no_space(),
                    _ => None,
                }
            }
        }

        impl From<FileError> for $error {
            fn from(error: FileError) -> $error {
                $error::Log(error.into())
            }
        }
    )*};
}

pass_on_log_errors!(AppendError, OpenError, ManagerError);
