//! A file of entries of equal size: what both kinds of index are made of.
//!
//! One writer (the log's), any number of readers: an entry is written before it is counted. Entries are looked up in the
//! page cache by binary search. The file is thought of as blocks of a page: one read brings the block that an
//! entry is in, and each block's first entry, by which the block is found, is kept in memory once it was
//! read. So a lookup that has been near before costs one read; an index that nobody looks into, or of one
//! block, costs a file handle only; a full one of a segment of 1 GiB at most 12 KiB.
//!
//! What is kept is what the file holds: entries don't change but by `truncate`, which waits for searches to end.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::super::error::FileError;
use crate::disk::{Disk, DiskFile, Open};

/// Bytes of a block, or a few less: whole entries.
const BLOCK_BYTES: usize = 4 << 10;
/// Of so many blocks the first entries are kept: all those of an index of `segment.index.bytes`.
const KEPT_BLOCKS: u64 = (10 << 20) / BLOCK_BYTES as u64;

/// The first entries of the first blocks, each once it was read.
type Firsts<const N: usize> = Vec<OnceLock<[u8; N]>>;

/// Entries of `N` bytes.
#[derive(Debug)]
pub struct IndexFile<const N: usize> {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Whole entries in the file.
    count: AtomicU64,
    /// The file held an integral number of entries when it was opened.
    aligned: bool,
    /// Held, to read, by who searches: nothing that is counted is cut off meanwhile.
    firsts: RwLock<Firsts<N>>,
}

impl<const N: usize> IndexFile<N> {
    const BLOCK_ENTRIES: u64 = (BLOCK_BYTES / N) as u64;

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
            firsts: RwLock::default(),
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
        self.read(&mut entry, at)?;
        Ok(entry)
    }

    fn read(&self, entries: &mut [u8], first: u64) -> Result<(), FileError> {
        self.file
            .read_exact_at(entries, first * N as u64)
            .map_err(|error| FileError::new("read", &self.path, error))
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
        let firsts = self.firsts();
        let count = self.count();
        let blocks = 0..count.div_ceil(Self::BLOCK_ENTRIES);
        // All are in the first block where even its first entry isn't below.
        let block = match blocks.end {
            0 => return Ok(None),
            1 => 0,
            _ => search(blocks, |block| self.first_of(block, &firsts), &below)?
                .map_or(0, |(block, _)| block),
        };
        let begin = block * Self::BLOCK_ENTRIES;
        let length = Self::BLOCK_ENTRIES.min(count - begin);
        let mut bytes = [0; BLOCK_BYTES];
        let bytes = &mut bytes[..length as usize * N];
        self.read(bytes, begin)?;
        let (entries, _) = bytes.as_chunks::<N>();
        let found = search(0..length, |at| Ok(entries[at as usize]), &below)?;
        Ok(found.map(|(at, entry)| (begin + at, entry)))
    }

    /// The first entries, with room for all blocks that there are.
    fn firsts(&self) -> RwLockReadGuard<'_, Firsts<N>> {
        let firsts = self.firsts.read();
        let blocks = self.count().div_ceil(Self::BLOCK_ENTRIES).min(KEPT_BLOCKS) as usize;
        if blocks <= 1 || firsts.len() >= blocks {
            return firsts;
        }
        drop(firsts);
        let mut firsts = self.firsts.write();
        let more = blocks.saturating_sub(firsts.len());
        firsts.reserve_exact(more);
        firsts.extend(std::iter::repeat_n(OnceLock::new(), more));
        RwLockWriteGuard::downgrade(firsts)
    }

    fn first_of(&self, block: u64, firsts: &Firsts<N>) -> Result<[u8; N], FileError> {
        let kept = firsts.get(block as usize);
        if let Some(entry) = kept.and_then(OnceLock::get) {
            return Ok(*entry);
        }
        let entry = self.get(block * Self::BLOCK_ENTRIES)?;
        Ok(kept.map_or(entry, |kept| *kept.get_or_init(|| entry)))
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
        let mut firsts = self.firsts.write();
        self.count.fetch_min(count, Ordering::AcqRel);
        firsts.truncate(self.count().div_ceil(Self::BLOCK_ENTRIES) as usize);
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

/// The last of these numbers whose entry is below, with it.
fn search<const N: usize>(
    among: Range<u64>,
    get: impl Fn(u64) -> Result<[u8; N], FileError>,
    below: impl Fn([u8; N]) -> bool,
) -> Result<Option<(u64, [u8; N])>, FileError> {
    let Range {
        start: mut low,
        end: mut high,
    } = among;
    let mut found = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = get(middle)?;
        if below(entry) {
            found = Some((middle, entry));
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::MemoryDisk;

    const PATH: &str = "/00000000000000000000.index";

    type Index = IndexFile<8>;

    fn entry(value: u64) -> [u8; 8] {
        value.to_be_bytes()
    }

    fn look_up(index: &Index, value: u64) -> Option<(u64, u64)> {
        let found = index.last_where(|entry| u64::from_be_bytes(entry) <= value);
        let (at, entry) = found.unwrap()?;
        Some((at, u64::from_be_bytes(entry)))
    }

    #[test]
    fn every_entry_is_found_in_any_number_of_blocks() {
        let block = Index::BLOCK_ENTRIES;
        for count in [
            0,
            1,
            2,
            block - 1,
            block,
            block + 1,
            3 * block,
            5 * block + 7,
        ] {
            let disk = MemoryDisk::new(1);
            let index = Index::open(&disk, Path::new(PATH)).unwrap();
            // Looked up while it grows as well as when it is whole.
            for at in 0..count {
                index.push(entry(10 * at + 10)).unwrap();
                assert_eq!(look_up(&index, 10 * at + 15), Some((at, 10 * at + 10)));
            }
            assert_eq!(look_up(&index, 9), None);
            for at in 0..count {
                for value in [10 * at + 10, 10 * at + 19] {
                    assert_eq!(look_up(&index, value), Some((at, 10 * at + 10)));
                }
            }
        }
    }

    /// What is kept of the entries goes with them.
    #[test]
    fn other_entries_in_the_place_of_those_that_were_cut_are_found() {
        let block = Index::BLOCK_ENTRIES;
        for kept in [0, 1, block - 1, block, block + 1, 2 * block, 2 * block + 1] {
            let disk = MemoryDisk::new(1);
            let index = Index::open(&disk, Path::new(PATH)).unwrap();
            for at in 0..4 * block {
                index.push(entry(at)).unwrap();
                look_up(&index, at / 2);
            }
            index.truncate(kept).unwrap();
            assert_eq!(index.firsts.read().len() as u64, kept.div_ceil(block));
            for at in kept..5 * block {
                index.push(entry(at + 1_000_000)).unwrap();
            }
            for at in 0..5 * block {
                let value = if at < kept { at } else { at + 1_000_000 };
                assert_eq!(look_up(&index, value), Some((at, value)), "{kept} kept");
            }
        }
    }
}
