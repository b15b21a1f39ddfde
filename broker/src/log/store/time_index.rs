//! A segment's time index: from which offset on a timestamp can occur.

use std::path::Path;

use super::super::error::FileError;
use super::super::format::time_index::{self, ENTRY_SIZE, TimestampEntry};
use super::index_file::IndexFile;
use crate::disk::Disk;

/// See `format::time_index`.
#[derive(Debug)]
pub struct TimeIndex {
    base_offset: i64,
    file: IndexFile<{ ENTRY_SIZE as usize }>,
}

impl TimeIndex {
    /// Opens or creates the index of the segment with that base offset.
    pub fn open(disk: &dyn Disk, path: &Path, base_offset: i64) -> Result<TimeIndex, FileError> {
        let file = IndexFile::open(disk, path)?;
        Ok(TimeIndex { base_offset, file })
    }

    /// The last entry whose timestamp isn't larger.
    pub fn lookup(&self, timestamp_ms: i64) -> Result<Option<TimestampEntry>, FileError> {
        let below = |entry| self.decode(entry).timestamp_ms <= timestamp_ms;
        let found = self.file.last_where(below)?;
        Ok(found.map(|(_, entry)| self.decode(entry)))
    }

    /// The last entry.
    pub fn last(&self) -> Result<Option<TimestampEntry>, FileError> {
        Ok(self.file.last()?.map(|entry| self.decode(entry)))
    }

    /// Adds an entry if its timestamp is larger than the last one's.
    pub fn push_if_larger(&self, entry: TimestampEntry) -> Result<(), FileError> {
        let last = self.last()?;
        let larger = last.is_none_or(|last| {
            entry.timestamp_ms > last.timestamp_ms && entry.offset >= last.offset
        });
        if larger && entry.timestamp_ms >= 0 {
            self.file
                .push(time_index::encode(entry, self.base_offset))?;
        }
        Ok(())
    }

    /// Drops entries of offsets from `offset` on.
    pub fn truncate_to(&self, offset: i64) -> Result<(), FileError> {
        let below = |entry| self.decode(entry).offset < offset;
        let kept = self.file.last_where(below)?;
        self.file.truncate(kept.map_or(0, |(at, _)| at + 1))
    }

    /// True when an index of at most `max_bytes` has room for the closing entry only.
    pub fn is_full(&self, max_bytes: u32) -> bool {
        self.file.count() + 1 >= u64::from(max_bytes) / ENTRY_SIZE
    }

    /// Number of entries.
    pub fn count(&self) -> u64 {
        self.file.count()
    }

    /// Drops all but the first `count` entries.
    pub fn truncate_count(&self, count: u64) -> Result<(), FileError> {
        self.file.truncate(count)
    }

    /// What makes it unfit for a log that ends at `next_offset`, if anything.
    pub fn defect(&self, next_offset: i64) -> Result<Option<&'static str>, FileError> {
        if !self.file.aligned() {
            return Ok(Some("length is no multiple of the entry size"));
        }
        let Some(last) = self.last()? else {
            return Ok(None);
        };
        let first = self.decode(self.file.get(0)?);
        let rises = self.file.count() == 1 || first.timestamp_ms < last.timestamp_ms;
        Ok(if first.offset < self.base_offset || !rises {
            Some("entries do not rise")
        } else if last.offset >= next_offset {
            Some("last entry points behind the log's end")
        } else {
            None
        })
    }

    /// All entries, for tests.
    #[cfg(test)]
    pub fn entries(&self) -> Vec<TimestampEntry> {
        let all = (0..self.count()).map(|at| self.decode(self.file.get(at).unwrap()));
        all.collect()
    }

    /// Waits until the disk has it.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync()
    }

    fn decode(&self, entry: [u8; ENTRY_SIZE as usize]) -> TimestampEntry {
        time_index::decode(entry, self.base_offset)
    }
}
