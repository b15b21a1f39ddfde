//! What is told of topics, settings and brokers; topics made and deleted.

use super::*;

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
async fn a_deletion_names_each_topic_once_and_learns_its_id() {
    let broker = broker().await;
    let id = broker.shared.create("t", &[1], &[]);
    let twice = broker.shared.create("twice", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let by = |topic: Option<&str>, id| {
        delete_topics_request::DeleteTopicState::default()
            .with_name(topic.map(name))
            .with_topic_id(id)
    };
    let nil = uuid::Uuid::nil();
    let topics = vec![
        by(Some("t"), nil),
        by(Some("twice"), nil),
        by(None, twice),
        by(Some("u"), id),
        by(None, nil),
    ];
    let request = DeleteTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(40_000);
    let answer: DeleteTopicsResponse = wire.call(ApiKey::DeleteTopics, 6, &request).await;
    let told: Vec<_> = answer
        .responses
        .iter()
        .map(|one| (one.error_code, one.topic_id))
        .collect();
    assert_eq!(
        told,
        [(0, id), (42, twice), (42, twice), (42, id), (42, nil)]
    );
}

#[tokio::test]
async fn what_is_named_again_and_again_is_answered_once() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let topic = MetadataRequestTopic::default().with_name(Some(name("t")));
    let request = MetadataRequest::default().with_topics(Some(vec![topic; 9]));
    let answer: MetadataResponse = wire.call(ApiKey::Metadata, 9, &request).await;
    assert_eq!(answer.topics.len(), 1);
    let resource = DescribeConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(StrBytes::from_static_str("t"))
        .with_configuration_keys(None);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource; 9]);
    let answer: DescribeConfigsResponse = wire.call(ApiKey::DescribeConfigs, 4, &request).await;
    assert_eq!(answer.results.len(), 1);
    let group = GroupId(StrBytes::from_static_str("g"));
    let request = DescribeGroupsRequest::default().with_groups(vec![group; 9]);
    let answer: DescribeGroupsResponse = wire.call(ApiKey::DescribeGroups, 5, &request).await;
    assert_eq!(answer.groups.len(), 1);
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
        let configs = &answer.results[2].configs;
        let id = configs.iter().find(|c| &*c.name == "broker.id");
        let sources: Vec<i8> = id
            .expect("the setting")
            .synonyms
            .iter()
            .map(|s| s.source)
            .collect();
        assert_eq!(sources, [4, 5], "set, and Kafka's default");
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

/// A name may be as long as a frame; a partition of it takes four bytes.
#[tokio::test]
async fn a_name_longer_than_any_topics_is_unknown_for_each_partition() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let long = name(&"t".repeat(30_000));
    let partitions = (0..100_000).map(|index| {
        ListOffsetsPartition::default()
            .with_partition_index(index)
            .with_timestamp(-1)
    });
    let topic = ListOffsetsTopic::default()
        .with_name(long.clone())
        .with_partitions(partitions.collect());
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic]);
    let answer: ListOffsetsResponse = wire.call(ApiKey::ListOffsets, 7, &request).await;
    let told = &answer.topics[0];
    assert_eq!((&told.name, told.partitions.len()), (&long, 100_000));
    assert!(
        told.partitions
            .iter()
            .all(|partition| partition.error_code == 3)
    );
    let many = elect_leaders_request::TopicPartitions::default()
        .with_topic(long.clone())
        .with_partitions((0..100_000).collect());
    let request = ElectLeadersRequest::default().with_topic_partitions(Some(vec![many]));
    let answer: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, 2, &request).await;
    let told = &answer.replica_election_results[0];
    assert_eq!((&told.topic, told.partition_result.len()), (&long, 100_000));
    assert!(
        told.partition_result
            .iter()
            .all(|partition| partition.error_code == 3)
    );
}
