//! An idempotent producer that nobody here wrote goes on while processes die: the ensemble's leader, the
//! controller, a partition's leader. Afterwards every acknowledged record is there, once, in order.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use support::{Cluster, PATIENCE, Role, Talk, kafka, wait_for, wait_until};

const TOPIC: &str = "numbers";
const PARTITIONS: usize = 3;
/// A replica catches up while the producer goes on.
const CATCHING_UP: Duration = Duration::from_secs(120);

struct Producer {
    talk: Talk,
    progress: PathBuf,
    stop: PathBuf,
}

impl Producer {
    fn start(cluster: &Cluster) -> Self {
        let (progress, stop) = (cluster.path("progress"), cluster.path("stop"));
        let mut python = cluster.python("idempotent_producer.py");
        python.args([TOPIC, &PARTITIONS.to_string()]);
        python.args([&progress, &stop]);
        Self {
            talk: cluster.talk(python, "producer"),
            progress,
            stop,
        }
    }

    fn acknowledged(&self) -> u64 {
        let text = fs::read_to_string(&self.progress).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Until a good number of further records has been acknowledged.
    fn wait_for_progress(&self, when: &str) {
        let wanted = self.acknowledged() + 600;
        wait_until(
            &format!("records are acknowledged {when}"),
            PATIENCE,
            || self.acknowledged() >= wanted,
        );
    }

    /// By partition: the numbers acknowledged, with their offsets.
    fn finish(self) -> BTreeMap<usize, Vec<(u64, i64)>> {
        fs::write(&self.stop, "").expect("the stop file");
        let text = self.talk.finish();
        serde_json::from_str(&text).expect("what it acknowledged, as JSON")
    }
}

fn stored(cluster: &Cluster, partition: usize) -> Vec<(u64, i64)> {
    let output = kafka::consume(cluster, TOPIC, Some(partition), "%s %o\n");
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines()
        .map(|line| {
            let (number, offset) = line.split_once(' ').expect("number and offset");
            (
                number.parse().expect("a number"),
                offset.parse().expect("an offset"),
            )
        })
        .collect()
}

#[test]
fn no_acknowledged_record_is_lost_doubled_or_out_of_order() {
    let mut cluster = Cluster::start(3, 3);
    kafka::create_topic(&cluster, TOPIC);
    let producer = Producer::start(&cluster);
    producer.wait_for_progress("before any fault");

    let node = cluster.any_ensemble_leader();
    cluster.kill(Role::Coordinator(node));
    producer.wait_for_progress("after the ensemble's leader died");
    cluster.start_process(Role::Coordinator(node));

    let controller = cluster.any_controller();
    cluster.kill(Role::Broker(controller));
    wait_until("another broker is controller", PATIENCE, || {
        cluster.controller().is_some_and(|id| id != controller)
    });
    producer.wait_for_progress("after the controller died");
    cluster.start_process(Role::Broker(controller));
    wait_until(
        "the former controller is in sync again",
        CATCHING_UP,
        || all_in_sync(&cluster),
    );

    let leader = cluster.any_leader_of(TOPIC, 0);
    cluster.kill(Role::Broker(leader));
    wait_until("partition 0 has another leader", PATIENCE, || {
        cluster.leader_of(TOPIC, 0).is_some_and(|id| id != leader)
    });
    producer.wait_for_progress("after a partition's leader died");
    cluster.start_process(Role::Broker(leader));
    wait_until("the former leader is in sync again", CATCHING_UP, || {
        all_in_sync(&cluster)
    });
    producer.wait_for_progress("after everything is back");

    let acknowledged = producer.finish();
    assert_eq!(acknowledged.len(), PARTITIONS);
    for (partition, acknowledged) in acknowledged {
        // A leader elected a moment ago may not know yet how far records are acknowledged.
        let stored = wait_for("what was acknowledged can be read", PATIENCE, || {
            let stored = stored(&cluster, partition);
            (stored.len() >= acknowledged.len()).then_some(stored)
        });
        let numbers: Vec<_> = stored.iter().map(|(number, _)| *number).collect();
        let expected: Vec<_> = (0..numbers.len() as u64).collect();
        assert_eq!(
            numbers, expected,
            "partition {partition}: each number once, in order"
        );
        assert_eq!(
            acknowledged, stored,
            "partition {partition}: all that was acknowledged, where it was said to be"
        );
    }
}

fn all_in_sync(cluster: &Cluster) -> bool {
    (0..PARTITIONS).all(|partition| cluster.in_sync(TOPIC, partition) == 3)
}
