//! What operators ask of a broker: elections, and what lies in its log directories.

use super::*;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use std::collections::BTreeMap;

const PREFERRED: i8 = 0;
const UNCLEAN: i8 = 1;

const UNKNOWN: i16 = 3;
const TIMED_OUT: i16 = 7;
const INVALID_REQUEST: i16 = 42;
const PREFERRED_NOT_AVAILABLE: i16 = 80;
const ELIGIBLE_NOT_AVAILABLE: i16 = 83;
const NOT_NEEDED: i16 = 84;

fn elections(kind: i8, topics: Option<&[&str]>) -> ElectLeadersRequest {
    let topics = topics.map(|topics| {
        let topics = topics.iter().map(|topic| {
            TopicPartitions::default()
                .with_topic(name(topic))
                .with_partitions(vec![0])
        });
        topics.collect()
    });
    ElectLeadersRequest::default()
        .with_election_type(kind)
        .with_topic_partitions(topics)
        .with_timeout_ms(10_000)
}

/// Errors by topic.
fn codes(answer: &ElectLeadersResponse) -> BTreeMap<String, i16> {
    let results = answer.replica_election_results.iter();
    let codes = results.map(|topic| {
        let result = &topic.partition_result[0];
        let told = result.error_message.is_some();
        assert_eq!(told, result.error_code != 0, "an error has its words");
        (topic.topic.to_string(), result.error_code)
    });
    codes.collect()
}

fn expected(codes: &[(&str, i16)]) -> BTreeMap<String, i16> {
    let codes = codes
        .iter()
        .map(|(topic, code)| ((*topic).to_owned(), *code));
    codes.collect()
}

#[tokio::test]
async fn preferred_leaders_in_every_version() {
    let broker = cluster(2, &[]).await;
    for topic in ["well", "away", "alone"] {
        broker.shared.create(topic, &[2, 1], &[]);
    }
    broker.shared.create("gone", &[9, 1], &[]);
    let mut wire = Wire::connect(broker.address()).await;
    for version in 0..=2 {
        broker.shared.elect("away", Some(1), &[2, 1]);
        broker.shared.elect("gone", Some(1), &[1]);
        broker.shared.elect("alone", None, &[1]);
        broker.apply().await;
        let named = elections(
            PREFERRED,
            Some(&["well", "away", "gone", "alone", "nowhere"]),
        );
        let answer: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, version, &named).await;
        let told = [
            ("well", NOT_NEEDED),
            ("away", 0),
            ("gone", PREFERRED_NOT_AVAILABLE),
            ("alone", PREFERRED_NOT_AVAILABLE),
            ("nowhere", UNKNOWN),
        ];
        assert_eq!(answer.error_code, 0);
        assert_eq!(codes(&answer), expected(&told), "version {version}");
        // Of all partitions, those that need nothing are not told.
        let all = elections(PREFERRED, None);
        let answer: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, version, &all).await;
        let told = [
            ("gone", PREFERRED_NOT_AVAILABLE),
            ("alone", PREFERRED_NOT_AVAILABLE),
        ];
        assert_eq!(codes(&answer), expected(&told), "version {version}");
    }
}

#[tokio::test]
async fn an_election_that_does_not_come_is_told_in_time() {
    let broker = cluster(2, &[]).await;
    broker.shared.create("away", &[2, 1], &[]);
    broker.shared.elect("away", Some(1), &[2, 1]);
    broker.shared.elect_nobody();
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let request = elections(PREFERRED, Some(&["away"])).with_timeout_ms(20);
    let answer: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, 2, &request).await;
    assert_eq!(codes(&answer), expected(&[("away", TIMED_OUT)]));
    // The request goes without an election.
    broker
        .shared
        .update(|image| image.preferred_election = None);
    let far_too_many = TopicPartitions::default()
        .with_topic(name("away"))
        .with_partitions((0..200_001).collect());
    let request = elections(PREFERRED, None).with_topic_partitions(Some(vec![far_too_many]));
    let answer: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, 2, &request).await;
    assert_eq!(answer.error_code, INVALID_REQUEST);
}

#[tokio::test]
async fn any_leader_where_there_is_none() {
    let broker = cluster(2, &[]).await;
    broker.shared.create("led", &[2, 1], &[]);
    broker.shared.create("headless", &[9, 1], &[]);
    broker.shared.create("lost", &[9], &[]);
    broker.shared.elect("headless", None, &[9]);
    broker.shared.elect("lost", None, &[9]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let request = elections(UNCLEAN, Some(&["led", "headless", "lost"]));
    let answer: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, 2, &request).await;
    let told = [
        ("led", NOT_NEEDED),
        ("headless", 0),
        ("lost", ELIGIBLE_NOT_AVAILABLE),
    ];
    assert_eq!(codes(&answer), expected(&told));
    let unheard_of = elections(7, None);
    let answer: ElectLeadersResponse = wire.call(ApiKey::ElectLeaders, 2, &unheard_of).await;
    assert_eq!(answer.error_code, INVALID_REQUEST);
}

#[tokio::test]
async fn log_directories_in_every_version() {
    let broker = broker().await;
    broker.shared.create("t", &[1], &[]);
    broker.shared.create("u", &[1], &[]);
    broker.apply().await;
    let mut wire = Wire::connect(broker.address()).await;
    let records = batch(&["one", "two"]);
    let size = records.len() as i64;
    assert_eq!(wire.produce("t", -1, records).await.0, 0);
    for version in 1..=4 {
        let all = DescribeLogDirsRequest::default().with_topics(None);
        let answer: DescribeLogDirsResponse =
            wire.call(ApiKey::DescribeLogDirs, version, &all).await;
        assert_eq!((answer.error_code, answer.results.len()), (0, 1));
        let dir = &answer.results[0];
        let replicas = dir.topics.iter().map(|topic| {
            let partition = &topic.partitions[0];
            (
                topic.name.to_string(),
                partition.partition_size,
                partition.offset_lag,
            )
        });
        let told: Vec<_> = replicas.collect();
        assert_eq!(told, [("t".to_owned(), size, 0), ("u".to_owned(), 0, 0)]);
        assert!(dir.log_dir.starts_with('/') && dir.error_code == 0);
        let tells_room = dir.total_bytes > 0 && (0..=dir.total_bytes).contains(&dir.usable_bytes);
        assert_eq!(tells_room, version >= 4, "version {version}");
        let one = DescribableLogDirTopic::default()
            .with_topic(name("u"))
            .with_partitions(vec![0, 7]);
        let some = DescribeLogDirsRequest::default().with_topics(Some(vec![one]));
        let answer: DescribeLogDirsResponse =
            wire.call(ApiKey::DescribeLogDirs, version, &some).await;
        let topics: Vec<_> = answer.results[0]
            .topics
            .iter()
            .map(|topic| &**topic.name)
            .collect();
        assert_eq!(topics, ["u"]);
        assert_eq!(answer.results[0].topics[0].partitions.len(), 1);
    }
}
