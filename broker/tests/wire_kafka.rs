//! Byte-level tests of one broker: a real socket on one side, requests made by `kafka-protocol` on the other.

#[allow(dead_code, reason = "shared with other tests")]
mod wire;

#[path = "wire_kafka/connections.rs"]
mod connections;
#[path = "wire_kafka/operators.rs"]
mod operators;
#[path = "wire_kafka/records.rs"]
mod records;
#[path = "wire_kafka/sessions.rs"]
mod sessions;
#[path = "wire_kafka/topics.rs"]
mod topics;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, StrBytes};
use std::time::Duration;
use wire::client::{Wire, fetch_request};
use wire::records::{Producer, batch, batch_of, values};
use wire::{broker, cluster, partition};

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("wire"))
        .with_client_software_version(StrBytes::from_static_str("1"))
}
