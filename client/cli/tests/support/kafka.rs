//! kcat, the Kafka client that most of the tests use.

use std::fs::{self, File};
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use super::{Cluster, PATIENCE, run, succeeded, wait_for};

/// Creates a topic with 3 partitions on 3 brokers.
pub fn create_topic(cluster: &Cluster, topic: &str) {
    cluster.zweig_ok(&[
        "topic",
        "create",
        topic,
        "--partitions",
        "3",
        "--replication-factor",
        "3",
    ]);
}

/// Lines into a topic, acknowledged by all in-sync replicas.
pub fn produce(cluster: &Cluster, topic: &str, lines: &str) {
    let file = cluster.path(&format!("{topic}.lines"));
    fs::write(&file, lines).expect("the lines written");
    produce_file(cluster, topic, &file, "none");
}

/// The lines of a file into a topic, acknowledged by all in-sync replicas.
pub fn produce_file(cluster: &Cluster, topic: &str, file: &Path, codec: &str) {
    let mut kcat = cluster.command("kcat");
    kcat.args(["-P", "-b", &cluster.bootstrap(), "-t", topic, "-z", codec]);
    for setting in [
        "acks=all",
        "message.timeout.ms=120000",
        "queue.buffering.max.messages=1000000",
        // Spread over the partitions rather than sent to one for a while.
        "sticky.partitioning.linger.ms=0",
    ] {
        kcat.args(["-X", setting]);
    }
    let input = File::open(file).expect("the lines");
    succeeded("kcat -P", &run(kcat, Some(input), 3 * PATIENCE));
}

/// All of a topic, or of one partition, from its beginning to its end, each record in `format`.
pub fn consume(cluster: &Cluster, topic: &str, partition: Option<usize>, format: &str) -> Output {
    let mut kcat = cluster.command("kcat");
    kcat.args([
        "-C",
        "-b",
        &cluster.bootstrap(),
        "-t",
        topic,
        "-o",
        "beginning",
        "-e",
        "-q",
    ]);
    if let Some(partition) = partition {
        kcat.args(["-p", &partition.to_string()]);
    }
    kcat.args(["-f", format]);
    let output = run(kcat, None, Duration::from_secs(180));
    succeeded("kcat -C", &output);
    output
}

/// Until the values of a topic, sorted, are these. A leader that was just elected may take a moment to know how far
/// records are acknowledged, and shows fewer until then; never others.
pub fn all_can_be_read(cluster: &Cluster, topic: &str, expected: &[String]) {
    let values = wait_for("every record can be read", PATIENCE, || {
        let values = consume_sorted(cluster, topic);
        (values.len() >= expected.len()).then_some(values)
    });
    assert_eq!(values, expected);
}

fn consume_sorted(cluster: &Cluster, topic: &str) -> Vec<String> {
    let output = consume(cluster, topic, None, "%s\n");
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}
