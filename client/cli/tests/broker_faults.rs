//! Brokers that stand still, die twice, or die with a group's offsets, under clients that go on.

mod support;

use std::collections::BTreeSet;

use rustix::process::Signal;
use support::numbers::{CATCHING_UP, Producer, TOPIC, all_in_sync};
use support::{Cluster, PATIENCE, Role, Talk, kafka, wait_for, wait_until};

/// Under which registration a broker is in sync.
fn broker_epoch_in_isr(cluster: &Cluster, broker: usize) -> Option<i64> {
    let state = cluster.partition(TOPIC, 0)?;
    let ids = state.get("isr")?.as_array()?;
    let at = ids
        .iter()
        .position(|id| id.as_u64() == Some(broker as u64))?;
    state.get("isr_broker_epochs")?.get(at)?.as_i64()
}

#[test]
fn a_broker_that_stands_still_or_dies_twice_loses_and_doubles_nothing() {
    let mut cluster = Cluster::start(3, 3);
    let producer = Producer::start(&cluster);
    producer.wait_for_progress("before any fault");

    // For longer than its session: then it wakes up and believes, for a moment, that it leads.
    let paused = cluster.any_leader_of(TOPIC, 0);
    let before = wait_for("its registration is in the ISR", PATIENCE, || {
        broker_epoch_in_isr(&cluster, paused)
    });
    cluster.signal(Role::Broker(paused), Signal::STOP);
    wait_until("partition 0 has another leader", PATIENCE, || {
        cluster.leader_of(TOPIC, 0).is_some_and(|id| id != paused)
    });
    producer.wait_for_progress("while a former leader stands still");
    cluster.signal(Role::Broker(paused), Signal::CONT);
    wait_until(
        "it is in sync again, under a new registration",
        CATCHING_UP,
        || all_in_sync(&cluster) && broker_epoch_in_isr(&cluster, paused) > Some(before),
    );
    producer.wait_for_progress("after it came back");

    let killed = cluster.any_leader_of(TOPIC, 1);
    cluster.kill(Role::Broker(killed));
    cluster.start_process(Role::Broker(killed));
    // Again as soon as it is registered, or before.
    let registered = format!("/kafka/brokers/ids/{killed}");
    wait_until("it is registered again", PATIENCE, || {
        cluster.json(&registered).is_some()
    });
    cluster.kill(Role::Broker(killed));
    cluster.start_process(Role::Broker(killed));
    cluster.wait_until_whole();
    wait_until("it is in sync again", CATCHING_UP, || all_in_sync(&cluster));
    producer.wait_for_progress("after everything is back");
    producer.finish(&cluster);
}

const ORDERS: &str = "orders";
const GROUP: &str = "g";
/// `"g".hashCode() % offsets.topic.num.partitions`.
const GROUPS_PARTITION: usize = 103 % 5;
const BATCH: usize = 300;

fn lines(from: usize) -> String {
    (from..from + BATCH).map(|n| format!("{n}\n")).collect()
}

/// Reads so many records; the partition, offset and value of each.
fn read(consumer: &Talk, count: usize) -> Vec<(usize, i64, usize)> {
    let record = |line: String| {
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().expect("three words");
        (
            word().parse().expect("a partition"),
            word().parse().expect("an offset"),
            word().parse().expect("a number"),
        )
    };
    (0..count).map(|_| record(consumer.line())).collect()
}

/// What the group has committed, of each partition; `None` while that can't be told.
fn committed(cluster: &Cluster) -> Option<Vec<i64>> {
    let output = cluster.zweig(&["group", "describe", GROUP, "--output", "json"]);
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
    let partitions = told.get("partitions")?.as_array()?.iter();
    let mut offsets: Vec<_> = partitions
        .map(|p| Some((p.get("partition")?.as_i64()?, p.get("committed")?.as_i64()?)))
        .collect::<Option<_>>()?;
    offsets.sort_unstable();
    (offsets.len() == 3).then(|| offsets.into_iter().map(|(_, offset)| offset).collect())
}

#[test]
fn a_group_goes_on_when_the_broker_with_its_offsets_dies() {
    let mut cluster = Cluster::start(3, 3);
    kafka::create_topic(&cluster, ORDERS);
    kafka::produce(&cluster, ORDERS, &lines(0));
    let mut command = cluster.command(support::ZWEIG);
    command.args(["consume", ORDERS, "--group", GROUP, "--from", "earliest"]);
    command.args(["--format", "%p %o %v"]);
    let consumer = cluster.talk(command, "consumer");
    let first = read(&consumer, BATCH);
    let before = wait_for("what was read is committed", PATIENCE, || {
        committed(&cluster).filter(|offsets| offsets.iter().sum::<i64>() == BATCH as i64)
    });

    let host = cluster.any_leader_of("__consumer_offsets", GROUPS_PARTITION);
    cluster.kill(Role::Broker(host));
    wait_until("another broker has the group's offsets", PATIENCE, || {
        let leader = cluster.leader_of("__consumer_offsets", GROUPS_PARTITION);
        leader.is_some_and(|id| id != host)
    });
    let after = wait_for("the offsets are told", PATIENCE, || committed(&cluster));
    assert_eq!(
        after, before,
        "nothing was read meanwhile, and none goes back"
    );

    kafka::produce(&cluster, ORDERS, &lines(BATCH));
    let mut values: BTreeSet<usize> = first.iter().map(|(_, _, value)| *value).collect();
    while values.len() < 2 * BATCH {
        // A record may come twice if its commit was not done, but none that was committed before.
        for (partition, offset, value) in read(&consumer, 1) {
            assert!(offset >= before[partition], "{partition} {offset} again");
            values.insert(value);
        }
    }
    assert_eq!(values, (0..2 * BATCH).collect());
    cluster.start_process(Role::Broker(host));
    cluster.wait_until_whole();
    wait_until("what was read since is committed too", PATIENCE, || {
        committed(&cluster).is_some_and(|offsets| {
            let ahead = offsets.iter().zip(&before).all(|(now, then)| now >= then);
            assert!(ahead, "{offsets:?} after {before:?}");
            offsets.iter().sum::<i64>() == 2 * BATCH as i64
        })
    });
}

#[test]
fn a_broker_that_may_open_no_more_files_lives_and_takes_more_when_some_are_closed() {
    let cluster = Cluster::start(1, 1);
    let create = |topic: &str, partitions: &str| {
        cluster.zweig(&["topic", "create", topic, "--partitions", partitions])
    };
    assert!(create("first", "2").status.success());
    cluster.limit_open_files(Role::Broker(1), 600);
    let log = cluster.folder_of(Role::Broker(1)).join("log.txt");
    let says = |what: &str| {
        std::fs::read_to_string(&log)
            .expect("its log")
            .contains(what)
    };
    // Whether this is told as done or as not: the topic is there, and most of it can't be led.
    create("large", "400");
    wait_until("it says so", PATIENCE, || {
        says("nearly all of the 600 files that this process may have open are")
    });
    kafka::produce(&cluster, "first", "one\ntwo\n");
    let all = ["one", "two"].map(str::to_owned);
    kafka::all_can_be_read(&cluster, "first", &all);
    cluster.zweig_ok(&["topic", "delete", "large"]);
    cluster.zweig_ok(&["topic", "create", "second", "--partitions", "3"]);
    // Its logs are made as soon as those of the other one are closed.
    kafka::produce(&cluster, "second", "three\n");
    kafka::all_can_be_read(&cluster, "second", &["three".to_owned()]);
}
