//! The follower's side of a fetch session (KIP-227): what the leader knows it is asked for, so that a request names only
//! what changed. The leader's side is in [`crate::purgatory::session`].

use super::followed::{Followed, FollowedPartitions, Key};
use crate::log::TopicId;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use std::collections::HashMap;
use std::time::Instant;

/// Epoch of a request that names everything and asks for a session.
const BEGINS_SESSION: i32 = 0;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// 0 while there is none.
    id: i32,
    /// Of the next request.
    epoch: i32,
    /// This broker's, when it began.
    broker_epoch: i64,
    /// What the leader was told, and is asked for.
    told: HashMap<Key, Followed>,
}

/// What a request says of partitions.
#[derive(Debug, Default)]
pub(super) struct Asked {
    topics: Vec<(TopicId, Vec<FetchPartition>)>,
    forgotten: Vec<(TopicId, Vec<i32>)>,
}

impl FetchSession {
    /// What the next request says: everything, or what changed. What has no `position`, its part being about to change, is
    /// not asked for, and looked at again.
    pub(super) fn ask(
        &mut self,
        followed: &mut FollowedPartitions,
        (now, broker_epoch): (Instant, i64),
        position: impl Fn(&Followed) -> Option<FetchPartition>,
    ) -> Asked {
        if self.broker_epoch != broker_epoch {
            self.end();
        }
        self.broker_epoch = broker_epoch;
        let mut asked = Asked::default();
        if self.id == 0 {
            self.told.clear();
            for entry in followed.all(now) {
                let key = entry.key();
                match position(&entry) {
                    Some(position) => {
                        asked.want(key.0, position);
                        self.told.insert(key, entry);
                    }
                    None => followed.moved(key),
                }
            }
            return asked;
        }
        for (key, entry) in followed.changes(now) {
            let position = entry.as_ref().and_then(&position);
            if entry.is_some() && position.is_none() {
                followed.moved(key);
            }
            match (entry, position) {
                (Some(entry), Some(position)) => {
                    asked.want(key.0, position);
                    self.told.insert(key, entry);
                }
                _ if self.told.remove(&key).is_some() => asked.forget(key),
                _ => {}
            }
        }
        asked
    }

    /// The next request names everything anew.
    pub(super) fn end(&mut self) {
        self.id = 0;
    }

    /// A request that says this. None while nothing is asked for, once the leader knows that: it ends the session then.
    pub(super) fn request(&mut self, asked: Asked) -> Option<FetchRequest> {
        if self.told.is_empty() && (self.id == 0 || asked.forgotten.is_empty()) {
            self.end();
            return None;
        }
        let epoch = match self.id {
            0 => BEGINS_SESSION,
            _ => self.epoch,
        };
        let topics = asked.topics.into_iter().map(|(id, partitions)| {
            FetchTopic::default()
                .with_topic_id(id)
                .with_partitions(partitions)
        });
        let forgotten = asked.forgotten.into_iter().map(|(id, partitions)| {
            ForgottenTopic::default()
                .with_topic_id(id)
                .with_partitions(partitions)
        });
        let request = FetchRequest::default()
            .with_session_id(self.id)
            .with_session_epoch(epoch)
            .with_topics(topics.collect())
            .with_forgotten_topics_data(forgotten.collect());
        Some(request)
    }

    /// An answer without error came.
    pub(super) fn answered(&mut self, answer: &FetchResponse) {
        self.epoch = match self.epoch {
            _ if self.id != answer.session_id => 1,
            i32::MAX => 1,
            epoch => epoch + 1,
        };
        self.id = answer.session_id;
    }

    /// What was asked for under this key.
    pub(super) fn told(&self, key: Key) -> Option<&Followed> {
        self.told.get(&key)
    }
}

impl Asked {
    fn want(&mut self, topic: TopicId, partition: FetchPartition) {
        match self.topics.last_mut() {
            Some((last, partitions)) if *last == topic => partitions.push(partition),
            _ => self.topics.push((topic, vec![partition])),
        }
    }

    fn forget(&mut self, (topic, partition): Key) {
        match self.forgotten.last_mut() {
            Some((last, partitions)) if *last == topic => partitions.push(partition),
            _ => self.forgotten.push((topic, vec![partition])),
        }
    }
}
