//! Making the log durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::super::error::{FileError, LogError};
use super::super::super::format::{names, producer_snapshot};
use super::super::super::producer_state::ProducerTable;
use super::super::file::{self, Durability};
use super::super::segment::Segment;
use super::Log;

/// Held while the log is made durable.
#[derive(Debug, Default)]
pub(super) struct Flushing {
    /// A sync that failed. The system tells it once: whoever waited for the lock meanwhile would sync again, hear that all
    /// is well, and acknowledge what the disk doesn't have.
    failed: Option<LogError>,
}

impl Flushing {
    /// Does what syncs, unless that failed before.
    pub(super) fn attempt<T>(
        &mut self,
        work: impl FnOnce() -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        work().inspect_err(|error| {
            self.failed = Some(error.clone()).filter(LogError::is_fatal);
        })
    }
}

impl Log {
    /// Waits until everything appended before the call is on disk. A failed fsync is fatal, whatever
    /// it was: what the page cache holds may differ from the disk from then on.
    pub fn flush(&self) -> Result<(), LogError> {
        self.flush_to(self.log_end_offset())
    }

    /// True when `flush.messages` records wait to be flushed: the caller, who knows where it may
    /// block, calls `flush` then, once for all that wait.
    pub fn needs_flush(&self) -> bool {
        let unflushed = self.log_end_offset() - self.flushed_end_offset();
        unflushed >= self.config().flush_messages
    }

    /// Flushes if `flush.ms` has passed since the last time, and closed segments in any case. True
    /// when anything was flushed.
    pub fn flush_if_due(&self, now_ms: i64) -> Result<bool, LogError> {
        let before = self.recovery_point();
        let tail = *self.tail.read();
        let last_ms = self.last_flush_ms.load(Ordering::Acquire);
        let due = now_ms.saturating_sub(last_ms) >= self.config().flush_ms;
        if due && tail.offset > before {
            self.flush_to(tail.offset)?;
        } else if tail.active_base > before {
            self.flush_to(tail.active_base)?;
        }
        if due {
            self.last_flush_ms.store(now_ms, Ordering::Release);
        }
        Ok(self.recovery_point() != before)
    }

    fn flush_to(&self, end: i64) -> Result<(), LogError> {
        let mut flushing = self.flushing.lock();
        if self.recovery_point() >= end {
            return Ok(());
        }
        // Where its files were is nothing any more, or another log.
        self.check_open(&self.writer.lock())?;
        flushing.attempt(|| self.make_durable(end))
    }

    /// As `flush`, and what stands beside the records too: the last index entries, a snapshot's name.
    pub(super) fn flush_all(&self) -> Result<(), LogError> {
        let mut flushing = self.flushing.lock();
        flushing.attempt(|| {
            // Though it may hold no record: what an append left that was taken back would be found behind a clean stop.
            self.active().sync().map_err(LogError::Fatal)?;
            self.make_durable(self.log_end_offset())
        })
    }

    fn make_durable(&self, end: i64) -> Result<(), LogError> {
        // From the record before on: a segment that ends where the last flush did got its last index entry since.
        for segment in self.segments_between(self.recovery_point() - 1, end) {
            segment.sync().map_err(LogError::Fatal)?;
        }
        // A full disk here leaves everything as it was: nothing is flushed, and the process goes on.
        self.write_epochs()?;
        if self.folder_dirty.swap(false, Ordering::AcqRel) {
            self.sync_names()?;
        }
        // Truncation takes `flushing` too, so the end is still there.
        self.flushed.fetch_max(end, Ordering::AcqRel);
        Ok(())
    }

    /// Makes the names of the log's files durable, and its folder's.
    pub(super) fn sync_names(&self) -> Result<(), LogError> {
        file::sync_folder(self.disk(), &self.folder).map_err(LogError::Fatal)?;
        file::sync_folder(self.disk(), self.dir.path()).map_err(LogError::Fatal)
    }

    /// Segments that hold offsets of `from..end`.
    fn segments_between(&self, from: i64, end: i64) -> Vec<Arc<Segment>> {
        let segments = self.segments.read();
        let floor = segments.range(..=from).next_back();
        let low = floor.map_or(i64::MIN, |(&base, _)| base);
        segments
            .range(low..end.max(low))
            .map(|(_, segment)| Arc::clone(segment))
            .collect()
    }

    /// Leaves what is known of the producers in a file. Not fsynced: its checksum tells when it
    /// didn't get to disk, and the batches tell the same.
    pub(super) fn write_snapshot(
        &self,
        producers: &ProducerTable,
        offset: i64,
    ) -> Result<(), FileError> {
        let bytes = producer_snapshot::encode(&producers.snapshot());
        let path = self.snapshot_path(offset);
        self.folder_dirty.store(true, Ordering::Release);
        file::replace(self.disk(), &path, &bytes, Durability::Lazy)
    }

    pub(super) fn snapshot_path(&self, offset: i64) -> PathBuf {
        self.folder
            .join(names::segment_file(offset, names::SNAPSHOT))
    }
}
