//! Groups where they live: one shard per led partition of `__consumer_offsets`.
//!
//! The shell around `group/`, which is pure. When leadership of a partition arrives, its log is read
//! (`loader.rs`) and its groups are served (`serve.rs`); when it goes, everyone who waits is sent
//! away. Decisions are made under the shard's lock and their records appended under it too, so
//! that the order of decisions is the order of the log; `writer.rs` waits for each append to be
//! committed, in that order, and only then lets its consequences happen.
//!
//! Called by `handlers/` (through [`Shards`]); reaches logs through [`Backing`], which `server`
//! implements with the replica manager and tests with memory.
//!
//! Invariants: a shard serves under exactly one leader epoch, and only once everything it read is committed: another
//! leader might not have the rest, and what was answered from it would be unsaid (Kafka serves at once); a reply that
//! promises something stored leaves after its record was committed; memory never runs ahead of the log for longer than a
//! request is parked.

mod hosted;
mod loader;
mod serve;
mod writer;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::group::{AppendFailure, GroupConfig, GroupError, Now, partition_of};
use crate::tasks;
use hosted::Shard;

/// The topic groups are kept in.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// Partitions of [`OFFSETS_TOPIC`] led here, each with its leader epoch.
pub type Led = BTreeMap<i32, i32>;

/// The logs of `__consumer_offsets`, as a shard needs them.
pub trait Backing: Send + Sync + 'static {
    /// How many partitions the topic has; `None` while it does not exist.
    fn partitions(&self) -> Option<i32>;

    /// Whether there certainly is no such topic.
    fn is_gone(&self, topic: &str) -> bool;

    /// Appends one batch now, if this broker leads in `leader_epoch`; the future ends when the
    /// batch is committed on all in-sync replicas, or is known not to be.
    fn append(
        &self,
        partition: i32,
        leader_epoch: i32,
        batch: Bytes,
    ) -> BoxFuture<'static, Result<(), AppendFailure>>;

    /// First and end offset of a led log, uncommitted records included.
    fn bounds(&self, partition: i32, leader_epoch: i32) -> Result<(i64, i64), LoadError>;

    /// Ends when every record below `offset` of a led log is committed, or with why that is not known.
    fn committed(
        &self,
        partition: i32,
        leader_epoch: i32,
        offset: i64,
    ) -> BoxFuture<'static, Result<(), LoadError>>;

    /// Whole batches from the one that holds `offset` on, of about the buffer's size. Blocks.
    fn read(&self, partition: i32, offset: i64) -> Result<Bytes, LoadError>;
}

/// Why a partition could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Leadership went while it was being read.
    #[error("no longer the leader")]
    NotLeader,
    /// The replicas in sync do not have all of it yet.
    #[error("replicas in sync have it up to {high_watermark} only, and it ends at {end}")]
    Uncommitted {
        /// Offset up to which they have it.
        high_watermark: i64,
        /// Where it ends.
        end: i64,
    },
    /// The log could not be read.
    #[error("reading at offset {offset}: {reason}")]
    Read {
        /// Where.
        offset: i64,
        /// Why.
        reason: String,
    },
}

/// Every group this broker coordinates; clones share it.
#[derive(Clone)]
pub struct Shards {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Shards {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Shards({} led)", self.shared.led.read().len())
    }
}

/// Gives everything up when it is dropped: however [`Shards::run`] ends, nothing is served after it, and no shard keeps
/// its owner alive.
struct GivenUp(Shards);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.lead(&Led::new());
    }
}

struct Shared {
    config: GroupConfig,
    backing: Arc<dyn Backing>,
    led: RwLock<BTreeMap<i32, Arc<Shard>>>,
    tickets: AtomicU64,
    /// What time it is for `group/`.
    clock: Box<dyn Fn() -> Now + Send + Sync>,
    /// A deadline may have come nearer.
    deadlines: Notify,
    retention_check: Duration,
}

impl Shards {
    /// Serves nothing until [`Shards::run`] hears of leadership.
    pub fn new(config: GroupConfig, retention_check: Duration, backing: Arc<dyn Backing>) -> Self {
        let started = clock::now();
        let clock = move || {
            let passed = clock::now().saturating_duration_since(started);
            Now {
                mono_ms: i64::try_from(passed.as_millis()).unwrap_or(i64::MAX),
                wall_ms: clock::wall_ms(),
            }
        };
        Self::with_clock(config, retention_check, backing, clock)
    }

    /// As [`Shards::new`], with another idea of what time it is.
    fn with_clock(
        config: GroupConfig,
        retention_check: Duration,
        backing: Arc<dyn Backing>,
        clock: impl Fn() -> Now + Send + Sync + 'static,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                config,
                backing,
                led: RwLock::default(),
                tickets: AtomicU64::new(0),
                clock: Box::new(clock),
                deadlines: Notify::new(),
                retention_check,
            }),
        }
    }

    /// Follows leadership and the clock until `shutdown`; then sends everyone away.
    pub async fn run(self, mut led: watch::Receiver<Led>, shutdown: CancellationToken) {
        let _given_up = GivenUp(self.clone());
        let mut retention = tokio::time::interval(self.shared.retention_check);
        retention.reset();
        loop {
            let now_led = led.borrow_and_update().clone();
            self.lead(&now_led);
            let wait = self.next_tick();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                changed = led.changed() => if changed.is_err() { break },
                () = self.shared.deadlines.notified() => {}
                _ = retention.tick() => self.expire_offsets(),
                () = tokio::time::sleep(wait) => self.tick(),
            }
        }
    }

    /// Takes on and gives up partitions until exactly `led` are served.
    fn lead(&self, led: &Led) {
        let mut shards = self.shared.led.write();
        shards.retain(|partition, shard| {
            let stays = led.get(partition) == Some(&shard.leader_epoch());
            if !stays {
                tracing::info!(partition, "groups given up");
                shard.give_up();
            }
            stays
        });
        for (&partition, &leader_epoch) in led {
            shards.entry(partition).or_insert_with(|| {
                let shard = Shard::begin(partition, leader_epoch, self.clone());
                tasks::spawn(loader::load(shard.clone()));
                shard
            });
        }
    }

    fn next_tick(&self) -> Duration {
        let now_ms = self.now().mono_ms;
        let next = self
            .shared
            .led
            .read()
            .values()
            .filter_map(|s| s.next_deadline_ms())
            .min();
        let wait_ms = next.map_or(60_000, |at| (at - now_ms).clamp(1, 60_000));
        Duration::from_millis(u64::try_from(wait_ms).unwrap_or(1))
    }

    fn all(&self) -> Vec<Arc<Shard>> {
        self.shared.led.read().values().cloned().collect()
    }

    fn tick(&self) {
        for shard in self.all() {
            shard.change(|groups, now, config, out| groups.tick(now, config, out));
        }
    }

    fn expire_offsets(&self) {
        for shard in self.all() {
            shard.forget_missing();
            shard.change(|groups, now, config, out| groups.expire_offsets(now, config, out));
        }
    }

    /// These topics were deleted: what groups committed of them is forgotten.
    pub fn forget_topics(&self, topics: &BTreeSet<String>) {
        for shard in self.all() {
            shard.forget_topics(topics);
        }
    }

    fn now(&self) -> Now {
        (self.shared.clock)()
    }

    fn ticket(&self) -> crate::group::Ticket {
        crate::group::Ticket(self.shared.tickets.fetch_add(1, Ordering::Relaxed))
    }

    /// The partition of [`OFFSETS_TOPIC`] that holds a group; `None` while the topic is missing.
    pub fn partition_of(&self, group: &str) -> Option<i32> {
        Some(partition_of(group, self.shared.backing.partitions()?))
    }

    /// The shard of a group.
    fn shard(&self, group: &str) -> Result<Arc<Shard>, GroupError> {
        let partition = self.partition_of(group).ok_or(GroupError::NotCoordinator)?;
        self.shared
            .led
            .read()
            .get(&partition)
            .cloned()
            .ok_or(GroupError::NotCoordinator)
    }
}

#[cfg(test)]
mod tests;
