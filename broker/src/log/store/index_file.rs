//! A file of entries of equal size: what both kinds of index are made of.
//!
//! One writer (the log's), any number of readers: an entry is written before it is counted. Entries
//! are looked up in the page cache by binary search, none is held in memory, so an idle segment
//! costs a file handle only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::error::FileError;
use crate::disk::{Disk, DiskFile, Open};

/// Entries of `N` bytes.
#[derive(Debug)]
pub struct IndexFile<const N: usize> {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Whole entries in the file.
    count: AtomicU64,
    /// The file held an integral number of entries when it was opened.
    aligned: bool,
}

impl<const N: usize> IndexFile<N> {
    /// Opens a file, an empty one where there is none.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<IndexFile<N>, FileError> {
        let failed = |error| FileError::new("open", path, error);
        let file = disk.open(path, Open::OrCreate).map_err(failed)?;
        let length = file.size().map_err(failed)?;
        Ok(IndexFile {
            path: path.to_owned(),
            file,
            count: AtomicU64::new(length / N as u64),
            aligned: length % N as u64 == 0,
        })
    }

    /// Number of entries.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Acquire)
    }

    /// False for a file that was cut, or is something else.
    pub fn aligned(&self) -> bool {
        self.aligned
    }

    /// The entry of that number, which must be below the count.
    pub fn get(&self, at: u64) -> Result<[u8; N], FileError> {
        let mut entry = [0; N];
        self.file
            .read_exact_at(&mut entry, at * N as u64)
            .map_err(|error| FileError::new("read", &self.path, error))?;
        Ok(entry)
    }

    /// The last entry.
    pub fn last(&self) -> Result<Option<[u8; N]>, FileError> {
        match self.count() {
            0 => Ok(None),
            count => self.get(count - 1).map(Some),
        }
    }

    /// The last entry for which `below` holds; it must hold for a prefix of all entries.
    pub fn last_where(
        &self,
        below: impl Fn([u8; N]) -> bool,
    ) -> Result<Option<(u64, [u8; N])>, FileError> {
        let (mut low, mut high) = (0, self.count());
        let mut found = None;
        while low < high {
            let middle = low + (high - low) / 2;
            let entry = self.get(middle)?;
            if below(entry) {
                found = Some((middle, entry));
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(found)
    }

    /// Adds an entry.
    pub fn push(&self, entry: [u8; N]) -> Result<(), FileError> {
        let count = self.count();
        self.file
            .write_all_at(&entry, count * N as u64)
            .map_err(|error| FileError::new("write", &self.path, error))?;
        self.count.store(count + 1, Ordering::Release);
        Ok(())
    }

    /// Keeps the first `count` entries.
    pub fn truncate(&self, count: u64) -> Result<(), FileError> {
        self.count.fetch_min(count, Ordering::AcqRel);
        self.file
            .set_size(self.count() * N as u64)
            .map_err(|error| FileError::new("truncate", &self.path, error))
    }

    /// Waits until the disk has it.
    pub fn sync(&self) -> Result<(), FileError> {
        self.file
            .sync()
            .map_err(|error| FileError::new("fsync", &self.path, error))
    }
}
