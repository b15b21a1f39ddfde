//! ZooKeeper's clients that nobody here wrote, against real processes: kazoo, and ZooKeeper's own
//! for Java, which alone sends `setWatches`.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use support::{Cluster, Role, succeeded};

/// A program that says something, is told that something has happened, and says how it went.
struct Peer {
    child: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Peer {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        Self {
            say: child.stdin.take().expect("its standard input"),
            hear: BufReader::new(child.stdout.take().expect("its standard output")),
            child,
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.hear.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    fn tell(&mut self) {
        self.say.write_all(b"\n").expect("told");
    }

    /// The rest of what it says; it must end well.
    fn finish(mut self) -> String {
        let mut rest = String::new();
        self.hear.read_to_string(&mut rest).expect("its output");
        let status = self.child.wait().expect("its status");
        assert!(status.success(), "the client ended with {status}: {rest}");
        rest.trim().to_owned()
    }
}

fn coordinators(cluster: &Cluster) -> Vec<usize> {
    (1..=cluster.connect_string().split(',').count()).collect()
}

fn node_at(cluster: &Cluster, port: &str) -> usize {
    let found = coordinators(cluster)
        .into_iter()
        .find(|node| cluster.coordinator(*node).ends_with(&format!(":{port}")));
    found.unwrap_or_else(|| panic!("{port} is a node's port"))
}

#[test]
fn kazoo_finds_everything_it_relies_on_on_every_node() {
    let cluster = Cluster::start(3, 0);
    for node in coordinators(&cluster) {
        let other = node % 3 + 1;
        let output = cluster
            .python("kazoo/basics.py")
            .args([cluster.coordinator(node), cluster.coordinator(other)])
            .output()
            .expect("kazoo runs");
        succeeded("kazoo/basics.py", &output);
    }
}

#[test]
fn kazoo_finds_everything_on_a_node_that_stands_alone() {
    let cluster = Cluster::start(1, 0);
    let node = cluster.coordinator(1);
    let output = cluster
        .python("kazoo/basics.py")
        .args([&node, &node])
        .output()
        .expect("kazoo runs");
    succeeded("kazoo/basics.py", &output);
}

#[test]
fn a_session_lives_on_when_its_node_is_killed_and_ends_when_its_client_is_silent() {
    let mut cluster = Cluster::start(3, 0);
    for _ in 0..2 {
        let mut command = cluster.python("kazoo/reattach.py");
        command.arg(cluster.connect_string());
        let mut peer = Peer::start(command);
        let node = node_at(&cluster, &peer.line());
        cluster.kill(Role::Coordinator(node));
        peer.tell();
        assert_eq!(peer.finish(), "ok");
        cluster.start_process(Role::Coordinator(node));
        cluster.wait_until_whole();
    }
    let output = cluster
        .python("kazoo/expiry.py")
        .arg(cluster.connect_string())
        .output()
        .expect("kazoo runs");
    succeeded("kazoo/expiry.py", &output);
}

#[test]
fn writes_go_on_within_a_second_when_the_leader_is_killed() {
    let mut cluster = Cluster::start(3, 0);
    for _ in 0..3 {
        let leader = cluster.ensemble_leader().expect("a leader");
        let mut command = cluster.python("kazoo/failover.py");
        command.arg(cluster.coordinator(leader % 3 + 1));
        let mut peer = Peer::start(command);
        assert_eq!(peer.line(), "writing");
        cluster.kill(Role::Coordinator(leader));
        support::wait_until("another node leads", support::PATIENCE, || {
            cluster.ensemble_leader().is_some()
        });
        peer.tell();
        let longest_ms: u64 = peer.finish().parse().expect("milliseconds");
        assert!(
            longest_ms < 1000,
            "{longest_ms} ms without an acknowledged write"
        );
        cluster.start_process(Role::Coordinator(leader));
        cluster.wait_until_whole();
    }
}

#[test]
fn javas_watches_survive_the_death_of_their_node() {
    let mut cluster = Cluster::start(3, 0);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/java/SetWatches.java");
    // The node that is not killed must be known beforehand: the client gets only the two others.
    let mut command = cluster.java(&source.display().to_string());
    let others = format!("{},{}", cluster.coordinator(1), cluster.coordinator(2));
    command.args([&others, &cluster.coordinator(3)]);
    let mut peer = Peer::start(command);
    let node = node_at(&cluster, &peer.line());
    cluster.kill(Role::Coordinator(node));
    peer.tell();
    let said = peer.finish();
    assert!(said.ends_with("ok"), "{said}");
}
