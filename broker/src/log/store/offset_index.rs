//! A segment's offset index: near which byte an offset is.

use std::path::Path;

use super::super::error::FileError;
use super::super::format::offset_index::{self, ENTRY_SIZE, OffsetPosition};
use super::index_file::IndexFile;
use crate::disk::Disk;

/// See `format::offset_index`.
#[derive(Debug)]
pub struct OffsetIndex {
    base_offset: i64,
    file: IndexFile<{ ENTRY_SIZE as usize }>,
}

impl OffsetIndex {
    /// Opens or creates the index of the segment with that base offset.
    pub fn open(disk: &dyn Disk, path: &Path, base_offset: i64) -> Result<OffsetIndex, FileError> {
        let file = IndexFile::open(disk, path)?;
        Ok(OffsetIndex { base_offset, file })
    }

    /// Where to begin looking for an offset.
    pub fn lookup(&self, offset: i64) -> Result<u64, FileError> {
        let below = |entry| self.decode(entry).offset <= offset;
        let found = self.file.last_where(below)?;
        Ok(found.map_or(0, |(_, entry)| u64::from(self.decode(entry).position)))
    }

    /// The batch nearest before a position that the index knows of; the first one if it knows none.
    pub fn before(&self, position: u64) -> Result<u64, FileError> {
        let below = |entry| u64::from(self.decode(entry).position) <= position;
        let found = self.file.last_where(below)?;
        Ok(found.map_or(0, |(_, entry)| u64::from(self.decode(entry).position)))
    }

    /// The last entry.
    pub fn last(&self) -> Result<Option<OffsetPosition>, FileError> {
        Ok(self.file.last()?.map(|entry| self.decode(entry)))
    }

    /// Adds an entry, which must lie behind the last one.
    pub fn push(&self, entry: OffsetPosition) -> Result<(), FileError> {
        self.file
            .push(offset_index::encode(entry, self.base_offset))
    }

    /// Drops entries of offsets from `offset` on.
    pub fn truncate_to(&self, offset: i64) -> Result<(), FileError> {
        let below = |entry| self.decode(entry).offset < offset;
        let kept = self.file.last_where(below)?;
        self.file.truncate(kept.map_or(0, |(at, _)| at + 1))
    }

    /// True when no further entry may be added to an index of at most `max_bytes`.
    pub fn is_full(&self, max_bytes: u32) -> bool {
        self.file.count() >= u64::from(max_bytes) / ENTRY_SIZE
    }

    /// Number of entries.
    pub fn count(&self) -> u64 {
        self.file.count()
    }

    /// Drops all but the first `count` entries.
    pub fn truncate_count(&self, count: u64) -> Result<(), FileError> {
        self.file.truncate(count)
    }

    /// What makes it unfit for a log file of that size, if anything. An index that Kafka left
    /// without a clean stop ends in zeros, which shows as a last entry that doesn't rise.
    pub fn defect(&self, log_size: u64) -> Result<Option<&'static str>, FileError> {
        if !self.file.aligned() {
            return Ok(Some("length is no multiple of the entry size"));
        }
        let Some(last) = self.last()? else {
            return Ok(None);
        };
        let first = self.decode(self.file.get(0)?);
        let rises = self.file.count() == 1 || first.offset < last.offset;
        Ok(if first.offset < self.base_offset || !rises {
            Some("entries do not rise")
        } else if u64::from(last.position) >= log_size {
            Some("last entry points behind the log's end")
        } else {
            None
        })
    }

    /// All entries, for tests.
    #[cfg(test)]
    pub fn entries(&self) -> Vec<OffsetPosition> {
        let all = (0..self.count()).map(|at| self.decode(self.file.get(at).unwrap()));
        all.collect()
    }

    /// Waits until the disk has it.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file.sync()
    }

    fn decode(&self, entry: [u8; ENTRY_SIZE as usize]) -> OffsetPosition {
        offset_index::decode(entry, self.base_offset)
    }
}
