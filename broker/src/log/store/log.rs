//! One partition's log: its segments in order, its leader epochs, its producers.
//!
//! All methods take `&self`. Appends, truncation and retention are serialised by `writer`; readers
//! see segments and the end as one value each and are never behind a write for longer than it takes
//! to copy them. An fsync holds `flushing` only, so appends go on under it, and all who wait for the
//! same one are served by it (group commit).
//!
//! Invariants: `recovery point <= end`, `start <= end`; the end is published after the bytes; the active
//! segment is the last one; leader epochs name only offsets in `start..end`, but for the epoch a
//! leader has just begun, which may stand at the end.
//!
//! `append`, `read`, `flush`, `cut` (truncation and retention) and `rebuild` are one file each.

mod append;
mod cut;
mod flush;
mod read;
pub(super) mod rebuild;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::super::config::LogConfig;
use super::super::error::{FileError, LogError};
use super::super::format::{leader_epoch_checkpoint, names};
use super::super::leader_epoch::{EpochEnd, LeaderEpochs};
use super::super::producer_state::ProducerTable;
use super::super::{TopicId, TopicPartition};
use super::dir::LogDir;
use super::file::{self, Durability};
use super::recovery::Recovered;
use super::segment::Segment;
use crate::disk::Disk;

use flush::Flushing;
pub use read::{FileSlice, Records, TimestampOffset};

type Segments = BTreeMap<i64, Arc<Segment>>;

const NONE_OPEN: i64 = i64::MAX;

/// The end of the log, one value so that a reader never sees an offset without its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tail {
    /// Offset of the next record.
    offset: i64,
    /// Base offset of the active segment.
    active_base: i64,
    /// Bytes in the active segment before `offset`.
    active_size: u64,
}

/// What only appends, truncation and retention touch.
#[derive(Debug)]
struct Writer {
    producers: ProducerTable,
    /// Segment files that were marked deleted, and when they are due for removal.
    leaving: Vec<(i64, Vec<PathBuf>)>,
    closed: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Log {
    partition: TopicPartition,
    topic_id: Option<TopicId>,
    folder: PathBuf,
    dir: Arc<LogDir>,
    config: RwLock<Arc<LogConfig>>,
    flushing: Mutex<Flushing>,
    writer: Mutex<Writer>,
    /// By base offset, never empty.
    segments: RwLock<Segments>,
    epochs: RwLock<LeaderEpochs>,
    /// The epochs differ from their checkpoint file.
    epochs_dirty: AtomicBool,
    /// The folder's names are not on disk for sure.
    folder_dirty: AtomicBool,
    tail: RwLock<Tail>,
    start: AtomicI64,
    /// First offset of the oldest open transaction, `NONE_OPEN` without any; set whenever the producers change.
    unstable: AtomicI64,
    flushed: AtomicI64,
    last_flush_ms: AtomicI64,
    recovered: Recovered,
    /// Its end when it was opened: what lies below may have changed on the disk since it was appended.
    opened_end: i64,
    /// Offset of the corrupt batch that was told last; -1 if none was.
    corrupt_told: AtomicI64,
}

impl Log {
    /// Puts together what recovery found.
    pub(super) fn assemble(parts: Parts, dir: Arc<LogDir>, now_ms: i64) -> Log {
        let (&active_base, active) = parts
            .segments
            .last_key_value()
            .expect("recovery leaves a segment");
        let unstable = parts.producers.first_unstable_offset();
        let tail = Tail {
            offset: parts.end,
            active_base,
            active_size: active.size(),
        };
        Log {
            partition: parts.partition,
            topic_id: parts.topic_id,
            folder: parts.folder,
            dir,
            config: RwLock::new(Arc::new(parts.config)),
            flushing: Mutex::default(),
            writer: Mutex::new(Writer {
                producers: parts.producers,
                leaving: Vec::new(),
                closed: false,
            }),
            segments: RwLock::new(parts.segments),
            epochs: RwLock::new(parts.epochs),
            epochs_dirty: AtomicBool::new(parts.epochs_changed),
            folder_dirty: AtomicBool::new(true),
            tail: RwLock::new(tail),
            start: AtomicI64::new(parts.start),
            unstable: AtomicI64::new(unstable.unwrap_or(NONE_OPEN)),
            flushed: AtomicI64::new(parts.flushed.min(parts.end)),
            last_flush_ms: AtomicI64::new(now_ms),
            recovered: parts.recovered,
            opened_end: parts.end,
            corrupt_told: AtomicI64::new(-1),
        }
    }

    /// The partition it belongs to.
    pub fn topic_partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The topic's id; `None` in a folder of a Kafka older than 2.8 until it is taken over.
    pub fn topic_id(&self) -> Option<TopicId> {
        self.topic_id
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The log directory it is in.
    pub fn dir(&self) -> &Arc<LogDir> {
        &self.dir
    }

    pub(super) fn disk(&self) -> &dyn Disk {
        &**self.dir.disk()
    }

    /// Its settings.
    pub fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    /// Changes its settings, for everything from now on.
    pub fn set_config(&self, config: LogConfig) {
        *self.config.write() = Arc::new(config);
    }

    /// What opening it had to mend.
    pub fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    /// First offset that may be read.
    pub fn log_start_offset(&self) -> i64 {
        self.start.load(Ordering::Acquire)
    }

    /// Offset the next record will get.
    pub fn log_end_offset(&self) -> i64 {
        self.tail.read().offset
    }

    /// Everything before this offset, of what can be read, is on disk for sure.
    pub fn flushed_end_offset(&self) -> i64 {
        self.recovery_point().max(self.log_start_offset())
    }

    /// Everything before this offset that was not deleted is on disk for sure. A start that moved ahead of it says
    /// nothing of the records behind, which may share a segment with unflushed ones.
    pub fn recovery_point(&self) -> i64 {
        self.flushed.load(Ordering::Acquire)
    }

    /// Bytes of all segments' log files.
    pub fn size_bytes(&self) -> u64 {
        let segments = self.segments.read();
        segments.values().map(|segment| segment.size()).sum()
    }

    /// Number of segments.
    pub fn segment_count(&self) -> usize {
        self.segments.read().len()
    }

    /// The last leader epoch of which the log knows.
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.read().latest()
    }

    /// The leader epoch that wrote an offset.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.epochs.read().epoch_at(offset)
    }

    /// Where a leader epoch ends here: what a follower of ours truncates to.
    pub fn end_offset_for_epoch(&self, leader_epoch: i32) -> Option<EpochEnd> {
        let end = self.log_end_offset();
        self.epochs.read().end_offset(leader_epoch, end)
    }

    /// This broker leads from now on, in that epoch: it begins at the log's end.
    pub fn assign_epoch(&self, leader_epoch: i32) -> Result<(), LogError> {
        let writer = self.writer.lock();
        self.check_open(&writer)?;
        let end = self.log_end_offset();
        self.note_epoch(leader_epoch, end);
        Ok(())
    }

    /// First offset of the oldest open transaction; readers of committed records stop there.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        let first = self.unstable.load(Ordering::Acquire);
        (first != NONE_OPEN).then(|| first.max(self.log_start_offset()))
    }

    /// Forgets producers that were silent for `producer.id.expiration.ms`.
    pub fn expire_producers(&self, now_ms: i64) {
        let expiration_ms = self.config().producer_id_expiration_ms;
        self.writer.lock().producers.expire(now_ms, expiration_ms);
    }

    /// Number of producers of which the log knows.
    pub fn producer_count(&self) -> usize {
        self.writer.lock().producers.len()
    }

    /// Flushes everything, leaves a snapshot of the producers, and takes no more appends.
    pub fn close(&self) -> Result<(), LogError> {
        {
            let mut writer = self.writer.lock();
            if writer.closed {
                return Ok(());
            }
            writer.closed = true;
            self.active().close_index()?;
            self.write_snapshot(&writer.producers, self.log_end_offset())?;
        }
        self.flush_all()
    }

    /// Takes no more appends, and is flushed no more: its files are about to be renamed or removed.
    pub(super) fn abandon(&self) {
        let _none_under_way = self.flushing.lock();
        self.writer.lock().closed = true;
    }

    /// The producers changed.
    fn note_unstable(&self, producers: &ProducerTable) {
        let first = producers.first_unstable_offset().unwrap_or(NONE_OPEN);
        self.unstable.store(first, Ordering::Release);
    }

    fn check_open(&self, writer: &Writer) -> Result<(), LogError> {
        if writer.closed {
            return Err(LogError::Closed(self.partition.clone()));
        }
        Ok(())
    }

    fn active(&self) -> Arc<Segment> {
        let segments = self.segments.read();
        let (_, active) = segments.last_key_value().expect("a log has a segment");
        Arc::clone(active)
    }

    fn note_epoch(&self, leader_epoch: i32, start_offset: i64) {
        let known = self.epochs.read().latest() == Some(leader_epoch);
        if !known && self.epochs.write().assign(leader_epoch, start_offset) {
            self.epochs_dirty.store(true, Ordering::Release);
        }
    }

    /// Brings the epochs' file in step, if it isn't.
    fn write_epochs(&self) -> Result<(), FileError> {
        if !self.epochs_dirty.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let text = leader_epoch_checkpoint::encode(self.epochs.read().entries());
        let path = self.folder.join(names::LEADER_EPOCH_CHECKPOINT);
        file::replace(self.disk(), &path, text.as_bytes(), Durability::Synced).inspect_err(|_| {
            self.epochs_dirty.store(true, Ordering::Release);
        })
    }

    /// As `write_epochs`, where a full disk may put it off: the batches tell the same, and no flush
    /// counts until the file is written.
    fn write_epochs_if_room(&self) -> Result<(), LogError> {
        match self.write_epochs() {
            Err(error) if error.is_no_space() => {
                tracing::warn!(partition = %self.partition, %error, "leader epochs not written yet");
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn publish_end(&self, offset: i64) {
        let active = self.active();
        *self.tail.write() = Tail {
            offset,
            active_base: active.base_offset(),
            active_size: active.size(),
        };
    }
}

/// What a log is made of; `recovery` fills it.
#[derive(Debug)]
pub(super) struct Parts {
    pub partition: TopicPartition,
    pub topic_id: Option<TopicId>,
    pub folder: PathBuf,
    pub config: LogConfig,
    pub segments: Segments,
    pub epochs: LeaderEpochs,
    /// They differ from their file.
    pub epochs_changed: bool,
    pub producers: ProducerTable,
    pub start: i64,
    pub end: i64,
    pub flushed: i64,
    pub recovered: Recovered,
}
