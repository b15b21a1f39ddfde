//! What a partition does while this broker leads it.

use super::Certainty;
use super::partition::{Inner, Partition, PartitionError, Role};
use super::wake::wait_until;
use crate::clock;
use crate::log::{AppendError, AppendOrigin, Appended};
use crate::mutants::{self, Mutant};
use crate::replica::isr::{Proposal, WriteEnd};
use crate::replica::leader::{Acks, FollowerFetch};
use crate::replica::truncation::{EpochEnd, diverging};
use crate::tasks;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::{debug, info, warn};

/// Pause before an ISR write of unknown outcome is tried again.
const ISR_RETRY: Duration = Duration::from_millis(200);

/// Records appended by a leader, on their way to being committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Committing {
    /// What the log did.
    pub appended: Appended,
    /// Leader epoch they were appended in.
    pub leader_epoch: i32,
}

/// A read, with what goes into an answer beside the records.
#[derive(Debug, Clone)]
pub struct FetchedRecords {
    /// Whole batches, as they stand in the log; empty if there are none.
    pub records: Bytes,
    /// Every record below is committed.
    pub high_watermark: i64,
    /// No transaction is open below.
    pub last_stable_offset: i64,
    /// First offset that can be read.
    pub log_start_offset: i64,
    /// First offset that this reader can't read yet.
    pub readable_end: i64,
    /// The reader's log parts from this one: it has to cut back to this end before it asks again. No
    /// records come with it.
    pub diverging: Option<EpochEnd>,
}

/// Where and how much to read.
#[derive(Debug, Clone, Copy)]
pub struct ReadFrom {
    /// The leader epoch the reader knows; -1 if it does not say.
    pub leader_epoch: i32,
    /// First offset wanted.
    pub offset: i64,
    /// Epoch of the record before it; -1 if the reader does not say.
    pub last_fetched_epoch: i32,
    /// Bound of the records' size.
    pub max_bytes: usize,
    /// Whether the first batch comes even if it is larger.
    pub min_one: bool,
}

/// A follower's read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerRead {
    /// Who reads.
    pub broker: i32,
    /// Under which of its epochs; `None` from versions that don't say.
    pub broker_epoch: Option<i64>,
}

/// Who reads: it decides how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// Up to the high watermark; to the last stable offset if `committed_only`.
    Consumer {
        /// `isolation.level=read_committed`.
        committed_only: bool,
    },
    /// Up to the end of the log.
    Follower(FollowerRead),
}

/// Which offset is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OffsetLookup {
    /// The first that can be read.
    Earliest,
    /// The one behind the last that can be read.
    Latest,
    /// The first record at or after this time (milliseconds since 1970).
    Timestamp(i64),
    /// The record with the largest timestamp.
    MaxTimestamp,
}

/// An offset that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundOffset {
    /// Timestamp of the record; -1 where the question was not about one.
    pub timestamp_ms: i64,
    /// The offset; -1 if no record fits.
    pub offset: i64,
    /// Leader epoch of the record there; -1 if there is none.
    pub leader_epoch: i32,
}

fn failure(end: &WriteEnd) -> Option<String> {
    match end {
        WriteEnd::Written { .. } => None,
        end => Some(format!("{end:?}")),
    }
}

impl Partition {
    /// Appends a producer's records in this leader epoch. With `all`, only while enough replicas are in
    /// sync; then see [`Self::acks`].
    pub fn append_as_leader(
        self: &Arc<Self>,
        records: Bytes,
        origin: AppendOrigin,
        all: bool,
    ) -> Result<Committing, PartitionError> {
        let in_doubt_taken = all || self.host.config.replica.acks_while_in_doubt;
        let certainty = self.host.ensemble.certainty();
        match certainty {
            Certainty::Sure => {}
            Certainty::InDoubt if in_doubt_taken => {}
            Certainty::InDoubt | Certainty::Expired => return Err(PartitionError::NotLeader),
        }
        let (wanted, bytes) = (self.min_in_sync(), records.len() as u64);
        self.lock().leader(-1)?;
        let checked = self.log.check_records(records, origin, clock::wall_ms());
        let checked = self.host.check(checked)?;
        let mut inner = self.lock();
        let leader = inner.leader(-1)?;
        if all && !leader.has_in_sync(wanted) {
            return Err(PartitionError::NotEnoughReplicas {
                in_sync: leader.isr().len(),
                wanted,
            });
        }
        let leader_epoch = leader.leader_epoch();
        let appended = self.log.append_checked(checked, leader_epoch);
        // What a producer sent before, another leader may have by now: nothing to refuse it for good.
        if certainty == Certainty::InDoubt
            && let Err(AppendError::OutOfOrderSequence { .. }) = &appended
        {
            return Err(PartitionError::NotLeader);
        }
        let appended = self.host.check(appended)?;
        self.count_appended(&appended, bytes);
        self.on_log_end(&mut inner);
        self.flush_if_due(&mut inner);
        drop(inner);
        self.waiters.wake();
        Ok(Committing {
            appended,
            leader_epoch,
        })
    }

    /// Whether an append is committed: `None` while that is open.
    pub fn acks(&self, append: &Committing) -> Option<Result<(), PartitionError>> {
        let wanted = self.min_in_sync();
        let mut inner = self.lock();
        let leader = match inner.leader(append.leader_epoch) {
            Ok(leader) => leader,
            Err(_) => return Some(Err(PartitionError::NotLeader)),
        };
        match leader.acks(append.appended.last_offset + 1, wanted) {
            Acks::Pending => None,
            Acks::Enough => Some(Ok(())),
            Acks::TooFew => Some(Err(PartitionError::NotEnoughReplicasAfterAppend { wanted })),
        }
    }

    /// Waits until an append is committed, or will not be by this leader, or the deadline has passed.
    pub async fn committed(
        &self,
        append: &Committing,
        deadline: Instant,
    ) -> Result<(), PartitionError> {
        wait_until(
            deadline,
            |waiter| self.waiters.register(waiter),
            || self.acks(append),
        )
        .await
        .unwrap_or(Err(PartitionError::TimedOut))
    }

    /// Reads for a consumer or a follower. A follower's read tells the rules what it holds.
    pub fn read(
        self: &Arc<Self>,
        from: ReadFrom,
        reader: Reader,
    ) -> Result<FetchedRecords, PartitionError> {
        if !self.host.may_lead() {
            return Err(PartitionError::NotLeader);
        }
        let mut inner = self.lock();
        inner.leader(from.leader_epoch)?;
        let parted = self.parted(&from)?;
        let mut moved = false;
        if let (Reader::Follower(follower), None) = (reader, parted)
            && (self.log.log_start_offset()..=self.log.log_end_offset()).contains(&from.offset)
        {
            let FollowerRead {
                broker,
                broker_epoch,
            } = follower;
            let fetch = FollowerFetch {
                broker,
                broker_epoch,
                fetch_offset: from.offset,
            };
            moved = inner.leader(-1)?.on_fetch(fetch, self.host.now_ms())?;
            self.change_isr_if_due(&mut inner);
        }
        let high_watermark = inner.high_watermark();
        drop(inner);
        if moved {
            self.waiters.wake();
        }
        let last_stable_offset = self.last_stable_offset(high_watermark);
        let upper_bound = self.upper_bound(reader, high_watermark);
        let records = match parted {
            Some(_) => Bytes::new(),
            None => {
                self.host
                    .check(
                        self.log
                            .read(from.offset, from.max_bytes, upper_bound, from.min_one),
                    )?
                    .bytes
            }
        };
        let log_start_offset = self.log.log_start_offset();
        Ok(FetchedRecords {
            records,
            high_watermark,
            last_stable_offset,
            log_start_offset,
            readable_end: upper_bound,
            diverging: parted,
        })
    }

    /// How many bytes a read would yield, without reading them; `None` when the reader's log parts from this one. Tells
    /// the rules nothing of a follower.
    pub fn available(
        &self,
        from: ReadFrom,
        reader: Reader,
    ) -> Result<Option<usize>, PartitionError> {
        if !self.host.may_lead() {
            return Err(PartitionError::NotLeader);
        }
        let mut inner = self.lock();
        inner.leader(from.leader_epoch)?;
        if self.parted(&from)?.is_some() {
            return Ok(None);
        }
        let high_watermark = inner.high_watermark();
        drop(inner);
        let upper_bound = self.upper_bound(reader, high_watermark);
        let slice = self
            .log
            .slice(from.offset, from.max_bytes, upper_bound, from.min_one);
        let slice = self.host.check(slice)?;
        Ok(Some(slice.map_or(0, |slice| slice.length)))
    }

    fn last_stable_offset(&self, high_watermark: i64) -> i64 {
        self.log
            .first_unstable_offset()
            .map_or(high_watermark, |first| first.min(high_watermark))
    }

    /// How far a reader may read.
    fn upper_bound(&self, reader: Reader, high_watermark: i64) -> i64 {
        match reader {
            Reader::Consumer { .. } if mutants::is(Mutant::FetchBeyondHighWatermark) => {
                self.log.log_end_offset()
            }
            Reader::Consumer {
                committed_only: false,
            } => high_watermark,
            Reader::Consumer {
                committed_only: true,
            } => self.last_stable_offset(high_watermark),
            Reader::Follower(_) => self.log.log_end_offset(),
        }
    }

    /// Where the reader's log parts from this one, if it told the epoch of its last record.
    fn parted(&self, from: &ReadFrom) -> Result<Option<EpochEnd>, PartitionError> {
        if from.last_fetched_epoch < 0 {
            return Ok(None);
        }
        let own = self.epoch_end(from.last_fetched_epoch);
        match diverging(from.last_fetched_epoch, from.offset, own) {
            None => Ok(None),
            Some(Some(end)) => Ok(Some(end)),
            Some(None) => Err(PartitionError::UnknownEpochEnd(from.last_fetched_epoch)),
        }
    }

    pub(super) fn epoch_end(&self, leader_epoch: i32) -> Option<EpochEnd> {
        let end = self.log.end_offset_for_epoch(leader_epoch)?;
        Some(EpochEnd {
            leader_epoch: end.leader_epoch,
            end_offset: end.end_offset,
        })
    }

    /// End of the largest epoch not above the one asked for, for a caller that knows `told_epoch` as the
    /// current one.
    pub fn end_for_epoch(
        &self,
        told_epoch: i32,
        leader_epoch: i32,
    ) -> Result<Option<EpochEnd>, PartitionError> {
        self.lock().leader(told_epoch)?;
        Ok(self.epoch_end(leader_epoch))
    }

    /// Finds an offset for a consumer, or for a follower (which sees up to the end of the log).
    pub fn find_offset(
        &self,
        told_epoch: i32,
        lookup: OffsetLookup,
        reader: Reader,
    ) -> Result<FoundOffset, PartitionError> {
        let mut inner = self.lock();
        let leader = inner.leader(told_epoch)?;
        let current_epoch = leader.leader_epoch();
        let end = match (reader, leader.settled_high_watermark()) {
            (Reader::Follower(_), _) => Some(self.log.log_end_offset()),
            (
                Reader::Consumer {
                    committed_only: true,
                },
                Some(end),
            ) => Some(self.last_stable_offset(end)),
            (
                Reader::Consumer {
                    committed_only: false,
                },
                end,
            )
            | (_, end @ None) => end,
        };
        drop(inner);
        let found = match lookup {
            OffsetLookup::Earliest => {
                let offset = self.log.log_start_offset();
                let leader_epoch = self.log.epoch_at(offset).unwrap_or(-1);
                return Ok(FoundOffset {
                    timestamp_ms: -1,
                    offset,
                    leader_epoch,
                });
            }
            OffsetLookup::Latest => {
                let offset = end.ok_or(PartitionError::OffsetNotAvailable)?;
                return Ok(FoundOffset {
                    timestamp_ms: -1,
                    offset,
                    leader_epoch: current_epoch,
                });
            }
            OffsetLookup::Timestamp(timestamp_ms) => {
                let end = end.ok_or(PartitionError::OffsetNotAvailable)?;
                self.log.offset_for_timestamp(timestamp_ms, end)
            }
            OffsetLookup::MaxTimestamp => {
                let end = end.ok_or(PartitionError::OffsetNotAvailable)?;
                self.log.max_timestamp(end)
            }
        };
        Ok(self.host.check(found)?.map_or(
            FoundOffset {
                timestamp_ms: -1,
                offset: -1,
                leader_epoch: -1,
            },
            |found| FoundOffset {
                timestamp_ms: found.timestamp_ms,
                offset: found.offset,
                leader_epoch: found.leader_epoch,
            },
        ))
    }

    /// Looks, by the clock, for replicas that lag or caught up. The high watermark is counted anew too: one that was
    /// about to join holds it back only as long as it keeps up, and no append or fetch may come to notice its end.
    /// A flush that found no room is tried again.
    pub(super) fn check_isr(self: &Arc<Self>) {
        let mut inner = self.lock();
        if matches!(inner.role, Role::Leading(_)) {
            self.flush_if_due(&mut inner);
        }
        let moved = self.on_log_end(&mut inner);
        self.change_isr_if_due(&mut inner);
        drop(inner);
        if moved {
            self.waiters.wake();
        }
    }

    /// Begins to write a change of the ISR, if one is due and this broker is sure of its registration.
    pub(super) fn change_isr_if_due(self: &Arc<Self>, inner: &mut Inner) {
        if self.host.ensemble.certainty() != Certainty::Sure {
            return;
        }
        let now_ms = self.host.now_ms();
        let Role::Leading(leader) = &mut inner.role else {
            return;
        };
        if let Some(proposal) = leader.propose(now_ms) {
            tasks::spawn_on(&self.host.runtime, Arc::clone(self).write_isr(proposal));
        }
    }

    /// Writes a proposal, and what is due after it. One whose outcome stays unknown while this broker is in
    /// doubt is taken up again by the clock ([`Self::check_isr`]).
    async fn write_isr(self: Arc<Self>, mut proposal: Proposal) {
        loop {
            let expected = proposal.expected_partition_epoch;
            let (before, why) = (self.isr_in(proposal.leader_epoch), self.why_isr(&proposal));
            let writing =
                self.host
                    .ensemble
                    .write_isr(self.name.clone(), self.topic_id(), proposal.clone());
            let what = || format!("change ISR {}", self.name).into();
            let waits = self.followed.first();
            let tracer = &self.host.config.tracer;
            let end = tracer.within(waits, what, writing, failure).await;
            self.log_isr_end(&proposal, &why, end);
            self.count_isr_change(&before, &proposal, end);
            {
                let mut inner = self.lock();
                let now_ms = self.host.now_ms();
                // Another leadership knows nothing of this write.
                if let Ok(leader) = inner.leader(proposal.leader_epoch) {
                    leader.on_write_end(expected, end, now_ms);
                }
            }
            self.waiters.wake();
            match end {
                WriteEnd::Stale | WriteEnd::NotDone => return,
                WriteEnd::Unknown => tokio::time::sleep(ISR_RETRY).await,
                WriteEnd::Written { .. } => {}
            }
            if self.host.ensemble.certainty() != Certainty::Sure {
                return;
            }
            let next = self
                .lock()
                .leader(proposal.leader_epoch)
                .ok()
                .and_then(|leader| leader.propose(self.host.now_ms()));
            match next {
                Some(next) => proposal = next,
                None => return,
            }
        }
    }

    fn log_isr_end(&self, proposal: &Proposal, why: &str, end: WriteEnd) {
        let isr = proposal.isr.ids();
        match end {
            WriteEnd::Written { partition_epoch } => {
                info!(partition = %self.name, ?isr, why, partition_epoch, "in-sync replicas changed");
            }
            // The controller was first, as it is whenever a broker goes; the image shows what it wrote.
            WriteEnd::Stale => {
                debug!(partition = %self.name, ?isr, why, "in-sync replicas changed elsewhere")
            }
            WriteEnd::NotDone | WriteEnd::Unknown => {
                warn!(partition = %self.name, ?isr, why, ?end, "in-sync replicas not changed");
            }
        }
    }

    pub(super) fn min_in_sync(&self) -> usize {
        usize::try_from(self.log.config().min_insync_replicas).unwrap_or(usize::MAX)
    }
}
