//! `zweig doctor` beside a cluster that is well, and then is not: what it names, and how it ends.

mod support;

use rustix::process::Signal;
use support::{Cluster, PATIENCE, Role, wait_until};

/// What is wrong, as severity, about and what; with the exit code.
fn findings(cluster: &Cluster) -> (Option<i32>, Vec<(String, String, String)>) {
    let output = cluster.zweig(&["doctor", "--timeout", "5", "--output", "json"]);
    let found: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).expect("JSON");
    let text =
        |finding: &serde_json::Value, key: &str| finding[key].as_str().expect("a text").to_owned();
    let wrong = found
        .iter()
        .filter(|one| one["severity"] != "well")
        // The machine of the test may have a full disk and be busy; that is not what is acted out here.
        .filter(|one| !text(one, "what").contains(" MiB are free"))
        .filter(|one| !text(one, "what").starts_with("answers after"));
    let told = wrong.map(|one| (text(one, "severity"), text(one, "about"), text(one, "what")));
    (output.status.code(), told.collect())
}

fn has(found: &[(String, String, String)], severity: &str, about: &str, what: &str) -> bool {
    found
        .iter()
        .any(|one| one.0 == severity && one.1 == about && one.2.contains(what))
}

#[test]
fn what_is_wrong_is_named_and_what_is_well_is_not() {
    let mut cluster = Cluster::start(3, 2);
    cluster.zweig_ok(&["topic", "create", "orders", "-p", "3", "-r", "2"]);
    wait_until("the doctor finds nothing", PATIENCE, || {
        findings(&cluster).1.is_empty()
    });
    let told = cluster.zweig(&["doctor", "--all"]);
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(text.contains("1 more may fail"), "{text}");
    assert!(text.contains("3, all led and fully replicated"), "{text}");

    cluster.kill(Role::Broker(2));
    wait_until("the partitions are short of broker 2", PATIENCE, || {
        let (code, found) = findings(&cluster);
        code == Some(1)
            && has(&found, "error", "broker 2", "is not registered")
            && has(&found, "warning", "partitions", "3 are under-replicated")
    });

    let follower = (1..=3).find(|node| Some(*node) != cluster.ensemble_leader());
    cluster.kill(Role::Coordinator(follower.expect("one that follows")));
    wait_until("no other coordinator may fail", PATIENCE, || {
        let (_, found) = findings(&cluster);
        has(
            &found,
            "warning",
            "ensemble",
            "one more that fails stops all writes",
        ) && found.iter().any(|one| one.1.starts_with("coordinator at "))
    });
}

#[test]
fn a_broker_that_hangs_is_named_before_its_session_ends() {
    // Longer than a look takes on a busy machine.
    let patient = "zookeeper.session.timeout.ms=20000";
    let cluster = Cluster::start_with(1, 2, patient);
    cluster.zweig_ok(&["topic", "create", "orders", "-p", "1", "-r", "2"]);
    cluster.signal(Role::Broker(2), Signal::STOP);
    let (code, found) = findings(&cluster);
    cluster.signal(Role::Broker(2), Signal::CONT);
    assert_eq!(code, Some(1));
    assert!(
        has(&found, "error", "broker 2", "nobody answers at 127.0.0.1"),
        "{found:?}"
    );
}
