//! Byte-level tests of one broker: a real socket on one side, requests made by `kafka-protocol` on the other.

#[allow(dead_code, reason = "shared with other tests")]
mod wire;

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
use wire::{broker, cluster};

fn name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_owned()))
}

fn api_versions() -> ApiVersionsRequest {
    ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("wire"))
        .with_client_software_version(StrBytes::from_static_str("1"))
}

#[tokio::test]
async fn api_versions_is_answered_in_every_version() {
    let broker = broker().await;
    let mut wire = Wire::connect(broker.address()).await;
    for version in 0..=4 {
        let request = match version {
            0..3 => ApiVersionsRequest::default(),
            _ => api_versions(),
        };
        let answer: ApiVersionsResponse = wire.call(ApiKey::ApiVersions, version, &request).await;
        assert_eq!(answer.error_code, 0);
        let range = |key: i16| {
            let row = answer
                .api_keys
                .iter()
                .find(|k| k.api_key == key)
                .expect("a row");
            (row.min_version, row.max_version)
        };
        assert_eq!((range(18), range(0), range(1)), ((0, 4), (0, 12), (4, 17)));
    }
}

#[tokio::test]
async fn a_version_from_the_future_learns_the_range() {
    let broker = broker().await;
    let mut wire = Wire::connect(broker.address()).await;
    let mut frame = BytesMut::new();
    frame.put_i16(18);
    frame.put_i16(77);
    frame.put_i32(4711);
    frame.put_slice(b"\xffwhatever a later version says");
    wire.send_frame(&frame).await;
    let mut answer = wire.receive_frame().await.expect("an answer");
    assert_eq!(answer.split_to(4)[..], 4711i32.to_be_bytes());
    let answer = ApiVersionsResponse::decode(&mut answer, 0).expect("version 0");
    assert_eq!(answer.error_code, 35);
    let rows: Vec<_> = answer
        .api_keys
        .iter()
        .map(|k| (k.api_key, k.min_version, k.max_version))
        .collect();
    assert_eq!(rows, [(18, 0, 4)]);
}

#[tokio::test]
async fn answers_leave_in_the_order_of_requests() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    wire.produce("t", 1, batch(&["x"])).await;
    // The first waits for bytes that never come; those behind it are done at once.
    let mut ids = vec![wire.send_quietly(
        ApiKey::Fetch,
        12,
        &fetch_request("t", 1).with_max_wait_ms(50),
    )];
    ids.extend((0..300).map(|_| wire.send_quietly(ApiKey::ApiVersions, 3, &api_versions())));
    wire.flush().await;
    for id in ids {
        let answer = wire.receive_frame().await.expect("an answer");
        assert_eq!(answer[..4], id.to_be_bytes());
    }
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let broker = broker().await;
    for garbage in [
        &b"\xff\xff\xff\xff"[..],                                  // a negative size
        b"\x7f\xff\xff\xff",                                       // a size out of bounds
        b"\0\0\0\x02\0\x12",                                       // shorter than a header
        b"\0\0\0\x0a\x7f\xff\0\0\0\0\0\0\xff\xff",                 // an unknown key
        b"\0\0\0\x0a\0\x01\0\x63\0\0\0\0\xff\xff",                 // a version that is not served
        b"\0\0\0\x0e\0\x03\0\x01\0\0\0\0\xff\xff\x7f\xff\xff\xff", // two milliard topics
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut wire = Wire::connect(broker.address()).await;
        wire.send_raw(garbage).await;
        assert_eq!(wire.receive_frame().await, None::<Bytes>, "{garbage:?}");
    }
    let mut wire = Wire::connect(broker.address()).await;
    let _: ApiVersionsResponse = wire.call(ApiKey::ApiVersions, 3, &api_versions()).await;
}

#[tokio::test]
async fn what_is_produced_is_fetched_in_every_version() {
    let broker = broker().await;
    let id = broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let mut offset = 0;
    for version in 3..=12 {
        let partition =
            produce_request::PartitionProduceData::default().with_records(Some(batch(&["a", "b"])));
        let topic = produce_request::TopicProduceData::default()
            .with_name(name("t"))
            .with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(40_000)
            .with_topic_data(vec![topic]);
        let answer: ProduceResponse = wire.call(ApiKey::Produce, version, &request).await;
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(
            (partition.error_code, partition.base_offset),
            (0, offset),
            "version {version}"
        );
        offset += 2;
    }
    for version in 4..=17 {
        let mut request = fetch_request("t", 18);
        if version >= 13 {
            request.topics[0].topic = TopicName::default();
            request.topics[0].topic_id = id;
        }
        if version < 7 {
            request.session_epoch = -1;
        }
        let mut answer: FetchResponse = wire.call(ApiKey::Fetch, version, &request).await;
        let partition = answer.responses.remove(0).partitions.remove(0);
        assert_eq!(
            (partition.error_code, partition.high_watermark),
            (0, 20),
            "version {version}"
        );
        assert_eq!(
            values(partition.records),
            [(18, "a".to_owned()), (19, "b".to_owned())],
            "version {version}"
        );
    }
}

#[tokio::test]
async fn a_fetch_waits_for_bytes_and_ends_in_time() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let mut reader = Wire::connect(broker.address()).await;
    let empty = reader.fetch("t", 0, 30).await;
    assert_eq!((empty.error_code, empty.records), (0, Some(Bytes::new())));
    let waiting = tokio::spawn(async move { reader.fetch("t", 0, 40_000).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!waiting.is_finished());
    let mut writer = Wire::connect(broker.address()).await;
    assert_eq!(writer.produce("t", 1, batch(&["x"])).await, (0, 0));
    assert_eq!(
        values(waiting.await.expect("an answer").records),
        [(0, "x".to_owned())]
    );
}

#[tokio::test]
async fn errors_of_produce_and_fetch_have_their_codes() {
    let broker = cluster(1, &[]).await;
    broker.shared.create(
        "t",
        &[1],
        &[("max.message.bytes", "200"), ("min.insync.replicas", "2")],
    );
    broker.shared.create("elsewhere", &[7], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    assert_eq!(wire.produce("nowhere", 1, batch(&["x"])).await.0, 3);
    assert_eq!(wire.produce("elsewhere", 1, batch(&["x"])).await.0, 6);
    assert_eq!(wire.produce("t", 2, batch(&["x"])).await.0, 21);
    assert_eq!(wire.produce("t", -1, batch(&["x"])).await.0, 19);
    assert_eq!(wire.produce("t", 1, batch(&[&"x".repeat(300)])).await.0, 10);
    let mut corrupt = batch(&["x"]).to_vec();
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    assert_eq!(wire.produce("t", 1, Bytes::from(corrupt)).await.0, 2);
    assert_eq!(
        wire.produce("__consumer_offsets", 1, batch(&["x"])).await.0,
        17
    );
    assert_eq!(wire.produce("t", 1, batch(&["x"])).await, (0, 0));
    assert_eq!(wire.fetch("t", 5, 0).await.error_code, 1);
    assert_eq!(wire.fetch("nowhere", 0, 0).await.error_code, 3);
    let mut stale = fetch_request("t", 0);
    stale.topics[0].partitions[0].current_leader_epoch = 9;
    let answer: FetchResponse = wire.call(ApiKey::Fetch, 12, &stale).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 75);
    let unknown_id = fetch_request("", 0);
    let answer: FetchResponse = wire.call(ApiKey::Fetch, 13, &unknown_id).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, 100);
    let in_session = fetch_request("t", 0)
        .with_session_id(5)
        .with_session_epoch(1);
    let answer: FetchResponse = wire.call(ApiKey::Fetch, 12, &in_session).await;
    assert_eq!(answer.error_code, 70);
}

#[tokio::test]
async fn acks_0_gets_no_answer_and_an_error_closes() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let request = |topic: &str| {
        let partition =
            produce_request::PartitionProduceData::default().with_records(Some(batch(&["x"])));
        let topic = produce_request::TopicProduceData::default()
            .with_name(name(topic))
            .with_partition_data(vec![partition]);
        ProduceRequest::default()
            .with_acks(0)
            .with_topic_data(vec![topic])
    };
    let mut wire = Wire::connect(broker.address()).await;
    wire.send_quietly(ApiKey::Produce, 7, &request("t"));
    let fetched = wire.fetch("t", 0, 40_000).await;
    assert_eq!(values(fetched.records), [(0, "x".to_owned())]);
    wire.send_quietly(ApiKey::Produce, 7, &request("nowhere"));
    wire.flush().await;
    assert_eq!(wire.receive_frame().await, None::<Bytes>);
}

#[tokio::test]
async fn old_produce_versions_are_answered_in_their_own_encoding() {
    let broker = broker().await;
    for version in 0i16..3 {
        let mut wire = Wire::connect(broker.address()).await;
        let mut frame = BytesMut::new();
        frame.put_i16(0);
        frame.put_i16(version);
        frame.put_i32(9);
        frame.put_slice(b"\0\x03old");
        frame.put_slice(b"\0\x01\0\0\x03\xe8\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\0\0\0\x02zz");
        wire.send_frame(&frame).await;
        let mut answer = wire.receive_frame().await.expect("an answer");
        assert_eq!(answer.get_i32(), 9);
        assert_eq!(
            answer.split_to(14)[..],
            *b"\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0"[..14].as_ref()
        );
        assert_eq!(
            (answer.get_u8(), answer.get_i16(), answer.get_i64()),
            (5, 35, -1)
        );
        let rest = [0, 4, 12][version as usize];
        assert_eq!(answer.remaining(), rest, "version {version}");
    }
}

#[tokio::test]
async fn idempotent_retries_are_not_appended_twice() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let answer: InitProducerIdResponse = wire
        .call(
            ApiKey::InitProducerId,
            4,
            &InitProducerIdRequest::default().with_transactional_id(None),
        )
        .await;
    assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
    let producer = |sequence| Producer {
        id: answer.producer_id.0,
        epoch: 0,
        sequence,
    };
    assert_eq!(
        wire.produce("t", -1, batch_of(producer(0), 1, &["a", "b"]))
            .await,
        (0, 0)
    );
    assert_eq!(
        wire.produce("t", -1, batch_of(producer(0), 1, &["a", "b"]))
            .await,
        (0, 0)
    );
    assert_eq!(
        wire.produce("t", -1, batch_of(producer(2), 1, &["c"]))
            .await,
        (0, 2)
    );
    assert_eq!(
        wire.produce("t", -1, batch_of(producer(9), 1, &["z"]))
            .await
            .0,
        45
    );
    let other: InitProducerIdResponse = wire
        .call(
            ApiKey::InitProducerId,
            0,
            &InitProducerIdRequest::default().with_transactional_id(None),
        )
        .await;
    assert_ne!(other.producer_id, answer.producer_id);
    let with_transactions = InitProducerIdRequest::default()
        .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("x"))));
    let refused: InitProducerIdResponse = wire
        .call(ApiKey::InitProducerId, 2, &with_transactions)
        .await;
    assert_eq!(refused.error_code, 35);
}

#[tokio::test]
async fn offsets_are_found_in_every_version() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let nobody = Producer {
        id: -1,
        epoch: -1,
        sequence: -1,
    };
    for timestamp in [1_000, 2_000, 3_000] {
        wire.produce("t", 1, batch_of(nobody, timestamp, &["x"]))
            .await;
    }
    for version in 1..=9 {
        for (timestamp, expected) in [
            (-2, (0, 0)),
            (-1, (0, 3)),
            (1_500, (0, 1)),
            (9_999, (0, -1)),
            (-9, (35, -1)),
        ] {
            let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
            let topic = ListOffsetsTopic::default()
                .with_name(name("t"))
                .with_partitions(vec![partition]);
            let request = ListOffsetsRequest::default()
                .with_replica_id(BrokerId(-1))
                .with_topics(vec![topic]);
            let answer: ListOffsetsResponse =
                wire.call(ApiKey::ListOffsets, version, &request).await;
            let found = &answer.topics[0].partitions[0];
            assert_eq!(
                (found.error_code, found.offset),
                expected,
                "version {version}, {timestamp}"
            );
        }
    }
    for version in 2..=4 {
        let partition = OffsetForLeaderPartition::default()
            .with_current_leader_epoch(0)
            .with_leader_epoch(0);
        let topic = OffsetForLeaderTopic::default()
            .with_topic(name("t"))
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_topics(vec![topic]);
        let answer: OffsetForLeaderEpochResponse = wire
            .call(ApiKey::OffsetForLeaderEpoch, version, &request)
            .await;
        let end = &answer.topics[0].partitions[0];
        assert_eq!(
            (end.error_code, end.leader_epoch, end.end_offset),
            (0, 0, 3),
            "version {version}"
        );
    }
}

#[tokio::test]
async fn metadata_in_every_version() {
    let broker = cluster(2, &[]).await;
    let id = broker.shared.create("t", &[2, 1], &[]);
    broker.shared.create("headless", &[9], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    for version in 0..=12 {
        let request = MetadataRequest::default().with_topics(Some(vec![
            MetadataRequestTopic::default().with_name(Some(name("t"))),
            MetadataRequestTopic::default().with_name(Some(name("headless"))),
            MetadataRequestTopic::default().with_name(Some(name("not a name"))),
        ]));
        let answer: MetadataResponse = wire.call(ApiKey::Metadata, version, &request).await;
        assert_eq!(
            answer
                .brokers
                .iter()
                .map(|b| b.node_id.0)
                .collect::<Vec<_>>(),
            [1, 2]
        );
        let topic = &answer.topics[0];
        let partition = &topic.partitions[0];
        assert_eq!(
            (
                topic.error_code,
                partition.error_code,
                partition.leader_id.0
            ),
            (0, 0, 2),
            "version {version}"
        );
        assert_eq!(
            topic.topic_id,
            if version >= 10 {
                id
            } else {
                Default::default()
            }
        );
        assert_eq!(answer.topics[1].partitions[0].error_code, 5);
        assert_eq!(answer.topics[2].error_code, 17);
        let all = match version {
            0 => MetadataRequest::default().with_topics(Some(vec![])),
            _ => MetadataRequest::default().with_topics(None),
        };
        let answer: MetadataResponse = wire.call(ApiKey::Metadata, version, &all).await;
        assert_eq!(answer.topics.len(), 2, "version {version}");
        if version > 0 {
            let none = MetadataRequest::default().with_topics(Some(vec![]));
            let answer: MetadataResponse = wire.call(ApiKey::Metadata, version, &none).await;
            assert_eq!(answer.topics.len(), 0, "version {version}");
        }
    }
    let by_id = MetadataRequestTopic::default()
        .with_name(None)
        .with_topic_id(id);
    let answer: MetadataResponse = wire
        .call(
            ApiKey::Metadata,
            12,
            &MetadataRequest::default().with_topics(Some(vec![by_id])),
        )
        .await;
    assert_eq!(
        answer.topics[0].name.as_deref().map(|n| n.to_string()),
        Some("t".to_owned())
    );
}

#[tokio::test]
async fn topics_are_created_on_demand_and_by_request_and_deleted() {
    let broker = broker().await;
    let mut wire = Wire::connect(broker.address()).await;
    let ask = |create| {
        let topic = MetadataRequestTopic::default().with_name(Some(name("auto")));
        MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(create)
    };
    let answer: MetadataResponse = wire.call(ApiKey::Metadata, 9, &ask(false)).await;
    assert_eq!(answer.topics[0].error_code, 3);
    let answer: MetadataResponse = wire.call(ApiKey::Metadata, 9, &ask(true)).await;
    assert_eq!(
        (
            answer.topics[0].error_code,
            answer.topics[0].partitions[0].leader_id.0
        ),
        (0, 1)
    );
    for version in 2..=7 {
        let wanted = format!("made-{version}");
        let topic = |partitions| {
            CreatableTopic::default()
                .with_name(name(&wanted))
                .with_num_partitions(partitions)
                .with_replication_factor(1)
        };
        let request = CreateTopicsRequest::default()
            .with_topics(vec![topic(2)])
            .with_timeout_ms(40_000);
        let answer: CreateTopicsResponse = wire.call(ApiKey::CreateTopics, version, &request).await;
        assert_eq!(
            answer.topics[0].error_code, 0,
            "version {version}: {:?}",
            answer.topics[0].error_message
        );
        let answer: CreateTopicsResponse = wire.call(ApiKey::CreateTopics, version, &request).await;
        assert_eq!(answer.topics[0].error_code, 36, "version {version}");
    }
    for version in 1..=6 {
        let gone = if version == 6 {
            let topic =
                delete_topics_request::DeleteTopicState::default().with_name(Some(name("made-6")));
            DeleteTopicsRequest::default().with_topics(vec![topic])
        } else {
            DeleteTopicsRequest::default()
                .with_topic_names(vec![name(&format!("made-{}", version + 1))])
        };
        let expected = if version == 6 { 3 } else { 0 };
        let answer: DeleteTopicsResponse = wire
            .call(ApiKey::DeleteTopics, version, &gone.with_timeout_ms(40_000))
            .await;
        assert_eq!(
            answer.responses[0].error_code, expected,
            "version {version}"
        );
    }
    broker
        .until("deleted logs are gone", || {
            broker.nodes[0]
                .logs
                .all()
                .iter()
                .all(|log| log.topic_partition().topic != "made-2")
        })
        .await;
}

#[tokio::test]
async fn settings_and_the_cluster_are_described_in_every_version() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[("retention.ms", "1234")]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    for version in 1..=4 {
        let resource = |kind, name| {
            DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(StrBytes::from_static_str(name))
                .with_configuration_keys(None)
        };
        let resources = vec![
            resource(2, "t"),
            resource(2, "nowhere"),
            resource(4, "1"),
            resource(4, "8"),
        ];
        let request = DescribeConfigsRequest::default()
            .with_resources(resources)
            .with_include_synonyms(true);
        let answer: DescribeConfigsResponse =
            wire.call(ApiKey::DescribeConfigs, version, &request).await;
        let codes: Vec<i16> = answer
            .results
            .iter()
            .map(|result| result.error_code)
            .collect();
        assert_eq!(codes, [0, 3, 0, 42], "version {version}");
        let retention = answer.results[0]
            .configs
            .iter()
            .find(|c| &*c.name == "retention.ms")
            .expect("the setting");
        assert_eq!(
            (retention.value.as_deref(), retention.config_source),
            (Some("1234"), 1)
        );
    }
    for version in 0..=1 {
        let answer: DescribeClusterResponse = wire
            .call(
                ApiKey::DescribeCluster,
                version,
                &DescribeClusterRequest::default(),
            )
            .await;
        assert_eq!(
            (answer.error_code, &*answer.cluster_id, answer.brokers.len()),
            (0, "wire-test", 1)
        );
    }
}
