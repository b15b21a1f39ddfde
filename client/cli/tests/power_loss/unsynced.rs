//! Brokers as they are by default: records are acknowledged when all in-sync replicas have them in memory.

use std::collections::BTreeMap;
use std::fs;

use rand::Rng as _;

use super::disk::Fate;
use super::machines::{Machines, rounds};
use super::support::Role;
use super::witnesses::drivers::Records;
use super::witnesses::{PARTITIONS, Site as _, TOPIC, agree, verdict};

#[test]
fn no_acknowledged_record_is_lost_when_brokers_lose_power_one_at_a_time() {
    let Some(mut machines) = Machines::start(3, 3, "") else {
        return;
    };
    machines.make_topic(3);
    let mut records = Records::start(&machines);
    machines.records_go_on(&mut records, "after the start");
    for _ in 0..rounds(3) {
        machines.pause(200..1_500);
        let partition = machines.chance.random_range(0..PARTITIONS);
        let victim = Role::Broker(machines.cluster.any_leader_of(TOPIC, partition));
        machines.cut_power(&[victim]);
        // Sometimes it is back before anyone has noticed, and still a member of each ISR.
        let off = machines.chance.random_range(0..2) * 5_000;
        machines.pause(off..off + 300);
        machines.power_on(&[victim]);
        machines.cluster.wait_until_whole();
        machines.records_go_on(&mut records, "after the power was back");
        machines.all_in_sync();
    }
    let acknowledged = records.finish();
    let kept = verdict::records(&machines, &acknowledged);
    machines.say(&format!("{kept} records: all kept"));
}

/// Then records may be lost that were acknowledged, since nobody has them on disk. What is promised: the longest log
/// that is left leads, this is said aloud, what is left is a beginning of what there was, and all goes on.
#[test]
fn the_longest_log_leads_when_all_lose_power() {
    let Some(mut machines) = Machines::start(3, 3, "") else {
        return;
    };
    let brokers = machines.of(false);
    machines.make_topic(3);
    let mut records = Records::start(&machines);
    machines.records_go_on(&mut records, "after the start");
    let acknowledged = records.finish();
    let mut chance = machines.chance.clone();
    let fates: Vec<_> = brokers
        .iter()
        .map(|_| Fate::in_order(&mut chance))
        .collect();
    machines.cut_power_with(&brokers, &fates);
    machines.power_on(&brokers);
    machines.cluster.wait_until_whole();
    machines.all_in_sync();
    let stored = stored(&machines);
    for (partition, acknowledged) in &acknowledged {
        let stored = &stored[partition];
        let same = stored
            .iter()
            .zip(acknowledged)
            .all(|(stored, said)| agree(stored, said));
        assert!(
            same,
            "partition {partition}: what is left is a beginning of what there was"
        );
        let lost = acknowledged.len() - stored.len().min(acknowledged.len());
        machines.say(&format!(
            "partition {partition}: {lost} of {} lost",
            acknowledged.len()
        ));
    }
    let told = brokers.iter().any(|broker| {
        let log = fs::read_to_string(machines.cluster.folder_of(*broker).join("log.txt"));
        log.is_ok_and(|log| log.contains("no replica can vouch for its log; the longest one leads"))
    });
    assert!(told, "said aloud");
    let mut again = Records::start(&machines);
    machines.records_go_on(&mut again, "with the logs that are left");
    again.finish();
}

fn stored(machines: &Machines) -> BTreeMap<usize, Vec<(u64, i64)>> {
    let all = (0..PARTITIONS).map(|partition| (partition, verdict::stored(machines, partition)));
    all.collect()
}
