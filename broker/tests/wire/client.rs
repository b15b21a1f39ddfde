//! A client that speaks in frames.

use super::DEADLINE;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse, RequestHeader,
    ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long a produce may wait for its acknowledgement, in milliseconds: longer than any stall of the machine, and
/// shorter than [`DEADLINE`], so that the answer says what was waited for.
const PRODUCE_MS: i32 = 40_000;

/// A client's connection.
pub struct Wire {
    stream: TcpStream,
    unsent: BytesMut,
    next_id: i32,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        Self {
            stream,
            unsent: BytesMut::new(),
            next_id: 1,
        }
    }

    /// Sends a request and decodes its answer.
    pub async fn call<A: Decodable>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &impl Encodable,
    ) -> A {
        let id = self.send_quietly(api, version, request);
        self.flush().await;
        let mut answer = self.receive_frame().await.expect("an answer");
        let header = ResponseHeader::decode(&mut answer, api.response_header_version(version))
            .expect("header");
        assert_eq!(header.correlation_id, id);
        let decoded = A::decode(&mut answer, version).expect("answer");
        assert!(
            !answer.has_remaining(),
            "{} bytes behind the answer",
            answer.remaining()
        );
        decoded
    }

    /// Queues a request; returns its correlation id.
    pub fn send_quietly(&mut self, api: ApiKey, version: i16, request: &impl Encodable) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(id)
            .with_client_id(Some(StrBytes::from_static_str("wire")));
        let mut frame = BytesMut::new();
        header
            .encode(&mut frame, api.request_header_version(version))
            .expect("header");
        request.encode(&mut frame, version).expect("request");
        self.unsent
            .put_i32(i32::try_from(frame.len()).expect("size"));
        self.unsent.put_slice(&frame);
        id
    }

    pub async fn flush(&mut self) {
        let unsent = std::mem::take(&mut self.unsent);
        self.send_raw(&unsent).await;
    }

    pub async fn send_frame(&mut self, frame: &[u8]) {
        self.unsent
            .put_i32(i32::try_from(frame.len()).expect("size"));
        self.unsent.put_slice(frame);
        self.flush().await;
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        tokio::time::timeout(DEADLINE, self.stream.write_all(bytes))
            .await
            .expect("in time")
            .expect("write");
    }

    /// The next frame, or `None` if the broker closed the connection.
    pub async fn receive_frame(&mut self) -> Option<Bytes> {
        tokio::time::timeout(DEADLINE, async {
            let size = self.stream.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(size).expect("size")];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        })
        .await
        .expect("an answer in time")
    }
}

/// Requests that tests make again and again.
impl Wire {
    /// Produces one batch to partition 0; the answer's error code and base offset.
    pub async fn produce(&mut self, topic: &str, acks: i16, records: Bytes) -> (i16, i64) {
        self.send_produce(topic, acks, records);
        self.flush().await;
        self.receive_produced().await
    }

    /// Queues one batch for partition 0.
    pub fn send_produce(&mut self, topic: &str, acks: i16, records: Bytes) {
        let partition = PartitionProduceData::default().with_records(Some(records));
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_acks(acks)
            .with_timeout_ms(PRODUCE_MS)
            .with_topic_data(vec![topic]);
        self.send_quietly(ApiKey::Produce, 9, &request);
    }

    /// The next answer, which is to a produce; its error code and base offset.
    pub async fn receive_produced(&mut self) -> (i16, i64) {
        let mut answer = self.receive_frame().await.expect("an answer");
        ResponseHeader::decode(&mut answer, 1).expect("header");
        let answer = ProduceResponse::decode(&mut answer, 9).expect("answer");
        let partition = &answer.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    /// Fetches partition 0 from an offset on, by name (version 12).
    pub async fn fetch(&mut self, topic: &str, offset: i64, wait_ms: i32) -> PartitionData {
        let request = fetch_request(topic, offset).with_max_wait_ms(wait_ms);
        let mut answer: FetchResponse = self.call(ApiKey::Fetch, 12, &request).await;
        answer.responses.remove(0).partitions.remove(0)
    }
}

/// A consumer's fetch of partition 0, by name.
pub fn fetch_request(topic: &str, offset: i64) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(vec![partition]);
    FetchRequest::default()
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}
