//! From an image, and what changed since the last decision, to actions.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::metadata::{Delta, ElectionKind, Image, Partition, Topic};

use super::action::{Action, Removal, Why};
use super::election::{Surroundings, first_state, next_state, preferred_state};
use super::rebalance::imbalanced;

const UNCLEAN: &str = "unclean.leader.election.enable";

/// What is to be done for a partition for which an election is asked for.
enum Asked {
    /// This.
    Now(Action),
    /// Something else comes first: the next image tells.
    Later,
}

/// One term of a controller: what stays the same from its election to its end.
#[derive(Clone, Copy, Debug)]
pub struct Controller {
    /// Its controller epoch.
    pub epoch: i32,
    /// Whether topics that say nothing allow unclean elections.
    pub unclean_default: bool,
}

impl Controller {
    /// What is to be written, given that `delta` changed since everything before was decided.
    #[must_use]
    pub fn decide(&self, image: &Image, delta: &Delta) -> Vec<Action> {
        let mut actions = Vec::new();
        let everywhere = delta.all || delta.requests || !delta.brokers.is_empty();
        if everywhere {
            for topic in image.topics.values() {
                self.topic(image, topic, &mut actions);
            }
        } else {
            self.touched(image, delta, &mut actions);
        }
        if delta.all || delta.requests {
            requests(image, &mut actions);
        }
        for kind in [ElectionKind::Preferred, ElectionKind::Unclean] {
            self.asked_for(image, kind, &mut actions);
        }
        actions
    }

    /// What is to be written so that preferred replicas lead, where a broker leads too few.
    #[must_use]
    pub fn rebalance(&self, image: &Image, percentage: i32) -> Vec<Action> {
        let partitions = imbalanced(image, percentage);
        let actions = partitions.iter().filter_map(|(topic, index)| {
            let topic = image.topic(topic)?;
            self.preferred(image, topic, *index)
        });
        actions.collect()
    }

    fn touched(&self, image: &Image, delta: &Delta, actions: &mut Vec<Action>) {
        let whole: BTreeSet<&Arc<str>> = delta.topics.union(&delta.topic_configs).collect();
        for name in &whole {
            if let Some(topic) = image.topic(name) {
                self.topic(image, topic, actions);
            }
        }
        for (name, index) in &delta.partitions {
            if whole.contains(name) || image.deleting.contains_key(name) {
                continue;
            }
            if let Some(topic) = image.topic(name)
                && let Some(partition) = topic.partitions.get(index)
            {
                actions.extend(self.partition(image, topic, *index, partition));
            }
        }
    }

    fn topic(&self, image: &Image, topic: &Topic, actions: &mut Vec<Action>) {
        if image.deleting.contains_key(&topic.name) {
            actions.push(Action::DeleteTopic(removal(image, topic)));
            return;
        }
        if topic.id.is_nil() {
            actions.push(Action::FillTopicId {
                topic: topic.name.clone(),
                version: topic.version,
            });
            // Its version changes by that: partitions are created from the next image.
            return;
        }
        if !topic.has_partitions_node {
            actions.push(Action::CreatePartitionsNode {
                topic: topic.name.clone(),
                version: topic.version,
            });
        }
        for (index, partition) in &topic.partitions {
            actions.extend(self.partition(image, topic, *index, partition));
        }
    }

    fn partition(
        &self,
        image: &Image,
        topic: &Topic,
        index: i32,
        partition: &Partition,
    ) -> Option<Action> {
        let around = self.around(image, topic, index);
        if !partition.has_state() {
            return Some(Action::CreateState {
                topic: topic.name.clone(),
                partition: index,
                topic_version: topic.version,
                has_node: partition.has_node,
                state: first_state(partition, &around)?,
            });
        }
        let (state, why) = next_state(partition, &around)?;
        Some(Action::SetState {
            topic: topic.name.clone(),
            partition: index,
            expected: partition.partition_epoch,
            state,
            why,
        })
    }

    fn preferred(&self, image: &Image, topic: &Topic, index: i32) -> Option<Action> {
        if image.deleting.contains_key(&topic.name) {
            return None;
        }
        let partition = topic.partitions.get(&index)?;
        let state = preferred_state(partition, &self.around(image, topic, index))?;
        Some(Action::SetState {
            topic: topic.name.clone(),
            partition: index,
            expected: partition.partition_epoch,
            state,
            why: Why::Preferred,
        })
    }

    /// The preferred replica leads, unless something else is to be written first.
    fn preferred_if_next(&self, image: &Image, topic: &Topic, index: i32) -> Option<Asked> {
        if image.deleting.contains_key(&topic.name) {
            return None;
        }
        let partition = topic.partitions.get(&index)?;
        if comes_first(partition, &self.around(image, topic, index)) {
            return Some(Asked::Later);
        }
        self.preferred(image, topic, index).map(Asked::Now)
    }

    /// Any replica that is here leads a partition that has no leader and gets none by itself.
    fn unclean(&self, image: &Image, topic: &Topic, index: i32) -> Option<Asked> {
        if image.deleting.contains_key(&topic.name) {
            return None;
        }
        let partition = topic.partitions.get(&index)?;
        let around = self.around(image, topic, index);
        if comes_first(partition, &around) {
            return Some(Asked::Later);
        }
        if partition.leader.is_some() || !partition.has_state() {
            return None;
        }
        let asked = Surroundings {
            unclean_allowed: true,
            ..around
        };
        let (state, why) = next_state(partition, &asked)?;
        Some(Asked::Now(Action::SetState {
            topic: topic.name.clone(),
            partition: index,
            expected: partition.partition_epoch,
            state,
            why,
        }))
    }

    /// A request for elections stands until nothing more can be done for it.
    fn asked_for(&self, image: &Image, kind: ElectionKind, actions: &mut Vec<Action>) {
        let Some(asked) = image.asked_election(kind) else {
            return;
        };
        let partitions: BTreeSet<_> = asked.partitions.iter().collect();
        let elections: Vec<Asked> = partitions
            .into_iter()
            .filter_map(|(topic, index)| {
                let topic = image.topic(topic)?;
                match kind {
                    ElectionKind::Preferred => self.preferred_if_next(image, topic, *index),
                    ElectionKind::Unclean => self.unclean(image, topic, *index),
                }
            })
            .collect();
        if elections.is_empty() {
            let version = asked.version;
            actions.push(Action::EndElection { kind, version });
        }
        actions.extend(elections.into_iter().filter_map(|election| match election {
            Asked::Now(action) => Some(action),
            Asked::Later => None,
        }));
    }

    fn around<'a>(&self, image: &'a Image, topic: &Topic, index: i32) -> Surroundings<'a> {
        let configs = image.topic_configs.get(&topic.name);
        let own = configs.and_then(|configs| configs.get(UNCLEAN));
        Surroundings {
            image,
            topic_id: topic.id,
            index,
            controller_epoch: self.epoch,
            unclean_allowed: own.map_or(self.unclean_default, |v| v.eq_ignore_ascii_case("true")),
        }
    }
}

/// Whether a partition gets another state, whoever asks for an election.
fn comes_first(partition: &Partition, around: &Surroundings<'_>) -> bool {
    match partition.has_state() {
        true => next_state(partition, around).is_some(),
        false => first_state(partition, around).is_some(),
    }
}

fn removal(image: &Image, topic: &Topic) -> Removal {
    let partitions = topic.partitions.iter();
    Removal {
        topic: topic.name.clone(),
        version: topic.version,
        has_partitions_node: topic.has_partitions_node,
        partitions: partitions
            .filter(|(_, p)| p.has_node)
            .map(|(index, p)| (*index, p.has_state()))
            .collect(),
        has_config: image.topic_configs.contains_key(&topic.name),
    }
}

/// What stands in the tree only to be removed.
fn requests(image: &Image, actions: &mut Vec<Action>) {
    for topic in image.deleting.keys() {
        if image.topic(topic).is_none() && !image.unreadable.contains_key(topic) {
            actions.push(Action::DropDeletion {
                topic: topic.clone(),
            });
        }
    }
    for path in image.notifications.keys() {
        actions.push(Action::DropNotification { path: path.clone() });
    }
}

#[cfg(test)]
mod tests;
