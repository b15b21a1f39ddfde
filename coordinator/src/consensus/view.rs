//! The log as raft reads it: all entries that the disk holds, in memory.
//!
//! It may run ahead of the disk by what the log thread has not synced yet; raft itself keeps count of what
//! is persisted. The log is cut often enough to stay within its reserve, so memory is bounded by that.

use std::cell::Cell;
use std::collections::VecDeque;

use prost011::Message as _;
use raft::eraftpb::{ConfState, Entry, HardState, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::storage::raft_log::Position;

/// Raft's view of the log.
pub struct LogView {
    base: Position,
    /// Without gaps, the first one just behind `base`.
    entries: VecDeque<Entry>,
    bytes: u64,
    hard_state: HardState,
    pub conf_state: ConfState,
    /// Where it was changed last; an older checkpoint would not know its receiver.
    pub conf_index: u64,
    /// A checkpoint that may be sent, when there is one.
    pub snapshot: Option<Snapshot>,
    /// Raft asked for a checkpoint and there was none new enough.
    pub wants_snapshot: Cell<bool>,
}

impl LogView {
    pub fn new(
        hard_state: HardState,
        conf_state: ConfState,
        base: Position,
        entries: Vec<Entry>,
    ) -> Self {
        let bytes = entries.iter().map(size).sum();
        Self {
            base,
            entries: entries.into(),
            bytes,
            hard_state,
            conf_state,
            conf_index: 0,
            snapshot: None,
            wants_snapshot: Cell::new(false),
        }
    }

    pub fn base(&self) -> Position {
        self.base
    }

    pub fn last(&self) -> Position {
        self.entries.back().map_or(self.base, |e| Position {
            index: e.index,
            term: e.term,
        })
    }

    /// Bytes of the entries in it.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn entry(&self, index: u64) -> Option<&Entry> {
        self.entries.get(self.offset(index)?)
    }

    /// Adds entries, replacing what stood at their indexes and behind.
    pub fn append(&mut self, entries: &[Entry]) {
        let Some(first) = entries.first() else { return };
        assert!(
            first.index > self.base.index,
            "entry {} is behind the base {}",
            first.index,
            self.base.index
        );
        assert!(
            first.index <= self.last().index + 1,
            "entry {} leaves a gap",
            first.index
        );
        let keep = self.offset(first.index).unwrap_or(self.entries.len());
        for replaced in self.entries.drain(keep..) {
            self.bytes -= size(&replaced);
        }
        self.bytes += entries.iter().map(size).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
    }

    /// Forgets everything up to `index`.
    pub fn compact(&mut self, index: u64) {
        while let Some(first) = self.entries.front()
            && first.index <= index
        {
            self.base = Position {
                index: first.index,
                term: first.term,
            };
            self.bytes -= size(first);
            self.entries.pop_front();
        }
    }

    /// Forgets everything: the log begins behind `base`.
    pub fn reset(&mut self, base: Position, conf_state: ConfState) {
        self.base = base;
        self.entries.clear();
        self.bytes = 0;
        self.conf_state = conf_state;
    }

    /// Highest index that may be cut so that at least `reserve` bytes stay.
    pub fn cut_point(&self, limit: u64, reserve: u64) -> u64 {
        let mut left = self.bytes;
        let mut cut = self.base.index;
        for entry in &self.entries {
            left -= size(entry);
            if entry.index > limit || left < reserve {
                break;
            }
            cut = entry.index;
        }
        cut
    }

    fn offset(&self, index: u64) -> Option<usize> {
        let offset = usize::try_from(index.checked_sub(self.base.index + 1)?).ok()?;
        (offset < self.entries.len()).then_some(offset)
    }
}

fn size(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len() + 48) as u64
}

impl Storage for LogView {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(
            self.hard_state.clone(),
            self.conf_state.clone(),
        ))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.base.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.last().index + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        let limit = max_size.into().unwrap_or(u64::MAX);
        let from = (low - self.base.index - 1) as usize;
        let to = (high - self.base.index - 1) as usize;
        let mut taken = 0;
        let mut found = Vec::new();
        for entry in self.entries.range(from..to) {
            taken += entry.encoded_len() as u64;
            if taken > limit && !found.is_empty() {
                break;
            }
            found.push(entry.clone());
        }
        Ok(found)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.base.index {
            return Ok(self.base.term);
        }
        if index < self.base.index {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        self.entry(index)
            .map(|entry| entry.term)
            .ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.base.index + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last().index)
    }

    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        match &self.snapshot {
            Some(snapshot)
                if snapshot.get_metadata().index
                    >= request_index.max(self.base.index).max(self.conf_index) =>
            {
                Ok(snapshot.clone())
            }
            _ => {
                self.wants_snapshot.set(true);
                Err(raft::Error::Store(
                    StorageError::SnapshotTemporarilyUnavailable,
                ))
            }
        }
    }
}
