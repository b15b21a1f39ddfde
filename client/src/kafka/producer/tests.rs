//! The producer against a broker made of closures.

use std::sync::atomic::{AtomicUsize, Ordering};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, BrokerId, MetadataResponse, ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use tokio::net::TcpListener;

use super::*;
use crate::kafka::client::ClientOptions;
use crate::kafka::connection::tests::{Seen, frame, serve};

/// Far less than a delivery may take.
const AT_ONCE: Duration = Duration::from_secs(20);

const ME: BrokerId = BrokerId(1);

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str("t"))
}

fn versions(seen: &Seen) -> Vec<u8> {
    let range = |(key, min, max): (ApiKey, i16, i16)| {
        let api = ApiVersion::default().with_api_key(key as i16);
        api.with_min_version(min).with_max_version(max)
    };
    let served = [
        (ApiKey::ApiVersions, 0, 2),
        (ApiKey::Metadata, 1, 8),
        (ApiKey::Produce, 3, 8),
    ];
    let answer = ApiVersionsResponse::default().with_api_keys(served.map(range).to_vec());
    frame(seen.correlation, &answer, seen.version)
}

/// Partition 0 of "t", and who leads it.
fn metadata(seen: &Seen, port: u16, leader: Option<BrokerId>) -> Vec<u8> {
    let broker = MetadataResponseBroker::default()
        .with_node_id(ME)
        .with_host(StrBytes::from_static_str("127.0.0.1"))
        .with_port(port.into());
    let error = match leader {
        None => ResponseError::LeaderNotAvailable.code(),
        Some(_) => 0,
    };
    let partition = MetadataResponsePartition::default()
        .with_error_code(error)
        .with_leader_id(leader.unwrap_or(BrokerId(-1)))
        .with_replica_nodes(vec![ME]);
    let topic = MetadataResponseTopic::default()
        .with_name(Some(name()))
        .with_partitions(vec![partition]);
    let answer = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_topics(vec![topic]);
    frame(seen.correlation, &answer, seen.version)
}

fn produced(seen: &Seen) -> Vec<u8> {
    let partition = PartitionProduceResponse::default().with_base_offset(7);
    let topic = TopicProduceResponse::default()
        .with_name(name())
        .with_partition_responses(vec![partition]);
    let answer = ProduceResponse::default().with_responses(vec![topic]);
    frame(seen.correlation, &answer, seen.version)
}

#[tokio::test]
async fn a_partition_that_was_seen_without_a_leader_is_asked_about_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    tokio::spawn(serve(listener, move |seen| {
        Some(match ApiKey::try_from(seen.key).expect("a key") {
            ApiKey::ApiVersions => versions(&seen),
            ApiKey::Metadata => {
                // It is being elected while the producer looks for the first time, and for the second.
                let elected = count.fetch_add(1, Ordering::Relaxed) >= 2;
                metadata(&seen, address.port(), elected.then_some(ME))
            }
            ApiKey::Produce => produced(&seen),
            key => panic!("{key:?} is not asked for"),
        })
    }));
    let client = Client::new(ClientOptions::new(&address.to_string()));
    let options = ProducerOptions {
        idempotent: false,
        ..ProducerOptions::default()
    };
    let producer = Producer::new(client, options).expect("a producer");
    let record = ProducerRecord {
        topic: "t".to_owned(),
        partition: Some(0),
        value: Some(Bytes::from_static(b"x")),
        ..ProducerRecord::default()
    };
    let delivered = async { producer.send(record).await.expect("queued").await };
    let delivered = tokio::time::timeout(AT_ONCE, delivered).await;
    let delivered = delivered.expect("delivered at once").expect("delivered");
    assert_eq!(delivered.offset, 7);
    assert_eq!(asked.load(Ordering::Relaxed), 3);
}
