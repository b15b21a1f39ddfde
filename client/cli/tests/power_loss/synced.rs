//! Brokers that sync before they acknowledge (`log.flush.interval.messages=1`) lose power at once.

use rand::Rng as _;

use super::machines::{Machines, rounds};
use super::witnesses::drivers::Records;
use super::witnesses::{PARTITIONS, Site as _, verdict};

#[test]
fn no_acknowledged_record_is_lost_when_all_synced_brokers_lose_power() {
    let Some(mut machines) = Machines::start(3, 3, "log.flush.interval.messages=1") else {
        return;
    };
    let (coordinators, brokers) = (machines.of(true), machines.of(false));
    machines.make_topic(3);
    let mut records = Records::start(&machines);
    machines.records_go_on(&mut records, "after the start");
    for round in 0..rounds(3) {
        machines.pause(200..2_500);
        let with_ensemble = round % 2 == 1;
        let victims = match with_ensemble {
            true => [&brokers[..], &coordinators].concat(),
            false => brokers.clone(),
        };
        machines.cut_power(&victims);
        let off = machines.chance.random_range(0..2) * 4_500;
        machines.pause(off..off + 1_000);
        machines.power_on(&victims);
        machines.cluster.wait_until_whole();
        machines.records_go_on(&mut records, "after the power was back");
        machines.all_in_sync();
    }
    let acknowledged = records.finish();
    assert_eq!(acknowledged.len(), PARTITIONS);
    let kept = verdict::records(&machines, &acknowledged);
    machines.say(&format!("{kept} records: all kept"));
}
