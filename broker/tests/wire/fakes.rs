//! An ensemble of the imagination: one image, changed under conditions, seen by all brokers at once unless one
//! is cut off.

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::watch;
use uuid::Uuid;
use zweig_broker::group::AppendFailure;
use zweig_broker::handlers::cluster_admin::{AdminError, ClusterAdmin, CreatedTopic, NewTopic};
use zweig_broker::log::{TopicId, TopicPartition};
use zweig_broker::metadata::{AskedElection, Broker, ElectionKind, Endpoint, Image};
use zweig_broker::replica::hosted::{Certainty, StateWriter};
use zweig_broker::replica::isr::{Proposal, WriteEnd};
use zweig_broker::shard::{Backing, LoadError};

/// Broker epoch of a broker that never restarted.
pub fn epoch_of(id: i32) -> i64 {
    i64::from(id) * 100
}

/// What all brokers see.
pub struct Shared {
    state: Mutex<State>,
    changed: watch::Sender<()>,
}

struct State {
    image: Arc<Image>,
    next_producer: i64,
    doubt: HashSet<i32>,
    expired: HashSet<i32>,
    cut_off: HashSet<i32>,
    looks: HashMap<i32, u64>,
    elects_nobody: bool,
    next_topic: u128,
}

impl Default for Shared {
    fn default() -> Self {
        let image = Arc::new(Image {
            cluster_id: Some(Arc::from("wire-test")),
            zxid: 1,
            ..Image::default()
        });
        let state = State {
            image,
            next_producer: 0,
            doubt: HashSet::new(),
            expired: HashSet::new(),
            cut_off: HashSet::new(),
            looks: HashMap::new(),
            elects_nobody: false,
            next_topic: 1,
        };
        Self {
            state: Mutex::new(state),
            changed: watch::Sender::new(()),
        }
    }
}

impl Shared {
    pub fn image(&self) -> Arc<Image> {
        Arc::clone(&self.state.lock().image)
    }

    pub fn changed(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Changes the image; every broker sees it soon.
    pub fn update<T>(&self, change: impl FnOnce(&mut Image) -> T) -> T {
        let mut state = self.state.lock();
        let mut image = (*state.image).clone();
        image.zxid += 1;
        let result = change(&mut image);
        state.image = Arc::new(image);
        drop(state);
        self.changed.send_replace(());
        result
    }

    /// A broker comes, on this port of the loopback.
    pub fn register(&self, id: i32, port: u16) {
        let endpoint = Endpoint {
            listener: "PLAINTEXT".to_owned(),
            protocol: "PLAINTEXT".to_owned(),
            host: "127.0.0.1".to_owned(),
            port,
        };
        let broker = Broker {
            id,
            epoch: epoch_of(id),
            endpoints: vec![endpoint],
            rack: None,
            intact_since: None,
        };
        self.update(|image| image.brokers.insert_mut(id, Arc::new(broker)));
    }

    pub fn is_cut_off(&self, broker: i32) -> bool {
        self.state.lock().cut_off.contains(&broker)
    }

    /// From now on this broker is in doubt of its registration: it changes no ISR.
    pub fn doubt(&self, broker: i32) {
        self.state.lock().doubt.insert(broker);
    }

    /// How often this broker has asked how sure it may be; it does before each look at an ISR.
    pub fn looks(&self, broker: i32) -> u64 {
        self.state.lock().looks.get(&broker).copied().unwrap_or(0)
    }

    /// From now on this broker sees no image, and is in doubt.
    pub fn cut_off(&self, broker: i32) {
        let mut state = self.state.lock();
        state.cut_off.insert(broker);
        state.doubt.insert(broker);
    }

    /// It sees images again, and is sure.
    pub fn connect(&self, broker: i32) {
        let mut state = self.state.lock();
        state.cut_off.remove(&broker);
        state.doubt.remove(&broker);
        state.expired.remove(&broker);
        drop(state);
        self.changed.send_replace(());
    }

    /// From now on elections are asked for in vain.
    pub fn elect_nobody(&self) {
        self.state.lock().elects_nobody = true;
    }

    /// This broker is told that its session ended.
    pub fn expire(&self, broker: i32) {
        self.state.lock().expired.insert(broker);
    }

    /// Creates a topic with partition 0 on these brokers, the first leading, all in sync.
    pub fn create(&self, name: &str, replicas: &[i32], configs: &[(&str, &str)]) -> Uuid {
        let assignment = BTreeMap::from([(0, replicas.to_vec())]);
        let configs = configs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        self.create_assigned(name, assignment, configs)
    }

    fn create_assigned(
        &self,
        name: &str,
        assignment: BTreeMap<i32, Vec<i32>>,
        configs: BTreeMap<String, String>,
    ) -> Uuid {
        let id = {
            let mut state = self.state.lock();
            state.next_topic += 1;
            Uuid::from_u128(state.next_topic)
        };
        self.update(|image| {
            let assignment: Vec<_> = assignment.into_iter().collect();
            image
                .topic_configs
                .insert_mut(Arc::from(name), Arc::new(configs.into_iter().collect()));
            image.put_topic(name, id, 0, &assignment);
            for (index, replicas) in assignment {
                let epochs: Vec<i64> = replicas
                    .iter()
                    .map(|id| image.broker_epoch(*id).unwrap_or(0))
                    .collect();
                image.update_partition(name, index, |partition| {
                    partition.leader = replicas.first().copied();
                    partition.leader_epoch = 0;
                    partition.controller_epoch = 1;
                    partition.leader_broker_epoch = epochs[0];
                    partition.isr.clone_from(&replicas);
                    partition.isr_broker_epochs = epochs;
                    partition.partition_epoch = 0;
                });
            }
        });
        id
    }

    /// Elects a leader, as the controller would.
    pub fn elect(&self, topic: &str, leader: Option<i32>, isr: &[i32]) {
        self.update(|image| {
            let epochs: Vec<i64> = isr
                .iter()
                .map(|id| image.broker_epoch(*id).unwrap_or(0))
                .collect();
            let leader_epoch = leader.and_then(|id| image.broker_epoch(id)).unwrap_or(0);
            let changed = image.update_partition(topic, 0, |partition| {
                partition.leader = leader;
                partition.leader_epoch += 1;
                partition.partition_epoch += 1;
                partition.leader_broker_epoch = leader_epoch;
                partition.isr = isr.to_vec();
                partition.isr_broker_epochs = epochs;
            });
            assert!(changed, "no such partition");
        });
    }

    /// The ISR of partition 0 as written.
    pub fn isr(&self, topic: &str) -> Vec<i32> {
        self.image()
            .partition(topic, 0)
            .expect("the partition")
            .isr
            .clone()
    }
}

/// One broker's way to the ensemble.
pub struct FakeEnsemble {
    pub id: i32,
    pub shared: Arc<Shared>,
}

impl StateWriter for FakeEnsemble {
    fn certainty(&self) -> Certainty {
        let mut state = self.shared.state.lock();
        *state.looks.entry(self.id).or_default() += 1;
        match (
            state.expired.contains(&self.id),
            state.doubt.contains(&self.id),
        ) {
            (true, _) => Certainty::Expired,
            (false, true) => Certainty::InDoubt,
            (false, false) => Certainty::Sure,
        }
    }

    fn broker_epoch(&self) -> Option<i64> {
        self.shared.image().broker_epoch(self.id)
    }

    fn write_isr(
        &self,
        name: TopicPartition,
        topic_id: TopicId,
        proposal: Proposal,
    ) -> BoxFuture<'static, WriteEnd> {
        let shared = Arc::clone(&self.shared);
        async move {
            shared.update(|image| {
                let Some(now) = image.partition(&name.topic, name.partition) else {
                    return WriteEnd::Stale;
                };
                if image
                    .topic(&name.topic)
                    .is_none_or(|topic| topic.id != topic_id)
                {
                    return WriteEnd::Stale;
                }
                let expected = proposal.expected_partition_epoch;
                if now.partition_epoch != expected || now.leader_epoch != proposal.leader_epoch {
                    return WriteEnd::Stale;
                }
                image.update_partition(&name.topic, name.partition, |partition| {
                    partition.partition_epoch = expected + 1;
                    (partition.isr, partition.isr_broker_epochs) = proposal.isr.members().unzip();
                });
                WriteEnd::Written {
                    partition_epoch: expected + 1,
                }
            })
        }
        .boxed()
    }
}

impl ClusterAdmin for FakeEnsemble {
    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'_, Result<CreatedTopic, AdminError>> {
        async move {
            if self.shared.image().topic(&topic.name).is_some() {
                return Err(AdminError::TopicExists(topic.name));
            }
            if topic.name.contains(' ') {
                return Err(AdminError::InvalidName(topic.name));
            }
            let brokers: Vec<i32> = self.shared.image().brokers.keys().copied().collect();
            let (partitions, replicas) = (
                topic.partitions.unwrap_or(1),
                topic.replication_factor.unwrap_or(1),
            );
            if usize::try_from(replicas).is_ok_and(|wanted| wanted > brokers.len()) {
                return Err(AdminError::InvalidReplicationFactor(replicas.to_string()));
            }
            let chosen = |index: i32| -> Vec<i32> {
                brokers
                    .iter()
                    .cycle()
                    .skip(index as usize)
                    .take(replicas as usize)
                    .copied()
                    .collect()
            };
            let assignment = topic
                .assignment
                .unwrap_or_else(|| (0..partitions).map(|i| (i, chosen(i))).collect());
            let count = assignment.len() as i32;
            let id = match topic.validate_only {
                true => Uuid::nil(),
                false => self
                    .shared
                    .create_assigned(&topic.name, assignment, topic.configs),
            };
            Ok(CreatedTopic {
                id,
                partitions: count,
                replication_factor: replicas,
            })
        }
        .boxed()
    }

    fn delete_topic(&self, name: String) -> BoxFuture<'_, Result<(), AdminError>> {
        async move {
            if self.shared.image().topic(&name).is_none() {
                return Err(AdminError::UnknownTopic(name));
            }
            self.shared.update(|image| {
                image.deleting.insert_mut(Arc::from(&*name), ());
                image.remove_topic(&name);
                image.deleting.remove_mut(&*name);
            });
            Ok(())
        }
        .boxed()
    }

    fn ask_elections(
        &self,
        kind: ElectionKind,
        partitions: Vec<(String, i32)>,
    ) -> BoxFuture<'_, Result<i64, AdminError>> {
        if self.shared.state.lock().elects_nobody {
            let asked = AskedElection {
                version: 0,
                partitions,
            };
            self.shared
                .update(|image| image.preferred_election = Some(Arc::new(asked)));
            let zxid = self.shared.image().zxid;
            return async move { Ok(zxid) }.boxed();
        }
        self.shared.update(|image| {
            let here: Vec<i32> = image.brokers.keys().copied().collect();
            for (topic, index) in partitions {
                image.update_partition(&topic, index, |partition| {
                    let replicas = partition.replicas.iter().copied();
                    partition.leader = match kind {
                        ElectionKind::Preferred => partition.replicas.first().copied(),
                        ElectionKind::Unclean => replicas.into_iter().find(|id| here.contains(id)),
                    };
                    partition.leader_epoch += 1;
                });
            }
        });
        let zxid = self.shared.image().zxid;
        async move { Ok(zxid) }.boxed()
    }

    fn producer_id_block(&self) -> BoxFuture<'_, Result<Range<i64>, AdminError>> {
        let mut state = self.shared.state.lock();
        state.next_producer += 10;
        let end = state.next_producer;
        async move { Ok(end - 10..end) }.boxed()
    }
}

/// Where no group is coordinated.
pub struct NoGroups;

impl Backing for NoGroups {
    fn partitions(&self) -> Option<i32> {
        None
    }

    fn is_gone(&self, _: &str) -> bool {
        false
    }

    fn append(&self, _: i32, _: i32, _: Bytes) -> BoxFuture<'static, Result<(), AppendFailure>> {
        Box::pin(std::future::ready(Err(AppendFailure::NotLeader)))
    }

    fn bounds(&self, _: i32, _: i32) -> Result<(i64, i64), LoadError> {
        Err(LoadError::NotLeader)
    }

    fn committed(&self, _: i32, _: i32, _: i64) -> BoxFuture<'static, Result<(), LoadError>> {
        Box::pin(std::future::ready(Err(LoadError::NotLeader)))
    }

    fn read(&self, _: i32, _: i64) -> Result<Bytes, LoadError> {
        Err(LoadError::NotLeader)
    }
}
