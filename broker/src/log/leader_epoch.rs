//! Leader epochs: the first offset written under each leader (KIP-101, KIP-279).
//!
//! A follower asks the leader where the follower's last epoch ends, and truncates to there; that
//! replaces truncating to the high watermark, which lost records. Pure: `store::log` keeps the
//! checkpoint file in step.
//!
//! Invariant: epochs rise strictly, start offsets rise strictly.

/// The first offset written in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEntry {
    /// The leader epoch.
    pub leader_epoch: i32,
    /// Its first offset.
    pub start_offset: i64,
}

impl EpochEntry {
    /// True when `next` may stand behind this one.
    pub fn precedes(&self, next: &EpochEntry) -> bool {
        self.leader_epoch < next.leader_epoch && self.start_offset < next.start_offset
    }
}

/// Where an epoch ends in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The epoch asked for, or the largest smaller one in the log.
    pub leader_epoch: i32,
    /// First offset behind it.
    pub end_offset: i64,
}

/// The epochs of one log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    /// See the module's invariant.
    entries: Vec<EpochEntry>,
}

impl LeaderEpochs {
    /// Takes over entries, later ones winning over earlier ones that contradict them.
    pub fn new(entries: impl IntoIterator<Item = EpochEntry>) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for entry in entries {
            epochs.assign(entry.leader_epoch, entry.start_offset);
        }
        epochs
    }

    /// All entries, oldest first.
    pub fn entries(&self) -> &[EpochEntry] {
        &self.entries
    }

    /// The last epoch of which the log knows.
    pub fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.leader_epoch)
    }

    /// Notes that an epoch begins at an offset, unless that is known. Entries that contradict it
    /// (written by a leader whose records were since replaced) go. True when anything changed.
    pub fn assign(&mut self, leader_epoch: i32, start_offset: i64) -> bool {
        if leader_epoch < 0 || start_offset < 0 {
            return false;
        }
        let entry = EpochEntry {
            leader_epoch,
            start_offset,
        };
        let mut changed = false;
        while let Some(last) = self.entries.last() {
            // Also behind entries that went: an epoch that led here without a record is followed by records of the one before.
            if last.leader_epoch == leader_epoch && last.start_offset <= start_offset {
                return changed;
            }
            if last.precedes(&entry) {
                break;
            }
            self.entries.pop();
            changed = true;
        }
        self.entries.push(entry);
        true
    }

    /// Where an epoch ends; `None` when it is newer than all the log knows, or the log knows none.
    pub fn end_offset(&self, leader_epoch: i32, log_end_offset: i64) -> Option<EpochEnd> {
        let latest = self.latest()?;
        if leader_epoch < 0 || leader_epoch > latest {
            return None;
        }
        if leader_epoch == latest {
            return Some(EpochEnd {
                leader_epoch,
                end_offset: log_end_offset,
            });
        }
        let higher = self
            .entries
            .partition_point(|entry| entry.leader_epoch <= leader_epoch);
        let floor = higher
            .checked_sub(1)
            .map(|at| self.entries[at].leader_epoch);
        Some(EpochEnd {
            leader_epoch: floor.unwrap_or(leader_epoch),
            end_offset: self.entries[higher].start_offset,
        })
    }

    /// The epoch that wrote an offset.
    pub fn epoch_at(&self, offset: i64) -> Option<i32> {
        let behind = self
            .entries
            .partition_point(|entry| entry.start_offset <= offset);
        behind
            .checked_sub(1)
            .map(|at| self.entries[at].leader_epoch)
    }

    /// The log now ends at `end_offset`: epochs that begin there or later go. True when any did.
    pub fn truncate_end(&mut self, end_offset: i64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end_offset);
        self.entries.len() != before
    }

    /// The log now starts at `start_offset`: epochs that end before go, and the one that holds it
    /// begins there. True when anything changed.
    pub fn truncate_start(&mut self, start_offset: i64) -> bool {
        let behind = self
            .entries
            .partition_point(|entry| entry.start_offset <= start_offset);
        let Some(at) = behind.checked_sub(1) else {
            return false;
        };
        let changed = at > 0 || self.entries[at].start_offset != start_offset;
        self.entries.drain(..at);
        self.entries[0].start_offset = start_offset;
        changed
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(pairs: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::new(
            pairs
                .iter()
                .map(|&(leader_epoch, start_offset)| EpochEntry {
                    leader_epoch,
                    start_offset,
                }),
        )
    }

    fn end(leader_epoch: i32, end_offset: i64) -> Option<EpochEnd> {
        Some(EpochEnd {
            leader_epoch,
            end_offset,
        })
    }

    /// A leader of epoch 3 wrote nothing, and the next one sends the rest of epoch 2.
    #[test]
    fn an_epoch_goes_on_behind_one_that_wrote_nothing() {
        let mut table = epochs(&[(1, 17), (2, 76), (3, 262)]);
        assert!(table.assign(2, 262));
        assert_eq!(table, epochs(&[(1, 17), (2, 76)]));
        assert!(!table.assign(2, 263));
        assert!(table.assign(4, 270));
        assert_eq!(table.epoch_at(100), Some(2));
        assert_eq!(table.end_offset(1, 300), end(1, 76));
    }

    #[test]
    fn ends_of_epochs() {
        let epochs = epochs(&[(1, 0), (3, 10), (7, 20)]);
        assert_eq!(epochs.end_offset(7, 25), end(7, 25));
        assert_eq!(epochs.end_offset(3, 25), end(3, 20));
        assert_eq!(epochs.end_offset(5, 25), end(3, 20));
        assert_eq!(epochs.end_offset(1, 25), end(1, 10));
        assert_eq!(epochs.end_offset(0, 25), end(0, 0));
        assert_eq!(epochs.end_offset(8, 25), None);
        assert_eq!(epochs.end_offset(-1, 25), None);
        assert_eq!(LeaderEpochs::default().end_offset(0, 25), None);
        assert_eq!(epochs.epoch_at(9), Some(1));
        assert_eq!(epochs.epoch_at(10), Some(3));
        assert_eq!(epochs.epoch_at(900), Some(7));
    }

    #[test]
    fn a_new_entry_drops_what_contradicts_it() {
        let mut log = epochs(&[(1, 0), (3, 10), (7, 20)]);
        assert!(!log.assign(7, 30));
        assert!(log.assign(8, 20));
        assert_eq!(log, epochs(&[(1, 0), (3, 10), (8, 20)]));
        assert!(log.assign(2, 30));
        assert_eq!(log, epochs(&[(1, 0), (2, 30)]));
        assert!(!log.assign(-1, 40));
    }

    #[test]
    fn truncation_at_both_ends() {
        let mut log = epochs(&[(1, 0), (3, 10), (7, 20)]);
        assert!(!log.truncate_end(21));
        assert!(log.truncate_end(20));
        assert_eq!(log, epochs(&[(1, 0), (3, 10)]));
        assert!(log.truncate_start(12));
        assert_eq!(log, epochs(&[(3, 12)]));
        assert!(!log.truncate_start(12));
        assert!(!epochs(&[(3, 12)]).truncate_start(5));
    }
}
