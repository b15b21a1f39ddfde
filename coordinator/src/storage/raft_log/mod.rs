//! The raft log on disk: flat segment files, preallocated and recycled, written by one thread.
//!
//! The log thread of `consensus::driver` is the only caller. One [`RaftLog::append`] is one record and
//! one fdatasync, however many entries it carries; the entries themselves are read from disk only by
//! [`RaftLog::open`], afterwards raft reads them from memory (`consensus::view`).
//!
//! Invariants:
//! - A record is durable before the next one is written, so a torn write can only be the last record
//!   of the newest segment. A bad record before a good one of the same generation is corruption: the
//!   replica stops with [`LogError::Corrupt`], and is never repaired by itself.
//! - A segment's name holds its generation and a random salt, its header repeats them, and every record's
//!   mark and checksum depend on them: what an earlier use left in a recycled file, or a client had it
//!   leave there, can't be taken for the log.
//! - Every record carries the whole HardState, so cutting old segments never loses term or vote.
//! - After one failed write or sync nothing is written any more: the page cache can't be trusted.
//!
//! Absent on purpose: an index, reads of single entries, and any retry.

mod ballast;
mod disk;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod memory;
mod reconcile;
mod record;
mod recovery;
mod sums;
#[cfg(test)]
#[allow(clippy::field_reassign_with_default)] // raft's messages have too many fields to spell out
mod tests;

use std::collections::VecDeque;
use std::io;

use raft::eraftpb::{Entry, HardState};

use crate::mutants::{self, Mutant};

pub use ballast::{Ballast, Space};
pub use disk::{Disk, DiskFile, FileDisk, free_bytes};
pub use memory::MemoryDisk;
use record::SegmentId;
pub use record::{Position, SEGMENT_HEADER_BYTES};

/// Default size of a segment file.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// Why the raft log could not be opened or written. Every one of them ends the replica.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused an operation; never retried.
    #[error("raft log: {operation} of {file} failed: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// The file it was tried on.
        file: String,
        /// What the operating system said.
        source: io::Error,
    },
    /// The files contradict themselves: this replica's log is lost, and an operator has to rejoin it.
    #[error(
        "raft log is damaged in {file} at byte {position}: {reason}; this replica can't be trusted any more: run `zweig coordinator wipe --config FILE` and start it again, then it rejoins"
    )]
    Corrupt {
        /// The damaged segment.
        file: String,
        /// Where in it.
        position: u64,
        /// What was found there.
        reason: String,
    },
    /// Written by another release.
    #[error(
        "raft log segment {file} has format version {found}, this release reads version {known} alone"
    )]
    Version {
        /// The segment.
        file: String,
        /// Its version.
        found: u16,
        /// The version known here.
        known: u16,
    },
    /// Entries between the state and the log are missing.
    #[error(
        "the state is applied up to {applied}, but the raft log begins at {first}; run `zweig coordinator wipe --config FILE` and start it again, then it rejoins"
    )]
    Gap {
        /// The last applied index.
        applied: u64,
        /// The first index in the log.
        first: u64,
    },
    /// The state was applied from another history than the log holds.
    #[error("entry {} was applied with term {}, the raft log holds it committed with term {term}; run `zweig coordinator wipe --config FILE` and start it again, then it rejoins", applied.index, applied.term)]
    Contradiction {
        /// What the state says.
        applied: Position,
        /// What the log says.
        term: u64,
    },
    /// An earlier write or sync failed; nothing may be written after it.
    #[error("raft log: refused to write after an earlier failure")]
    Poisoned,
}

impl LogError {
    fn io(operation: &'static str, file: &str, source: io::Error) -> Self {
        Self::Io {
            operation,
            file: file.to_owned(),
            source,
        }
    }
}

/// Sizes of the raft log.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// Bytes of one segment file; a larger batch gets a larger file.
    pub segment_bytes: u64,
    /// Unused files kept ready, so that rolling needs no new space.
    pub spares: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: SEGMENT_BYTES,
            spares: 1,
        }
    }
}

/// What was found on disk.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Term, vote and commit; its commit is never beyond the last entry.
    pub hard_state: HardState,
    /// Index and term of what stands just before the first entry.
    pub base: Position,
    /// Every entry after the base, without gaps.
    pub entries: Vec<Entry>,
}

/// One append: what becomes durable together.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The newest HardState.
    pub hard_state: &'a HardState,
    /// Term of the entry just before the first of `entries`; not looked at when there is none.
    pub previous_term: u64,
    /// Entries without gaps; they replace whatever stood at their indexes and after.
    pub entries: &'a [Entry],
}

struct Segment<F> {
    name: String,
    id: SegmentId,
    file: F,
    bytes: u64,
    /// Highest index ever written to it; it may be freed when the cut has passed it.
    highest: u64,
}

/// The log, opened for appending.
pub struct RaftLog<D: Disk> {
    disk: D,
    options: LogOptions,
    /// Oldest first; the last one is written to. Empty only until the first append.
    segments: VecDeque<Segment<D::File>>,
    spares: Vec<String>,
    next_generation: u64,
    next_spare: u64,
    /// Where the next record goes in the last segment.
    position: u64,
    /// Its number in that segment.
    sequence: u64,
    last: Position,
    poisoned: bool,
    scratch: Vec<u8>,
}

impl<D: Disk> RaftLog<D> {
    /// Reads the log, cuts a torn tail, and makes what was read durable before anyone relies on it.
    ///
    /// # Errors
    /// [`LogError::Corrupt`] when damage is more than a torn tail.
    pub fn open(disk: D, options: LogOptions) -> Result<(Self, Recovered), LogError> {
        let (mut log, recovered) = recovery::recover(disk, options)?;
        log.prepare_spares()?;
        Ok((log, recovered))
    }

    /// Index and term of the last entry, or of the base when there is none.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The disk underneath.
    pub fn disk(&self) -> &D {
        &self.disk
    }

    /// Writes one record and syncs it; what overlaps the log replaces its tail.
    ///
    /// # Errors
    /// Any error is final: the caller ends the process.
    pub fn append(&mut self, batch: &Batch<'_>) -> Result<(), LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        self.check(batch);
        let result = self.append_record(batch);
        self.poisoned = result.is_err();
        result
    }

    /// Forgets the whole log: afterwards it is empty and begins behind `base`. Term and vote are those of
    /// `hard_state`, its commit becomes the base.
    ///
    /// # Errors
    /// Any error is final.
    pub fn reset(&mut self, base: Position, hard_state: &HardState) -> Result<(), LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        let mut hard_state = hard_state.clone();
        hard_state.commit = base.index;
        let result = self.reset_to(base, &hard_state);
        self.poisoned = result.is_err();
        result
    }

    /// Frees every segment that holds nothing after `index`.
    ///
    /// # Errors
    /// Any error is final.
    pub fn cut(&mut self, index: u64) -> Result<(), LogError> {
        let mut freed = 0;
        while self.segments.len() > 1
            && self
                .segments
                .front()
                .is_some_and(|oldest| oldest.highest <= index)
        {
            if let Some(segment) = self.segments.pop_front() {
                self.recycle(segment)?;
                freed += 1;
            }
        }
        if freed > 0 {
            self.disk
                .sync_directory()
                .map_err(|e| LogError::io("sync", "the log folder", e))?;
        }
        Ok(())
    }

    /// Makes spare files until there are as many as wanted. Not fatal when space is short.
    ///
    /// # Errors
    /// Errors other than a full disk.
    pub fn prepare_spares(&mut self) -> Result<bool, LogError> {
        while self.spares.len() < self.options.spares {
            let name = self.spare_name();
            match self.disk.create(&name, self.options.segment_bytes) {
                Ok(_file) => self.spares.push(name),
                Err(e)
                    if e.kind() == io::ErrorKind::StorageFull
                        || e.kind() == io::ErrorKind::QuotaExceeded =>
                {
                    // A file of the wrong size is worse than none.
                    let _ = self.disk.remove(&name);
                    return Ok(false);
                }
                Err(e) => return Err(LogError::io("preallocation", &name, e)),
            }
        }
        Ok(true)
    }

    fn check(&self, batch: &Batch<'_>) {
        if let Some(first) = batch.entries.first() {
            assert!(
                first.index <= self.last.index + 1,
                "entry {} would leave a gap after {}",
                first.index,
                self.last.index
            );
            for (offset, entry) in batch.entries.iter().enumerate() {
                assert_eq!(
                    entry.index,
                    first.index + offset as u64,
                    "entries of a batch follow each other"
                );
            }
        }
    }

    fn append_record(&mut self, batch: &Batch<'_>) -> Result<(), LogError> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let needed = record::encoded_len(batch);
        let room = self
            .segments
            .back()
            .map_or(0, |active| active.bytes.saturating_sub(self.position));
        if room < needed {
            let id = self.roll(needed, 0)?;
            record::encode_segment_header(&mut scratch, id, 0, self.last);
        }
        let start = if scratch.is_empty() { self.position } else { 0 };
        let Some(active) = self.segments.back_mut() else {
            return Err(LogError::Poisoned);
        };
        record::encode(&mut scratch, active.id, self.sequence, batch);
        active
            .file
            .write_at(start, &scratch)
            .map_err(|e| LogError::io("write", &active.name, e))?;
        if !mutants::is(Mutant::LogUnsynced) {
            active
                .file
                .sync()
                .map_err(|e| LogError::io("fdatasync", &active.name, e))?;
        }
        self.position = start + scratch.len() as u64;
        self.sequence += 1;
        if let Some(last) = batch.entries.last() {
            self.last = Position {
                index: last.index,
                term: last.term,
            };
            active.highest = active.highest.max(last.index);
        }
        scratch.clear();
        self.scratch = scratch;
        Ok(())
    }

    fn reset_to(&mut self, base: Position, hard_state: &HardState) -> Result<(), LogError> {
        let batch = Batch {
            hard_state,
            previous_term: 0,
            entries: &[],
        };
        let id = self.roll(record::encoded_len(&batch), base.index)?;
        let mut bytes = Vec::new();
        let Some(active) = self.segments.back_mut() else {
            return Err(LogError::Poisoned);
        };
        record::encode_segment_header(&mut bytes, id, record::FLAG_RESET, base);
        record::encode(&mut bytes, id, 0, &batch);
        active
            .file
            .write_at(0, &bytes)
            .map_err(|e| LogError::io("write", &active.name, e))?;
        active
            .file
            .sync()
            .map_err(|e| LogError::io("fdatasync", &active.name, e))?;
        self.position = bytes.len() as u64;
        self.sequence = 1;
        self.last = base;
        while self.segments.len() > 1 {
            if let Some(old) = self.segments.pop_front() {
                self.recycle(old)?;
            }
        }
        self.disk
            .sync_directory()
            .map_err(|e| LogError::io("sync", "the log folder", e))
    }

    /// Opens the next segment under its final name; its header is not written yet.
    fn roll(&mut self, needed: u64, highest: u64) -> Result<SegmentId, LogError> {
        let id = SegmentId {
            generation: self.next_generation,
            salt: self
                .disk
                .salt()
                .map_err(|e| LogError::io("draw of a salt", "the log folder", e))?,
        };
        let name = id.file_name();
        let bytes = self
            .options
            .segment_bytes
            .max(needed + SEGMENT_HEADER_BYTES);
        let spare = if bytes == self.options.segment_bytes {
            self.spares.pop()
        } else {
            None
        };
        let file = match spare {
            Some(spare) => {
                self.disk
                    .rename(&spare, &name)
                    .map_err(|e| LogError::io("rename", &spare, e))?;
                self.disk
                    .open(&name)
                    .map_err(|e| LogError::io("open", &name, e))?
            }
            None => self
                .disk
                .create(&name, bytes)
                .map_err(|e| LogError::io("preallocation", &name, e))?,
        };
        // The name must be durable before a header can make the file part of the log.
        self.disk
            .sync_directory()
            .map_err(|e| LogError::io("sync", "the log folder", e))?;
        self.segments.push_back(Segment {
            name,
            id,
            file,
            bytes,
            highest,
        });
        self.next_generation += 1;
        self.position = SEGMENT_HEADER_BYTES;
        self.sequence = 0;
        Ok(id)
    }

    fn recycle(&mut self, segment: Segment<D::File>) -> Result<(), LogError> {
        let Segment {
            name, bytes, file, ..
        } = segment;
        drop(file);
        if self.spares.len() < self.options.spares && bytes == self.options.segment_bytes {
            let spare = self.spare_name();
            self.disk
                .rename(&name, &spare)
                .map_err(|e| LogError::io("rename", &name, e))?;
            self.spares.push(spare);
            return Ok(());
        }
        self.disk
            .remove(&name)
            .map_err(|e| LogError::io("removal", &name, e))
    }

    fn spare_name(&mut self) -> String {
        let number = self.next_spare;
        self.next_spare += 1;
        format!("spare-{number:016x}.raftlog")
    }
}
