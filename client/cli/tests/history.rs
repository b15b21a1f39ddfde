//! What an operator finds out afterwards: who deleted a znode, what it was before, why a partition moved. A broker dies for
//! it, and a client that nobody here wrote deletes something.

mod support;

use support::kafka::create_topic;
use support::{Cluster, PATIENCE, Role, run, succeeded, wait_until};

fn json(cluster: &Cluster, arguments: &[&str]) -> serde_json::Value {
    let mut all = vec!["--output", "json"];
    all.extend(arguments);
    serde_json::from_str(&cluster.zweig_ok(&all)).expect("JSON")
}

#[test]
fn what_was_written_over_or_deleted_is_told_and_shown_again() {
    let cluster = Cluster::start(3, 0);
    cluster.zweig_ok(&["create", "/a", "{\"size\":1,\"unit\":\"m\"}"]);
    cluster.zweig_ok(&["set", "/a", "{\"size\":2,\"unit\":\"m\"}"]);
    let mut python = cluster.python("delete.py");
    python.arg("/a");
    let deleted = run(python, None, PATIENCE);
    let session = succeeded("kazoo", &deleted).trim().to_owned();

    let history = json(&cluster, &["history", "/a"]);
    let changes = history.as_array().expect("a list");
    let kinds: Vec<_> = changes
        .iter()
        .map(|change| change["kind"].as_str())
        .collect();
    assert_eq!(kinds, [Some("created"), Some("data"), Some("deleted")]);
    let hex = |change: &serde_json::Value| {
        format!("{:#x}", change["session"].as_i64().expect("a session"))
    };
    assert_eq!(hex(&changes[2]), session, "who deleted it");
    let told = cluster.zweig_ok(&["history", "/a"]);
    assert!(told.contains(&format!("by session {session}")), "{told}");

    let at = |index: usize| changes[index]["zxid"].to_string();
    let (first, second, last) = (at(0), at(1), at(2));
    assert_eq!(
        cluster.zweig_ok(&["get", "/a", "--at", &first]),
        "{\"size\":1,\"unit\":\"m\"}"
    );
    assert_eq!(
        cluster.zweig_ok(&["get", "/a", "--at", &second]),
        "{\"size\":2,\"unit\":\"m\"}"
    );
    for gone in [last.as_str(), "1"] {
        let output = cluster.zweig(&["get", "/a", "--at", gone]);
        assert_eq!(output.status.code(), Some(3), "{output:?}");
    }
    let diff = cluster.zweig_ok(&["diff", "/a", "--from", &first, "--to", &second]);
    assert!(
        diff.contains("-  \"size\": 1,\n+  \"size\": 2,\n   \"unit\": \"m\""),
        "{diff}"
    );
    assert_eq!(
        json(&cluster, &["diff", "/a", "--from", &second])["to"]["exists"],
        false
    );
    let future = cluster.zweig(&["get", "/a", "--at", "0x7fffffff"]);
    assert_eq!(future.status.code(), Some(3), "{future:?}");
}

#[test]
fn a_partition_s_moves_are_put_down_to_the_death_of_a_broker() {
    let mut cluster = Cluster::start(1, 3);
    create_topic(&cluster, "orders");
    let leader = cluster.any_leader_of("orders", 0);
    cluster.kill(Role::Broker(leader));
    wait_until("another broker leads", PATIENCE, || {
        cluster
            .leader_of("orders", 0)
            .is_some_and(|id| id != leader)
    });
    let now = cluster.any_leader_of("orders", 0);
    let server = format!("{}/kafka", cluster.connect_string());
    let explained = json(
        &cluster,
        &["--server", &server, "topic", "explain", "orders", "0"],
    );
    assert_eq!(explained["leader"], now);
    let steps = explained["steps"].as_array().expect("steps");
    assert!(
        steps[0]["what"]
            .as_str()
            .is_some_and(|what| what.starts_with("created")),
        "{steps:?}"
    );
    let moved = format!("leader: broker {leader} -> broker {now}");
    let step = steps.iter().find(|step| step["what"] == moved.as_str());
    let why = step.unwrap_or_else(|| panic!("{steps:?}"))["why"]
        .as_str()
        .unwrap_or_default();
    let expected = format!("broker {leader} died or could not be reached: its session expired at ");
    assert!(why.starts_with(&expected), "{why}");
    let told = cluster.zweig_ok(&["--server", &server, "topic", "explain", "orders"]);
    assert!(
        told.starts_with(&format!("broker {now} leads, in leader epoch ")),
        "{told}"
    );

    let ids = format!("/brokers/ids/{leader}");
    let gone = cluster.zweig_ok(&["--server", &server, "history", &ids]);
    assert!(
        gone.contains(&format!("the session of broker {leader} expired")),
        "{gone}"
    );
    let missing = cluster.zweig(&["--server", &server, "topic", "explain", "nothing"]);
    assert_eq!(missing.status.code(), Some(3), "{missing:?}");
}
