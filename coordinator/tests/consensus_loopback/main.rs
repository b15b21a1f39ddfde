//! Real threads, files and sockets: nodes of one process over loopback, with a recorder for a state.

#![allow(clippy::unwrap_used)] // a test: what fails, panics

mod disk_space;
mod ensemble;

use std::sync::atomic::Ordering;

use ensemble::{Ensemble, block_on, wait};
use zweig_coordinator::clock;
use zweig_coordinator::consensus::Role;

#[test]
fn one_node_alone_commits_reads_and_restarts() {
    let mut ensemble = Ensemble::start(1);
    ensemble.submit(1, 0..100);
    let boot = ensemble.nodes[&1].boot;
    ensemble.wait_applied(1, boot, 0..100);
    let consensus = ensemble.nodes[&1].consensus.clone();
    let index = block_on(&ensemble, 1, consensus.read_index()).unwrap();
    assert!(index >= consensus.status().applied.min(2));
    wait("the first acknowledged report", || {
        consensus.in_touch(clock::now())
    });
    drop(consensus);
    ensemble.kill(1);
    ensemble.restart(1);
    let again = ensemble.nodes[&1].boot;
    ensemble.submit(1, 0..10);
    ensemble.wait_applied(1, again, 0..10);
    ensemble.wait_applied(1, boot, 0..100);
}

#[test]
fn three_nodes_forward_and_agree() {
    let ensemble = Ensemble::start(3);
    let leader = ensemble.leader();
    for id in 1..=3 {
        ensemble.submit(id, 0..500);
    }
    for id in 1..=3 {
        ensemble.wait_applied(id, ensemble.nodes[&id].boot, 0..500);
    }
    let status = ensemble.nodes[&leader].consensus.status();
    assert_eq!((status.role, status.members.len()), (Role::Leader, 3));
    for id in 1..=3 {
        let consensus = ensemble.nodes[&id].consensus.clone();
        let index = block_on(&ensemble, id, consensus.read_index()).unwrap();
        assert!(index > 1);
        wait("acknowledged reports", || consensus.in_touch(clock::now()));
    }
}

#[test]
fn a_killed_leader_costs_the_survivors_no_command() {
    let mut ensemble = Ensemble::start(3);
    let old = ensemble.leader();
    let survivor = (1..=3).find(|&id| id != old).unwrap();
    let boot = ensemble.nodes[&survivor].boot;
    for from in (0..1_000).step_by(10) {
        ensemble.submit(survivor, from..from + 10);
    }
    ensemble.kill(old);
    let begin = clock::now();
    ensemble.submit(survivor, 1_000..1_100);
    ensemble.wait_applied(survivor, boot, 0..1_100);
    eprintln!("all done {:?} after the kill", begin.elapsed());
    assert_ne!(ensemble.leader(), old);
    ensemble.restart(old);
    ensemble.wait_applied(survivor, boot, 0..1_100);
}

#[test]
fn a_leader_that_stops_hands_over() {
    let mut ensemble = Ensemble::start(3);
    let old = ensemble.leader();
    let consensus = ensemble.nodes[&old].consensus.clone();
    block_on(&ensemble, old, consensus.shutdown());
    drop(consensus);
    ensemble.kill(old);
    let new = ensemble.leader();
    assert_ne!(new, old);
}

#[test]
fn a_node_that_lags_too_far_gets_a_checkpoint() {
    let mut ensemble = Ensemble::start(3);
    for id in 1..=3 {
        ensemble.kill(id);
    }
    ensemble.reserve_bytes = 4 << 10;
    for id in 1..=3 {
        ensemble.restart(id);
    }
    let leader = ensemble.leader();
    let lagging = (1..=3).find(|&id| id != leader).unwrap();
    ensemble.kill(lagging);
    let boot = ensemble.nodes[&leader].boot;
    for from in (0..400).step_by(20) {
        ensemble.submit(leader, from..from + 20);
        ensemble.wait_applied(leader, boot, 0..from + 20);
    }
    wait("the log to be cut", || {
        ensemble.nodes[&leader].consensus.status().first_index > 5
    });
    ensemble.restart(lagging);
    ensemble.wait_applied(leader, boot, 0..400);
    ensemble.submit(lagging, 0..5);
    ensemble.wait_applied(lagging, ensemble.nodes[&lagging].boot, 0..5);
}

/// One node's state goes wrong: it stops, no other does, and the others go on.
fn the_odd_one_stops(choose: impl Fn(&Ensemble) -> u64) {
    let mut ensemble = Ensemble::start(3);
    ensemble.leader();
    ensemble.submit(1, 0..50);
    ensemble.wait_applied(1, ensemble.nodes[&1].boot, 0..50);
    let odd = choose(&ensemble);
    ensemble.nodes[&odd].spoilt.store(true, Ordering::Relaxed);
    ensemble.submit(1, 50..60);
    let fatal = |ensemble: &Ensemble, id: u64| ensemble.nodes[&id].loud.fatal.lock().clone();
    wait("the node with another state to stop", || {
        fatal(&ensemble, odd).is_some()
    });
    let why = fatal(&ensemble, odd).unwrap();
    assert!(why.contains("state is not the ensemble's"), "{why}");
    ensemble.kill(odd);
    ensemble.leader();
    let next = *ensemble.nodes.keys().next().unwrap();
    ensemble.submit(next, 60..100);
    let first = if next == 1 { 0 } else { 60 };
    ensemble.wait_applied(next, ensemble.nodes[&next].boot, first..100);
    for &id in ensemble.nodes.keys() {
        assert_eq!(fatal(&ensemble, id), None, "node {id}");
    }
}

#[test]
fn a_follower_with_another_state_stops() {
    the_odd_one_stops(|ensemble| {
        let leader = ensemble.leader();
        (1..=3).find(|&id| id != leader).unwrap()
    });
}

#[test]
fn a_leader_with_another_state_stops() {
    the_odd_one_stops(Ensemble::leader);
}
