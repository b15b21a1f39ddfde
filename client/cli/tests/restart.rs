//! Everything is killed at once and started again: tree, topics, records and offsets are there. And while two of
//! three coordinators are down, the data goes on without them.

mod support;

use std::io::Write;
use std::process::Stdio;

use support::{Cluster, PATIENCE, Role, succeeded, wait_until};

fn produce(cluster: &Cluster, topic: &str, lines: &str) {
    let mut child = cluster
        .command("kcat")
        .args([
            "-P",
            "-b",
            &cluster.bootstrap(),
            "-t",
            topic,
            "-X",
            "acks=all",
        ])
        .args(["-X", "message.timeout.ms=60000"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("kcat starts");
    let mut input = child.stdin.take().expect("its input");
    input.write_all(lines.as_bytes()).expect("lines written");
    drop(input);
    succeeded("kcat -P", &child.wait_with_output().expect("kcat ends"));
}

fn consume(cluster: &Cluster, topic: &str) -> Vec<String> {
    let output = cluster
        .command("kcat")
        .args([
            "-C",
            "-b",
            &cluster.bootstrap(),
            "-t",
            topic,
            "-o",
            "beginning",
            "-e",
            "-q",
        ])
        .output()
        .expect("kcat runs");
    let text = succeeded("kcat -C", &output);
    let mut lines: Vec<_> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn numbered(from: usize, to: usize) -> String {
    (from..to)
        .map(|number| format!("line {number:06}\n"))
        .collect()
}

fn sorted(text: &str) -> Vec<String> {
    text.lines().map(str::to_owned).collect()
}

#[test]
fn all_is_there_after_everything_was_killed_at_once() {
    let mut cluster = Cluster::start(3, 3);
    cluster.zweig_ok(&["create", "/precious", "keep me"]);
    cluster.zweig_ok(&[
        "topic",
        "create",
        "t",
        "--partitions",
        "3",
        "--replication-factor",
        "3",
    ]);
    let lines = numbered(0, 10_000);
    produce(&cluster, "t", &lines);
    let group = cluster.zweig_ok(&[
        "consume",
        "t",
        "--group",
        "g",
        "--from",
        "earliest",
        "--exit-at-end",
    ]);
    assert_eq!(group.lines().count(), 10_000);
    let topics = cluster.zweig_ok(&["topic", "list"]);

    for role in cluster.kill_everything() {
        cluster.start_process(role);
    }
    cluster.wait_until_whole();
    assert_eq!(
        cluster.zweig_ok(&["get", "/precious"]).trim_end(),
        "keep me"
    );
    wait_until(
        "every topic is back, every replica in sync",
        PATIENCE,
        || cluster.zweig(&["topic", "list"]).stdout == topics.as_bytes(),
    );
    wait_until("every partition has a leader", PATIENCE, || {
        (0..3).all(|index| cluster.leader_of("t", index).is_some())
    });
    assert_eq!(consume(&cluster, "t"), sorted(&lines));

    produce(&cluster, "t", &numbered(10_000, 10_100));
    let group = cluster.zweig_ok(&[
        "consume",
        "t",
        "--group",
        "g",
        "--from",
        "earliest",
        "--exit-at-end",
    ]);
    let mut news: Vec<_> = group.lines().map(str::to_owned).collect();
    news.sort();
    assert_eq!(
        news,
        sorted(&numbered(10_000, 10_100)),
        "the group goes on where it had committed"
    );
}

#[test]
fn the_data_goes_on_without_a_quorum_and_all_heals() {
    let mut cluster = Cluster::start(3, 3);
    cluster.zweig_ok(&[
        "topic",
        "create",
        "t",
        "--partitions",
        "3",
        "--replication-factor",
        "3",
    ]);
    produce(&cluster, "t", &numbered(0, 100));
    cluster.kill(Role::Coordinator(1));
    cluster.kill(Role::Coordinator(2));

    let refused = cluster.zweig(&["create", "/x", "y"]);
    assert_eq!(
        refused.status.code(),
        Some(5),
        "no quorum: {}",
        String::from_utf8_lossy(&refused.stderr)
    );
    produce(&cluster, "t", &numbered(100, 200));
    assert_eq!(consume(&cluster, "t"), sorted(&numbered(0, 200)));

    cluster.start_process(Role::Coordinator(2));
    wait_until("a write is done again", PATIENCE, || {
        cluster.zweig(&["create", "/x", "y"]).status.success()
            || cluster.zweig(&["get", "/x"]).status.success()
    });
    cluster.wait_until_whole();
    produce(&cluster, "t", &numbered(200, 300));
    assert_eq!(consume(&cluster, "t"), sorted(&numbered(0, 300)));
}
