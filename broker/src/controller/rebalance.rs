//! Giving leadership back to preferred replicas, when a broker leads too few of the partitions that
//! it should by their assignment.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::metadata::Image;

/// A topic and one of its partitions.
type TopicIndex = (Arc<str>, i32);

/// The partitions of brokers whose share of partitions led elsewhere exceeds `percentage`.
#[must_use]
pub fn imbalanced(image: &Image, percentage: i32) -> Vec<TopicIndex> {
    let mut preferred: BTreeMap<i32, (usize, Vec<TopicIndex>)> = BTreeMap::new();
    for topic in image.topics.values() {
        if image.deleting.contains_key(&topic.name) {
            continue;
        }
        for (index, partition) in &topic.partitions {
            let Some(broker) = partition.replicas.first() else {
                continue;
            };
            let (total, elsewhere) = preferred.entry(*broker).or_default();
            *total += 1;
            if partition.leader != Some(*broker) {
                elsewhere.push((topic.name.clone(), *index));
            }
        }
    }
    let limit = usize::try_from(percentage).unwrap_or(0);
    let registered = preferred
        .into_iter()
        .filter(|(broker, _)| image.broker(*broker).is_some());
    let over = registered.filter(|(_, (total, elsewhere))| elsewhere.len() * 100 > limit * total);
    over.flat_map(|(_, (_, elsewhere))| elsewhere).collect()
}
