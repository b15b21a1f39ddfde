//! The layouts are those of the `kafka-protocol` crate.

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{
    FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, RequestHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

use super::*;

fn request<T: Decodable + HeaderVersion>(frame: BytesMut, version: i16) -> (RequestHeader, T) {
    let mut frame = frame.freeze();
    assert_eq!(frame.get_i32() as usize, frame.len());
    let header = RequestHeader::decode(&mut frame, T::header_version(version)).expect("a header");
    assert_eq!(header.request_api_version, version);
    let body = T::decode(&mut frame, version).expect("a body");
    assert!(frame.is_empty(), "bytes behind the request");
    (header, body)
}

fn name(text: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(text))
}

#[test]
fn produce_is_what_brokers_read() {
    let mut out = BytesMut::new();
    let mut produce = Produce::begin(&mut out, 7, "me", -1, 1234);
    produce.batch("a", 1, b"one")[0] = b'O';
    produce.batch("a", 2, b"two");
    produce.batch("b", 0, b"three");
    produce.finish();
    let (header, body) = request::<ProduceRequest>(out, PRODUCE_VERSION);
    assert_eq!(header.request_api_key, 0);
    assert_eq!(header.correlation_id, 7);
    assert_eq!(header.client_id.as_deref(), Some("me"));
    assert_eq!((body.acks, body.timeout_ms), (-1, 1234));
    let sent: Vec<_> = body
        .topic_data
        .iter()
        .flat_map(|topic| {
            topic.partition_data.iter().map(|data| {
                let records = data.records.as_deref().unwrap_or_default();
                (topic.name.as_str(), data.index, records)
            })
        })
        .collect();
    assert_eq!(
        sent,
        [("a", 1, &b"One"[..]), ("a", 2, b"two"), ("b", 0, b"three")]
    );
    assert_eq!(body.topic_data.len(), 2);
}

#[test]
fn fetch_is_what_brokers_read() {
    let limits = FetchLimits {
        max_wait_ms: 1,
        min_bytes: 2,
        max_bytes: 3,
        partition_max_bytes: 4,
    };
    let mut out = BytesMut::new();
    let partitions = [("a", 1, 10), ("a", 2, 20), ("b", 0, 30)];
    let session = FetchSession { id: 5, epoch: 6 };
    put_fetch(&mut out, 8, "me", &limits, session, partitions);
    let (header, body) = request::<FetchRequest>(out, FETCH_VERSION);
    assert_eq!((header.request_api_key, header.correlation_id), (1, 8));
    assert_eq!(
        (body.max_wait_ms, body.min_bytes, body.max_bytes),
        (1, 2, 3)
    );
    assert_eq!((body.session_id, body.session_epoch), (5, 6));
    assert_eq!(body.replica_id.0, -1);
    let asked: Vec<_> = body
        .topics
        .iter()
        .flat_map(|topic| {
            topic
                .partitions
                .iter()
                .map(|p| (topic.topic.as_str(), p.partition, p.fetch_offset))
        })
        .collect();
    assert_eq!(asked, partitions);
    assert_eq!(body.topics[0].partitions[0].partition_max_bytes, 4);
}

#[test]
fn a_fetch_session_goes_on_as_long_as_the_broker_keeps_it() {
    let session = |id, epoch| FetchSession { id, epoch };
    assert_eq!(FetchSession::NONE.next(0), FetchSession::NONE);
    assert_eq!(FetchSession::BEGINS.next(0), FetchSession::BEGINS);
    assert_eq!(FetchSession::BEGINS.next(7), session(7, 1));
    assert_eq!(session(7, 1).next(7), session(7, 2));
    assert_eq!(session(7, i32::MAX).next(7), session(7, 1));
    assert_eq!(session(7, 2).next(0), FetchSession::BEGINS);
}

#[test]
fn answers_are_read_and_cut_ones_refused() {
    let partition = PartitionProduceResponse::default()
        .with_index(3)
        .with_error_code(6)
        .with_base_offset(99);
    let topic = TopicProduceResponse::default()
        .with_name(name("a"))
        .with_partition_responses(vec![partition]);
    let answer = ProduceResponse::default().with_responses(vec![topic]);
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, PRODUCE_VERSION).expect("encoded");
    let mut read = Vec::new();
    let all = |p| {
        read.push(p);
        Ok::<_, Malformed>(())
    };
    produced(&bytes, all).expect("well-formed");
    let expected = Produced {
        topic: "a",
        partition: 3,
        error: 6,
        base_offset: 99,
    };
    assert_eq!(read, [expected]);
    for length in 0..bytes.len() {
        produced(&bytes[..length], |_| Ok::<_, Malformed>(())).expect_err("it is cut off");
    }

    let data = PartitionData::default()
        .with_partition_index(5)
        .with_high_watermark(44)
        .with_records(Some(Bytes::from_static(b"batches")));
    let topic = FetchableTopicResponse::default()
        .with_topic(name("b"))
        .with_partitions(vec![data]);
    let answer = FetchResponse::default().with_responses(vec![topic]);
    let mut bytes = BytesMut::new();
    answer.encode(&mut bytes, FETCH_VERSION).expect("encoded");
    let mut read = Vec::new();
    let all = |p| {
        read.push(p);
        Ok::<_, Malformed>(())
    };
    let whole = WholeFetch {
        error: 0,
        session: 0,
    };
    assert_eq!(fetched(&bytes, all), Ok(whole));
    let expected = Fetched {
        topic: "b",
        partition: 5,
        error: 0,
        high_watermark: 44,
        records: b"batches",
    };
    assert_eq!(read, [expected]);
    for length in 0..bytes.len() {
        fetched(&bytes[..length], |_| Ok::<_, Malformed>(())).expect_err("it is cut off");
    }
}
