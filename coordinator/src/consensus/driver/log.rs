//! The log thread: the only writer of the raft log. One record and one fdatasync for all that is queued.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use raft::eraftpb::{Entry, HardState};

use super::{Event, LogJob};
use crate::consensus::applier::Fatal;
use crate::consensus::core::Persist;
use crate::storage::raft_log::{Ballast, Batch, Disk, RaftLog};

/// Bytes of entries in one record, unless a single entry is larger.
const RECORD_BYTES: usize = 16 << 20;
/// How often the disk's space is looked at.
const SPACE_CHECK: Duration = Duration::from_secs(1);

/// Runs until the raft thread is gone.
pub fn run<D: Disk>(
    mut log: RaftLog<D>,
    mut ballast: Option<Ballast>,
    jobs: &Receiver<LogJob>,
    events: &Sender<Event>,
) -> Result<(), Fatal> {
    let mut low = false;
    let mut next_check = crate::clock::now();
    loop {
        let now = crate::clock::now();
        if now >= next_check {
            next_check = now + SPACE_CHECK;
            let spare = log
                .prepare_spares()
                .map_err(|e| Fatal::new(e.to_string()))?;
            let short = match ballast.as_mut().map(|ballast| ballast.check(log.disk())) {
                Some(space) => {
                    space
                        .map_err(|e| Fatal::new(format!("the disk's space is not known: {e}")))?
                        .low
                }
                None => false,
            };
            if low != (short || !spare) {
                low = !low;
                notify(events, Event::SpaceLow(low));
            }
        }
        let first = match jobs.recv_timeout(next_check.saturating_duration_since(now)) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let mut pending = Pending::default();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                LogJob::Persist(list) => {
                    for persist in list {
                        pending.add(persist);
                        if pending.bytes >= RECORD_BYTES {
                            pending.write(&mut log, events)?;
                        }
                    }
                }
                LogJob::Cut(index) => {
                    pending.write(&mut log, events)?;
                    log.cut(index).map_err(|e| Fatal::new(e.to_string()))?;
                }
                LogJob::Reset { install, sessions } => {
                    pending.write(&mut log, events)?;
                    log.reset(install.mark.at, &install.hard_state)
                        .map_err(|e| Fatal::new(e.to_string()))?;
                    notify(
                        events,
                        Event::Installed {
                            mark: install.mark,
                            sessions,
                        },
                    );
                }
            }
            next = jobs.try_recv().ok();
        }
        pending.write(&mut log, events)?;
    }
}

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

    /// Writes and syncs what was added, and tells the raft thread.
    fn write<D: Disk>(
        &mut self,
        log: &mut RaftLog<D>,
        events: &Sender<Event>,
    ) -> Result<(), Fatal> {
        if let Some(number) = self.flush(log)? {
            notify(events, Event::Persisted(number));
        }
        Ok(())
    }

    /// Writes and syncs what was added; the number up to which everything is durable now.
    ///
    /// # Errors
    /// Final: see the raft log.
    pub fn flush<D: Disk>(&mut self, log: &mut RaftLog<D>) -> Result<Option<u64>, Fatal> {
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
        log.append(&batch).map_err(|e| Fatal::new(e.to_string()))?;
        Ok(Some(number))
    }
}

fn notify(events: &Sender<Event>, event: Event) {
    // Without a raft thread there is nobody to tell, and the job queue ends next.
    let _ = events.send(event);
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
