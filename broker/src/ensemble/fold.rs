//! Folds the items of a watch stream into images. Pure: items in, images out.
//!
//! An image comes out only at an end mark. A znode that cannot be read is reported; what depends on it
//! errs on the side of keeping data:
//! - a topic stays as it was when it could be read, and the image says that it is unreadable; what
//!   stands below one that never could be read is kept back until it can;
//! - settings of a topic stay as they were, and the image says so;
//! - a partition whose state cannot be read has no leader, so that nobody acts on a guess.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use zweig_client::ensemble::{ChangeKind, Stat, WatchItem};

use crate::metadata::{
    AskedElection, ControllerNode, Delta, Image, PartitionState, VersionedEpoch,
};

use super::znode::{DecodeError, admin, brokers, cluster, config, controller, own, topics};

/// The fold: the image being built and what changed since the last one that came out.
#[derive(Debug, Default)]
pub struct Fold {
    image: Image,
    delta: Delta,
    /// Znodes, by path, below topics of which nothing could be read yet.
    held_back: BTreeMap<String, (Option<Bytes>, Stat)>,
    /// Znodes that could not be read since the last image.
    problems: Vec<DecodeError>,
}

/// What an end mark yields.
#[derive(Debug)]
pub struct Folded {
    /// The image as of the end mark.
    pub image: Arc<Image>,
    /// What differs from the image before it; empty if only the zxid does.
    pub delta: Delta,
    /// Znodes that could not be read.
    pub problems: Vec<DecodeError>,
}

impl Fold {
    /// Takes the next item.
    pub fn push(&mut self, item: WatchItem) -> Option<Folded> {
        match item {
            WatchItem::Reset => {
                *self = Fold {
                    delta: Delta::everything(),
                    ..Fold::default()
                };
                None
            }
            WatchItem::Node {
                path, data, stat, ..
            } => {
                self.put(&path, data.as_ref(), &stat);
                None
            }
            WatchItem::Change {
                kind,
                path,
                data,
                stat,
                ..
            } => {
                match (kind, stat) {
                    (ChangeKind::Acl, _) => {}
                    (ChangeKind::Deleted, _) | (_, None) => self.remove(&path),
                    (_, Some(stat)) => self.put(&path, data.as_ref(), &stat),
                }
                None
            }
            WatchItem::SubtreeEnd { zxid } | WatchItem::End { zxid } => Some(self.end(zxid)),
        }
    }

    fn end(&mut self, zxid: i64) -> Folded {
        self.image.zxid = self.image.zxid.max(zxid);
        Folded {
            image: Arc::new(self.image.clone()),
            delta: std::mem::take(&mut self.delta),
            problems: std::mem::take(&mut self.problems),
        }
    }

    fn put(&mut self, path: &str, data: Option<&Bytes>, stat: &Stat) {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        if self.is_held_back(&segments) {
            let node = (data.cloned(), *stat);
            self.held_back.insert(path.to_owned(), node);
            return;
        }
        let data = data.map_or(&b""[..], |d| d.as_ref());
        let done = match segments[..] {
            ["cluster", "id"] => self.cluster_id(data),
            ["brokers", "ids", id] => self.broker(path, id, data, stat),
            ["brokers", "topics", topic] => self.topic(path, topic, data, stat),
            ["brokers", "topics", topic, "partitions"] => {
                self.touch_topic(topic, true);
                Ok(())
            }
            ["brokers", "topics", topic, "partitions", p] => {
                self.partition_node(topic, p, true);
                Ok(())
            }
            ["brokers", "topics", topic, "partitions", p, "state"] => {
                self.state(path, topic, p, data, stat)
            }
            ["controller"] => self.controller(data, stat),
            ["controller_epoch"] => self.controller_epoch(data, stat),
            ["config", "topics", topic] => self.topic_config(path, topic, data),
            ["config", "brokers", broker] => self.broker_config(path, broker, data),
            [
                "admin" | "isr_change_notification" | "log_dir_event_notification" | "zweig",
                ..,
            ] => self.request(path, &segments, data, stat),
            _ => Ok(()),
        };
        if let Err(problem) = done {
            self.problems.push(problem);
        }
    }

    fn cluster_id(&mut self, data: &[u8]) -> Result<(), DecodeError> {
        self.image.cluster_id = Some(Arc::from(cluster::decode_id(data)?));
        Ok(())
    }

    fn broker(
        &mut self,
        path: &str,
        id: &str,
        data: &[u8],
        stat: &Stat,
    ) -> Result<(), DecodeError> {
        let Ok(id) = id.parse::<i32>() else {
            return Ok(());
        };
        self.delta.brokers.insert(id);
        match brokers::Registration::decode(path, data) {
            Ok(registration) => {
                let broker = registration.into_broker(id, stat.czxid);
                self.image.brokers.insert_mut(id, Arc::new(broker));
                Ok(())
            }
            Err(problem) => {
                self.image.brokers.remove_mut(&id);
                Err(problem)
            }
        }
    }

    fn topic(
        &mut self,
        path: &str,
        topic: &str,
        data: &[u8],
        stat: &Stat,
    ) -> Result<(), DecodeError> {
        let name: Arc<str> = Arc::from(topic);
        self.delta.topics.insert(name.clone());
        match topics::TopicNode::decode(path, data) {
            Ok(node) => {
                self.image.unreadable.remove_mut(topic);
                self.image
                    .put_topic(topic, node.id, stat.version, &node.assignment);
                for (path, (data, stat)) in self.take_below(topic) {
                    self.put(&path, data.as_ref(), &stat);
                }
                Ok(())
            }
            Err(problem) => {
                self.image.unreadable.insert_mut(name, ());
                Err(problem)
            }
        }
    }

    /// Whether this is a znode below a topic of which nothing could be read yet.
    fn is_held_back(&self, segments: &[&str]) -> bool {
        let ["brokers", "topics", topic, _, ..] = *segments else {
            return false;
        };
        self.image.unreadable.contains_key(topic) && self.image.topic(topic).is_none()
    }

    /// Takes what was held back below a topic; parents come first.
    fn take_below(&mut self, topic: &str) -> BTreeMap<String, (Option<Bytes>, Stat)> {
        let above = topics::topic_path(topic) + "/";
        let is_below = |path: &String| path.starts_with(&above);
        let (taken, kept) = std::mem::take(&mut self.held_back)
            .into_iter()
            .partition(|(path, _)| is_below(path));
        self.held_back = kept;
        taken
    }

    fn touch_topic(&mut self, topic: &str, has_partitions_node: bool) {
        let change = |t: &mut crate::metadata::Topic| t.has_partitions_node = has_partitions_node;
        if self.image.update_topic(topic, change) {
            self.delta.topics.insert(Arc::from(topic));
        }
    }

    fn partition_node(&mut self, topic: &str, partition: &str, exists: bool) {
        let Ok(partition) = partition.parse::<i32>() else {
            return;
        };
        let known = self
            .image
            .update_partition(topic, partition, |p| p.has_node = exists);
        if known {
            self.delta.partitions.insert((Arc::from(topic), partition));
        }
    }

    fn state(
        &mut self,
        path: &str,
        topic: &str,
        partition: &str,
        data: &[u8],
        stat: &Stat,
    ) -> Result<(), DecodeError> {
        let Ok(partition) = partition.parse::<i32>() else {
            return Ok(());
        };
        let state = topics::decode_state(path, data);
        let (state, problem) = match state {
            Ok(state) => (Some(state), Ok(())),
            Err(problem) => (None, Err(problem)),
        };
        let (version, czxid) = (stat.version, stat.czxid);
        let known = self.image.update_partition(topic, partition, |p| {
            let state = state.unwrap_or_else(|| PartitionState {
                leader: None,
                ..p.state()
            });
            p.set_state(state, version, czxid);
        });
        if known {
            self.delta.partitions.insert((Arc::from(topic), partition));
        }
        problem
    }

    fn controller(&mut self, data: &[u8], stat: &Stat) -> Result<(), DecodeError> {
        self.delta.controller = true;
        let broker = controller::decode_controller(data);
        self.image.controller = Some(ControllerNode {
            // Whoever wrote what cannot be read is not one of us.
            broker: broker.as_ref().copied().unwrap_or(-1),
            czxid: stat.czxid,
            session: stat.ephemeral_owner,
        });
        broker.map(|_| ())
    }

    fn controller_epoch(&mut self, data: &[u8], stat: &Stat) -> Result<(), DecodeError> {
        self.delta.controller = true;
        self.image.controller_epoch = Some(VersionedEpoch {
            epoch: controller::decode_epoch(data)?,
            version: stat.version,
        });
        Ok(())
    }

    fn topic_config(&mut self, path: &str, topic: &str, data: &[u8]) -> Result<(), DecodeError> {
        let topic: Arc<str> = Arc::from(topic);
        self.delta.topic_configs.insert(topic.clone());
        match config::decode_configs(path, data) {
            Ok(configs) => {
                self.image.unreadable_configs.remove_mut(&topic);
                self.image
                    .topic_configs
                    .insert_mut(topic, Arc::new(configs));
                Ok(())
            }
            Err(problem) => {
                self.image.unreadable_configs.insert_mut(topic, ());
                Err(problem)
            }
        }
    }

    fn broker_config(&mut self, path: &str, broker: &str, data: &[u8]) -> Result<(), DecodeError> {
        let Some(key) = broker_key(broker) else {
            return Ok(());
        };
        let configs = config::decode_configs(path, data)?;
        self.image.broker_configs.insert_mut(key, Arc::new(configs));
        self.delta.broker_configs = true;
        Ok(())
    }

    fn request(
        &mut self,
        path: &str,
        segments: &[&str],
        data: &[u8],
        stat: &Stat,
    ) -> Result<(), DecodeError> {
        let image = &mut self.image;
        match *segments {
            ["admin", "delete_topics", topic] => image.deleting.insert_mut(Arc::from(topic), ()),
            ["admin", "preferred_replica_election"] => {
                image.preferred_election = Some(asked_election(data, stat));
            }
            ["zweig", "unclean_election"] => {
                image.unclean_election = Some(asked_election(data, stat));
            }
            ["isr_change_notification" | "log_dir_event_notification", _] => {
                image.notifications.insert_mut(Arc::from(path), ());
            }
            ["zweig", "controller"] => image.controller_marker = Some(stat.czxid),
            ["zweig", "shutting_down", id] => {
                if let Ok(id) = id.parse::<i32>() {
                    let epoch = own::decode_shutdown(path, data)?;
                    image.shutting_down.insert_mut(id, epoch);
                }
            }
            ["zweig", "log_ends", name] => {
                if let Some(key) = own::parse_log_end_name(name) {
                    let end = own::decode_log_end(path, data)?;
                    image.log_ends.insert_mut(key, end);
                }
            }
            _ => return Ok(()),
        }
        self.delta.requests = true;
        Ok(())
    }

    fn remove(&mut self, path: &str) {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        if self.is_held_back(&segments) {
            self.held_back.remove(path);
            return;
        }
        if let ["brokers", "topics", topic] = segments[..] {
            self.take_below(topic);
        }
        let (image, delta) = (&mut self.image, &mut self.delta);
        match segments[..] {
            ["brokers", "ids", id] => {
                if let Ok(id) = id.parse::<i32>() {
                    image.brokers.remove_mut(&id);
                    delta.brokers.insert(id);
                }
            }
            ["brokers", "topics", topic] => {
                image.remove_topic(topic);
                delta.topics.insert(Arc::from(topic));
            }
            ["brokers", "topics", topic, "partitions"] => self.touch_topic(topic, false),
            ["brokers", "topics", topic, "partitions", p] => self.partition_node(topic, p, false),
            ["brokers", "topics", topic, "partitions", p, "state"] => self.state_gone(topic, p),
            ["controller"] => {
                image.controller = None;
                delta.controller = true;
            }
            ["controller_epoch"] => {
                image.controller_epoch = None;
                delta.controller = true;
            }
            ["config", "topics", topic] => {
                image.topic_configs.remove_mut(topic);
                image.unreadable_configs.remove_mut(topic);
                delta.topic_configs.insert(Arc::from(topic));
            }
            ["config", "brokers", broker] => {
                if let Some(key) = broker_key(broker) {
                    image.broker_configs.remove_mut(&key);
                    delta.broker_configs = true;
                }
            }
            _ => self.request_gone(path, &segments),
        }
    }

    fn state_gone(&mut self, topic: &str, partition: &str) {
        let Ok(partition) = partition.parse::<i32>() else {
            return;
        };
        let known = self.image.update_partition(topic, partition, |p| {
            let has_node = p.has_node;
            *p = crate::metadata::Partition::assigned(std::mem::take(&mut p.replicas));
            p.has_node = has_node;
        });
        if known {
            self.delta.partitions.insert((Arc::from(topic), partition));
        }
    }

    fn request_gone(&mut self, path: &str, segments: &[&str]) {
        let image = &mut self.image;
        match *segments {
            ["admin", "delete_topics", topic] => {
                image.deleting.remove_mut(topic);
            }
            ["admin", "preferred_replica_election"] => image.preferred_election = None,
            ["zweig", "unclean_election"] => image.unclean_election = None,
            ["isr_change_notification" | "log_dir_event_notification", _] => {
                image.notifications.remove_mut(path);
            }
            ["zweig", "controller"] => image.controller_marker = None,
            ["zweig", "shutting_down", id] => {
                if let Ok(id) = id.parse::<i32>() {
                    image.shutting_down.remove_mut(&id);
                }
            }
            ["zweig", "log_ends", name] => {
                if let Some(key) = own::parse_log_end_name(name) {
                    image.log_ends.remove_mut(&key);
                }
            }
            _ => return,
        }
        self.delta.requests = true;
    }
}

/// The key of a broker's settings: `None` for the default of all; nothing for other names.
#[allow(
    clippy::option_option,
    reason = "the outer one says whether the name is a key at all"
)]
fn broker_key(name: &str) -> Option<Option<i32>> {
    if name == config::DEFAULT {
        return Some(None);
    }
    name.parse().ok().map(Some)
}

/// What cannot be read asks for nothing, and is removed like what is done.
fn asked_election(data: &[u8], stat: &Stat) -> Arc<AskedElection> {
    Arc::new(AskedElection {
        version: stat.version,
        partitions: admin::decode_election(data).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOPIC: &str = "/brokers/topics/t";
    const GOOD: &str =
        r#"{"version":3,"topic_id":"AAAAAAAAAAAAAAAAAAAAAQ","partitions":{"0":[1]}}"#;
    const STATE: &str =
        r#"{"version":1,"leader":1,"leader_epoch":4,"controller_epoch":2,"isr":[1]}"#;

    fn fold_in(fold: &mut Fold, nodes: &[(&str, &str)]) -> Arc<Image> {
        for (path, data) in nodes {
            fold.put(
                path,
                Some(&Bytes::from((*data).to_owned())),
                &Stat::default(),
            );
        }
        fold.end(1).image
    }

    #[test]
    fn a_topic_that_cannot_be_read_is_told_from_one_that_is_not_there() {
        let mut fold = Fold::default();
        let below = [
            ("/brokers/topics/t/partitions", ""),
            ("/brokers/topics/t/partitions/0", ""),
            ("/brokers/topics/t/partitions/0/state", STATE),
        ];
        let image = fold_in(&mut fold, &[&[(TOPIC, "{}")], &below[..]].concat());
        assert!(image.topic("t").is_none() && !image.is_gone("t"));
        let image = fold_in(&mut fold, &[(TOPIC, GOOD)]);
        assert!(image.unreadable.is_empty());
        assert_eq!(image.partition("t", 0).expect("p").leader_epoch, 4);
        let image = fold_in(&mut fold, &[(TOPIC, "")]);
        assert!(image.unreadable.contains_key("t"));
        assert_eq!(
            image.partition("t", 0).expect("p").replicas,
            [1],
            "as it was"
        );
        fold.remove(TOPIC);
        let image = fold_in(&mut fold, &[]);
        assert!(image.is_gone("t") && image.deleted.is_empty());
    }

    #[test]
    fn a_deletion_is_remembered_if_it_was_asked_for() {
        let mut fold = Fold::default();
        fold_in(&mut fold, &[(TOPIC, GOOD), ("/admin/delete_topics/t", "")]);
        fold.remove(TOPIC);
        fold.remove("/admin/delete_topics/t");
        let image = fold_in(&mut fold, &[]);
        assert_eq!(image.deleted.size(), 1);
    }
}
