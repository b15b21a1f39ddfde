//! Producers whose records are appended and wait for the rest of the ISR: whatever happens to the partition, each
//! is told how it ended, at once.

#[allow(dead_code, reason = "shared with other tests")]
mod wire;

use kafka_protocol::messages::fetch_request::ReplicaState;
use kafka_protocol::messages::{ApiKey, BrokerId, FetchResponse, TopicName};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use uuid::Uuid;
use wire::client::{Wire, fetch_request};
use wire::codes::NOT_LEADER;
use wire::records::batch;
use wire::{Cluster, DEADLINE, QUICK, cluster, fakes, partition};
use zweig_broker::log::AppendOrigin;

/// Far less than the request's own time: an answer that came by that time is none of its deadline.
const AT_ONCE: Duration = Duration::from_secs(30);

/// Broker 1 leads "t" over [1, 2], 2 is gone, and 1 is in doubt, so that the ISR stays as it is: a record that waits.
async fn parked() -> (Cluster, JoinHandle<(i16, i64)>) {
    let mut cluster = cluster(2, QUICK).await;
    cluster.shared.doubt(1);
    cluster.shared.create("t", &[1, 2], &[]);
    cluster.apply().await;
    drop(cluster.nodes.pop());
    let waiting = park(&cluster, "x").await;
    assert_eq!(cluster.shared.isr("t"), [1, 2]);
    (cluster, waiting)
}

/// Produces for all, and returns once the record is in the leader's log.
async fn park(cluster: &Cluster, value: &'static str) -> JoinHandle<(i16, i64)> {
    let before = cluster.log_end(1);
    let mut wire = Wire::connect(cluster.node(1).address).await;
    let waiting = tokio::spawn(async move { wire.produce("t", -1, batch(&[value])).await });
    cluster
        .until("appended", || cluster.log_end(1) == before + 1)
        .await;
    waiting
}

async fn answer(waiting: JoinHandle<(i16, i64)>) -> (i16, i64) {
    let answered = tokio::time::timeout(AT_ONCE, waiting).await;
    answered.expect("answered at once").expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_written_shrink_that_moves_the_high_watermark() {
    let (cluster, waiting) = parked().await;
    assert!(!waiting.is_finished());
    cluster.shared.connect(1);
    assert_eq!(answer(waiting).await, (0, 0));
    assert_eq!(cluster.shared.isr("t"), [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_whose_isr_is_smaller() {
    let (cluster, waiting) = parked().await;
    // As the controller writes it when a follower goes: the same leader epoch.
    cluster.shared.update(|image| {
        image.update_partition("t", 0, |partition| {
            partition.isr.pop();
            partition.isr_broker_epochs.pop();
            partition.partition_epoch += 1;
        });
    });
    assert_eq!(answer(waiting).await, (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_leader() {
    let (cluster, waiting) = parked().await;
    cluster.shared.elect("t", Some(2), &[2]);
    assert_eq!(answer(waiting).await.0, NOT_LEADER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_leader() {
    let (cluster, waiting) = parked().await;
    cluster.shared.elect("t", None, &[1, 2]);
    assert_eq!(answer(waiting).await.0, NOT_LEADER);
}

/// What was appended in an older epoch may have been cut since, for all this leadership knows.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_leader_in_a_newer_epoch() {
    let (cluster, waiting) = parked().await;
    cluster.shared.elect("t", Some(1), &[1, 2]);
    assert_eq!(answer(waiting).await.0, NOT_LEADER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted() {
    let (cluster, waiting) = parked().await;
    cluster.shared.update(|image| image.remove_topic("t"));
    assert_eq!(answer(waiting).await.0, NOT_LEADER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_expired() {
    let (cluster, waiting) = parked().await;
    cluster.shared.expire(1);
    cluster.node(1).replicas.fence();
    assert_eq!(answer(waiting).await.0, NOT_LEADER);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stops() {
    let (cluster, waiting) = parked().await;
    cluster.node(1).replicas.shutdown();
    assert_eq!(answer(waiting).await.0, NOT_LEADER);
}

/// A producer with several requests in flight need not wait for one commit after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_of_one_connection() {
    let (cluster, waiting) = parked().await;
    let mut wire = Wire::connect(cluster.node(1).address).await;
    for value in ["y", "z"] {
        wire.send_produce("t", -1, batch(&[value]));
    }
    wire.flush().await;
    cluster
        .until("both are appended", || cluster.log_end(1) == 3)
        .await;
    cluster.shared.connect(1);
    assert_eq!(answer(waiting).await, (0, 0));
    for offset in [1, 2] {
        assert_eq!(wire.receive_produced().await, (0, offset));
    }
}

/// The high watermark moved between the append and the wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_committed_before_anyone_waits() {
    let cluster = cluster(1, QUICK).await;
    cluster.shared.create("t", &[1], &[]);
    cluster.apply().await;
    let partition = cluster.node(1).replicas.partition(&partition());
    let partition = partition.expect("hosted");
    let append = partition.append_as_leader(batch(&["x"]), AppendOrigin::Client, true);
    let append = append.expect("appended");
    assert_eq!(partition.high_watermark(), 1);
    let deadline = Instant::from_std(zweig_broker::clock::now() + DEADLINE);
    let committed = partition.committed(&append, deadline);
    let committed = tokio::time::timeout(AT_ONCE, committed).await;
    assert!(matches!(committed, Ok(Ok(()))), "{committed:?}");
}

/// A follower outside of the ISR that is about to join is waited for, but only as long as it keeps up: once it is
/// silent nothing happens any more on this partition, and still the record is committed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_about_to_join_that_falls_silent() {
    let cluster = cluster(1, QUICK).await;
    cluster.shared.register(2, 1);
    cluster.shared.doubt(1);
    let id = cluster.shared.create("t", &[1, 2], &[]);
    cluster.shared.elect("t", Some(1), &[1]);
    cluster.apply().await;
    let mut follower = Wire::connect(cluster.node(1).address).await;
    assert_eq!(fetch_as_follower(&mut follower, id).await, 0);
    let waiting = park(&cluster, "x").await;
    assert_eq!(answer(waiting).await, (0, 0));
    assert_eq!(cluster.shared.isr("t"), [1]);
}

/// One fetch of broker 2, from the beginning on.
async fn fetch_as_follower(wire: &mut Wire, topic: Uuid) -> i16 {
    let mut request = fetch_request("", 0);
    request.topics[0].topic = TopicName::default();
    request.topics[0].topic_id = topic;
    request.topics[0].partitions[0].last_fetched_epoch = -1;
    request.replica_state = ReplicaState::default()
        .with_replica_id(BrokerId(2))
        .with_replica_epoch(fakes::epoch_of(2));
    let answer: FetchResponse = wire.call(ApiKey::Fetch, 17, &request).await;
    answer.responses[0].partitions[0].error_code
}
