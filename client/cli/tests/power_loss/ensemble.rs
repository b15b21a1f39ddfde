//! Three coordinators lose power at once.

use rand::Rng as _;

use super::disk::Fate;
use super::machines::{Machines, rounds};
use super::support::Role;
use super::witnesses::drivers::Consensus;
use super::witnesses::{Site as _, verdict};

#[test]
fn nothing_acknowledged_is_lost_when_all_coordinators_lose_power() {
    let Some(mut machines) = Machines::start(3, 0, "") else {
        return;
    };
    let all = machines.of(true);
    let mut znodes = Consensus::start(&machines);
    machines.znodes_go_on(&mut znodes, "after the start");
    for round in 0..rounds(4) {
        machines.pause(300..3_000);
        if round % 2 == 1 {
            // One of them has lost its disk before, and is being given everything when the power fails.
            let lost = Role::Coordinator(machines.chance.random_range(1..=3));
            machines.cluster.kill(lost);
            let config = machines.cluster.config_of(lost).display().to_string();
            machines.must(&["coordinator", "wipe", "--config", &config, "--yes"]);
            machines.cluster.start_process(lost);
            machines.say(&format!("{lost:?} was wiped and rejoins"));
            machines.pause(0..1_500);
        }
        machines.cut_power(&all);
        machines.pause(0..1_000);
        machines.power_on(&all);
        machines.cluster.wait_until_whole();
        machines.znodes_go_on(&mut znodes, "after the power was back");
    }
    let (histories, locks) = znodes.finish();
    let summary = verdict::znodes(&machines, &histories);
    let turns = verdict::locks(&machines, &locks);
    verdict::no_ephemeral_is_left(&machines);
    verdict::same_tree_everywhere(&machines);
    machines.say(&format!("{summary}; {turns} turns with the lock"));
}

/// The proof can fail: on disks that answer an fsync and do nothing, acknowledged writes are lost, and it is noticed.
#[test]
fn a_disk_that_lies_is_found_out() {
    let Some(mut machines) = Machines::start(3, 0, "") else {
        return;
    };
    let all = machines.of(true);
    machines.must(&["create", "/precious"]);
    for role in &all {
        machines.disk(*role).lie(true);
    }
    for name in 0..10 {
        machines.must(&["create", &format!("/precious/{name}")]);
    }
    machines.cut_power_with(&all, &[Fate::NOTHING; 3]);
    for role in &all {
        machines.disk(*role).lie(false);
    }
    machines.power_on(&all);
    machines.cluster.wait_until_whole();
    let left = machines.must(&["ls", "/precious"]);
    assert_eq!(
        left.lines().count(),
        0,
        "all of it was only in memory: {left}"
    );
}
