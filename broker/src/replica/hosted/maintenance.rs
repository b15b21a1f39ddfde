//! What hosted partitions need by the clock: lagging followers, checkpoints, flushes, retention.
//!
//! File work runs on the blocking pool, one run of each kind at a time.

use super::manager::{OFFSETS_TOPIC, ReplicaManager};
use crate::clock;
use crate::log::TopicPartition;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

/// Replicas are looked at this often at the latest, so that a write of the ISR held back in doubt is
/// taken up soon.
const ISR_CHECK_MAX: Duration = Duration::from_secs(2);

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
            if let Err(error) = manager
                .host
                .check(manager.logs.remove_due(clock::wall_ms()))
            {
                warn!(%error, "deleted files not removed");
            }
        });
    }

    /// Runs `work` on the blocking pool, again and again, each run `pause` after the last one began at the
    /// earliest.
    fn every(self: &Arc<Self>, pause: Duration, work: fn(&ReplicaManager)) {
        let weak = Arc::downgrade(self);
        let shutdown = self.shutdown.clone();
        self.host.runtime.spawn(async move {
            let mut ticks = interval(pause.max(Duration::from_millis(1)));
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks.tick().await;
            loop {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    _ = ticks.tick() => {}
                }
                let Some(manager) = weak.upgrade() else {
                    return;
                };
                if tokio::task::spawn_blocking(move || work(&manager))
                    .await
                    .is_err()
                {
                    return;
                }
            }
        });
    }

    fn flush_due(&self) {
        if let Err(error) = self.host.check(self.logs.flush_dirty(clock::wall_ms())) {
            warn!(%error, "logs not flushed");
        }
        if let Err(error) = self.host.check(self.logs.checkpoint_offsets()) {
            warn!(%error, "offset checkpoints not written");
        }
    }

    /// Deletes old segments below the high watermark. Offsets of groups are exempt until they can be
    /// compacted: by age or size they would be lost.
    fn retain(&self) {
        let mark = |name: &TopicPartition| {
            let partition = self.partition(name).ok()?;
            let kept =
                name.topic == OFFSETS_TOPIC || !partition.log().config().cleanup_policy.delete;
            (!kept).then(|| partition.high_watermark())
        };
        match self
            .host
            .check(self.logs.retention_pass(clock::wall_ms(), &mark))
        {
            Ok(0) => {}
            Ok(segments) => info!(segments, "old segments deleted"),
            Err(error) => warn!(%error, "retention failed"),
        }
    }
}
