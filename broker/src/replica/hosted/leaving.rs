//! What becomes of logs that the image no longer assigns to this broker.
//!
//! Data is deleted for two reasons only: the deletion of its topic was asked for, or an assignment that could be
//! read names other brokers. Whatever else makes a topic disappear (a znode nobody can read, one removed
//! by hand, a deletion finished while this broker was away) leaves the log on the disk: in its place
//! while the topic may still be there, else set aside as `-stray`, as Kafka does. Nothing here touches
//! a `-stray` folder again.

use super::manager::{Hosted, ReplicaManager};
use crate::clock;
use crate::log::TopicPartition;
use crate::metadata::Image;
use std::collections::HashSet;
use std::sync::Arc;
use tracing::{error, info, warn};
use uuid::Uuid;

/// What becomes of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It is assigned here.
    Stay,
    /// Its topic cannot be read: no part is taken in it, and its files stay.
    Wait,
    /// It is deleted.
    Delete,
    /// Its folder is renamed, and stays.
    SetAside,
}

/// What becomes of the log of a partition on broker `me`; `id` is the topic id the log tells, if any.
fn fate(image: &Image, me: i32, name: &TopicPartition, id: Option<Uuid>) -> Fate {
    let id = id.filter(|id| !id.is_nil());
    let asked = image.deleting.contains_key(name.topic.as_str());
    let deleted = id.is_some_and(|id| image.deleted.contains_key(&id));
    let Some(topic) = image.topic(&name.topic) else {
        return match image.unreadable.contains_key(name.topic.as_str()) {
            _ if deleted => Fate::Delete,
            true => Fate::Wait,
            false if asked => Fate::Delete,
            false => Fate::SetAside,
        };
    };
    if !topic.id.is_nil() && id.is_some_and(|id| id != topic.id) {
        return if deleted {
            Fate::Delete
        } else {
            Fate::SetAside
        };
    }
    match topic.partitions.get(&name.partition) {
        _ if asked => Fate::Delete,
        Some(seen) if seen.replicas.contains(&me) => Fate::Stay,
        Some(seen) if !seen.replicas.is_empty() => Fate::Delete,
        // No partition ever leaves a topic: whoever wrote this did not mean it.
        _ => Fate::SetAside,
    }
}

impl ReplicaManager {
    /// Lets go of partitions whose topic is gone or going, cannot be read, or that are assigned elsewhere.
    pub(super) fn remove_gone(&self, before: Option<&Image>, image: &Image) {
        let Some(before) = before else { return };
        let gone = |name: &&Arc<str>| match (before.topic(name), image.topic(name)) {
            (Some(old), Some(new)) => !Arc::ptr_eq(old, new) || image.deleting.contains_key(*name),
            _ => true,
        };
        let known = before.topics.keys().chain(before.unreadable.keys());
        let suspects: HashSet<&str> = known.filter(gone).map(|name| &**name).collect();
        if suspects.is_empty() {
            return;
        }
        let mut hosted: Vec<(TopicPartition, Hosted)> = self
            .partitions
            .read()
            .iter()
            .filter(|(name, _)| suspects.contains(name.topic.as_str()))
            .map(|(name, hosted)| (name.clone(), hosted.clone()))
            .collect();
        hosted.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        for (name, hosted) in hosted {
            let id = match hosted {
                Hosted::Online(partition) => Some(partition.topic_id()),
                Hosted::Offline(_) => before.topic(&name.topic).map(|topic| topic.id),
            };
            self.leave(image, &name, id);
        }
    }

    /// At the first image: logs that were left here by topics and assignments of before. One that tells no topic id
    /// is from an old Kafka and stays, unless its topic is being deleted.
    pub(super) fn sort_out(&self, image: &Image) {
        for log in self.logs.all() {
            let name = log.topic_partition();
            match fate(image, self.broker_id(), name, log.topic_id()) {
                Fate::SetAside if log.topic_id().is_none() => {}
                fate => self.part_with(name, fate),
            }
        }
    }

    /// Takes a hosted partition, whose log is of topic `id`, to what the image makes of it.
    pub(super) fn leave(&self, image: &Image, name: &TopicPartition, id: Option<Uuid>) {
        let fate = fate(image, self.broker_id(), name, id);
        if fate == Fate::Stay {
            return;
        }
        self.fetchers.leave(name);
        if fate == Fate::Wait {
            if let Some(Hosted::Online(partition)) = self.partitions.read().get(name) {
                partition.fence();
            }
        } else if let Some(Hosted::Online(partition)) = self.partitions.write().remove(name) {
            partition.stop();
        }
        self.part_with(name, fate);
    }

    fn part_with(&self, name: &TopicPartition, fate: Fate) {
        let now_ms = clock::wall_ms();
        let done = match fate {
            Fate::Stay => return,
            Fate::Wait => {
                error!(partition = %name, "its topic cannot be read; its log is kept, and not served");
                return;
            }
            Fate::Delete => {
                info!(partition = %name, "removed: deleted, or assigned elsewhere");
                self.logs.delete(name, now_ms).map(|_| ())
            }
            Fate::SetAside => self.logs.set_aside(name, now_ms).map(|folder| {
                let folder = folder.unwrap_or_default();
                warn!(partition = %name, folder = %folder.display(), "its topic is gone and nobody was seen to ask for \
                    that: its log is set aside, for someone to look at and remove");
            }),
        };
        if let Err(error) = self.host.check(done) {
            error!(partition = %name, %error, "log neither deleted nor set aside");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: Uuid = Uuid::from_u128(7);

    fn assigned(replicas: &[i32]) -> Image {
        let mut image = Image::default();
        image.put_topic("t", ID, 0, &[(0, replicas.to_vec())]);
        image
    }

    fn of(image: &Image) -> Fate {
        fate(image, 1, &TopicPartition::new("t", 0), Some(ID))
    }

    #[test]
    fn only_what_someone_asked_for_deletes_a_log() {
        let here = assigned(&[1, 2]);
        assert_eq!(of(&here), Fate::Stay);
        assert_eq!(of(&assigned(&[2, 3])), Fate::Delete, "assigned elsewhere");
        assert_eq!(of(&assigned(&[])), Fate::SetAside, "assigned nowhere");
        assert_eq!(of(&Image::default()), Fate::SetAside, "missing");
        let mut unreadable = Image::default();
        unreadable.unreadable.insert_mut(Arc::from("t"), ());
        assert_eq!(of(&unreadable), Fate::Wait);
        let mut going = here.clone();
        going.deleting.insert_mut(Arc::from("t"), ());
        assert_eq!(of(&going), Fate::Delete);
        going.remove_topic("t");
        going.deleting.remove_mut("t");
        assert_eq!(of(&going), Fate::Delete, "seen to be deleted");
        going.put_topic("t", Uuid::from_u128(8), 0, &[(0, vec![1])]);
        assert_eq!(of(&going), Fate::Delete, "and created again");
        let mut other = assigned(&[1]);
        other.put_topic("t", Uuid::from_u128(8), 0, &[(0, vec![1])]);
        assert_eq!(of(&other), Fate::SetAside, "replaced, nobody knows why");
        let mut no_partition = Image::default();
        no_partition.put_topic("t", ID, 0, &[(1, vec![1])]);
        assert_eq!(of(&no_partition), Fate::SetAside);
    }
}
