//! Several brokers over real sockets and logs, under an image that the test changes: who holds what, who is in
//! sync, and what is acknowledged when leaders change.

#[allow(dead_code, reason = "shared with other tests")]
mod wire;

use kafka_protocol::messages::fetch_request::ReplicaState;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchResponse, TopicName};
use std::time::Duration;
use wire::client::{Wire, fetch_request};
use wire::codes::{NOT_ENOUGH_REPLICAS, NOT_ENOUGH_REPLICAS_AFTER_APPEND, NOT_LEADER};
use wire::records::{Producer, batch, batch_of, values};
use wire::{Cluster, QUICK, STEADY, cluster, fakes, partition};

fn stored(cluster: &Cluster, id: i32) -> Vec<(i64, String)> {
    let log = cluster.node(id).logs.get(&partition()).expect("the log");
    values(Some(
        log.read(log.log_start_offset(), 1 << 20, i64::MAX, true)
            .expect("records")
            .bytes,
    ))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_by_all_means_held_by_all() {
    let cluster = cluster(3, STEADY).await;
    cluster.shared.create("t", &[1, 2, 3], &[]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    for i in 0..20 {
        assert_eq!(
            wire.produce("t", -1, batch(&[&format!("v{i}")])).await,
            (0, i)
        );
        for id in 1..=3 {
            assert!(cluster.log_end(id) > i, "broker {id} after {i}");
        }
    }
    assert_eq!(stored(&cluster, 3), stored(&cluster, 1));
    let follower = cluster
        .node(2)
        .replicas
        .partition(&partition())
        .expect("hosted");
    cluster
        .until("followers learn the high watermark", || {
            follower.high_watermark() == 20
        })
        .await;
    let mut elsewhere = Wire::connect(cluster.node(2).address).await;
    assert_eq!(elsewhere.produce("t", 1, batch(&["x"])).await.0, NOT_LEADER);
    assert_eq!(elsewhere.fetch("t", 0, 0).await.error_code, NOT_LEADER);
}

/// Produces for all until that is acknowledged: by then the ISR may have been too small for a moment.
async fn produce_for_all(wire: &mut Wire, value: &str) {
    loop {
        match wire.produce("t", -1, batch(&[value])).await.0 {
            0 => return,
            NOT_ENOUGH_REPLICAS | NOT_ENOUGH_REPLICAS_AFTER_APPEND => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            other => panic!("{value}: error {other}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_stops_leaves_and_one_that_catches_up_joins() {
    let mut cluster = cluster(3, QUICK).await;
    cluster
        .shared
        .create("t", &[1, 2, 3], &[("min.insync.replicas", "2")]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    produce_for_all(&mut wire, "a").await;
    cluster.shared.elect("t", Some(1), &[1, 2]);
    cluster
        .until("3 rejoins", || cluster.shared.isr("t") == [1, 2, 3])
        .await;
    drop(cluster.nodes.pop());
    // Held up until the shrink is written, then acknowledged by the two that are left.
    produce_for_all(&mut wire, "b").await;
    assert!(!cluster.shared.isr("t").contains(&3));
    assert!(stored(&cluster, 2).iter().any(|(_, value)| value == "b"));
    drop(cluster.nodes.pop());
    assert_ne!(wire.produce("t", -1, batch(&["c"])).await.0, 0);
    cluster
        .until("2 leaves", || cluster.shared.isr("t") == [1])
        .await;
    assert_eq!(
        wire.produce("t", -1, batch(&["d"])).await.0,
        NOT_ENOUGH_REPLICAS
    );
    assert_eq!(wire.produce("t", 1, batch(&["e"])).await.0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_keeps_what_was_acknowledged_and_a_former_one_is_cut() {
    let cluster = cluster(3, STEADY).await;
    cluster.shared.create("t", &[1, 2, 3], &[]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    assert_eq!(wire.produce("t", -1, batch(&["a", "b"])).await.0, 0);
    // 1 hears nothing any more; 2 leads. What 1 takes now, nobody acknowledges for all.
    cluster.shared.cut_off(1);
    cluster.shared.elect("t", Some(2), &[2, 3]);
    cluster.apply().await;
    assert_eq!(wire.produce("t", 1, batch(&["lost"])).await, (0, 2));
    let mut new_leader = Wire::connect(cluster.node(2).address).await;
    assert_eq!(new_leader.produce("t", -1, batch(&["c"])).await, (0, 2));
    cluster.shared.connect(1);
    cluster.apply().await;
    assert_eq!(wire.produce("t", 1, batch(&["d"])).await.0, NOT_LEADER);
    cluster
        .until("1 is in sync again", || {
            cluster.shared.isr("t") == [1, 2, 3]
        })
        .await;
    let expected = ["a", "b", "c"].map(str::to_owned);
    for id in 1..=3 {
        assert_eq!(
            stored(&cluster, id)
                .into_iter()
                .map(|(_, value)| value)
                .collect::<Vec<_>>(),
            expected,
            "broker {id}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cut_off_leader_acknowledges_nothing_for_all_alone() {
    let mut cluster = cluster(2, QUICK).await;
    // In doubt from before the topic: so its ISR is whole, however busy the machine.
    cluster.shared.doubt(1);
    cluster.shared.create("t", &[1, 2], &[]);
    cluster.apply().await;
    cluster.shared.cut_off(1);
    let mut wire = Wire::connect(cluster.node(1).address).await;
    assert_eq!(
        wire.produce("t", -1, batch(&["a"])).await.0,
        0,
        "an outage of the ensemble is none of the data"
    );
    drop(cluster.nodes.pop());
    let waiting = tokio::spawn(async move { wire.produce("t", -1, batch(&["b"])).await });
    cluster
        .until("b appended", || cluster.log_end(1) == 2)
        .await;
    // The leader looks at its ISR every half lag time: by then the follower has long lagged.
    let looks = cluster.shared.looks(1);
    cluster
        .until("ten looks at the ISR", || {
            cluster.shared.looks(1) >= looks + 10
        })
        .await;
    assert!(!waiting.is_finished(), "in doubt, the ISR may not shrink");
    assert_eq!(cluster.shared.isr("t"), [1, 2]);
    cluster.shared.expire(1);
    let mut wire = Wire::connect(cluster.node(1).address).await;
    assert_eq!(wire.produce("t", 1, batch(&["c"])).await.0, NOT_LEADER);
    waiting.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sequences_survive_a_change_of_leader() {
    let cluster = cluster(2, STEADY).await;
    cluster.shared.create("t", &[1, 2], &[]);
    cluster.apply().await;
    let at = |sequence| Producer {
        id: 77,
        epoch: 0,
        sequence,
    };
    let mut wire = Wire::connect(cluster.node(1).address).await;
    assert_eq!(
        wire.produce("t", -1, batch_of(at(0), 1, &["a"])).await,
        (0, 0)
    );
    assert_eq!(
        wire.produce("t", -1, batch_of(at(1), 1, &["b"])).await,
        (0, 1)
    );
    cluster.shared.elect("t", Some(2), &[1, 2]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(2).address).await;
    assert_eq!(
        wire.produce("t", -1, batch_of(at(1), 1, &["b"])).await,
        (0, 1),
        "the retry is known"
    );
    assert_eq!(
        wire.produce("t", -1, batch_of(at(2), 1, &["c"])).await,
        (0, 2)
    );
    assert_eq!(
        wire.produce("t", -1, batch_of(at(9), 1, &["z"])).await.0,
        45
    );
}

/// A former leader that has not heard of its successor lacks what a producer sent to that one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_in_doubt_refuses_no_producer_for_good() {
    let cluster = cluster(2, STEADY).await;
    cluster.shared.create("t", &[1, 2], &[]);
    cluster.apply().await;
    let at = |sequence| Producer {
        id: 77,
        epoch: 0,
        sequence,
    };
    let mut former = Wire::connect(cluster.node(1).address).await;
    let first = former.produce("t", -1, batch_of(at(0), 1, &["a"])).await;
    assert_eq!(first, (0, 0));
    cluster.shared.cut_off(1);
    cluster.shared.elect("t", Some(2), &[2]);
    cluster.apply().await;
    let mut leader = Wire::connect(cluster.node(2).address).await;
    let second = leader.produce("t", -1, batch_of(at(1), 1, &["b"])).await;
    assert_eq!(second, (0, 1));
    let gap = former.produce("t", -1, batch_of(at(2), 1, &["c"])).await;
    assert_eq!(gap.0, NOT_LEADER, "to be tried at the leader");
    let third = leader.produce("t", -1, batch_of(at(2), 1, &["c"])).await;
    assert_eq!(third, (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_anew_shares_nothing_with_the_old_one() {
    let cluster = cluster(2, STEADY).await;
    cluster.shared.create("t", &[1, 2], &[]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    assert_eq!(wire.produce("t", -1, batch(&["old"])).await.0, 0);
    // One image holds both the end of the old topic and the beginning of the new one.
    let id = cluster.shared.create("t", &[2, 1], &[]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(2).address).await;
    assert_eq!(wire.produce("t", -1, batch(&["new"])).await, (0, 0));
    for broker in 1..=2 {
        assert_eq!(stored(&cluster, broker), [(0, "new".to_owned())]);
        assert_eq!(
            cluster
                .node(broker)
                .logs
                .get(&partition())
                .expect("the log")
                .topic_id(),
            Some(id)
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_fsync_only_what_is_flushed_is_acknowledged() {
    let cluster = cluster(2, STEADY).await;
    cluster
        .shared
        .create("t", &[1, 2], &[("flush.messages", "1")]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    for i in 0..5 {
        assert_eq!(wire.produce("t", -1, batch(&["x"])).await, (0, i));
        for id in 1..=2 {
            let log = cluster.node(id).logs.get(&partition()).expect("the log");
            assert!(log.flushed_end_offset() > i, "broker {id} after {i}");
        }
    }
}

/// A follower whose life ended (an older broker epoch) is refused; one that no image has announced yet is
/// answered, but does not join.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_epochs_guard_the_isr() {
    let cluster = cluster(1, STEADY).await;
    cluster.shared.register(2, 1);
    let id = cluster.shared.create("t", &[1, 2], &[]);
    cluster.shared.elect("t", Some(1), &[1]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    assert_eq!(wire.produce("t", -1, batch(&["a"])).await.0, 0);
    let fetch_as = async |wire: &mut Wire, epoch: i64| {
        let mut request = fetch_request("", 1);
        request.topics[0].topic = TopicName::default();
        request.topics[0].topic_id = id;
        request.topics[0].partitions[0].last_fetched_epoch = 1;
        request.replica_state = ReplicaState::default()
            .with_replica_id(BrokerId(2))
            .with_replica_epoch(epoch);
        let answer: FetchResponse = wire.call(ApiKey::Fetch, 17, &request).await;
        answer.responses[0].partitions[0].error_code
    };
    let current = fakes::epoch_of(2);
    assert_eq!(fetch_as(&mut wire, current - 1).await, 77);
    assert_eq!(fetch_as(&mut wire, current + 1).await, 0);
    assert_eq!(cluster.shared.isr("t"), [1]);
    assert_eq!(fetch_as(&mut wire, current).await, 77);
}

/// What metadata tells a client, the broker that tells it keeps: no producer is refused because an image is seen
/// and not yet applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_ready_as_soon_as_its_metadata_names_it() {
    let cluster = cluster(1, STEADY).await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    for round in 0..20 {
        let topic = format!("t{round}");
        cluster.shared.create(&topic, &[1], &[]);
        // Published, and left unapplied: only the request itself can apply it.
        cluster
            .node(1)
            .metadata
            .store(cluster.shared.image(), false);
        assert_eq!(
            wire.produce(&topic, 1, batch(&["x"])).await,
            (0, 0),
            "{topic}"
        );
    }
}

/// A broker that led and appended nothing has an epoch at its end that no other log knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_without_records_keeps_nobody_from_following() {
    let cluster = cluster(2, STEADY).await;
    cluster.shared.create("t", &[1, 2], &[]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    assert_eq!(wire.produce("t", -1, batch(&["a"])).await, (0, 0));
    cluster.shared.elect("t", Some(2), &[1, 2]);
    cluster.apply().await;
    cluster.shared.elect("t", Some(1), &[1]);
    cluster.apply().await;
    assert_eq!(wire.produce("t", 1, batch(&["b"])).await, (0, 1));
    cluster
        .until("2 is in sync", || cluster.shared.isr("t") == [1, 2])
        .await;
    // In sync it may have been before "b" was there, which only its leader acknowledged.
    cluster
        .until("2 holds what 1 holds", || {
            stored(&cluster, 2) == stored(&cluster, 1)
        })
        .await;
}

/// As after an old leader's records were deleted up to there: its first offset is no batch's first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_follower_begins_with_the_batch_that_the_leaders_start_lies_in() {
    let cluster = cluster(2, STEADY).await;
    cluster.shared.cut_off(2);
    cluster.shared.create("t", &[1, 2], &[]);
    cluster.apply().await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    assert_eq!(wire.produce("t", 1, batch(&["a", "b", "c"])).await, (0, 0));
    assert_eq!(wire.produce("t", 1, batch(&["d"])).await, (0, 3));
    let log = cluster.node(1).logs.get(&partition()).expect("the log");
    assert!(log.advance_log_start(1).expect("inside of the batch"));
    cluster.shared.connect(2);
    cluster
        .until("2 has what 1 has", || cluster.log_end(2) == 4)
        .await;
    assert_eq!(stored(&cluster, 2), stored(&cluster, 1));
}
