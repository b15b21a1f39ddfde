//! The tree's tools as a user types them, against real nodes: what they print, how they exit, and
//! what a watch shows while a node is killed.

mod support;

use support::{Cluster, PATIENCE, Role, Talk, ZWEIG, wait_for, wait_until};

const NOT_FOUND: i32 = 3;
const CONFLICT: i32 = 4;
const UNAVAILABLE: i32 = 5;
const OUTCOME_UNKNOWN: i32 = 6;

fn exit_code(cluster: &Cluster, arguments: &[&str]) -> i32 {
    let output = cluster.zweig(arguments);
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

/// A tool that goes on by itself.
fn running(cluster: &Cluster, arguments: &[&str]) -> Talk {
    let mut zweig = cluster.command(ZWEIG);
    zweig.args(arguments);
    cluster.talk(zweig, arguments[0])
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
    let holder = running(&cluster, &["create", "-e", "/here"]);
    assert_eq!(holder.line(), "/here");
    assert_eq!(exit_code(&cluster, &["stat", "/here"]), 0);
    support::send_signal(holder.id(), rustix::process::Signal::INT);
    holder.finish();
    // At once if the session was closed in time, else when it expires.
    wait_until("the node is gone", PATIENCE, || {
        exit_code(&cluster, &["stat", "/here"]) == NOT_FOUND
    });
}

#[test]
fn a_watch_misses_and_repeats_nothing_while_the_leader_is_killed() {
    let mut cluster = Cluster::start(3, 0);
    cluster.zweig_ok(&["create", "/w", "0"]);
    let watch = running(&cluster, &["watch", "/w", "--output", "json"]);
    let mut sent: u64 = 0;
    let mut send = |cluster: &Cluster| {
        sent += 1;
        let number = sent.to_string();
        wait_until("a write is done", PATIENCE, || {
            let output = cluster.zweig(&["set", "/w", &number]);
            let code = output.status.code();
            assert!([Some(0), Some(UNAVAILABLE)].contains(&code), "{output:?}");
            code == Some(0)
        });
        sent
    };
    // The first change that it tells of begins the count.
    let first = wait_for("the watch listens", PATIENCE, || {
        send(&cluster);
        watch.line_at_once().map(|line| number(&line))
    });
    let mut last = 0;
    for _ in 0..30 {
        last = send(&cluster);
    }
    let leader = cluster.any_ensemble_leader();
    cluster.kill(Role::Coordinator(leader));
    for _ in 0..30 {
        last = send(&cluster);
    }
    for expected in first + 1..=last {
        assert_eq!(
            number(&watch.line()),
            expected,
            "a gap, or a change told twice"
        );
    }
}

/// What a change says the data is.
fn number(line: &str) -> u64 {
    let change: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let data = change["data"].as_str().expect("text");
    data.parse().expect("a number")
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
    wait_until("writes are done again", PATIENCE, || {
        exit_code(&cluster, &["--timeout", "10", "set", "/a", "three"]) == 0
    });
    assert_eq!(cluster.zweig_ok(&["get", "/a"]), "three");
}

#[test]
fn the_log_says_why_a_session_begins_and_ends() {
    let cluster = Cluster::start(1, 0);
    cluster.zweig_ok(&["ls", "/"]);
    let log = cluster.folder_of(Role::Coordinator(1)).join("log.txt");
    wait_until("the session's two lines", PATIENCE, || {
        let log = std::fs::read_to_string(&log).expect("a log");
        let line = |what: &str| log.lines().find(|line| line.contains(what));
        let (begin, end) = (
            line("a session is open"),
            line("its client has closed the session"),
        );
        let session =
            |line: &str| Some(line.split("session=").nth(1)?.split(' ').next()?.to_owned());
        match (begin.and_then(session), end.and_then(session)) {
            (Some(begun), Some(ended)) => begun == ended,
            _ => false,
        }
    });
}
