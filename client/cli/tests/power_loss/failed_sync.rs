//! A failed fsync: the system goes on to show what was written, takes it for written, and a later fsync says that all
//! is well. So the process ends at once; and when it starts again, it must not believe what it reads.

use super::disk::Fate;
use super::machines::Machines;
use super::support::{PATIENCE, Role, wait_until};
use super::witnesses::drivers::Records;
use super::witnesses::{Site as _, TOPIC, verdict};

/// A coordinator that read its log from the system's cache acknowledges entries that are not on its disk. Then it
/// and one that has never had them are a majority.
#[test]
fn a_coordinator_ends_and_syncs_again_what_it_read() {
    let Some(mut machines) = Machines::start(3, 0, "") else {
        return;
    };
    machines.must(&["create", "/t"]);
    let leader = machines.cluster.any_ensemble_leader();
    let (failing, away) = (leader % 3 + 1, (leader + 1) % 3 + 1);
    machines.say(&format!("{leader} leads, {failing} fails, {away} is away"));
    let (leader, failing, away) = (
        Role::Coordinator(leader),
        Role::Coordinator(failing),
        Role::Coordinator(away),
    );
    machines.cut_power_with(&[away], &[Fate::NOTHING]);
    machines.disk(failing).fail_syncs(".raftlog", 1);
    // It may be done, once the one that ended is back. (Several pages: what is written later must not bring it along.)
    let large = "x".repeat(20_000);
    let before = machines.ask(&["--timeout", "3", "create", "/t/before", &large]);
    machines.say(&format!(
        "a write while a sync failed: {:?}",
        before.status.code()
    ));
    let told = machines.cluster.wait_until_ended(failing);
    assert!(told.contains("fdatasync"), "it said why: {told}");
    machines.cluster.start_process(failing);
    wait_until("two of three serve", PATIENCE, || {
        machines
            .ask(&["--timeout", "5", "create", "/t/after"])
            .status
            .success()
            || machines
                .ask(&["--timeout", "5", "stat", "/t/after"])
                .status
                .success()
    });
    let acknowledged = machines.must(&["ls", "/t"]);
    machines.say(&format!("acknowledged: {acknowledged:?}"));
    // Now its disk counts.
    machines.cut_power_with(&[leader, failing], &[Fate::NOTHING; 2]);
    machines.power_on(&[failing, away]);
    wait_until("two of three serve", PATIENCE, || {
        machines
            .ask(&["--timeout", "5", "ls", "/t"])
            .status
            .success()
    });
    assert_eq!(machines.must(&["ls", "/t"]), acknowledged);
    machines.power_on(&[leader]);
    machines.cluster.wait_until_whole();
    assert_eq!(machines.must(&["ls", "/t"]), acknowledged);
}

/// A broker that syncs before it acknowledges, likewise.
#[test]
fn a_broker_ends_and_syncs_again_what_it_read() {
    let Some(mut machines) = Machines::start(1, 3, "log.flush.interval.messages=1") else {
        return;
    };
    let brokers = machines.of(false);
    machines.make_topic(3);
    let mut records = Records::start(&machines);
    machines.records_go_on(&mut records, "after the start");
    let failing = Role::Broker(machines.cluster.any_leader_of(TOPIC, 0));
    machines.disk(failing).fail_syncs("0.log", 1);
    let told = machines.cluster.wait_until_ended(failing);
    assert!(told.contains("fsync"), "it said why: {told}");
    machines.say(&format!("{failing:?} has ended"));
    machines.cluster.start_process(failing);
    machines.cluster.wait_until_whole();
    machines.records_go_on(&mut records, "after it is back");
    machines.all_in_sync();
    machines.cut_power_with(&brokers, &[Fate::NOTHING; 3]);
    machines.power_on(&brokers);
    machines.cluster.wait_until_whole();
    machines.records_go_on(&mut records, "after the power was back");
    let acknowledged = records.finish();
    let kept = verdict::records(&machines, &acknowledged);
    machines.say(&format!("{kept} records: all kept"));
}
