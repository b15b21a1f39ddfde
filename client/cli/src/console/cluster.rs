//! The brokers' side as the tree has it: brokers, controller, partitions; folded from watch items, and what changed
//! since it was last asked for. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// A registered broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Broker {
    /// Its `broker.id`.
    pub id: i32,
    /// Where clients reach it; empty if it does not say.
    pub address: String,
    /// `broker.rack`, if set.
    pub rack: Option<String>,
    /// When it registered, in milliseconds since 1970.
    pub since_ms: i64,
}

/// Who keeps a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// Its replicas, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Who leads; -1: nobody.
    pub leader: i32,
    /// Grows with each change of leader; -1 until there was one.
    pub epoch: i32,
    /// Replicas in sync.
    pub isr: Vec<i32>,
}

impl Partition {
    fn of(replicas: Vec<i32>) -> Self {
        Self {
            replicas,
            leader: -1,
            epoch: -1,
            isr: Vec::new(),
        }
    }
}

/// A change of leader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// `topic-partition`.
    pub partition: String,
    /// Who led; -1: nobody.
    pub from: i32,
    /// Who leads now; -1: nobody.
    pub to: i32,
    /// Whether the new leader is the first of the replicas.
    pub preferred: bool,
}

/// What has changed since the last look.
#[derive(Debug, Default)]
pub struct Changes {
    /// Topics that are new, other or gone.
    pub topics: BTreeSet<String>,
    /// Whether a broker or the controller changed.
    pub brokers: bool,
    /// Brokers that registered.
    pub arrived: Vec<i32>,
    /// Brokers whose registration is gone.
    pub left: Vec<i32>,
    /// The new controller.
    pub controller: Option<i32>,
    /// Topics that are new.
    pub created: Vec<String>,
    /// Topics that are gone.
    pub deleted: Vec<String>,
    /// New leaders, but for the first ones.
    pub moves: Vec<Move>,
    /// Replicas that left an ISR, with the partitions.
    pub out_of_sync: BTreeMap<i32, Vec<String>>,
    /// Replicas that came back into an ISR, with the partitions.
    pub in_sync: BTreeMap<i32, Vec<String>>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Cluster {
    brokers: BTreeMap<i32, Broker>,
    controller: Option<i32>,
    topics: BTreeMap<String, BTreeMap<i32, Partition>>,
    changes: Changes,
}

impl Cluster {
    /// The registered brokers.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// Whether a broker is registered.
    pub fn is_here(&self, broker: i32) -> bool {
        self.brokers.contains_key(&broker)
    }

    /// Who is controller.
    pub fn controller(&self) -> Option<i32> {
        self.controller
    }

    /// One topic's partitions.
    pub fn topic(&self, name: &str) -> Option<&BTreeMap<i32, Partition>> {
        self.topics.get(name)
    }

    /// What has changed since this was last asked.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// Everything below `/brokers` is told anew. Who is controller comes from elsewhere, and stays.
    pub fn forget_brokers(&mut self) {
        self.brokers.clear();
        self.topics.clear();
        self.changes = Changes::default();
    }

    /// A znode was created or written, or is there.
    pub fn put(&mut self, path: &str, data: &[u8], time_ms: i64) {
        let parts: Vec<_> = path.split('/').skip(1).collect();
        match parts[..] {
            ["controller"] => self.put_controller(data),
            ["brokers", "ids", id] => {
                if let Ok(id) = id.parse() {
                    self.put_broker(id, data, time_ms);
                }
            }
            ["brokers", "topics", topic] => self.put_topic(topic, data),
            ["brokers", "topics", topic, "partitions", index, "state"] => {
                if let Ok(index) = index.parse() {
                    self.put_state(topic, index, data);
                }
            }
            _ => {}
        }
    }

    /// A znode was deleted.
    pub fn remove(&mut self, path: &str) {
        let parts: Vec<_> = path.split('/').skip(1).collect();
        match parts[..] {
            ["controller"] => {
                self.controller = None;
                self.changes.brokers = true;
            }
            ["brokers", "ids", id] => {
                if let Ok(id) = id.parse()
                    && self.brokers.remove(&id).is_some()
                {
                    self.changes.left.push(id);
                    self.changes.brokers = true;
                }
            }
            ["brokers", "topics", topic] if self.topics.remove(topic).is_some() => {
                self.changes.topics.insert(topic.to_owned());
                self.changes.deleted.push(topic.to_owned());
            }
            _ => {}
        }
    }

    fn put_controller(&mut self, data: &[u8]) {
        #[derive(Deserialize)]
        struct Controller {
            brokerid: i32,
        }
        let controller = serde_json::from_slice(data);
        let controller = controller.ok().map(|c: Controller| c.brokerid);
        if controller != self.controller {
            self.controller = controller;
            self.changes.controller = controller;
            self.changes.brokers = true;
        }
    }

    fn put_broker(&mut self, id: i32, data: &[u8], since_ms: i64) {
        #[derive(Deserialize)]
        struct Registration {
            host: Option<String>,
            #[serde(default)]
            port: i32,
            #[serde(default)]
            endpoints: Vec<String>,
            rack: Option<String>,
        }
        let registration: Option<Registration> = serde_json::from_slice(data).ok();
        let (address, rack) = registration.map_or_else(Default::default, |r| {
            let endpoint = r.endpoints.first().and_then(|e| e.split_once("://"));
            let address = match (endpoint, r.host) {
                (Some((_, address)), _) => address.to_owned(),
                (None, Some(host)) => format!("{host}:{}", r.port),
                (None, None) => String::new(),
            };
            (address, r.rack)
        });
        let broker = Broker {
            id,
            address,
            rack,
            since_ms,
        };
        if self.brokers.insert(id, broker).is_none() {
            self.changes.arrived.push(id);
        }
        self.changes.brokers = true;
    }

    fn put_topic(&mut self, name: &str, data: &[u8]) {
        #[derive(Deserialize)]
        struct Assignment {
            #[serde(default)]
            partitions: BTreeMap<String, Vec<i32>>,
        }
        let Ok(assignment) = serde_json::from_slice::<Assignment>(data) else {
            return;
        };
        if !self.topics.contains_key(name) {
            self.changes.created.push(name.to_owned());
        }
        let partitions = self.topics.entry(name.to_owned()).or_default();
        for (index, replicas) in assignment.partitions {
            let Ok(index) = index.parse() else { continue };
            let partition = partitions
                .entry(index)
                .or_insert_with(|| Partition::of(Vec::new()));
            partition.replicas = replicas;
        }
        self.changes.topics.insert(name.to_owned());
    }

    fn put_state(&mut self, topic: &str, index: i32, data: &[u8]) {
        #[derive(Deserialize)]
        struct State {
            leader: i32,
            leader_epoch: i32,
            isr: Vec<i32>,
        }
        let Ok(state) = serde_json::from_slice::<State>(data) else {
            return;
        };
        let partition = self.topics.entry(topic.to_owned()).or_default();
        let partition = partition
            .entry(index)
            .or_insert_with(|| Partition::of(Vec::new()));
        let name = || format!("{topic}-{index}");
        let first = partition.epoch < 0;
        if !first && partition.leader != state.leader {
            self.changes.moves.push(Move {
                partition: name(),
                from: partition.leader,
                to: state.leader,
                preferred: partition.replicas.first() == Some(&state.leader),
            });
        }
        if !first {
            for gone in partition.isr.iter().filter(|id| !state.isr.contains(id)) {
                let partitions = self.changes.out_of_sync.entry(*gone).or_default();
                partitions.push(name());
            }
            for back in state.isr.iter().filter(|id| !partition.isr.contains(id)) {
                let partitions = self.changes.in_sync.entry(*back).or_default();
                partitions.push(name());
            }
        }
        (partition.leader, partition.epoch, partition.isr) =
            (state.leader, state.leader_epoch, state.isr);
        self.changes.topics.insert(topic.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(leader: i32, epoch: i32, isr: &str) -> Vec<u8> {
        format!(r#"{{"version":1,"leader":{leader},"leader_epoch":{epoch},"controller_epoch":1,"isr":{isr}}}"#)
            .into_bytes()
    }

    fn cluster() -> Cluster {
        let mut cluster = Cluster::default();
        for id in 1..=3 {
            let data =
                format!(r#"{{"host":"h","port":9092,"endpoints":["PLAINTEXT://b{id}:9092"]}}"#);
            cluster.put(&format!("/brokers/ids/{id}"), data.as_bytes(), 7);
        }
        cluster.put(
            "/controller",
            br#"{"version":2,"brokerid":3,"timestamp":"1"}"#,
            7,
        );
        cluster.put(
            "/brokers/topics/t",
            br#"{"version":3,"partitions":{"0":[1,2,3]}}"#,
            7,
        );
        cluster.put(
            "/brokers/topics/t/partitions/0/state",
            &state(1, 0, "[1,2,3]"),
            7,
        );
        cluster
    }

    #[test]
    fn the_tree_is_read_as_kafka_writes_it() {
        let mut cluster = cluster();
        let addresses: Vec<_> = cluster.brokers().map(|b| b.address.as_str()).collect();
        assert_eq!(addresses, ["b1:9092", "b2:9092", "b3:9092"]);
        assert_eq!(cluster.controller(), Some(3));
        let partition = &cluster.topic("t").expect("there")[&0];
        assert_eq!((partition.leader, partition.epoch), (1, 0));
        assert_eq!(
            (&partition.replicas, &partition.isr),
            (&vec![1, 2, 3], &vec![1, 2, 3])
        );
        let changes = cluster.take_changes();
        assert_eq!(changes.arrived, [1, 2, 3]);
        assert_eq!(
            (changes.created.as_slice(), changes.moves.len()),
            (&["t".to_owned()][..], 0)
        );
        let none = cluster.take_changes();
        assert!(none.topics.is_empty() && !none.brokers);
    }

    #[test]
    fn a_change_of_leader_is_told_with_who_led_and_who_fell_out() {
        let mut cluster = cluster();
        cluster.take_changes();
        cluster.remove("/brokers/ids/1");
        cluster.put(
            "/brokers/topics/t/partitions/0/state",
            &state(2, 1, "[2,3]"),
            9,
        );
        let changes = cluster.take_changes();
        assert_eq!(changes.left, [1]);
        let moved = Move {
            partition: "t-0".to_owned(),
            from: 1,
            to: 2,
            preferred: false,
        };
        assert_eq!(changes.moves, [moved]);
        assert_eq!(changes.out_of_sync[&1], ["t-0"]);
        cluster.put(
            "/brokers/topics/t/partitions/0/state",
            &state(2, 1, "[1,2,3]"),
            9,
        );
        assert_eq!(cluster.take_changes().in_sync[&1], ["t-0"]);
    }

    #[test]
    fn what_cannot_be_read_changes_nothing() {
        let mut cluster = cluster();
        cluster.take_changes();
        for path in [
            "/brokers/topics/t",
            "/brokers/topics/t/partitions/0/state",
            "/brokers/ids/x",
            "/other",
        ] {
            cluster.put(path, b"not JSON", 1);
        }
        let none = cluster.take_changes();
        assert!(none.topics.is_empty() && !none.brokers);
        let mut anew = self::cluster();
        anew.forget_brokers();
        assert_eq!((anew.brokers().count(), anew.controller()), (0, Some(3)));
        cluster.remove("/brokers/topics/t");
        assert_eq!(cluster.take_changes().deleted, ["t"]);
        assert!(cluster.topic("t").is_none());
    }
}
