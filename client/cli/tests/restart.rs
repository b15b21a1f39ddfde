//! Everything is killed at once and started again: tree, topics, records and offsets are there. And while two of
//! three coordinators are down, the data goes on without them.

mod support;

use support::kafka::{all_can_be_read, create_topic, produce};
use support::{Cluster, PATIENCE, Role, wait_until};

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
    create_topic(&cluster, "t");
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
        "every topic is back, with all its replicas",
        PATIENCE,
        || cluster.zweig(&["topic", "list"]).stdout == topics.as_bytes(),
    );
    wait_until("every partition has a leader", PATIENCE, || {
        (0..3).all(|index| cluster.leader_of("t", index).is_some())
    });
    all_can_be_read(&cluster, "t", &sorted(&lines));

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
    create_topic(&cluster, "t");
    produce(&cluster, "t", &numbered(0, 100));
    cluster.kill(Role::Coordinator(1));
    cluster.kill(Role::Coordinator(2));

    let refused = cluster.zweig(&["--timeout", "5", "create", "/x", "y"]);
    assert_eq!(
        refused.status.code(),
        Some(5),
        "no quorum: {}",
        String::from_utf8_lossy(&refused.stderr)
    );
    produce(&cluster, "t", &numbered(100, 200));
    all_can_be_read(&cluster, "t", &sorted(&numbered(0, 200)));

    cluster.start_process(Role::Coordinator(2));
    wait_until("a write is done again", PATIENCE, || {
        let again = ["--timeout", "10", "create", "/x", "y"];
        cluster.zweig(&again).status.success() || cluster.json("/x").is_some()
    });
    cluster.wait_until_whole();
    produce(&cluster, "t", &numbered(200, 300));
    all_can_be_read(&cluster, "t", &sorted(&numbered(0, 300)));
}
