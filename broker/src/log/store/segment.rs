//! A segment: one log file with its offset index and time index.
//!
//! One writer, under the log's `writer` lock; any number of readers. Bytes are written before the
//! size says so. A failed append takes back what it wrote, in the log file and in the indexes, so
//! that a full disk leaves whole batches only.

#[cfg(test)]
mod faults;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::super::config::LogConfig;
use super::super::error::{FileError, ReadError};
use super::super::format::names;
use super::super::format::offset_index::OffsetPosition;
use super::super::format::record_batch::Header;
use super::super::format::time_index::TimestampEntry;
use super::file;
use super::offset_index::OffsetIndex;
use super::time_index::TimeIndex;
use super::window::{FILE_CHUNK, HEADERS_CHUNK, ScanError, Window};
use crate::disk::{Disk, DiskFile, Open};

/// Stands for a segment without a timestamp.
pub const NO_TIMESTAMP: TimestampEntry = TimestampEntry {
    timestamp_ms: -1,
    offset: -1,
};

/// A batch found in a segment.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    /// Its first byte.
    pub position: u64,
    /// Its header.
    pub header: Header,
}

/// What an append brings.
#[derive(Debug, Clone, Copy)]
pub struct Piece<'a> {
    /// Whole batches.
    pub bytes: &'a [u8],
    /// Offset of the first record.
    pub first_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// Largest timestamp, with the last offset of the batch that has it.
    pub largest_timestamp: TimestampEntry,
}

/// What only the writer changes; readers look at it for timestamps.
#[derive(Debug, Clone, Copy)]
struct Progress {
    bytes_since_index_entry: u64,
    largest_timestamp: TimestampEntry,
    first_timestamp_ms: Option<i64>,
    created_ms: i64,
    modified_ms: i64,
}

/// See the module.
#[derive(Debug)]
pub struct Segment {
    base_offset: i64,
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Bytes of whole batches in the file.
    size: AtomicU64,
    /// Rising offsets, at most one per `index_interval_bytes`.
    offset_index: OffsetIndex,
    /// Rising timestamps; the last entry is written when the segment is closed.
    time_index: TimeIndex,
    /// There were batches but an index file was not there when it was opened.
    lacked_index: bool,
    progress: Mutex<Progress>,
    #[cfg(test)]
    pub(super) faults: faults::Faults,
}

impl Segment {
    /// Begins a new segment. If that fails, no file of it is left: an empty one would look like the
    /// log's end to the next start.
    pub fn create(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        base_offset: i64,
        now_ms: i64,
    ) -> Result<Segment, FileError> {
        Segment::open(disk, folder, base_offset, now_ms).inspect_err(|_| {
            for kind in [names::LOG, names::OFFSET_INDEX, names::TIME_INDEX] {
                let _ = disk.remove(&folder.join(names::segment_file(base_offset, kind)));
            }
        })
    }

    /// Opens the files of a segment, creating those that aren't there.
    pub fn open(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        base_offset: i64,
        now_ms: i64,
    ) -> Result<Segment, FileError> {
        let at = |kind| folder.join(names::segment_file(base_offset, kind));
        let path = at(names::LOG);
        let failed = |error| FileError::new("open", &path, error);
        let file = disk.open(&path, Open::OrCreate).map_err(failed)?;
        let size = file.size().map_err(failed)?;
        let modified_ms = file.modified_ms().map_err(failed)?;
        let indexed = disk.exists(&at(names::OFFSET_INDEX)) && disk.exists(&at(names::TIME_INDEX));
        let offset_index = OffsetIndex::open(&**disk, &at(names::OFFSET_INDEX), base_offset)?;
        let time_index = TimeIndex::open(&**disk, &at(names::TIME_INDEX), base_offset)?;
        let largest_timestamp = time_index.last()?.unwrap_or(NO_TIMESTAMP);
        Ok(Segment {
            base_offset,
            disk: Arc::clone(disk),
            folder: folder.to_owned(),
            file,
            size: AtomicU64::new(size),
            offset_index,
            time_index,
            lacked_index: size > 0 && !indexed,
            progress: Mutex::new(Progress {
                bytes_since_index_entry: 0,
                largest_timestamp,
                first_timestamp_ms: None,
                created_ms: now_ms,
                modified_ms,
            }),
            #[cfg(test)]
            faults: faults::Faults::default(),
        })
    }

    /// First offset it can hold.
    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    /// Bytes of its log file.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Its log file.
    pub fn file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// Its offset index.
    pub fn offset_index(&self) -> &OffsetIndex {
        &self.offset_index
    }

    /// Its time index.
    pub fn time_index(&self) -> &TimeIndex {
        &self.time_index
    }

    /// True when an index file had to be created for batches that were there.
    pub fn lacked_index(&self) -> bool {
        self.lacked_index
    }

    /// Largest timestamp, and the last offset of the batch that has it; -1 where none has one.
    pub fn largest_timestamp(&self) -> TimestampEntry {
        self.progress.lock().largest_timestamp
    }

    /// Milliseconds at which it was last changed, by the clock that was given or by the file system.
    pub fn modified_ms(&self) -> i64 {
        self.progress.lock().modified_ms
    }

    /// A window over all of it, or over what is before `end`.
    pub fn window(&self, end: u64, chunk: usize) -> Window {
        Window::new(self.file(), end.min(self.size()), chunk)
    }

    /// An error with this segment's log file in it.
    pub fn scan_error(&self, error: ScanError) -> ReadError {
        let path = self.path(names::LOG);
        match error {
            ScanError::Io(error) => ReadError::Storage(FileError::new("read", path, error)),
            ScanError::Batch { .. } => ReadError::Corrupt(format!("{}: {error}", path.display())),
        }
    }

    /// The first batch that holds `offset` or a later one; `None` when all are before it.
    pub fn find(&self, offset: i64) -> Result<Option<Found>, ReadError> {
        let mut window = self.window(u64::MAX, HEADERS_CHUNK).growing();
        let indexed = self.offset_index.lookup(offset)?;
        let trusted = match window.header(indexed) {
            Ok(Some(header)) => {
                header.base_offset <= offset && header.base_offset >= self.base_offset
            }
            _ => false,
        };
        // An index that lies costs time, not truth.
        let mut position = if trusted { indexed } else { 0 };
        while let Some(header) = window
            .header(position)
            .map_err(|error| self.scan_error(error))?
        {
            if header.last_offset() >= offset {
                return Ok(Some(Found { position, header }));
            }
            position += header.size() as u64;
        }
        Ok(None)
    }

    /// Passes the headers of the batches in about the last `bytes` before `end`; fewer where the index is wrong.
    pub fn last_headers(
        &self,
        end: i64,
        bytes: u64,
        mut visit: impl FnMut(&Header),
    ) -> Result<(), ReadError> {
        let behind = self.find(end)?.map_or(self.size(), |found| found.position);
        let mut position = self.offset_index.before(behind.saturating_sub(bytes))?;
        let mut window = self.window(behind, HEADERS_CHUNK);
        while let Some(header) = window
            .header(position)
            .map_err(|error| self.scan_error(error))?
        {
            visit(&header);
            position += header.size() as u64;
        }
        Ok(())
    }

    /// True when a batch here is what an entry of the time index says.
    pub fn has_time(&self, entry: TimestampEntry) -> Result<bool, ReadError> {
        let found = self.find(entry.offset)?;
        Ok(found.is_some_and(|Found { header, .. }| {
            header.base_offset <= entry.offset && header.max_timestamp_ms == entry.timestamp_ms
        }))
    }

    /// True when `piece` must go into a new segment.
    pub fn must_roll(&self, piece: &Piece<'_>, config: &LogConfig, now_ms: i64) -> bool {
        let size = self.size();
        if size == 0 {
            return !self.can_hold(piece.last_offset);
        }
        let progress = *self.progress.lock();
        let timestamp_ms = piece.largest_timestamp.timestamp_ms;
        let waited_ms = match progress.first_timestamp_ms {
            Some(first_ms) if timestamp_ms >= 0 => timestamp_ms.saturating_sub(first_ms),
            _ => now_ms.saturating_sub(progress.created_ms),
        };
        size + piece.bytes.len() as u64 > u64::from(config.segment_bytes)
            || waited_ms > config.segment_ms
            || self.offset_index.is_full(config.segment_index_bytes)
            || self.time_index.is_full(config.segment_index_bytes)
            || !self.can_hold(piece.last_offset)
    }

    fn can_hold(&self, offset: i64) -> bool {
        (0..=i64::from(i32::MAX)).contains(&(offset - self.base_offset))
    }

    /// Writes whole batches at the end. On an error nothing of them is left, or, when even that
    /// fails, the error isn't a full disk and the process ends.
    pub fn append(
        &self,
        piece: &Piece<'_>,
        config: &LogConfig,
        now_ms: i64,
    ) -> Result<(), FileError> {
        debug_assert!(self.can_hold(piece.last_offset));
        let size = self.size();
        let counts = (self.offset_index.count(), self.time_index.count());
        let mut progress = *self.progress.lock();
        if let Err(error) = self.write(piece, size, &mut progress, config) {
            self.take_back(size, counts)?;
            return Err(error);
        }
        progress.modified_ms = now_ms;
        if size == 0 {
            progress.created_ms = now_ms;
        }
        *self.progress.lock() = progress;
        self.size
            .store(size + piece.bytes.len() as u64, Ordering::Release);
        Ok(())
    }

    fn write(
        &self,
        piece: &Piece<'_>,
        size: u64,
        progress: &mut Progress,
        config: &LogConfig,
    ) -> Result<(), FileError> {
        self.write_bytes(piece.bytes, size)
            .map_err(|error| FileError::new("append", self.path(names::LOG), error))?;
        let timestamp = piece.largest_timestamp;
        if timestamp.timestamp_ms > progress.largest_timestamp.timestamp_ms {
            progress.largest_timestamp = timestamp;
        }
        if timestamp.timestamp_ms >= 0 {
            progress
                .first_timestamp_ms
                .get_or_insert(timestamp.timestamp_ms);
        }
        if progress.bytes_since_index_entry > u64::from(config.index_interval_bytes) {
            self.offset_index.push(OffsetPosition {
                offset: piece.last_offset,
                position: u32::try_from(size).expect("segments are below 2 GiB"),
            })?;
            self.time_index.push_if_larger(progress.largest_timestamp)?;
            progress.bytes_since_index_entry = 0;
        }
        progress.bytes_since_index_entry += piece.bytes.len() as u64;
        Ok(())
    }

    fn write_bytes(&self, bytes: &[u8], position: u64) -> std::io::Result<()> {
        #[cfg(test)]
        if self.faults.space_for(bytes.len()) < bytes.len() {
            let written = self.faults.space_for(bytes.len());
            self.file.write_all_at(&bytes[..written], position)?;
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(bytes, position)
    }

    fn take_back(&self, size: u64, counts: (u64, u64)) -> Result<(), FileError> {
        self.file
            .set_size(size)
            .map_err(|error| FileError::new("truncate", self.path(names::LOG), error))?;
        self.offset_index.truncate_count(counts.0)?;
        self.time_index.truncate_count(counts.1)
    }

    /// The segment takes no more: its time index gets the last word on its largest timestamp.
    pub fn close_index(&self) -> Result<(), FileError> {
        self.time_index.push_if_larger(self.largest_timestamp())
    }

    /// Cuts the file at a batch's first byte, and what the indexes say of offsets from `end` on.
    pub fn cut(&self, position: u64, end: i64) -> Result<(), FileError> {
        self.offset_index.truncate_to(end)?;
        self.time_index.truncate_to(end)?;
        self.size.fetch_min(position, Ordering::AcqRel);
        self.file
            .set_size(self.size())
            .map_err(|error| FileError::new("truncate", self.path(names::LOG), error))?;
        let largest_timestamp = self.read_largest_timestamp()?;
        let mut progress = self.progress.lock();
        progress.largest_timestamp = largest_timestamp;
        progress.bytes_since_index_entry = 0;
        if position == 0 {
            progress.first_timestamp_ms = None;
        }
        Ok(())
    }

    /// The last word of the time index, or a batch behind the one it names.
    fn read_largest_timestamp(&self) -> Result<TimestampEntry, FileError> {
        let mut largest = self.time_index.last()?.unwrap_or(NO_TIMESTAMP);
        let mut position = self.offset_index.lookup(largest.offset)?;
        let mut window = self.window(u64::MAX, HEADERS_CHUNK);
        loop {
            let header = match window.header(position) {
                Ok(Some(header)) => header,
                Ok(None) | Err(ScanError::Batch { .. }) => return Ok(largest),
                Err(ScanError::Io(error)) => {
                    return Err(FileError::new("read", self.path(names::LOG), error));
                }
            };
            if header.max_timestamp_ms > largest.timestamp_ms {
                largest = TimestampEntry {
                    timestamp_ms: header.max_timestamp_ms,
                    offset: header.last_offset(),
                };
            }
            position += header.size() as u64;
        }
    }

    /// Replaces both indexes by what a pass over the file found. The time index ends with the largest timestamp, as
    /// that of a closed segment has to.
    pub fn rebuild_indexes(
        &self,
        offsets: &[OffsetPosition],
        timestamps: &[TimestampEntry],
        largest_timestamp: TimestampEntry,
        first_timestamp_ms: Option<i64>,
    ) -> Result<(), FileError> {
        self.offset_index.truncate_count(0)?;
        self.time_index.truncate_count(0)?;
        // Times first: when this is interrupted, everything behind the last offset entry is looked at again.
        for entry in timestamps {
            self.time_index.push_if_larger(*entry)?;
        }
        self.time_index.push_if_larger(largest_timestamp)?;
        for entry in offsets {
            self.offset_index.push(*entry)?;
        }
        let mut progress = self.progress.lock();
        progress.largest_timestamp = largest_timestamp;
        progress.first_timestamp_ms = first_timestamp_ms;
        Ok(())
    }

    /// Tells the writer what the first and the largest timestamp are, found by reading.
    pub fn set_timestamps(&self, first_ms: Option<i64>, largest: TimestampEntry) {
        let mut progress = self.progress.lock();
        progress.first_timestamp_ms = first_ms;
        if largest.timestamp_ms > progress.largest_timestamp.timestamp_ms {
            progress.largest_timestamp = largest;
        }
    }

    /// Writes the file's bytes from a position on again, as they are: none of them counts as written before.
    pub fn write_again(&self, from: u64) -> Result<(), FileError> {
        let failed = |error| FileError::new("rewrite", self.path(names::LOG), error);
        let mut window = self.window(u64::MAX, FILE_CHUNK);
        let mut position = from;
        while position < window.end() {
            let bytes = window.bytes(position, FILE_CHUNK).map_err(failed)?;
            if bytes.is_empty() {
                return Err(failed(std::io::ErrorKind::UnexpectedEof.into()));
            }
            self.file.write_all_at(bytes, position).map_err(failed)?;
            position += bytes.len() as u64;
        }
        Ok(())
    }

    /// Waits until the disk has the log file and the indexes.
    pub fn sync(&self) -> Result<(), FileError> {
        let synced = self.file.sync();
        #[cfg(test)]
        let synced = synced.and_then(|()| self.faults.sync());
        synced.map_err(|error| FileError::new("fsync", self.path(names::LOG), error))?;
        self.offset_index.sync()?;
        self.time_index.sync()
    }

    /// Gives its files names that say they are to be removed, its snapshot included; open readers
    /// keep reading. Returns the new names.
    pub fn mark_deleted(&self) -> Result<Vec<PathBuf>, FileError> {
        let mut marked = Vec::new();
        let kinds = [
            names::LOG,
            names::OFFSET_INDEX,
            names::TIME_INDEX,
            names::TXN_INDEX,
            names::SNAPSHOT,
        ];
        for kind in kinds {
            let from = self.path(kind);
            let to = self.path(&format!("{kind}.{}", names::DELETED));
            match file::rename(&*self.disk, &from, &to) {
                Ok(()) => marked.push(to),
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(marked)
    }

    /// Removes its files at once.
    pub fn remove(&self) -> Result<(), FileError> {
        for path in self.mark_deleted()? {
            self.disk
                .remove(&path)
                .map_err(|error| FileError::new("remove", path, error))?;
        }
        Ok(())
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.folder
            .join(names::segment_file(self.base_offset, kind))
    }
}
