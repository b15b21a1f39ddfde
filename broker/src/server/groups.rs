//! Puts consumer groups on the partitions of `__consumer_offsets` that this broker leads.
//!
//! `shard` asks for its logs through [`Backing`]; here the replica manager stands behind it. Every
//! call names the leader epoch it believes in, and is refused when another one is led here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config;
use crate::group::{AppendFailure, GroupConfig};
use crate::log::{AppendError, AppendOrigin, TopicPartition};
use crate::metadata::{Image, MetadataCache};
use crate::mutants::{self, Mutant};
use crate::replica::hosted::wake::wait_until;
use crate::replica::hosted::{Leaderships, Partition, PartitionError, ReplicaManager};
use crate::shard::{Backing, Led, LoadError, OFFSETS_TOPIC, Shards};

/// See the module.
pub struct HostedGroups {
    pub replicas: Arc<ReplicaManager>,
    pub metadata: Arc<MetadataCache>,
    pub commit_timeout: Duration,
    pub load_buffer_bytes: usize,
}

impl HostedGroups {
    fn led(&self, partition: i32, leader_epoch: i32) -> Option<Arc<Partition>> {
        let name = TopicPartition::new(OFFSETS_TOPIC, partition);
        let led = self.replicas.leaderships().borrow().get(&name).copied();
        if led != Some(leader_epoch) {
            return None;
        }
        self.replicas.partition(&name).ok()
    }
}

impl Backing for HostedGroups {
    fn partitions(&self) -> Option<i32> {
        let image = self.metadata.image();
        let topic = image.topic(OFFSETS_TOPIC)?;
        i32::try_from(topic.partitions.size()).ok()
    }

    fn is_gone(&self, topic: &str) -> bool {
        let image = self.metadata.image();
        image.cluster_id.is_some() && image.is_gone(topic)
    }

    fn append(
        &self,
        partition: i32,
        leader_epoch: i32,
        batch: Bytes,
    ) -> BoxFuture<'static, Result<(), AppendFailure>> {
        let Some(partition) = self.led(partition, leader_epoch) else {
            return std::future::ready(Err(AppendFailure::NotLeader)).boxed();
        };
        let deadline = Instant::from_std(clock::now() + self.commit_timeout);
        // Appended before this returns: the shard's decisions and the log have one order.
        let appended = partition.append_as_leader(batch, AppendOrigin::Coordinator, true);
        let committed = async move {
            let append = appended.map_err(|error| failure(&error))?;
            if append.leader_epoch != leader_epoch {
                return Err(AppendFailure::NotLeader);
            }
            if mutants::is(Mutant::GroupAckBeforeCommit) {
                return Ok(());
            }
            partition
                .committed(&append, deadline)
                .await
                .map_err(|error| failure(&error))
        };
        committed.boxed()
    }

    fn bounds(&self, partition: i32, leader_epoch: i32) -> Result<(i64, i64), LoadError> {
        let partition = self
            .led(partition, leader_epoch)
            .ok_or(LoadError::NotLeader)?;
        let log = partition.log();
        Ok((log.log_start_offset(), log.log_end_offset()))
    }

    fn committed(
        &self,
        partition: i32,
        leader_epoch: i32,
        end: i64,
    ) -> BoxFuture<'static, Result<(), LoadError>> {
        let Some(partition) = self.led(partition, leader_epoch) else {
            return std::future::ready(Err(LoadError::NotLeader)).boxed();
        };
        let deadline = Instant::from_std(clock::now() + self.commit_timeout);
        let committed = async move {
            let look = || match partition.leading_epoch() == Some(leader_epoch) {
                true => (partition.high_watermark() >= end).then_some(Ok(())),
                false => Some(Err(LoadError::NotLeader)),
            };
            wait_until(
                deadline,
                |waiter| partition.waiters().register(waiter),
                look,
            )
            .await
            .unwrap_or_else(|| {
                let high_watermark = partition.high_watermark();
                Err(LoadError::Uncommitted {
                    high_watermark,
                    end,
                })
            })
        };
        committed.boxed()
    }

    fn read(&self, partition: i32, offset: i64) -> Result<Bytes, LoadError> {
        let name = TopicPartition::new(OFFSETS_TOPIC, partition);
        let partition = self
            .replicas
            .partition(&name)
            .map_err(|_| LoadError::NotLeader)?;
        let log = partition.log();
        let records = log.read(offset, self.load_buffer_bytes, log.log_end_offset(), true);
        match records {
            Ok(records) => Ok(records.bytes),
            Err(error) => Err(LoadError::Read {
                offset,
                reason: error.to_string(),
            }),
        }
    }
}

fn failure(error: &PartitionError) -> AppendFailure {
    match error {
        PartitionError::Append(AppendError::RecordTooLarge { .. })
        | PartitionError::Append(AppendError::RecordBatchTooLarge { .. }) => {
            AppendFailure::TooLarge
        }
        PartitionError::NotEnoughReplicas { .. }
        | PartitionError::NotEnoughReplicasAfterAppend { .. }
        | PartitionError::TimedOut => AppendFailure::Unavailable,
        _ => AppendFailure::NotLeader,
    }
}

/// The groups' part of the settings.
pub fn group_config(config: &config::GroupConfig) -> GroupConfig {
    let ms = |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    let short = |duration: Duration| i32::try_from(duration.as_millis()).unwrap_or(i32::MAX);
    GroupConfig {
        min_session_timeout_ms: short(config.min_session_timeout),
        max_session_timeout_ms: short(config.max_session_timeout),
        max_size: usize::try_from(config.max_size).unwrap_or(usize::MAX),
        initial_rebalance_delay_ms: ms(config.initial_rebalance_delay),
        offset_metadata_max_bytes: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(0),
        offsets_retention_ms: ms(config.offsets_retention),
    }
}

/// Tells the shards which topics go, until `leaving`.
pub async fn tell_gone(metadata: Arc<MetadataCache>, groups: Shards, leaving: CancellationToken) {
    let mut changed = metadata.changed();
    let mut before = metadata.image();
    changed.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = leaving.cancelled() => return,
            () = changed.changed() => {}
        }
        changed.mark_seen();
        let now = metadata.image();
        let gone = topics_gone(&before, &now);
        if !gone.is_empty() {
            groups.forget_topics(&gone);
        }
        before = now;
    }
}

/// Topics of one image that are gone, going, or replaced in a later one.
fn topics_gone(before: &Image, now: &Image) -> BTreeSet<String> {
    let topics = before.topics.values();
    let gone = topics.filter(|old| match now.topic(&old.name) {
        Some(new) if Arc::ptr_eq(old, new) => false,
        Some(new) if !old.id.is_nil() && !new.id.is_nil() && old.id != new.id => true,
        Some(_) => false,
        None => now.is_gone(&old.name),
    });
    let asked = now.deleting.keys();
    let asked = asked.filter(|name| !before.deleting.contains_key(*name));
    gone.map(|topic| topic.name.to_string())
        .chain(asked.map(ToString::to_string))
        .collect()
}

/// Tells the shards which partitions of the offsets topic are led here, until `leaving`.
pub async fn tell_led(
    mut leaderships: watch::Receiver<Leaderships>,
    led: watch::Sender<Led>,
    leaving: CancellationToken,
) {
    loop {
        let now = offsets_partitions(&leaderships.borrow_and_update());
        led.send_if_modified(|before| {
            let changed = *before != now;
            *before = now;
            changed
        });
        tokio::select! {
            biased;
            () = leaving.cancelled() => return,
            more = leaderships.changed() => if more.is_err() { return },
        }
    }
}

fn offsets_partitions(all: &BTreeMap<TopicPartition, i32>) -> Led {
    let ours = all.iter().filter(|(name, _)| name.topic == OFFSETS_TOPIC);
    ours.map(|(name, epoch)| (name.partition, *epoch)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn topics_go_by_deletion_or_by_another_id_and_not_by_being_unreadable() {
        let mut before = Image::default();
        for (at, name) in ["stays", "going", "gone", "replaced", "garbled", "named"]
            .iter()
            .enumerate()
        {
            let id = if *name == "named" { 0 } else { at as u128 + 1 };
            before.put_topic(name, Uuid::from_u128(id), 0, &[(0, vec![1])]);
        }
        let mut now = before.clone();
        now.deleting.insert_mut(Arc::from("going"), ());
        now.remove_topic("gone");
        now.put_topic("replaced", Uuid::from_u128(99), 0, &[(0, vec![1])]);
        now.remove_topic("garbled");
        now.unreadable.insert_mut(Arc::from("garbled"), ());
        now.put_topic("named", Uuid::from_u128(98), 1, &[(0, vec![1])]);
        let gone = topics_gone(&before, &now);
        assert_eq!(
            gone.iter().collect::<Vec<_>>(),
            ["going", "gone", "replaced"]
        );
        assert_eq!(topics_gone(&now, &now), BTreeSet::new());
    }
}
