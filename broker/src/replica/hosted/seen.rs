//! What an image says, and what is new in it, for the partitions of this broker.

use crate::metadata::{self, Image, Topic};
use crate::replica::isr::Isr;
use crate::replica::state::PartitionState;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Stand for settings nobody can read: they may have said to keep everything.
const KEEP_ALL: [(&str, &str); 2] = [("retention.ms", "-1"), ("retention.bytes", "-1")];

/// The settings of a topic.
pub(super) fn overrides(image: &Image, topic: &str) -> BTreeMap<String, String> {
    match image.topic_configs.get(topic) {
        Some(configs) => (**configs).clone(),
        None if image.unreadable_configs.contains_key(topic) => KEEP_ALL
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        None => BTreeMap::new(),
    }
}

/// The state of a partition in the words of `replica`.
pub(super) fn state_of(seen: &metadata::Partition) -> PartitionState {
    PartitionState {
        replicas: seen.replicas.clone(),
        leader: seen.leader,
        leader_broker_epoch: seen.leader_broker_epoch,
        leader_epoch: seen.leader_epoch,
        partition_epoch: seen.partition_epoch,
        isr: Isr::new(
            seen.isr
                .iter()
                .map(|id| (*id, seen.isr_epoch_of(*id).unwrap_or(0))),
        ),
    }
}

/// Whether the same brokers are registered, in the same lives, and the same ones ask to be relieved.
pub(super) fn same_brokers(before: &Image, now: &Image) -> bool {
    before.brokers.size() == now.brokers.size()
        && before.shutting_down == now.shutting_down
        && before
            .brokers
            .values()
            .zip(now.brokers.values())
            .all(|(a, b)| Arc::ptr_eq(a, b) || a == b)
}

/// Whether nothing changed for a topic of `now`: assignment, states, settings, wish to delete it.
pub(super) fn same_topic(before: &Image, now: &Image, topic: &Arc<Topic>) -> bool {
    let same_configs = match (
        before.topic_configs.get(&topic.name),
        now.topic_configs.get(&topic.name),
    ) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        (a, b) => {
            let unreadable = |image: &Image| image.unreadable_configs.contains_key(&topic.name);
            a.is_none() && b.is_none() && unreadable(before) == unreadable(now)
        }
    };
    before
        .topic(&topic.name)
        .is_some_and(|old| Arc::ptr_eq(old, topic))
        && same_configs
}
