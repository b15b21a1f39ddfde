//! What the broker's timers have the manager do, and the clean stop.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::super::TopicPartition;
use super::super::super::error::{LogError, ManagerError};
use super::super::super::format::{clean_shutdown, names};
use super::super::dir::{Checkpoint, LogDir};
use super::super::file::{self, Durability};
use super::super::log::Log;
use super::LogManager;

impl LogManager {
    /// Flushes logs whose `flush.ms` has passed, and every closed segment, then notes how far each
    /// log is flushed. A failure is fatal.
    pub fn flush_dirty(&self, now_ms: i64) -> Result<(), ManagerError> {
        for log in self.all() {
            unless_closed(log.flush_if_due(now_ms))?;
        }
        self.checkpoint_recovery_points()
    }

    /// Notes log start offsets and how far each log is flushed.
    pub fn checkpoint_offsets(&self) -> Result<(), ManagerError> {
        for dir in &self.dirs {
            dir.write(Checkpoint::LogStarts, |kept| {
                self.offsets_in(dir, kept, Log::log_start_offset)
            })?;
        }
        self.checkpoint_recovery_points()
    }

    /// Notes the high watermarks, for the next start.
    pub fn write_high_watermarks(
        &self,
        marks: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), ManagerError> {
        for dir in &self.dirs {
            dir.write(Checkpoint::HighWatermarks, |kept| {
                self.offsets_in(dir, kept, |log| {
                    let partition = log.topic_partition();
                    let known = marks.get(partition).or_else(|| kept.get(partition));
                    known.copied().unwrap_or(0)
                })
            })?;
        }
        Ok(())
    }

    /// Deletes old segments of every log for which the caller names a high watermark; `None` exempts
    /// a log. Forgets silent producers too. Returns how many segments went.
    pub fn retention_pass(
        &self,
        now_ms: i64,
        high_watermark: &dyn Fn(&TopicPartition) -> Option<i64>,
    ) -> Result<usize, ManagerError> {
        let mut count = 0;
        for log in self.all() {
            log.expire_producers(now_ms);
            if let Some(mark) = high_watermark(log.topic_partition()) {
                count += unless_closed(log.apply_retention(now_ms, mark))?;
            }
        }
        if count > 0 {
            // In this order, see `Log::apply_retention`; but a full disk gets its room.
            match self.checkpoint_offsets() {
                Err(error) if error.no_space().is_some() => {
                    tracing::warn!(%error, "log starts not written before segments go");
                }
                done => done?,
            }
        }
        for log in self.all() {
            if high_watermark(log.topic_partition()).is_some() {
                unless_closed(log.delete_passed(now_ms))?;
            }
        }
        Ok(count)
    }

    /// Closes every log and leaves the marker that says so, with the broker epoch that ends here.
    /// Nothing can be appended any more. The directories stay locked until the manager is dropped.
    pub fn shutdown_clean(&self, broker_epoch: i64) -> Result<(), ManagerError> {
        for log in self.all() {
            log.close()?;
        }
        self.checkpoint_offsets()?;
        for dir in &self.dirs {
            let path = dir.path().join(names::CLEAN_SHUTDOWN);
            let text = clean_shutdown::encode(broker_epoch);
            file::replace(&*self.disk, &path, text.as_bytes(), Durability::Synced)?;
        }
        Ok(())
    }

    fn checkpoint_recovery_points(&self) -> Result<(), ManagerError> {
        for dir in &self.dirs {
            dir.write(Checkpoint::RecoveryPoints, |kept| {
                self.offsets_in(dir, kept, Log::recovery_point)
            })?;
        }
        Ok(())
    }

    /// An offset of each log in a directory; damaged logs keep the one in `kept`.
    fn offsets_in(
        &self,
        dir: &Arc<LogDir>,
        kept: &BTreeMap<TopicPartition, i64>,
        offset: impl Fn(&Log) -> i64,
    ) -> BTreeMap<TopicPartition, i64> {
        let logs = self.logs.read();
        let open = logs.open.values().filter(|log| Arc::ptr_eq(log.dir(), dir));
        let open = open.map(|log| (log.topic_partition().clone(), offset(log)));
        let damaged = logs
            .damaged
            .iter()
            .filter(|(_, log)| Arc::ptr_eq(&log.dir, dir));
        let damaged = damaged.filter_map(|(partition, _)| {
            let offset = *kept.get(partition)?;
            Some((partition.clone(), offset))
        });
        open.chain(damaged).collect()
    }
}

/// A log that was deleted meanwhile needs nothing any more.
fn unless_closed<T: Default>(result: Result<T, LogError>) -> Result<T, LogError> {
    match result {
        Err(LogError::Closed(_)) => Ok(T::default()),
        other => other,
    }
}
