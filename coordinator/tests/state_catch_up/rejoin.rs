//! A node without its disk: it joins as a new member, and its former self is not one any more.

use std::fs;

use super::*;

impl Ensemble {
    fn write(&mut self, node: u64, paths: std::ops::Range<u64>) {
        let ops = paths.map(|n| create(&format!("/n{n}")));
        self.nodes.get_mut(&node).unwrap().submit(ops);
    }

    fn leader(&self) -> u64 {
        let mut leader = 0;
        wait("a leader that all know", || {
            let known = self.nodes.values();
            let known: Vec<_> = known.map(|node| node.consensus.status().leader).collect();
            leader = known[0].unwrap_or(0);
            known.iter().all(|known| *known == Some(leader)) && self.nodes.contains_key(&leader)
        });
        leader
    }

    /// Every node that runs knows three voters and nobody else.
    fn wait_for_three_voters(&self) {
        wait("three voters", || {
            self.nodes.values().all(|node| {
                let members = node.consensus.status().members.clone();
                let voters: Vec<u64> = members.iter().filter(|m| m.voter).map(|m| m.node).collect();
                voters == [1, 2, 3] && members.len() == 3
            })
        });
    }

    /// The folder of a node that does not run is renamed; the former name is free.
    fn move_folder(&self, node: u64, from: &str, to: &str) {
        let at = |suffix: &str| self.temp.path().join(format!("{node}{suffix}"));
        // A node that was stopped lets go of its files when its last thread ends.
        drop(self.open_state(node));
        fs::rename(at(from), at(to)).unwrap();
    }

    /// Whether node `lost`, put back into the ensemble, is really a voter: with `other` gone, two of three are left.
    fn loses_another(&mut self, other: u64, lost: u64, written: u64) {
        self.stop(other);
        self.write(lost, written..written + 5);
        self.wait_for(i64::try_from(written).unwrap() + 5);
    }
}

#[test]
fn who_comes_late_to_a_new_ensemble_joins_it() {
    let mut ensemble = Ensemble::start_only(&[1, 2]);
    ensemble.write(1, 0..20);
    ensemble.wait_for(20);
    ensemble.restart(3);
    ensemble.wait_for_three_voters();
    ensemble.wait_for(20);
    ensemble.loses_another(2, 3, 20);
    ensemble.restart(2);
    ensemble.wait_for(25);
    assert_eq!(*ensemble.fatals.lock(), []);
}

/// A node with a new disk joins by itself; then the old disk is put back, and that one has to stop.
fn replace_the_disk(lose_the_leader: bool) {
    let mut ensemble = Ensemble::start();
    ensemble.write(1, 0..20);
    ensemble.wait_for(20);
    let leader = ensemble.leader();
    let lost = if lose_the_leader {
        leader
    } else {
        leader % 3 + 1
    };
    let others: Vec<u64> = (1..=3).filter(|&node| node != lost).collect();
    ensemble.stop(lost);
    ensemble.move_folder(lost, "", ".old");
    ensemble.restart(lost);
    ensemble.wait_for_three_voters();
    ensemble.wait_for(20);
    // Also after a restart it is who it is now.
    ensemble.stop(lost);
    ensemble.restart(lost);
    ensemble.loses_another(others[0], lost, 20);
    ensemble.restart(others[0]);
    ensemble.wait_for(25);

    ensemble.stop(lost);
    ensemble.move_folder(lost, "", ".new");
    fs::rename(
        ensemble.temp.path().join(format!("{lost}.old")),
        ensemble.folder(lost),
    )
    .unwrap();
    let term = ensemble.nodes[&others[1]].consensus.status().term;
    ensemble.restart(lost);
    wait("the former self to be told", || {
        !ensemble.fatals.lock().is_empty()
    });
    let (node, why) = ensemble.fatals.lock()[0].clone();
    assert_eq!(node, lost);
    assert!(
        why.contains("was removed") && why.contains("zweig coordinator wipe"),
        "{why}"
    );
    ensemble.stop(lost);
    ensemble.write(others[1], 25..30);
    ensemble.wait_for(30);
    if !lose_the_leader {
        let now = ensemble.nodes[&others[1]].consensus.status().term;
        assert!(
            now <= term + 1,
            "it disturbed nobody: term {term}, now {now}"
        );
    }
}

#[test]
fn a_follower_with_a_new_disk_joins_and_the_old_one_is_refused() {
    replace_the_disk(false);
}

#[test]
fn a_leader_with_a_new_disk_joins_and_the_old_one_is_refused() {
    replace_the_disk(true);
}
