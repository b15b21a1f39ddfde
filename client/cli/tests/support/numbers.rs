//! An idempotent producer that nobody here wrote, which numbers its records and goes on through everything.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use super::{Cluster, PATIENCE, Talk, kafka, wait_for, wait_until};

/// Where it writes.
pub const TOPIC: &str = "numbers";
/// How many partitions that has.
pub const PARTITIONS: usize = 3;
/// A replica catches up while the producer goes on.
pub const CATCHING_UP: Duration = Duration::from_secs(120);

/// The producer, while it runs.
pub struct Producer {
    talk: Talk,
    progress: PathBuf,
    stop: PathBuf,
}

impl Producer {
    /// Creates the topic and starts.
    pub fn start(cluster: &Cluster) -> Self {
        kafka::create_topic(cluster, TOPIC);
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
    pub fn wait_for_progress(&self, when: &str) {
        let wanted = self.acknowledged() + 600;
        wait_until(
            &format!("records are acknowledged {when}"),
            PATIENCE,
            || self.acknowledged() >= wanted,
        );
    }

    /// Stops it, and compares: every acknowledged record is there, once, in order.
    ///
    /// # Panics
    /// If one is not.
    pub fn finish(self, cluster: &Cluster) {
        fs::write(&self.stop, "").expect("the stop file");
        let text = self.talk.finish();
        // By partition: the numbers acknowledged, with their offsets.
        let acknowledged: BTreeMap<usize, Vec<(u64, i64)>> =
            serde_json::from_str(&text).expect("what it acknowledged, as JSON");
        assert_eq!(acknowledged.len(), PARTITIONS);
        for (partition, acknowledged) in acknowledged {
            // A leader elected a moment ago may not know yet how far records are acknowledged.
            let stored = wait_for("what was acknowledged can be read", PATIENCE, || {
                let stored = stored(cluster, partition);
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

/// Whether every replica of the producer's topic is in sync.
pub fn all_in_sync(cluster: &Cluster) -> bool {
    (0..PARTITIONS).all(|partition| cluster.in_sync(TOPIC, partition) == 3)
}
