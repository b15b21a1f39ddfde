//! An idempotent producer that nobody here wrote goes on while processes die: the ensemble's leader, the
//! controller, a partition's leader. Afterwards every acknowledged record is there, once, in order.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::process::{Child, Stdio};

use support::{Cluster, PATIENCE, Role, succeeded, wait_until};

const TOPIC: &str = "numbers";
const PARTITIONS: usize = 3;

struct Producer {
    child: Child,
    progress: std::path::PathBuf,
    stop: std::path::PathBuf,
}

impl Producer {
    fn start(cluster: &Cluster) -> Self {
        let (progress, stop) = (cluster.path("progress"), cluster.path("stop"));
        let child = cluster
            .python("idempotent_producer.py")
            .args([TOPIC, &PARTITIONS.to_string()])
            .args([&progress, &stop])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the producer starts");
        Self {
            child,
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
        let output = self.child.wait_with_output().expect("the producer ends");
        let text = succeeded("the producer", &output);
        serde_json::from_str(&text).expect("what it acknowledged, as JSON")
    }
}

fn stored(cluster: &Cluster, partition: usize) -> Vec<(u64, i64)> {
    let output = cluster
        .command("kcat")
        .args([
            "-C",
            "-b",
            &cluster.bootstrap(),
            "-t",
            TOPIC,
            "-p",
            &partition.to_string(),
        ])
        .args(["-o", "beginning", "-e", "-q", "-f", "%s %o\n"])
        .output()
        .expect("kcat runs");
    let text = succeeded("kcat -C", &output);
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
    cluster.zweig_ok(&[
        "topic",
        "create",
        TOPIC,
        "--partitions",
        "3",
        "--replication-factor",
        "3",
    ]);
    let producer = Producer::start(&cluster);
    producer.wait_for_progress("before any fault");

    let node = cluster
        .ensemble_leader()
        .expect("the ensemble has a leader");
    cluster.kill(Role::Coordinator(node));
    producer.wait_for_progress("after the ensemble's leader died");
    cluster.start_process(Role::Coordinator(node));

    let controller = cluster.controller().expect("there is a controller");
    cluster.kill(Role::Broker(controller));
    wait_until("another broker is controller", PATIENCE, || {
        cluster.controller().is_some_and(|id| id != controller)
    });
    producer.wait_for_progress("after the controller died");
    cluster.start_process(Role::Broker(controller));
    wait_until("the former controller is in sync again", PATIENCE, || {
        all_in_sync(&cluster)
    });

    let leader = cluster
        .leader_of(TOPIC, 0)
        .expect("partition 0 has a leader");
    cluster.kill(Role::Broker(leader));
    wait_until("partition 0 has another leader", PATIENCE, || {
        cluster.leader_of(TOPIC, 0).is_some_and(|id| id != leader)
    });
    producer.wait_for_progress("after a partition's leader died");
    cluster.start_process(Role::Broker(leader));
    wait_until("the former leader is in sync again", PATIENCE, || {
        all_in_sync(&cluster)
    });
    producer.wait_for_progress("after everything is back");

    let acknowledged = producer.finish();
    assert_eq!(acknowledged.len(), PARTITIONS);
    for (partition, acknowledged) in acknowledged {
        let stored = stored(&cluster, partition);
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
