//! The partitions that are followed at one leader, and which of them a fetch session has to hear of.

use super::Partition;
use crate::log::{TopicId, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

/// A partition as requests and answers name it.
pub(super) type Key = (TopicId, i32);

/// One followed partition.
#[derive(Debug, Clone)]
pub(super) struct Followed {
    pub(super) partition: Arc<Partition>,
    pub(super) leader_epoch: i32,
    /// Not asked for before that.
    pause: Option<Instant>,
}

impl Followed {
    pub(super) fn key(&self) -> Key {
        (self.partition.topic_id(), self.partition.name().partition)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FollowedPartitions {
    by_key: BTreeMap<Key, Followed>,
    keys: HashMap<TopicPartition, Key>,
    /// What may be asked for otherwise than the leader was told, or no more.
    changed: BTreeSet<Key>,
    /// When a pause ends.
    pauses: BTreeSet<(Instant, Key)>,
    /// How often all were asked for.
    rounds: usize,
}

impl FollowedPartitions {
    /// Follows a partition in this leader epoch. Returns whether that is new.
    pub(super) fn follow(&mut self, partition: &Arc<Partition>, leader_epoch: i32) -> bool {
        let entry = Followed {
            partition: Arc::clone(partition),
            leader_epoch,
            pause: None,
        };
        let key = entry.key();
        let same = |known: &Followed| {
            known.leader_epoch == leader_epoch && Arc::ptr_eq(&known.partition, partition)
        };
        if self.by_key.get(&key).is_some_and(same) {
            return false;
        }
        self.leave(partition.name());
        self.keys.insert(partition.name().clone(), key);
        self.by_key.insert(key, entry);
        self.changed.insert(key);
        true
    }

    /// Follows a partition no more.
    pub(super) fn leave(&mut self, name: &TopicPartition) {
        if let Some(key) = self.keys.remove(name) {
            self.end_pause(key);
            self.by_key.remove(&key);
            self.changed.insert(key);
        }
    }

    /// Whether none is followed.
    pub(super) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// The position of this one changed.
    pub(super) fn moved(&mut self, key: Key) {
        self.changed.insert(key);
    }

    /// Does not ask for it before `until`, if it is still followed in that leader epoch.
    pub(super) fn pause(&mut self, entry: &Followed, until: Instant) {
        let key = entry.key();
        self.end_pause(key);
        if let Some(known) = self.by_key.get_mut(&key)
            && known.leader_epoch == entry.leader_epoch
        {
            known.pause = Some(until);
            self.pauses.insert((until, key));
            self.changed.insert(key);
        }
    }

    /// All that is to be asked for now; whatever changed is among them, or not to be asked for. Each is first in turn: an answer has
    /// a bound, and a leader without sessions fills it in this order.
    pub(super) fn all(&mut self, now: Instant) -> Vec<Followed> {
        self.end_pauses(now);
        self.changed.clear();
        let unpaused = self.by_key.values().filter(|entry| entry.pause.is_none());
        let mut all: Vec<Followed> = unpaused.cloned().collect();
        let first = self.rounds % all.len().max(1);
        all.rotate_left(first);
        self.rounds += 1;
        all
    }

    /// What changed since the last call, as it is to be asked for now; `None` if it is not.
    pub(super) fn changes(&mut self, now: Instant) -> Vec<(Key, Option<Followed>)> {
        self.end_pauses(now);
        let changed = std::mem::take(&mut self.changed);
        let asked = |key| {
            let entry = self.by_key.get(&key);
            let unpaused = entry.filter(|entry| entry.pause.is_none());
            (key, unpaused.cloned())
        };
        changed.into_iter().map(asked).collect()
    }

    fn end_pauses(&mut self, now: Instant) {
        while let Some((until, key)) = self.pauses.first().copied()
            && until <= now
        {
            self.end_pause(key);
            self.changed.insert(key);
        }
    }

    fn end_pause(&mut self, key: Key) {
        if let Some(until) = self
            .by_key
            .get_mut(&key)
            .and_then(|entry| entry.pause.take())
        {
            self.pauses.remove(&(until, key));
        }
    }
}
