//! Elections among replicas none of which can vouch for its log: each tells how far its log
//! reaches, the controller chooses the longest. This is the telling side.
//!
//! A broker tells through ephemeral znodes, void under another broker epoch, and removes them when
//! the partition has a leader. It looks at whole images, so not more often than [`REST`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use zweig_client::ensemble::{CreateMode, Error, WriteOp};

use crate::ensemble::cluster::Cluster;
use crate::ensemble::znode::own;
use crate::log::TopicPartition;
use crate::metadata::{Image, LogEnd, MetadataCache, Partition};
use crate::replica::hosted::ReplicaManager;

/// Pause after a write that failed.
const PAUSE: Duration = Duration::from_millis(500);

/// Between two looks at the whole image.
const REST: Duration = Duration::from_millis(200);

/// Tells ends of logs where they are needed, until `stop`.
pub(super) async fn run(
    cluster: Cluster,
    metadata: Arc<MetadataCache>,
    replicas: Arc<ReplicaManager>,
    stop: CancellationToken,
) {
    let mut changed = metadata.changed();
    changed.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = changed.changed() => {}
        }
        changed.mark_seen();
        let image = metadata.image();
        let me = cluster.broker_id();
        let log_end = |name: &TopicPartition| replicas.log_end(name);
        let ops = writes(&image, me, cluster.broker_epoch(), log_end);
        for op in ops {
            let written = cluster.port().multi(vec![op]).await.map_err(Error::from);
            match written {
                Ok(_) | Err(Error::NodeExists(_) | Error::NoNode(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "telling the end of a log");
                    tokio::time::sleep(PAUSE).await;
                    changed.mark_changed();
                    break;
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(REST) => {}
        }
    }
}

/// What this broker has to tell, and to take back.
fn writes(
    image: &Image,
    me: i32,
    broker_epoch: i64,
    log_end: impl Fn(&TopicPartition) -> Option<(i32, i64)>,
) -> Vec<WriteOp> {
    let told: BTreeMap<(Uuid, i32), LogEnd> = image
        .log_ends
        .iter()
        .filter(|((_, _, broker), _)| *broker == me)
        .map(|((topic, partition, _), end)| ((*topic, *partition), *end))
        .collect();
    let mut ops = Vec::new();
    for (topic, partition) in told.keys() {
        let known = image.topic_by_id(topic);
        let known = known.and_then(|t| t.partitions.get(partition));
        if known.is_none_or(|p| p.leader.is_some()) {
            let path = own::log_end_path(*topic, *partition, me);
            ops.push(WriteOp::delete(path, None));
        }
    }
    for topic in image.topics.values() {
        for (index, partition) in &topic.partitions {
            if !needed(image, partition, me) || told.contains_key(&(topic.id, *index)) {
                continue;
            }
            let name = TopicPartition::new(&*topic.name, *index);
            let Some((last_epoch, end_offset)) = log_end(&name) else {
                continue;
            };
            let end = LogEnd {
                broker_epoch,
                last_epoch,
                end_offset,
            };
            let path = own::log_end_path(topic.id, *index, me);
            let content = own::encode_log_end(&end);
            ops.push(WriteOp::create(path, content, CreateMode::Ephemeral));
        }
    }
    ops
}

/// Whether the partition waits for the ends of its members' logs, this broker's among them.
fn needed(image: &Image, partition: &Partition, me: i32) -> bool {
    let kept = |id: &i32| {
        let named = partition.isr_epoch_of(*id);
        let broker = image.broker(*id);
        matches!((named, broker), (Some(named), Some(b)) if b.kept_since(named))
    };
    partition.leader.is_none()
        && partition.isr.contains(&me)
        && partition.isr.iter().all(|id| image.broker(*id).is_some())
        && !partition.isr.iter().any(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Broker;

    fn broker(id: i32, epoch: i64) -> Arc<Broker> {
        Arc::new(Broker {
            id,
            epoch,
            endpoints: Vec::new(),
            rack: None,
            intact_since: None,
        })
    }

    #[test]
    fn a_broker_intact_only_since_it_lost_something_tells_its_end_too() {
        let mut image = Image::default();
        image.put_topic("t", Uuid::from_u128(5), 0, &[(0, vec![1])]);
        assert!(image.update_partition("t", 0, |p| {
            p.isr = vec![1];
            p.isr_broker_epochs = vec![10];
            p.partition_epoch = 3;
        }));
        // It lost its page cache before epoch 20, and restarted since.
        let restarted = Broker {
            intact_since: Some(20),
            ..(*broker(1, 30)).clone()
        };
        image.brokers.insert_mut(1, Arc::new(restarted));
        assert_eq!(writes(&image, 1, 30, |_| Some((4, 100))).len(), 1);
        let intact = Broker {
            intact_since: Some(10),
            ..(*broker(1, 30)).clone()
        };
        image.brokers.insert_mut(1, Arc::new(intact));
        assert_eq!(
            writes(&image, 1, 30, |_| Some((4, 100))),
            [],
            "it is simply elected"
        );
    }

    #[test]
    fn an_end_is_told_once_all_are_back_and_taken_back_with_a_leader() {
        let mut image = Image::default();
        let id = Uuid::from_u128(5);
        image.put_topic("t", id, 0, &[(0, vec![1, 2])]);
        assert!(image.update_partition("t", 0, |p| {
            p.isr = vec![1, 2];
            p.isr_broker_epochs = vec![10, 11];
            p.partition_epoch = 3;
        }));
        image.brokers.insert_mut(1, broker(1, 20));
        let end = |_: &TopicPartition| Some((4, 100));
        assert_eq!(writes(&image, 1, 20, end), [], "broker 2 is not here");
        image.brokers.insert_mut(2, broker(2, 21));
        let told = writes(&image, 1, 20, end);
        assert_eq!(told.len(), 1);
        assert_eq!(told[0].path(), own::log_end_path(id, 0, 1));
        let content = LogEnd {
            broker_epoch: 20,
            last_epoch: 4,
            end_offset: 100,
        };
        image.log_ends.insert_mut((id, 0, 1), content);
        assert_eq!(writes(&image, 1, 20, end), [], "told already");
        assert!(image.update_partition("t", 0, |p| p.leader = Some(2)));
        let path = own::log_end_path(id, 0, 1);
        assert_eq!(writes(&image, 1, 20, end), [WriteOp::delete(path, None)]);
    }
}
