//! What hosted partitions need by the clock: lagging followers, checkpoints, flushes, retention.
//!
//! File work runs on the blocking pool, one run of each kind at a time.

use super::manager::{OFFSETS_TOPIC, ReplicaManager};
use crate::clock;
use crate::log::{ManagerError, TopicPartition};
use crate::tasks;
use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// Replicas are looked at this often at the latest, so that a write of the ISR held back in doubt is
/// taken up soon.
const ISR_CHECK_MAX: Duration = Duration::from_secs(2);

/// Logs that can't be opened are tried again this often.
const OFFLINE_CHECK: Duration = Duration::from_secs(5);

/// A directory that was full is looked at this often for room.
const ROOM_CHECK: Duration = Duration::from_secs(1);

/// Files of deleted partitions and segments are looked for this often.
const REMOVAL_CHECK: Duration = Duration::from_secs(10);

impl ReplicaManager {
    /// Starts everything; it ends with the manager's shutdown.
    pub(super) fn start_maintenance(self: &Arc<Self>) {
        let (replica, log) = (&self.host.config.replica, &self.host.config.log);
        let isr_check = (replica.lag_time_max / 2).clamp(Duration::from_millis(10), ISR_CHECK_MAX);
        self.every(isr_check, |manager| {
            for partition in manager.online() {
                partition.check_isr();
            }
        });
        self.every(replica.high_watermark_checkpoint_interval, |manager| {
            manager.checkpoint_high_watermarks()
        });
        self.every(
            log.flush_check_interval.min(log.checkpoint_interval),
            |manager| manager.flush_due(),
        );
        self.every(log.retention_check_interval, |manager| manager.retain());
        self.every(REMOVAL_CHECK, |manager| {
            let removed = manager.logs.remove_due(clock::wall_ms());
            manager.done_if_room(removed.map(|_| ()), "deleted files not removed");
        });
        self.every(OFFLINE_CHECK, ReplicaManager::mend_offline);
        self.every(ROOM_CHECK, |manager| manager.host.full.look(clock::now()));
    }

    /// Runs `work` on the blocking pool, again and again, each run `pause` after the last one began at the
    /// earliest.
    fn every(self: &Arc<Self>, pause: Duration, work: fn(&ReplicaManager)) {
        let weak = Arc::downgrade(self);
        let shutdown = self.shutdown.clone();
        tasks::spawn_on(&self.host.runtime, async move {
            let mut ticks = interval(pause.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                let Some(manager) = weak.upgrade() else {
                    return;
                };
                if tasks::blocking(move || work(&manager)).await.is_err() {
                    return;
                }
            }
        });
    }

    fn flush_due(&self) {
        self.done_if_room(self.logs.flush_dirty(clock::wall_ms()), "logs not flushed");
        let written = self.logs.checkpoint_offsets();
        self.done_if_room(written, "offset checkpoints not written");
    }

    /// Tells of work that failed, but not of a full disk: that is told once.
    pub(super) fn done_if_room(&self, done: Result<(), ManagerError>, otherwise: &str) {
        match self.host.check(done) {
            Err(error) if error.no_space().is_none() => warn!(%error, "{otherwise}"),
            _ => {}
        }
    }

    /// For how long some log directory has had no room; `None` if all have.
    #[must_use]
    pub fn full_for(&self) -> Option<Duration> {
        self.host.full.longest(clock::now())
    }

    /// Deletes old segments below the high watermark. Offsets of groups are exempt until they can be
    /// compacted: by age or size they would be lost.
    fn retain(&self) {
        let looked_at = RefCell::new(Vec::new());
        let mark = |name: &TopicPartition| {
            let partition = self.partition(name).ok()?;
            let kept =
                name.topic == OFFSETS_TOPIC || !partition.log().config().cleanup_policy.delete;
            if kept {
                return None;
            }
            let (mark, start) = (
                partition.high_watermark(),
                partition.log().log_start_offset(),
            );
            looked_at.borrow_mut().push((partition, start));
            Some(mark)
        };
        let passed = self.logs.retention_pass(clock::wall_ms(), &mark);
        for (partition, start) in looked_at.take() {
            // Its followers are to hear of it.
            if partition.log().log_start_offset() > start {
                partition.waiters().wake();
            }
        }
        match self.host.check(passed) {
            Ok(0) => {}
            Ok(segments) => info!(segments, "old segments deleted"),
            Err(error) if error.no_space().is_some() => {}
            Err(error) => warn!(%error, "retention failed"),
        }
    }
}
