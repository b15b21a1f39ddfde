//! What the log thread writes next: everything that is queued becomes one record and one sync.

use raft::eraftpb::{Entry, HardState};

use super::core::Persist;
use crate::storage::raft_log::{Batch, Disk, LogError, RaftLog};

/// What becomes one record.
#[derive(Default)]
pub struct Pending {
    number: Option<u64>,
    hard_state: HardState,
    previous_term: u64,
    entries: Vec<Entry>,
    bytes: usize,
}

impl Pending {
    /// Bytes of entries added so far.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether nothing was added.
    pub fn is_empty(&self) -> bool {
        self.number.is_none()
    }

    /// Adds what came next; entries may replace earlier ones of the same record.
    pub fn add(&mut self, persist: Persist) {
        self.number = Some(persist.number);
        self.hard_state = persist.hard_state;
        let Some(first) = persist.entries.first().map(|first| first.index) else {
            return;
        };
        if let Some(begin) = self.entries.first().map(|begin| begin.index) {
            let keep = usize::try_from(first.saturating_sub(begin)).unwrap_or(usize::MAX);
            self.entries.truncate(keep);
        }
        if self.entries.is_empty() {
            self.previous_term = persist.previous_term;
        }
        self.bytes += persist
            .entries
            .iter()
            .map(|entry| entry.data.len())
            .sum::<usize>();
        self.entries.extend(persist.entries);
    }

    /// Writes and syncs what was added; the number up to which everything is durable now.
    ///
    /// # Errors
    /// Final: see the raft log.
    pub fn flush<D: Disk>(&mut self, log: &mut RaftLog<D>) -> Result<Option<u64>, LogError> {
        let Some(number) = self.number else {
            return Ok(None);
        };
        let mut done = std::mem::take(self);
        // A commit beyond this record's entries is durable knowledge only with the next one.
        let last = done
            .entries
            .last()
            .map_or(log.last().index, |last| last.index);
        done.hard_state.commit = done.hard_state.commit.min(last);
        let batch = Batch {
            hard_state: &done.hard_state,
            previous_term: done.previous_term,
            entries: &done.entries,
        };
        log.append(&batch)?;
        Ok(Some(number))
    }
}

#[cfg(test)]
#[allow(clippy::field_reassign_with_default)] // raft's messages have too many fields to spell out
mod tests {
    use super::*;

    fn persist(number: u64, from: u64, count: u64, term: u64, previous_term: u64) -> Persist {
        let entry = |index| {
            let mut entry = Entry::default();
            entry.index = index;
            entry.term = term;
            entry
        };
        let entries = (from..from + count).map(entry).collect();
        Persist {
            number,
            hard_state: HardState::default(),
            previous_term,
            entries,
        }
    }

    fn terms(pending: &Pending) -> Vec<(u64, u64)> {
        pending
            .entries
            .iter()
            .map(|entry| (entry.index, entry.term))
            .collect()
    }

    #[test]
    fn later_entries_replace_earlier_ones_of_the_same_record() {
        let mut pending = Pending::default();
        pending.add(persist(1, 5, 3, 2, 1));
        pending.add(persist(2, 7, 1, 3, 2));
        assert_eq!(terms(&pending), [(5, 2), (6, 2), (7, 3)]);
        assert_eq!(pending.previous_term, 1);
        pending.add(persist(3, 4, 1, 4, 9));
        assert_eq!(terms(&pending), [(4, 4)]);
        assert_eq!((pending.previous_term, pending.number), (9, Some(3)));
    }
}
