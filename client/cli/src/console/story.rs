//! The time line: what happened, and why, in plain words. Pure.

use std::collections::BTreeMap;

use serde::Serialize;

use super::cluster::{Changes, Cluster, Move};

/// Partitions named in one line; the rest is counted.
const NAMED: usize = 12;

/// How good the news are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tone {
    /// Something is there that was not.
    Good,
    /// Something changed.
    Plain,
    /// Something is worse than it was.
    Bad,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Story {
    /// Its number; grows.
    pub number: u64,
    /// When it was seen, in milliseconds since 1970.
    pub at_ms: i64,
    /// How good it is.
    pub tone: Tone,
    /// What happened.
    pub what: String,
    /// Why; empty if nobody can say.
    pub why: String,
    /// Partitions it is about, at most [`NAMED`].
    pub partitions: Vec<String>,
}

/// A line without number and time.
pub type Told = (Tone, String, String, Vec<String>);

/// What these changes mean.
pub fn tell(changes: &Changes, cluster: &Cluster) -> Vec<Told> {
    let mut told = Vec::new();
    for id in &changes.left {
        let why = match changes.arrived.contains(id) {
            true => "its former session ended; it has registered again",
            false => "its session ended: it stopped, died, or could not reach the ensemble",
        };
        told.push((
            Tone::Bad,
            format!("broker {id} is gone"),
            why.to_owned(),
            Vec::new(),
        ));
    }
    for id in changes.arrived.iter().filter(|id| cluster.is_here(**id)) {
        told.push((
            Tone::Good,
            format!("broker {id} has registered"),
            String::new(),
            Vec::new(),
        ));
    }
    if let Some(controller) = changes.controller {
        let what = format!("broker {controller} is the controller");
        let why = "it was the first to create /controller".to_owned();
        told.push((Tone::Plain, what, why, Vec::new()));
    }
    for topic in &changes.created {
        if let Some(partitions) = cluster.topic(topic) {
            let what = format!(
                "topic {topic} was created, {}",
                count(partitions.len(), "partition")
            );
            told.push((Tone::Good, what, String::new(), Vec::new()));
        }
    }
    for topic in &changes.deleted {
        told.push((
            Tone::Plain,
            format!("topic {topic} was deleted"),
            String::new(),
            Vec::new(),
        ));
    }
    moves(&changes.moves, cluster, &mut told);
    for (id, partitions) in &changes.out_of_sync {
        let why = match cluster.is_here(*id) {
            true => "it is registered, but did not keep up with the leaders",
            false => "it is gone",
        };
        let what = format!(
            "broker {id} is out of sync in {}",
            count(partitions.len(), "partition")
        );
        told.push((Tone::Bad, what, why.to_owned(), named(partitions)));
    }
    for (id, partitions) in &changes.in_sync {
        let what = format!(
            "broker {id} is in sync again in {}",
            count(partitions.len(), "partition")
        );
        told.push((
            Tone::Good,
            what,
            "it has caught up with the leaders".to_owned(),
            named(partitions),
        ));
    }
    told
}

fn moves(moves: &[Move], cluster: &Cluster, told: &mut Vec<Told>) {
    let mut alike: BTreeMap<(i32, i32, bool), Vec<String>> = BTreeMap::new();
    for one in moves {
        let alike = alike.entry((one.from, one.to, one.preferred)).or_default();
        alike.push(one.partition.clone());
    }
    for ((from, to, preferred), partitions) in alike {
        let of = count(partitions.len(), "partition");
        let here = cluster.is_here(from);
        let (tone, what) = match (from, to) {
            (from, -1) => (
                Tone::Bad,
                format!("{of} led by broker {from} have no leader"),
            ),
            (-1, to) => (
                Tone::Good,
                format!("{of} without a leader are led by broker {to}"),
            ),
            (from, to) => (
                Tone::Plain,
                format!("broker {to} leads {of} that broker {from} led"),
            ),
        };
        let why = match (from, to) {
            (_, -1) => "no replica in sync is left".to_owned(),
            (-1, _) => "a replica that was in sync is back".to_owned(),
            (from, _) if !here => format!("broker {from} is gone, and this replica was in sync"),
            _ if preferred => "it is the preferred leader, the first of the replicas".to_owned(),
            (from, _) => format!("broker {from} is registered but handed over"),
        };
        told.push((tone, what, why, named(&partitions)));
    }
}

fn named(partitions: &[String]) -> Vec<String> {
    partitions.iter().take(NAMED).cloned().collect()
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        number => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_broker_is_the_reason_for_new_leaders() {
        let cluster = Cluster::default();
        let moved = |number: i32| Move {
            partition: format!("t-{number}"),
            from: 2,
            to: 3,
            preferred: false,
        };
        let changes = Changes {
            left: vec![2],
            moves: (0..20).map(moved).collect(),
            ..Changes::default()
        };
        let told = tell(&changes, &cluster);
        assert_eq!(told[0].1, "broker 2 is gone");
        assert_eq!(told[1].1, "broker 3 leads 20 partitions that broker 2 led");
        assert_eq!(told[1].2, "broker 2 is gone, and this replica was in sync");
        assert_eq!(told[1].3.len(), NAMED);
    }

    #[test]
    fn a_partition_that_lost_all_replicas_in_sync_says_so() {
        let lost = Move {
            partition: "t-0".to_owned(),
            from: 1,
            to: -1,
            preferred: false,
        };
        let changes = Changes {
            moves: vec![lost],
            ..Changes::default()
        };
        let told = tell(&changes, &Cluster::default());
        assert_eq!(told[0].0, Tone::Bad);
        assert_eq!(told[0].2, "no replica in sync is left");
    }
}
