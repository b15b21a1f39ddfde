//! The tree's tools as a user types them, against real nodes: what they print, how they exit, and
//! what a watch shows while a node is killed.

#![allow(
    clippy::disallowed_methods,
    reason = "tests of real processes live in real time"
)]

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Stdio};
use std::time::Duration;

use support::{Cluster, PATIENCE, Role, ZWEIG, wait_until};

const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const UNAVAILABLE: i32 = 5;
const OUTCOME_UNKNOWN: i32 = 6;

fn exit_code(cluster: &Cluster, arguments: &[&str]) -> i32 {
    let output = cluster.zweig(arguments);
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

/// A tool that goes on by itself; killed at the end of the test.
struct Running {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(cluster: &Cluster, arguments: &[&str]) -> Self {
        let mut child = cluster
            .command(ZWEIG)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("zweig runs");
        let out = child.stdout.take().expect("its output");
        let lines = BufReader::new(out).lines();
        Self { child, lines }
    }

    fn line(&mut self) -> String {
        let line = self.lines.next().expect("another line");
        line.expect("a line of text")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn what_is_written_is_read_and_every_failure_has_its_exit_code() {
    let cluster = Cluster::start(1, 0);
    assert_eq!(cluster.zweig_ok(&["create", "/a", "one"]), "/a\n");
    assert_eq!(cluster.zweig_ok(&["get", "/a"]), "one");
    assert_eq!(exit_code(&cluster, &["create", "/a"]), CONFLICT);
    assert_eq!(exit_code(&cluster, &["create", "/x/y"]), NOT_FOUND);
    assert_eq!(
        cluster.zweig_ok(&["create", "-p", "/x/y/z", ""]),
        "/x/y/z\n"
    );

    cluster.zweig_ok(&["set", "/a", "two", "--version", "0"]);
    let stale = ["set", "/a", "three", "--version", "0"];
    assert_eq!(exit_code(&cluster, &stale), CONFLICT);
    assert_eq!(cluster.zweig_ok(&["get", "--linearizable", "/a"]), "two");

    assert_eq!(exit_code(&cluster, &["get", "/none"]), NOT_FOUND);
    assert_eq!(exit_code(&cluster, &["stat", "/none"]), NOT_FOUND);
    assert_eq!(exit_code(&cluster, &["tree", "/none"]), NOT_FOUND);
    assert_eq!(exit_code(&cluster, &["get", "a"]), 2);
    assert_eq!(exit_code(&cluster, &["delete", "/x"]), CONFLICT);
    let nobody = ["--server", "127.0.0.1:1", "--timeout", "1", "ls"];
    assert_eq!(exit_code(&cluster, &nobody), UNAVAILABLE);

    let tree = cluster.zweig_ok(&["tree", "/x", "--data"]);
    assert!(tree.starts_with("/x\n└── y\n    └── z\n"), "{tree}");
    assert_eq!(cluster.zweig_ok(&["ls", "/x/y"]), "z\n");
    let deleted = cluster.zweig_ok(&["delete", "-r", "/x", "--output", "json"]);
    let deleted: serde_json::Value = serde_json::from_str(&deleted).expect("JSON");
    assert_eq!(deleted["deleted"], 3);
    let read = cluster.zweig_ok(&["get", "/a", "--output", "json"]);
    let read: serde_json::Value = serde_json::from_str(&read).expect("JSON");
    assert_eq!(
        (&read["data"], &read["stat"]["version"]),
        (&"two".into(), &1.into())
    );
}

#[test]
fn an_ephemeral_node_lives_as_long_as_the_command_that_made_it() {
    let cluster = Cluster::start(1, 0);
    let mut holder = Running::start(&cluster, &["create", "-e", "/here"]);
    assert_eq!(holder.line(), "/here");
    assert_eq!(exit_code(&cluster, &["stat", "/here"]), 0);
    let pid = rustix::process::Pid::from_child(&holder.child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("SIGINT sent");
    assert!(holder.child.wait().expect("it ends").success());
    assert_eq!(exit_code(&cluster, &["stat", "/here"]), NOT_FOUND);
}

#[test]
fn a_watch_misses_and_repeats_nothing_while_the_leader_is_killed() {
    let mut cluster = Cluster::start(3, 0);
    cluster.zweig_ok(&["create", "/w", "0"]);
    let mut watch = Running::start(&cluster, &["watch", "/w", "--output", "json"]);
    // Until it listens: the first change that it tells of begins the count.
    let mut sent = 0;
    let mut send = |cluster: &Cluster| {
        sent += 1;
        cluster.zweig_ok(&["set", "/w", &sent.to_string()]);
        sent
    };
    let told = std::thread::spawn(move || {
        let mut told: Vec<u64> = Vec::new();
        while told.last() != Some(&60) {
            let change: serde_json::Value = serde_json::from_str(&watch.line()).expect("JSON");
            let data = change["data"].as_str().expect("text");
            told.push(data.parse().expect("a number"));
        }
        told
    });
    while send(&cluster) < 30 {}
    let leader = cluster.ensemble_leader().expect("a leader");
    cluster.kill(Role::Coordinator(leader));
    while send(&cluster) < 60 {}
    wait_until("the watch has told the last change", PATIENCE, || {
        told.is_finished()
    });
    let told = told.join().expect("it read to the end");
    let first = *told.first().expect("something");
    assert!(first < 30, "{told:?}");
    assert_eq!(told, (first..=60).collect::<Vec<_>>());
}

#[test]
fn without_a_quorum_writes_are_refused_or_unknown_and_status_says_so() {
    let mut cluster = Cluster::start(3, 0);
    cluster.zweig_ok(&["create", "/a", "one"]);
    for node in [1, 2] {
        cluster.kill(Role::Coordinator(node));
    }
    let code = exit_code(&cluster, &["--timeout", "2", "set", "/a", "two"]);
    assert!([UNAVAILABLE, OUTCOME_UNKNOWN].contains(&code), "{code}");
    wait_until("the survivor knows that nobody leads", PATIENCE, || {
        exit_code(&cluster, &["--timeout", "2", "ensemble", "status"]) == UNAVAILABLE
    });
    cluster.start_process(Role::Coordinator(1));
    wait_until("writes are done again", Duration::from_secs(30), || {
        exit_code(&cluster, &["set", "/a", "three"]) == 0
    });
    assert_eq!(cluster.zweig_ok(&["get", "/a"]), "three");
}
