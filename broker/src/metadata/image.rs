//! The cluster as of one zxid. All maps are persistent red-black trees: a clone is a few pointers,
//! a change copies one path, and iteration order is the key's order on every broker alike.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use uuid::Uuid;

use crate::limits::DELETED_TOPICS;

/// A persistent, ordered map that may be shared between threads.
pub type Map<K, V> = rpds::RedBlackTreeMapSync<K, V>;

/// Settings of one topic or broker as written in the tree, key to value.
pub type Configs = BTreeMap<String, String>;

/// Where one listener of a broker can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name, `PLAINTEXT` unless `listeners` names it otherwise.
    pub listener: String,
    /// The security protocol behind that name.
    pub protocol: String,
    /// Host as advertised to clients.
    pub host: String,
    /// Port as advertised to clients.
    pub port: u16,
}

/// One registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// `broker.id`.
    pub id: i32,
    /// czxid of the registration: the broker epoch.
    pub epoch: i64,
    /// Advertised listeners, in the order of the registration.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// The oldest broker epoch since which this broker's logs have lost nothing they held: it
    /// stopped cleanly, or its kernel kept running, or it syncs before it acknowledges. `None`:
    /// only what it holds since its current epoch can be relied on.
    pub intact_since: Option<i64>,
}

impl Broker {
    /// The endpoint behind a listener's name.
    #[must_use]
    pub fn endpoint(&self, listener: &str) -> Option<&Endpoint> {
        self.endpoints.iter().find(|e| e.listener == listener)
    }

    /// Whether what this broker held in `epoch` is still on its disk.
    #[must_use]
    pub fn kept_since(&self, epoch: i64) -> bool {
        self.epoch == epoch || self.intact_since.is_some_and(|since| since <= epoch)
    }
}

/// The `/controller` znode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControllerNode {
    /// Who won the election.
    pub broker: i32,
    /// czxid of `/controller`: names this one election.
    pub czxid: i64,
    /// The session that owns it.
    pub session: i64,
}

/// `/controller_epoch`: the number in it, and the znode's version, by which writes are fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VersionedEpoch {
    /// The controller epoch.
    pub epoch: i32,
    /// Version of the znode.
    pub version: i32,
}

/// One topic.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; nil where an old Kafka wrote none and the controller has not yet filled it in.
    pub id: Uuid,
    /// Version of the topic's znode, which holds the assignment.
    pub version: i32,
    /// Whether the `partitions` znode below it exists.
    pub has_partitions_node: bool,
    /// By partition index.
    pub partitions: Map<i32, Arc<Partition>>,
}

/// One partition: its assignment, and its state as the leader and the controller agreed on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// Assigned brokers; the first is the preferred leader.
    pub replicas: Vec<i32>,
    /// `None` while no replica may lead, or before the controller created the state.
    pub leader: Option<i32>,
    /// -1 before the state exists.
    pub leader_epoch: i32,
    /// Epoch of the controller that last chose the leader.
    pub controller_epoch: i32,
    /// In-sync replicas; kept as they were while there is no leader.
    pub isr: Vec<i32>,
    /// Version of the state znode; -1 before it exists.
    pub partition_epoch: i32,
    /// czxid of the state znode: tells it from that of a topic of the same name that was deleted.
    pub state_czxid: i64,
    /// Broker epoch under which the leader was chosen; 0 where the state does not say.
    pub leader_broker_epoch: i64,
    /// Broker epochs of the ISR's members, in the order of `isr`; 0 where the state does not say.
    pub isr_broker_epochs: Vec<i64>,
    /// Whether the znode above the state exists.
    pub has_node: bool,
}

/// What the state znode of a partition says; see [`Partition`] for the fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionState {
    /// `None`: no replica may lead.
    pub leader: Option<i32>,
    /// Raised by the controller at every election.
    pub leader_epoch: i32,
    /// Of the controller that wrote it, or that elected the leader that did.
    pub controller_epoch: i32,
    /// In-sync replicas.
    pub isr: Vec<i32>,
    /// Broker epoch of the leader; 0 if not told.
    pub leader_broker_epoch: i64,
    /// Broker epochs of the ISR's members in its order; as long as `isr`.
    pub isr_broker_epochs: Vec<i64>,
}

impl Partition {
    /// A partition that is assigned and has no state yet.
    #[must_use]
    pub fn assigned(replicas: Vec<i32>) -> Partition {
        Partition {
            replicas,
            leader: None,
            leader_epoch: -1,
            controller_epoch: -1,
            isr: Vec::new(),
            partition_epoch: -1,
            state_czxid: 0,
            leader_broker_epoch: 0,
            isr_broker_epochs: Vec::new(),
            has_node: false,
        }
    }

    /// The state, as it may be written back.
    #[must_use]
    pub fn state(&self) -> PartitionState {
        PartitionState {
            leader: self.leader,
            leader_epoch: self.leader_epoch,
            controller_epoch: self.controller_epoch,
            isr: self.isr.clone(),
            leader_broker_epoch: self.leader_broker_epoch,
            isr_broker_epochs: self.isr_broker_epochs.clone(),
        }
    }

    /// Replaces the state, which is the content at `version` of the znode created at `czxid`.
    pub fn set_state(&mut self, state: PartitionState, version: i32, czxid: i64) {
        self.leader = state.leader;
        self.leader_epoch = state.leader_epoch;
        self.controller_epoch = state.controller_epoch;
        self.isr = state.isr;
        self.leader_broker_epoch = state.leader_broker_epoch;
        self.isr_broker_epochs = state.isr_broker_epochs;
        self.partition_epoch = version;
        self.state_czxid = czxid;
        self.has_node = true;
    }

    /// Whether the controller has created the state.
    #[must_use]
    pub fn has_state(&self) -> bool {
        self.partition_epoch >= 0
    }

    /// The broker epoch under which `broker` is in the ISR; `None` if it is not in it.
    #[must_use]
    pub fn isr_epoch_of(&self, broker: i32) -> Option<i64> {
        let at = self.isr.iter().position(|id| *id == broker)?;
        Some(self.isr_broker_epochs.get(at).copied().unwrap_or(0))
    }
}

/// The end of one replica's log, told by a broker that cannot vouch for its completeness, so that
/// the controller can choose the longest among all members of an ISR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogEnd {
    /// Broker epoch under which this was told; void under a later one.
    pub broker_epoch: i64,
    /// Leader epoch of the last record.
    pub last_epoch: i32,
    /// Offset behind the last record.
    pub end_offset: i64,
}

/// Which leader someone asks for (Kafka's `ElectionType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first replica of the assignment, if it is in sync.
    Preferred,
    /// Any replica that is here, where there is no leader and none in sync could be one. Records are lost.
    Unclean,
}

/// Partitions for which someone asked for an election, as a znode has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedElection {
    /// Version of the znode.
    pub version: i32,
    /// Topic and partition.
    pub partitions: Vec<(String, i32)>,
}

impl AskedElection {
    /// Whether one of these is asked for.
    #[must_use]
    pub fn has_any<'a>(&self, partitions: impl IntoIterator<Item = (&'a str, i32)>) -> bool {
        let asked: HashSet<(&str, i32)> = self
            .partitions
            .iter()
            .map(|(topic, index)| (topic.as_str(), *index))
            .collect();
        let mut partitions = partitions.into_iter();
        partitions.any(|partition| asked.contains(&partition))
    }
}

/// The cluster as of one zxid.
#[derive(Clone, Debug)]
pub struct Image {
    /// Every change up to this zxid is in; none behind it.
    pub zxid: i64,
    /// `/cluster/id`; `None` only before the first broker ever created it.
    pub cluster_id: Option<Arc<str>>,
    /// Registered brokers.
    pub brokers: Map<i32, Arc<Broker>>,
    /// Who holds `/controller`.
    pub controller: Option<ControllerNode>,
    /// czxid of the marker that brokers of this project create by the same transaction.
    pub controller_marker: Option<i64>,
    /// `/controller_epoch`; `None` before the first election.
    pub controller_epoch: Option<VersionedEpoch>,
    /// Topics by name, those being deleted included.
    pub topics: Map<Arc<str>, Arc<Topic>>,
    /// Names of topics by id.
    pub topic_names: Map<Uuid, Arc<str>>,
    /// Settings by topic. May hold topics that do not exist (yet, or any more).
    pub topic_configs: Map<Arc<str>, Arc<Configs>>,
    /// Settings by broker; `None` is the default of all brokers.
    pub broker_configs: Map<Option<i32>, Arc<Configs>>,
    /// Topics whose znode is there and cannot be read. One that could be read before is still in
    /// `topics`, as it was then.
    pub unreadable: Map<Arc<str>, ()>,
    /// Topics whose settings are there and cannot be read. Those read before still stand.
    pub unreadable_configs: Map<Arc<str>, ()>,
    /// Topics whose deletion was asked for and is not finished.
    pub deleting: Map<Arc<str>, ()>,
    /// Ids of topics that went after their deletion had been asked for, as far as the stream showed
    /// it. What is missing for another reason is not here.
    pub deleted: Map<Uuid, ()>,
    /// Brokers that ask to be relieved of their leaderships before they stop, with the broker
    /// epoch under which they ask.
    pub shutting_down: Map<i32, i64>,
    /// Preferred leaders asked for: `/admin/preferred_replica_election`.
    pub preferred_election: Option<Arc<AskedElection>>,
    /// Unclean elections asked for: `/zweig/unclean_election`.
    pub unclean_election: Option<Arc<AskedElection>>,
    /// Ends of logs told for elections among replicas none of which is known to be intact; by
    /// topic id, partition and broker.
    pub log_ends: Map<(Uuid, i32, i32), LogEnd>,
    /// Full paths of notifications left by other implementations; the controller removes them.
    pub notifications: Map<Arc<str>, ()>,
}

impl Default for Image {
    fn default() -> Image {
        Image {
            zxid: 0,
            cluster_id: None,
            brokers: Map::new_sync(),
            controller: None,
            controller_marker: None,
            controller_epoch: None,
            topics: Map::new_sync(),
            topic_names: Map::new_sync(),
            topic_configs: Map::new_sync(),
            broker_configs: Map::new_sync(),
            unreadable: Map::new_sync(),
            unreadable_configs: Map::new_sync(),
            deleting: Map::new_sync(),
            deleted: Map::new_sync(),
            shutting_down: Map::new_sync(),
            preferred_election: None,
            unclean_election: None,
            log_ends: Map::new_sync(),
            notifications: Map::new_sync(),
        }
    }
}

impl Image {
    /// Elections of a kind that are asked for and not done.
    #[must_use]
    pub fn asked_election(&self, kind: ElectionKind) -> Option<&Arc<AskedElection>> {
        match kind {
            ElectionKind::Preferred => self.preferred_election.as_ref(),
            ElectionKind::Unclean => self.unclean_election.as_ref(),
        }
    }

    /// The controller's broker id.
    #[must_use]
    pub fn controller_id(&self) -> Option<i32> {
        self.controller.map(|c| c.broker)
    }

    /// The broker id in a `/controller` that no broker of this project wrote.
    #[must_use]
    pub fn foreign_controller(&self) -> Option<i32> {
        let controller = self.controller?;
        (self.controller_marker != Some(controller.czxid)).then_some(controller.broker)
    }

    /// A topic by name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// A topic by id.
    #[must_use]
    pub fn topic_by_id(&self, id: &Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(self.topic_names.get(id)?)
    }

    /// A partition by topic name and index.
    #[must_use]
    pub fn partition(&self, topic: &str, partition: i32) -> Option<&Arc<Partition>> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    /// A registered broker.
    #[must_use]
    pub fn broker(&self, id: i32) -> Option<&Arc<Broker>> {
        self.brokers.get(&id)
    }

    /// The epoch of a registered broker.
    #[must_use]
    pub fn broker_epoch(&self, id: i32) -> Option<i64> {
        self.brokers.get(&id).map(|b| b.epoch)
    }

    /// Whether `broker` may lead the partition now: the state names it under its current epoch.
    #[must_use]
    pub fn leads(&self, partition: &Partition, broker: i32) -> bool {
        partition.leader == Some(broker)
            && self.broker_epoch(broker) == Some(partition.leader_broker_epoch)
    }

    /// Whether a registered broker asks to be relieved of its leaderships.
    #[must_use]
    pub fn is_stopping(&self, broker: i32) -> bool {
        let epoch = self.shutting_down.get(&broker).copied();
        epoch.is_some() && self.broker_epoch(broker) == epoch
    }

    /// Adds a topic or replaces its assignment; the states of partitions that stay are kept.
    pub fn put_topic(&mut self, name: &str, id: Uuid, version: i32, assigned: &[(i32, Vec<i32>)]) {
        let old = self.topics.get(name).cloned();
        let name: Arc<str> = old
            .as_ref()
            .map_or_else(|| Arc::from(name), |t| t.name.clone());
        let mut partitions = Map::new_sync();
        for (index, replicas) in assigned {
            let known = old.as_ref().and_then(|t| t.partitions.get(index));
            let partition = match known {
                Some(p) if p.replicas == *replicas => p.clone(),
                Some(p) => Arc::new(Partition {
                    replicas: replicas.clone(),
                    ..(**p).clone()
                }),
                None => Arc::new(Partition::assigned(replicas.clone())),
            };
            partitions.insert_mut(*index, partition);
        }
        if let Some(old) = &old
            && old.id != id
        {
            self.topic_names.remove_mut(&old.id);
        }
        if !id.is_nil() {
            self.topic_names.insert_mut(id, name.clone());
        }
        let has_partitions_node = old.is_some_and(|t| t.has_partitions_node);
        let topic = Topic {
            name: name.clone(),
            id,
            version,
            has_partitions_node,
            partitions,
        };
        self.topics.insert_mut(name, Arc::new(topic));
    }

    /// Removes a topic with its partitions; notes its id if its deletion was asked for.
    pub fn remove_topic(&mut self, name: &str) {
        self.unreadable.remove_mut(name);
        let Some(topic) = self.topics.get(name).cloned() else {
            return;
        };
        if self.deleting.contains_key(name) && !topic.id.is_nil() {
            if self.deleted.size() >= DELETED_TOPICS {
                self.deleted = Map::new_sync();
            }
            self.deleted.insert_mut(topic.id, ());
        }
        self.topic_names.remove_mut(&topic.id);
        self.topics.remove_mut(name);
    }

    /// Whether there certainly is no such topic, or soon will be none. One that cannot be read may
    /// be there.
    #[must_use]
    pub fn is_gone(&self, name: &str) -> bool {
        let absent = !self.topics.contains_key(name) && !self.unreadable.contains_key(name);
        absent || self.deleting.contains_key(name)
    }

    /// Changes one topic that is there; false if it is not.
    pub fn update_topic(&mut self, name: &str, change: impl FnOnce(&mut Topic)) -> bool {
        let Some(old) = self.topics.get(name) else {
            return false;
        };
        let mut topic = (**old).clone();
        change(&mut topic);
        self.topics.insert_mut(topic.name.clone(), Arc::new(topic));
        true
    }

    /// Changes one assigned partition; false if there is none.
    pub fn update_partition(
        &mut self,
        topic: &str,
        index: i32,
        change: impl FnOnce(&mut Partition),
    ) -> bool {
        let Some(old) = self.partition(topic, index) else {
            return false;
        };
        let mut partition = (**old).clone();
        change(&mut partition);
        self.update_topic(topic, |t| {
            t.partitions.insert_mut(index, Arc::new(partition));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three(image: &mut Image, id: Uuid) {
        image.put_topic("t", id, 0, &[(0, vec![1, 2]), (1, vec![2, 3])]);
    }

    #[test]
    fn an_assignment_replaced_keeps_the_states_that_stay() {
        let mut image = Image::default();
        let id = Uuid::from_u128(7);
        three(&mut image, id);
        assert!(image.update_partition("t", 1, |p| {
            p.leader = Some(3);
            p.partition_epoch = 4;
        }));
        image.put_topic("t", id, 1, &[(1, vec![3, 2]), (2, vec![1, 2])]);
        let topic = image.topic_by_id(&id).expect("topic");
        assert!(topic.partitions.get(&0).is_none());
        assert_eq!(topic.partitions[&1].leader, Some(3));
        assert_eq!(topic.partitions[&1].replicas, [3, 2]);
        assert!(!topic.partitions[&2].has_state());
    }

    #[test]
    fn a_topic_recreated_under_another_id_is_not_found_by_its_old_one() {
        let mut image = Image::default();
        three(&mut image, Uuid::from_u128(7));
        three(&mut image, Uuid::from_u128(8));
        assert!(image.topic_by_id(&Uuid::from_u128(7)).is_none());
        assert!(image.topic_by_id(&Uuid::from_u128(8)).is_some());
        image.remove_topic("t");
        assert!(image.topic_by_id(&Uuid::from_u128(8)).is_none());
    }

    #[test]
    fn a_change_shares_everything_else() {
        let mut image = Image::default();
        for t in 0..100 {
            image.put_topic(&format!("t{t}"), Uuid::from_u128(t + 1), 0, &[(0, vec![1])]);
        }
        let mut next = image.clone();
        assert!(next.update_partition("t5", 0, |p| p.leader = Some(1)));
        let same = |name: &str| {
            Arc::ptr_eq(
                image.topic(name).expect("old"),
                next.topic(name).expect("new"),
            )
        };
        assert!(same("t6") && same("t99") && !same("t5"));
        assert_eq!(image.partition("t5", 0).expect("p").leader, None);
    }

    #[test]
    fn what_a_broker_kept_is_judged_by_epochs() {
        let mut broker = Broker {
            id: 1,
            epoch: 50,
            endpoints: Vec::new(),
            rack: None,
            intact_since: None,
        };
        assert!(broker.kept_since(50) && !broker.kept_since(40));
        broker.intact_since = Some(30);
        assert!(broker.kept_since(30) && broker.kept_since(40) && !broker.kept_since(20));
    }
}
