//! Records: produced, fetched, refused, retried, found by time.

use super::*;

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
    let hosted = broker.node(1).replicas.partition(&partition());
    let hosted = hosted.expect("a partition");
    let waits = || hosted.waiters().waiting() > 0;
    broker.until("the fetch waits", waits).await;
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
    let mut old = batch(&["x"]).to_vec();
    old[16] = 1;
    assert_eq!(wire.produce("t", 1, Bytes::from(old)).await.0, 87);
    let mut zstd = batch(&["x"]).to_vec();
    zstd[22] |= 4;
    let zstd = produce_of("t", Bytes::from(zstd));
    let answer: ProduceResponse = wire.call(ApiKey::Produce, 6, &zstd).await;
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 76);
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

fn produce_of(topic: &str, records: Bytes) -> ProduceRequest {
    let partition = produce_request::PartitionProduceData::default().with_records(Some(records));
    let topic = produce_request::TopicProduceData::default()
        .with_name(name(topic))
        .with_partition_data(vec![partition]);
    ProduceRequest::default()
        .with_acks(1)
        .with_topic_data(vec![topic])
}

#[tokio::test]
async fn acks_0_gets_no_answer_and_an_error_closes() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let request = |topic: &str| produce_of(topic, batch(&["x"])).with_acks(0);
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
