//! Taking records away: truncation at the end, the start offset and retention at the beginning.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::super::error::{FileError, LogError, ReadError};
use super::super::super::producer_state::ProducerTable;
use super::super::super::retention::{self, SegmentFacts};
use super::super::dir::Checkpoint;
use super::super::file;
use super::super::segment::Segment;
use super::{Log, Writer, rebuild};

impl Log {
    /// Drops every record at or above `offset`, durably: what a follower does with records its
    /// leader doesn't have. A batch that only begins below the offset goes too. False when the log
    /// ends there already.
    pub fn truncate_to(&self, offset: i64) -> Result<bool, LogError> {
        let mut no_flush = self.flushing.lock();
        no_flush.attempt(|| self.truncate(offset))
    }

    fn truncate(&self, offset: i64) -> Result<bool, LogError> {
        let mut writer = self.writer.lock();
        self.check_open(&writer)?;
        if offset >= self.log_end_offset() {
            // An epoch in which this broker led and appended nothing stands at the end all the
            // same; while it does, the leader keeps finding that the logs diverge (as in Kafka).
            if self.epochs.write().truncate_end(offset) {
                self.epochs_dirty.store(true, Ordering::Release);
                self.write_epochs_if_room()?;
            }
            return Ok(false);
        }
        let first = self.first_base();
        if offset < first {
            self.start_over(&mut writer, offset)?;
            return Ok(true);
        }
        let found = self.floor(offset).find(offset).map_err(into_log_error)?;
        let end = found.map_or(offset, |found| found.header.base_offset.min(offset));
        // In this order: a checkpoint pass in between sees the lower one or is corrected by the next line.
        self.flushed.fetch_min(end, Ordering::AcqRel);
        self.dir.lower(&self.partition, end)?;
        let snapshots = self.remove_snapshots(|at| at > end)?;
        let segments = self.remove_segments(|base| base > offset)?;
        if snapshots + segments > 0 {
            // Before anything is written again: what comes back would be taken for a part of the new records.
            self.sync_names()?;
        }
        let active = self.active();
        if let Some(found) = found {
            active.cut(found.position, end).map_err(LogError::Fatal)?;
        }
        active.sync().map_err(LogError::Fatal)?;
        self.start.fetch_min(end, Ordering::AcqRel);
        self.publish_end(end);
        self.epochs.write().truncate_end(end);
        self.epochs_dirty.store(true, Ordering::Release);
        self.write_epochs_if_room()?;
        writer.producers = self.rebuild_producers(end)?;
        self.note_unstable(&writer.producers);
        Ok(true)
    }

    /// Drops every record; the next one gets `offset`: what a follower does when its leader no longer
    /// has what follows the follower's end.
    pub fn truncate_fully_and_start_at(&self, offset: i64) -> Result<(), LogError> {
        let mut no_flush = self.flushing.lock();
        no_flush.attempt(|| {
            let mut writer = self.writer.lock();
            self.check_open(&writer)?;
            self.start_over(&mut writer, offset)
        })
    }

    /// Records below `offset` may no longer be read, and go with their segments. False when the log
    /// starts there or later already.
    pub fn advance_log_start(&self, offset: i64) -> Result<bool, LogError> {
        let mut writer = self.writer.lock();
        self.check_open(&writer)?;
        let (log_start, log_end) = (self.log_start_offset(), self.log_end_offset());
        if offset <= log_start {
            return Ok(false);
        }
        if offset > log_end {
            return Err(LogError::OutOfRange {
                offset,
                log_start,
                log_end,
            });
        }
        self.move_start(&mut writer, offset);
        Ok(true)
    }

    /// Moves the start behind the oldest segments that may go as the topic's settings say; see `retention`. They
    /// go by `delete_passed`, once the start is on disk: without it a crash in the middle would look like a hole.
    /// Returns how many segments.
    pub fn apply_retention(&self, now_ms: i64, high_watermark: i64) -> Result<usize, LogError> {
        let config = self.config();
        let mut writer = self.writer.lock();
        self.check_open(&writer)?;
        let facts = self.facts();
        let start = self.log_start_offset();
        let count = retention::deletable(&facts, &config, start, high_watermark, now_ms);
        if count == 0 {
            return Ok(0);
        }
        if count == facts.len() {
            self.roll(&writer, self.log_end_offset(), now_ms)?;
        }
        self.move_start(&mut writer, facts[count - 1].next_offset);
        Ok(count)
    }

    /// Deletes the segments that lie before the start, once that is on disk. Files are renamed now and removed
    /// `file.delete.delay.ms` later, by `remove_due`. Returns how many segments.
    pub fn delete_passed(&self, now_ms: i64) -> Result<usize, LogError> {
        let due_ms = now_ms.saturating_add(self.config().file_delete_delay_ms);
        let mut writer = self.writer.lock();
        self.check_open(&writer)?;
        let (facts, start) = (self.facts(), self.log_start_offset());
        let closed = &facts[..facts.len() - 1];
        if closed.first().is_none_or(|one| one.next_offset > start) {
            return Ok(0);
        }
        let until = self.deletable_until(start)?;
        let passed = closed.iter().take_while(|one| one.next_offset <= until);
        let mut count = 0;
        for gone in passed {
            let segment = self.segments.write().remove(&gone.base_offset);
            if let Some(segment) = segment {
                let files = segment.mark_deleted()?;
                writer.leaving.push((due_ms, files));
                count += 1;
            }
        }
        Ok(count)
    }

    /// Up to where segments may go: to the start that is on disk. Where a full disk has no room for that, to the recovery
    /// point that is: a first segment behind both would look as if those before it had been lost with the power.
    fn deletable_until(&self, start: i64) -> Result<i64, LogError> {
        let noted = self.dir.offset(Checkpoint::LogStarts, &self.partition);
        if noted.is_some_and(|noted| noted >= start) {
            return Ok(start);
        }
        match self.dir.note_start(&self.partition, start) {
            Err(error) if error.is_no_space() => {
                tracing::warn!(partition = %self.partition, %error, "log start not written before segments go");
                Ok(start.min(self.dir.recovery_point(&self.partition)))
            }
            noted => Ok(noted.map(|()| start)?),
        }
    }

    /// Removes files that retention renamed long enough ago.
    pub fn remove_due(&self, now_ms: i64) -> Result<(), LogError> {
        let mut writer = self.writer.lock();
        let (due, later) = std::mem::take(&mut writer.leaving)
            .into_iter()
            .partition(|(due_ms, _)| *due_ms <= now_ms);
        writer.leaving = later;
        drop(writer);
        let due: Vec<_> = due;
        for path in due.iter().flat_map(|(_, files)| files) {
            file::remove(self.disk(), path)?;
        }
        Ok(())
    }

    fn facts(&self) -> Vec<SegmentFacts> {
        let segments = self.segments.read();
        let bases = segments.keys().copied();
        let nexts = bases.skip(1).chain([self.log_end_offset()]);
        let facts = segments.values().zip(nexts).map(|(segment, next_offset)| {
            let largest_ms = segment.largest_timestamp().timestamp_ms;
            SegmentFacts {
                base_offset: segment.base_offset(),
                next_offset,
                size_bytes: segment.size(),
                largest_timestamp_ms: match largest_ms {
                    0.. => largest_ms,
                    _ => segment.modified_ms(),
                },
            }
        });
        facts.collect()
    }

    fn move_start(&self, writer: &mut Writer, offset: i64) {
        if self.start.fetch_max(offset, Ordering::AcqRel) >= offset {
            return;
        }
        if self.epochs.write().truncate_start(offset) {
            self.epochs_dirty.store(true, Ordering::Release);
        }
        writer.producers.advance_start(offset);
        self.note_unstable(&writer.producers);
    }

    /// Removes all segments and begins an empty one.
    fn start_over(&self, writer: &mut Writer, offset: i64) -> Result<(), LogError> {
        // Nothing is left in between, wherever the log was flushed to.
        self.flushed.store(0, Ordering::Release);
        self.dir
            .lower_to(Checkpoint::HighWatermarks, &self.partition, offset)?;
        self.dir
            .lower_to(Checkpoint::RecoveryPoints, &self.partition, 0)?;
        if offset >= self.first_base() {
            // What is there now lies below it then. On a full disk it is this that finds no room, with nothing gone yet.
            self.dir.note_start(&self.partition, offset)?;
        }
        self.remove_snapshots(|_| true)?;
        let fresh = self.replace_all_segments(offset)?;
        fresh.sync().map_err(LogError::Fatal)?;
        self.sync_names()?;
        self.publish_end(offset);
        self.start.store(offset, Ordering::Release);
        self.flushed.store(offset, Ordering::Release);
        self.epochs.write().clear();
        self.epochs_dirty.store(true, Ordering::Release);
        self.write_epochs_if_room()?;
        writer.producers = ProducerTable::default();
        self.note_unstable(&writer.producers);
        Ok(())
    }

    fn replace_all_segments(&self, offset: i64) -> Result<Arc<Segment>, LogError> {
        let mut segments = self.segments.write();
        // Last first: a crash in between leaves a log that merely ends earlier.
        for segment in segments.values().rev() {
            segment.remove()?;
        }
        // Before a start below them is noted: records behind it would look as if those in front of them were missing.
        self.sync_names()?;
        self.dir.note_start(&self.partition, offset)?;
        let fresh = Arc::new(Segment::open(self.dir.disk(), &self.folder, offset, 0)?);
        segments.clear();
        segments.insert(offset, Arc::clone(&fresh));
        Ok(fresh)
    }

    fn first_base(&self) -> i64 {
        let segments = self.segments.read();
        segments.first_key_value().map_or(0, |(&base, _)| base)
    }

    /// The segment that holds an offset, which must not be below the first one's.
    fn floor(&self, offset: i64) -> Arc<Segment> {
        let segments = self.segments.read();
        let floor = segments.range(..=offset).next_back();
        Arc::clone(floor.expect("not below the first segment").1)
    }

    /// Removes segments at the end; readers that hold one can still read it. Returns how many.
    fn remove_segments(&self, gone: impl Fn(i64) -> bool) -> Result<usize, FileError> {
        let mut segments = self.segments.write();
        let bases: Vec<i64> = segments
            .keys()
            .copied()
            .filter(|&base| gone(base))
            .collect();
        let count = bases.len();
        for base in bases.into_iter().rev() {
            if let Some(segment) = segments.get(&base) {
                segment.remove()?;
            }
            segments.remove(&base);
        }
        Ok(count)
    }

    /// Returns how many.
    fn remove_snapshots(&self, gone: impl Fn(i64) -> bool) -> Result<usize, FileError> {
        let mut count = 0;
        for offset in rebuild::snapshots(self.disk(), &self.folder)? {
            if gone(offset) {
                file::remove(self.disk(), &self.snapshot_path(offset))?;
                count += 1;
            }
        }
        Ok(count)
    }

    fn rebuild_producers(&self, end: i64) -> Result<ProducerTable, LogError> {
        let segments = self.segments.read().clone();
        let start = self.log_start_offset();
        rebuild::producers(self.disk(), &self.folder, &segments, start, end).map_err(into_log_error)
    }
}

/// A log that can't be read where it must be cut is as bad as a disk that fails.
fn into_log_error(error: ReadError) -> LogError {
    match error {
        ReadError::Storage(error) => LogError::Fatal(error),
        other => {
            let reason = std::io::Error::new(std::io::ErrorKind::InvalidData, other.to_string());
            LogError::Fatal(FileError::new("truncate", "", reason))
        }
    }
}
