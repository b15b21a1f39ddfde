//! A coordinator that lost its disk comes back: wiped by command, let in by the others, and a voter again.

mod support;

use std::fs;
use std::path::Path;

use support::{Cluster, PATIENCE, Role, wait_until};

/// The children of `/t` as one node alone tells them.
fn tree_of(cluster: &Cluster, node: usize) -> Vec<String> {
    let server = cluster.coordinator(node);
    let output = cluster.zweig(&["--server", &server, "ls", "/t"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut names: Vec<_> = text.lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn write(cluster: &Cluster, names: std::ops::Range<usize>) {
    for name in names {
        // An outcome may be unknown while a leader is replaced; then it is there already.
        let path = format!("/t/n{name:04}");
        wait_until(&format!("{path} is written"), PATIENCE, || {
            cluster.zweig(&["create", &path]).status.success()
                || cluster.zweig(&["stat", &path]).status.success()
        });
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|name| format!("n{name:04}")).collect()
}

fn status(cluster: &Cluster, node: usize) -> serde_json::Value {
    let server = cluster.coordinator(node);
    let output = cluster.zweig(&[
        "--server", &server, "--output", "json", "ensemble", "status",
    ]);
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

/// Whether every running node knows exactly these voters.
fn voters_are(cluster: &Cluster, asked: usize, expected: &[u64]) -> bool {
    let rows = status(cluster, asked);
    let rows = rows.as_array().cloned().unwrap_or_default();
    let mut seen = 0;
    for row in &rows {
        let Some(members) = row["status"]["members"].as_array() else {
            continue;
        };
        seen += 1;
        let voters = members.iter().filter(|member| member["voter"] == true);
        let mut voters: Vec<_> = voters
            .filter_map(|member| member["node"].as_u64())
            .collect();
        voters.sort_unstable();
        if voters != expected || members.len() != expected.len() {
            return false;
        }
    }
    seen == expected.len()
}

/// Flips a byte in the middle of what was written to the newest segment of the raft log.
fn damage(raft_log: &Path) {
    let mut segments: Vec<_> = fs::read_dir(raft_log)
        .expect("the raft log")
        .map(|item| item.expect("its item").path())
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".raftlog") && !name.starts_with("spare-")
        })
        .collect();
    segments.sort();
    let newest = segments.pop().expect("a segment");
    let mut bytes = fs::read(&newest).expect("the segment read");
    let written = bytes.iter().rposition(|&byte| byte != 0).expect("records");
    let at = (written / 2..written)
        .find(|&at| bytes[at] != 0)
        .expect("a byte of a record");
    bytes[at] ^= 0xff;
    fs::write(&newest, bytes).expect("the segment written");
}

fn rejoin(lose_the_leader: bool) {
    let mut cluster = Cluster::start(3, 0);
    cluster.zweig_ok(&["create", "/t"]);
    write(&cluster, 0..20);
    let leader = cluster.ensemble_leader().expect("a leader");
    let lost = match lose_the_leader {
        true => leader,
        false => leader % 3 + 1,
    };
    let others: Vec<_> = (1..=3).filter(|&node| node != lost).collect();
    println!("node {leader} leads, node {lost} is lost");

    cluster.kill(Role::Coordinator(lost));
    let data = cluster.folder_of(Role::Coordinator(lost)).join("data");
    damage(&data.join("raft/raft"));
    cluster.start_process(Role::Coordinator(lost));
    let told = cluster.wait_until_ended(Role::Coordinator(lost));
    assert!(
        told.contains("raft log is damaged") && told.contains("zweig coordinator wipe"),
        "{told}"
    );
    write(&cluster, 20..30);

    let config = cluster.config_of(Role::Coordinator(lost));
    let config = config.to_str().expect("a plain path");
    let told = cluster.zweig_ok(&["coordinator", "wipe", "--config", config, "--yes"]);
    assert!(told.contains("lost-") && told.contains("rm -r"), "{told}");
    assert!(!data.join("state").exists());
    cluster.start_process(Role::Coordinator(lost));
    wait_until(
        "it is a voter again, in the place of its former self",
        PATIENCE,
        || voters_are(&cluster, others[0], &[1, 2, 3]),
    );
    wait_until("its tree is that of the others", PATIENCE, || {
        tree_of(&cluster, lost) == names(0..30)
    });
    let while_running = cluster.zweig(&["coordinator", "wipe", "--config", config, "--yes"]);
    assert!(!while_running.status.success());

    // With one of the others gone it must vote, or nothing goes on.
    cluster.kill(Role::Coordinator(others[0]));
    write(&cluster, 30..40);
    wait_until("it has what was written with it", PATIENCE, || {
        tree_of(&cluster, lost) == names(0..40)
    });
}

#[test]
fn a_damaged_follower_is_wiped_and_votes_again() {
    rejoin(false);
}

#[test]
fn a_damaged_leader_is_wiped_and_votes_again() {
    rejoin(true);
}
