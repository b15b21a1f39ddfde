//! What a partition does with the answers of the leader it follows.
//!
//! Every step names the leader epoch it belongs to; one that ended meanwhile does nothing.

use super::partition::{Inner, Partition, PartitionError, Role};
use crate::clock;
use crate::log::AppendError;
use crate::mutants::{self, Mutant};
use crate::replica::high_watermark;
use crate::replica::truncation::{EpochEnd, target};
use crate::spans::Following;
use bytes::Bytes;
use parking_lot::MutexGuard;
use tracing::{debug, error, info};

/// Where a follower goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowPosition {
    /// The offset it wants next: the end of its log.
    pub offset: i64,
    /// Leader epoch of its last record; -1 if it has none.
    pub last_epoch: i32,
    /// First offset of its log.
    pub log_start: i64,
}

/// What came for one partition in a leader's answer.
#[derive(Debug, Clone)]
pub struct Replicated {
    /// Whole batches from this log's end on; perhaps none.
    pub records: Bytes,
    /// The leader's high watermark.
    pub high_watermark: i64,
    /// First offset of the leader's log.
    pub log_start: i64,
}

impl Partition {
    /// Where to go on in this leader epoch; `None` if it is over, or if what is there has to be flushed before, since a
    /// leader counts it.
    pub(super) fn follow_position(&self, leader_epoch: i32) -> Option<FollowPosition> {
        let _inner = self.following_in(leader_epoch).ok()?;
        if self.lacks_flush() {
            return None;
        }
        let log_end = self.log.log_end_offset();
        Some(FollowPosition {
            offset: log_end,
            // Of the last record, not the last one the log knows: an epoch in which this broker led and
            // appended nothing would never agree with the leader's log.
            last_epoch: match mutants::is(Mutant::FollowedEpochUnchecked) {
                // Told, the leader would find every record that came from another.
                true => -1,
                false => self.log.epoch_at(log_end - 1).unwrap_or(-1),
            },
            log_start: self.log.log_start_offset(),
        })
    }

    /// Appends what the leader sent. Returns whether it has to be flushed before the next fetch.
    pub(super) fn append_as_follower(
        &self,
        leader_epoch: i32,
        fetched: Replicated,
    ) -> Result<bool, PartitionError> {
        let of = (&self.name, self.topic_id());
        let (tracer, now_ms) = (&self.host.config.tracer, clock::wall_ms());
        let mut span = Following::begin(tracer, of, &fetched.records, now_ms);
        let inner = self.following_in(leader_epoch);
        if let (Err(error), Some(span)) = (&inner, &mut span) {
            span.fail(&error.to_string());
        }
        let mut inner = inner?;
        if !fetched.records.is_empty() {
            let appended = self.append_fetched(fetched.records);
            if let (Err(error), Some(span)) = (&appended, &mut span) {
                span.fail(&error.to_string());
            }
            appended?;
        }
        drop(span);
        let log_end = self.log.log_end_offset();
        let before = inner.high_watermark;
        inner.high_watermark = high_watermark::of_follower(before, fetched.high_watermark, log_end);
        let start = fetched.log_start.min(inner.high_watermark);
        if start > self.log.log_start_offset() {
            self.host.check(self.log.advance_log_start(start))?;
        }
        Ok(self.lacks_flush())
    }

    /// Whether it has to be flushed before the next fetch.
    pub(super) fn lacks_flush(&self) -> bool {
        self.log.needs_flush() && !mutants::is(Mutant::AckBeforeSync)
    }

    /// Appends at the end. Where the leader's log starts inside of a batch, an empty log begins with that batch, as a
    /// leader only sends whole ones.
    fn append_fetched(&self, records: Bytes) -> Result<(), PartitionError> {
        let bytes = records.len() as u64;
        let append = |records| self.log.append_as_follower(records, clock::wall_ms());
        let appended = match append(records.clone()) {
            Err(AppendError::UnexpectedOffset { found, log_end })
                if found < log_end && self.log.log_start_offset() == log_end =>
            {
                info!(partition = %self.name, offset = found, log_end, "log begun anew with a batch that its leader's start lies in");
                self.host
                    .check(self.log.truncate_fully_and_start_at(found))?;
                append(records)
            }
            appended => appended,
        };
        self.host.check(appended)?;
        self.count_replicated(bytes);
        Ok(())
    }

    /// Flushes; for the blocking pool.
    pub(super) fn flush_as_follower(&self) -> Result<(), PartitionError> {
        Ok(self.host.check(self.flush_timed())?)
    }

    /// Cuts the log to where it parts from the leader's. Returns whether anything was cut.
    pub(super) fn cut(
        &self,
        leader_epoch: i32,
        leader_end: EpochEnd,
    ) -> Result<bool, PartitionError> {
        let mut inner = self.following_in(leader_epoch)?;
        let (log_start, log_end) = (self.log.log_start_offset(), self.log.log_end_offset());
        let to = target(
            leader_end,
            self.epoch_end(leader_end.leader_epoch),
            log_start,
            log_end,
        );
        self.tell_of_loss(&inner, to);
        match to < log_end {
            true => {
                info!(partition = %self.name, leader_epoch, from = log_end, to, "log cut to agree with its leader");
            }
            false => {
                debug!(partition = %self.name, leader_epoch, log_end, "nothing to cut, and yet not the leader's log");
            }
        }
        match to < log_start {
            true => self.host.check(self.log.truncate_fully_and_start_at(to))?,
            false => {
                self.host.check(self.log.truncate_to(to))?;
            }
        }
        let end = self.log.log_end_offset();
        inner.high_watermark = inner.high_watermark.min(end);
        Ok(end < log_end)
    }

    /// Begins anew at the first offset the leader still has, because what lies between is gone there.
    pub(super) fn begin_at(&self, leader_epoch: i32, offset: i64) -> Result<(), PartitionError> {
        let mut inner = self.following_in(leader_epoch)?;
        if offset < self.log.log_end_offset() {
            self.tell_of_loss(&inner, offset);
        }
        info!(partition = %self.name, leader_epoch, offset, "log begun anew where its leader's begins");
        self.host
            .check(self.log.truncate_fully_and_start_at(offset))?;
        inner.high_watermark = offset;
        Ok(())
    }

    /// Committed records can only be cut after an unclean election, or if an invariant broke.
    fn tell_of_loss(&self, inner: &Inner, to: i64) {
        let high_watermark = inner.high_watermark;
        if to < high_watermark {
            error!(partition = %self.name, high_watermark, to, "cutting committed records, which the leader does not have");
        }
    }

    fn following_in(&self, leader_epoch: i32) -> Result<MutexGuard<'_, Inner>, PartitionError> {
        let inner = self.lock();
        match inner.role {
            Role::Following { .. } if inner.leader_epoch == leader_epoch => Ok(inner),
            Role::Following { .. } if mutants::is(Mutant::FollowedEpochUnchecked) => Ok(inner),
            _ => Err(PartitionError::FencedLeaderEpoch {
                told: leader_epoch,
                current: inner.leader_epoch,
            }),
        }
    }
}
