//! The controller's rules over a model of the cluster: scripts with expected output
//! (`tests/scripts/controller_*.txt`), and random deaths and returns of brokers.
//!
//! The model knows what the controller cannot: which logs really hold every committed record. A
//! broker that comes back without being intact is taken to have lost all, the worst case.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use uuid::Uuid;

use crate::metadata::{AskedElection, Broker, Configs, LogEnd, PartitionState};

use super::*;

/// A topic and one of its partitions.
type Key = (Arc<str>, i32);
/// Who leads, under which broker epoch.
type Led = (i32, i64);

mod random;

#[derive(Default)]
struct World {
    image: Image,
    delta: Delta,
    epochs: i64,
    /// Since when a broker lost nothing.
    kept_since: BTreeMap<i32, i64>,
    /// Per partition: whose logs hold every committed record.
    complete: BTreeMap<Key, BTreeSet<i32>>,
    /// Per partition: who led in which leader epoch, under which broker epoch.
    led: BTreeMap<Key, BTreeMap<i32, Led>>,
    unclean: BTreeSet<Arc<str>>,
}

const CONTROLLER: Controller = Controller {
    epoch: 1,
    unclean_default: false,
};

impl World {
    fn register(&mut self, id: i32, intact: bool) {
        self.epochs += 1;
        let since = self.kept_since.get(&id).copied().filter(|_| intact);
        if since.is_none() {
            self.kept_since.insert(id, self.epochs);
            self.complete.values_mut().for_each(|logs| {
                logs.remove(&id);
            });
        }
        let broker = Broker {
            id,
            epoch: self.epochs,
            endpoints: Vec::new(),
            rack: None,
            intact_since: since,
        };
        self.image.brokers.insert_mut(id, Arc::new(broker));
        self.image.shutting_down.remove_mut(&id);
        self.delta.brokers.insert(id);
    }

    fn gone(&mut self, id: i32) {
        self.image.brokers.remove_mut(&id);
        self.image.shutting_down.remove_mut(&id);
        let ends: Vec<_> = self.image.log_ends.keys().copied().collect();
        for key in ends.into_iter().filter(|(_, _, broker)| *broker == id) {
            self.image.log_ends.remove_mut(&key);
        }
        self.delta.brokers.insert(id);
    }

    fn stopping(&mut self, id: i32) {
        if let Some(epoch) = self.image.broker_epoch(id) {
            self.image.shutting_down.insert_mut(id, epoch);
            self.delta.requests = true;
        }
    }

    fn topic(&mut self, name: &str, assignment: &[(i32, Vec<i32>)]) {
        let id = Uuid::from_u128(self.image.topics.size() as u128 + 1);
        self.image.put_topic(name, id, 0, assignment);
        self.delta.topics.insert(Arc::from(name));
    }

    fn allow_unclean(&mut self, name: &str) {
        let configs = Configs::from([(UNCLEAN.to_owned(), "true".to_owned())]);
        let name: Arc<str> = Arc::from(name);
        self.image
            .topic_configs
            .insert_mut(name.clone(), Arc::new(configs));
        self.delta.topic_configs.insert(name.clone());
        self.unclean.insert(name);
    }

    /// What the leader does: another ISR, all of whose members it knows to be caught up.
    fn alter_isr(&mut self, topic: &str, index: i32, isr: &[i32]) {
        let partition = self
            .image
            .partition(topic, index)
            .expect("partition")
            .clone();
        let leader = partition.leader.expect("a leader");
        assert!(
            self.image.leads(&partition, leader),
            "only a leader alters its ISR"
        );
        let epochs = isr
            .iter()
            .map(|id| self.image.broker_epoch(*id).expect("here"));
        let state = PartitionState {
            isr: isr.to_vec(),
            isr_broker_epochs: epochs.collect(),
            ..partition.state()
        };
        self.set(Arc::from(topic), index, state);
    }

    fn ask(&mut self, kind: ElectionKind, partitions: &[(&str, i32)]) {
        let partitions = partitions
            .iter()
            .map(|(t, index)| ((*t).to_owned(), *index));
        *self.asked(kind) = Some(Arc::new(AskedElection {
            version: 0,
            partitions: partitions.collect(),
        }));
        self.delta.requests = true;
    }

    fn asked(&mut self, kind: ElectionKind) -> &mut Option<Arc<AskedElection>> {
        match kind {
            ElectionKind::Preferred => &mut self.image.preferred_election,
            ElectionKind::Unclean => &mut self.image.unclean_election,
        }
    }

    fn may_be_unclean(&self, topic: &Arc<str>, index: i32) -> bool {
        let asked = self.image.unclean_election.as_ref();
        let key = (topic.to_string(), index);
        self.unclean.contains(topic) || asked.is_some_and(|asked| asked.partitions.contains(&key))
    }

    fn tell_log_end(&mut self, topic: &str, index: i32, broker: i32, end: (i32, i64)) {
        let id = self.image.topic(topic).expect("topic").id;
        let end = LogEnd {
            broker_epoch: self.image.broker_epoch(broker).expect("here"),
            last_epoch: end.0,
            end_offset: end.1,
        };
        self.image.log_ends.insert_mut((id, index, broker), end);
        self.delta.requests = true;
    }

    fn set(&mut self, topic: Arc<str>, index: i32, state: PartitionState) {
        let key = (topic.clone(), index);
        if let Some(leader) = state.leader {
            let who = (leader, state.leader_broker_epoch);
            let led = self.led.entry(key.clone()).or_default();
            let same = *led.entry(state.leader_epoch).or_insert(who);
            assert_eq!(
                same, who,
                "two leaders of {key:?} in epoch {}",
                state.leader_epoch
            );
            assert_eq!(
                self.image.broker_epoch(leader),
                Some(who.1),
                "a leader that is here"
            );
            // From now on records are committed on these alone.
            self.complete
                .insert(key, state.isr.iter().copied().collect());
        }
        self.image.update_partition(&topic, index, |p| {
            let version = p.partition_epoch + 1;
            p.set_state(state, version, 1);
        });
        self.delta.partitions.insert((topic, index));
    }

    fn check(&self, topic: &Arc<str>, index: i32, state: &PartitionState, why: Why) {
        let partition = self.image.partition(topic, index).expect("partition");
        let complete = &self.complete[&(topic.clone(), index)];
        match why {
            Why::LeaderChanged | Why::IsrChanged | Why::Preferred => {
                let all = state.isr.iter().all(|id| complete.contains(id));
                assert!(all, "{topic}-{index}: {state:?} beyond {complete:?}");
            }
            Why::LongestLog | Why::Unclean => {
                let lost = partition.isr.iter().filter(|id| complete.contains(id));
                let here = lost.filter(|id| self.image.broker(**id).is_some());
                assert_eq!(
                    here.count(),
                    0,
                    "{topic}-{index}: a complete log was passed over"
                );
                assert!(why == Why::LongestLog || self.may_be_unclean(topic, index));
            }
            Why::NoLeader => assert_eq!(state.isr, partition.isr),
        }
        assert!(
            state
                .leader
                .is_none_or(|leader| state.isr.contains(&leader))
        );
        assert!(state.leader_epoch >= partition.leader_epoch);
    }

    /// Does what the controller asks for; returns a line for people.
    fn perform(&mut self, action: Action) -> String {
        match action {
            Action::CreatePartitionsNode { topic, version } => {
                let done = self.image.update_topic(&topic, |t| {
                    assert_eq!(t.version, version);
                    t.has_partitions_node = true;
                });
                assert!(done);
                format!("{topic}: partitions")
            }
            Action::CreateState {
                topic,
                partition,
                state,
                ..
            } => {
                let line = format!("{topic}-{partition}: {} (created)", text(&state));
                self.set(topic, partition, state);
                line
            }
            Action::SetState {
                topic,
                partition,
                expected,
                state,
                why,
            } => {
                let current = self.image.partition(&topic, partition).expect("partition");
                assert_eq!(current.partition_epoch, expected, "decided from this image");
                self.check(&topic, partition, &state, why);
                let line = format!("{topic}-{partition}: {} ({why:?})", text(&state));
                self.set(topic, partition, state);
                line
            }
            Action::DeleteTopic(removal) => {
                self.image.remove_topic(&removal.topic);
                self.image.topic_configs.remove_mut(&removal.topic);
                self.image.deleting.remove_mut(&removal.topic);
                let count = removal.partitions.len();
                format!("{}: deleted, {count} partitions", removal.topic)
            }
            Action::DropDeletion { topic } => {
                self.image.deleting.remove_mut(&topic);
                format!("{topic}: deletion dropped")
            }
            Action::EndElection { kind, .. } => {
                *self.asked(kind) = None;
                format!("{kind:?} election done").to_lowercase()
            }
            other => panic!("not in this model: {other:?}"),
        }
    }

    /// Lets the controller act until it has nothing more to do, told only what changed.
    fn settle(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        for _ in 0..20 {
            let delta = std::mem::take(&mut self.delta);
            let actions = CONTROLLER.decide(&self.image, &delta);
            if actions.is_empty() {
                let overlooked = CONTROLLER.decide(&self.image, &Delta::everything());
                assert_eq!(overlooked, [], "overlooked when told only {delta:?}");
                return lines;
            }
            for action in actions {
                lines.push(self.perform(action));
            }
        }
        panic!("the controller does not come to rest: {lines:#?}");
    }

    /// Whoever could lead by the rules does.
    fn check_available(&self) {
        for topic in self.image.topics.values() {
            for (index, partition) in &topic.partitions {
                let Some(complete) = self.complete.get(&(topic.name.clone(), *index)) else {
                    continue;
                };
                let mut could = partition.isr.iter().filter(|id| complete.contains(id));
                if could.any(|id| self.image.broker(*id).is_some()) {
                    let leader = partition.leader.expect("somebody could lead");
                    assert!(self.image.leads(partition, leader));
                }
            }
        }
    }
}

fn text(state: &PartitionState) -> String {
    let isr: Vec<String> = state.isr.iter().map(ToString::to_string).collect();
    let leader = state.leader.map_or("none".to_owned(), |l| l.to_string());
    let (epoch, isr) = (state.leader_epoch, isr.join(","));
    format!("leader {leader} epoch {epoch} isr {isr}")
}

fn ids(text: &str) -> Vec<i32> {
    text.split(',')
        .map(|id| id.parse().expect("a broker id"))
        .collect()
}

/// One line of a script; `settle` prints.
fn command(world: &mut World, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |at: usize| words[at].parse::<i32>().expect("a number");
    match words[0] {
        "broker" => world.register(number(1), words.get(2) == Some(&"intact")),
        "gone" => world.gone(number(1)),
        "stopping" => world.stopping(number(1)),
        "topic" => {
            let partitions = words[2..].iter().zip(0..);
            let assignment: Vec<_> = partitions.map(|(r, index)| (index, ids(r))).collect();
            world.topic(words[1], &assignment);
        }
        "unclean" => world.allow_unclean(words[1]),
        "isr" => world.alter_isr(words[1], number(2), &ids(words[3])),
        "log-end" => {
            let end = (number(4), i64::from(number(5)));
            world.tell_log_end(words[1], number(2), number(3), end);
        }
        "prefer" => world.ask(ElectionKind::Preferred, &[(words[1], number(2))]),
        "unclean-now" => world.ask(ElectionKind::Unclean, &[(words[1], number(2))]),
        "delete" => {
            world.image.deleting.insert_mut(Arc::from(words[1]), ());
            world.delta.requests = true;
        }
        "rebalance" => {
            let actions = CONTROLLER.rebalance(&world.image, number(1));
            return actions.into_iter().map(|a| world.perform(a)).collect();
        }
        "settle" => return world.settle(),
        other => panic!("no such command: {other}"),
    }
    Vec::new()
}

/// Runs a script: commands, each followed by what it printed, indented. Comments begin with `#`.
fn transcript(script: &str) -> String {
    let mut world = World::default();
    let mut out = String::new();
    for line in script.lines() {
        if line.starts_with("  ") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for printed in command(&mut world, line) {
            writeln!(out, "  {printed}").expect("to a string");
        }
    }
    out
}

#[test]
fn scripts_print_what_they_say() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/scripts");
    let mut ran = 0;
    for entry in std::fs::read_dir(dir).expect("scripts") {
        let path = entry.expect("entry").path();
        let name = path
            .file_name()
            .expect("name")
            .to_string_lossy()
            .into_owned();
        if name.starts_with("controller_") {
            let script = std::fs::read_to_string(&path).expect("script");
            let printed = transcript(&script);
            // After a change of the rules: rewrite, then read the difference line by line.
            if std::env::var_os("REWRITE_SCRIPTS").is_some() {
                std::fs::write(&path, &printed).expect("rewritten");
                continue;
            }
            assert_eq!(printed, script, "{name} printed otherwise");
            ran += 1;
        }
    }
    let rewriting = std::env::var_os("REWRITE_SCRIPTS").is_some();
    assert!(ran >= 4 || rewriting, "only {ran} scripts");
}
