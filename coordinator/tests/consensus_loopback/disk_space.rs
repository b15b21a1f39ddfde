//! Raft logs on disks that run short, fill up, and fail.

use parking_lot::Mutex;
use zweig_coordinator::consensus::NotDone;
use zweig_coordinator::storage::raft_log::{Disk, MemoryDisk, RaftLog};

use crate::ensemble::{Ensemble, WATERMARK, block_on, delete, log_options, set_data, wait};

/// So much is left beside what is used now.
fn leave(disk: &MemoryDisk, bytes: u64) {
    disk.set_capacity(u64::MAX);
    let used = u64::MAX - disk.free_bytes().unwrap();
    disk.set_capacity(used + bytes);
}

fn wait_short(ensemble: &Ensemble, id: u64, short: bool) {
    wait(
        &format!("node {id} to see that space is short: {short}"),
        || ensemble.nodes[&id].consensus.status().space_low == short,
    );
}

fn wait_ready(ensemble: &Ensemble) -> u64 {
    let leader = ensemble.leader();
    ensemble.submit(leader, 0..10);
    ensemble.wait_applied(leader, ensemble.nodes[&leader].boot, 0..10);
    leader
}

#[test]
fn a_short_leader_hands_over_and_writes_go_on() {
    let ensemble = Ensemble::start_in_memory(3);
    let old = wait_ready(&ensemble);
    leave(&ensemble.disks[&old], WATERMARK / 2);
    wait("another leader", || ensemble.leader() != old);
    wait_short(&ensemble, old, true);
    ensemble.submit(old, 10..50);
    ensemble.wait_applied(old, ensemble.nodes[&old].boot, 0..50);
    assert!(ensemble.nodes[&old].loud.not_done.lock().is_empty());
    ensemble.disks[&old].set_capacity(u64::MAX);
    wait_short(&ensemble, old, false);
}

#[test]
fn a_node_with_space_leads_even_if_it_is_second_in_line() {
    let mut ensemble = Ensemble::start_in_memory(3);
    let old = wait_ready(&ensemble);
    // The next in the ring stands first; it is short.
    let (next, other) = (old % 3 + 1, (old + 1) % 3 + 1);
    leave(&ensemble.disks[&next], WATERMARK / 2);
    wait_short(&ensemble, next, true);
    ensemble.kill(old);
    wait("the node with space to lead", || ensemble.leader() == other);
    ensemble.submit(next, 10..20);
    wait("the writes", || {
        ensemble.nodes[&next].seen.lock().commands.len() >= 20
    });
    assert!(ensemble.nodes[&next].loud.not_done.lock().is_empty());
}

#[test]
fn while_all_are_short_only_what_frees_space_is_done_until_there_is_space() {
    let ensemble = Ensemble::start_in_memory(3);
    let from = wait_ready(&ensemble);
    for disk in ensemble.disks.values() {
        leave(disk, WATERMARK / 2);
    }
    (1..=3).for_each(|id| wait_short(&ensemble, id, true));
    let node = &ensemble.nodes[&from];
    let mut number = 10;
    // A write on its way during a hand-over may still be taken by one that did not know.
    wait("a refusal", || {
        ensemble.submit(from, number..number + 1);
        number += 1;
        !node.loud.not_done.lock().is_empty()
    });
    let refused = node.loud.not_done.lock().clone();
    assert!(
        refused.iter().all(|(_, why)| *why == NotDone::NoSpace),
        "{refused:?}"
    );
    ensemble
        .submit_op(from, 100_000..100_001, &delete(10))
        .unwrap();
    let done = |request: u64| {
        let seen = node.seen.lock();
        seen.commands
            .iter()
            .any(|origin| (origin.node, origin.request) == (from, request))
    };
    wait("what frees space", || done(100_000));
    let consensus = node.consensus.clone();
    block_on(&ensemble, from, consensus.read_index()).unwrap();
    for disk in ensemble.disks.values() {
        disk.set_capacity(u64::MAX);
    }
    (1..=3).for_each(|id| wait_short(&ensemble, id, false));
    ensemble.submit(from, 100_001..100_002);
    wait("a write once there is space", || done(100_001));
    for (request, _) in node.loud.not_done.lock().iter() {
        assert!(!done(*request), "{request} was refused and done");
    }
}

/// One node whose disk fails by `fail`: it ends with `reason`, and all that it acknowledged is on the disk.
fn ends(reason: &str, fail: impl Fn(&MemoryDisk)) {
    let ensemble = Ensemble::start_in_memory(1);
    wait_ready(&ensemble);
    let disk = &ensemble.disks[&1];
    fail(disk);
    let node = &ensemble.nodes[&1];
    let fatal: &Mutex<Option<String>> = &node.loud.fatal;
    let mut number = 10;
    wait("the node to end", || {
        // Refused once it has ended.
        let _ = ensemble.submit_op(1, number..number + 10, &delete(4_000));
        number += 10;
        fatal.lock().is_some()
    });
    let why = fatal.lock().clone().unwrap();
    assert!(why.contains(reason), "{why}");
    wait("commands to be refused", || {
        ensemble.submit_op(1, number..number + 1, &set_data()) == Err(NotDone::Stopping)
    });
    let acknowledged = node.seen.lock().at;
    disk.crash();
    let (_, recovered) = RaftLog::open(disk.clone(), log_options()).unwrap();
    let last = recovered.base.index + recovered.entries.len() as u64;
    assert!(last >= acknowledged.index, "{last} of {acknowledged:?}");
}

#[test]
fn a_log_without_space_ends_the_node() {
    ends("preallocation", |disk| disk.set_capacity(0));
}

#[test]
fn a_failed_sync_ends_the_node() {
    ends("fdatasync", |disk| disk.fail_sync_in(2));
}
