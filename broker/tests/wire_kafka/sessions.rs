//! Fetch sessions: what is told, in which order, and when a session ends.

use super::*;
use kafka_protocol::messages::fetch_request::ReplicaState;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use kafka_protocol::messages::fetch_response::PartitionData;

const NOT_FOUND: i16 = 70;
const WRONG_EPOCH: i16 = 71;
const TOPIC_ID_ERROR: i16 = 106;
const BY_NAME: i16 = 12;

/// What an answer told: of each topic the error and the values with their offsets.
type Told = Vec<(String, i16, Vec<(i64, String)>)>;

/// A reader with a session.
struct Reader {
    wire: Wire,
    id: i32,
    epoch: i32,
    wait_ms: i32,
    max_bytes: i32,
}

impl Reader {
    /// Begins a session with partition 0 of these topics, from their starts.
    async fn begin(cluster: &wire::Cluster, topics: &[&str]) -> (Reader, Told) {
        let mut reader = Reader {
            wire: Wire::connect(cluster.address()).await,
            id: 0,
            epoch: 0,
            wait_ms: 0,
            max_bytes: 1 << 20,
        };
        let from: Vec<(&str, i64)> = topics.iter().map(|topic| (*topic, 0)).collect();
        let told = reader.next(&from, &[]).await;
        (reader, told)
    }

    fn request(&self, from: &[(&str, i64)], forgotten: &[&str]) -> FetchRequest {
        let topics = from.iter().map(|(topic, offset)| {
            let partition = FetchPartition::default()
                .with_fetch_offset(*offset)
                .with_partition_max_bytes(1 << 20);
            FetchTopic::default()
                .with_topic(name(topic))
                .with_partitions(vec![partition])
        });
        let forgotten = forgotten.iter().map(|topic| {
            ForgottenTopic::default()
                .with_topic(name(topic))
                .with_partitions(vec![0])
        });
        FetchRequest::default()
            .with_min_bytes(1)
            .with_max_bytes(self.max_bytes)
            .with_max_wait_ms(self.wait_ms)
            .with_session_id(self.id)
            .with_session_epoch(self.epoch)
            .with_topics(topics.collect())
            .with_forgotten_topics_data(forgotten.collect())
    }

    async fn answer(&mut self, request: &FetchRequest) -> FetchResponse {
        self.wire.call(ApiKey::Fetch, BY_NAME, request).await
    }

    /// The next request of the session.
    async fn next(&mut self, from: &[(&str, i64)], forgotten: &[&str]) -> Told {
        let request = self.request(from, forgotten);
        let answer = self.answer(&request).await;
        assert_eq!(answer.error_code, 0);
        self.id = answer.session_id;
        self.epoch += 1;
        told(answer)
    }
}

fn told(answer: FetchResponse) -> Told {
    let topics = answer.responses.into_iter();
    let of = |topic: String, data: PartitionData| {
        let values = match data.error_code {
            0 => values(data.records),
            _ => Vec::new(),
        };
        (topic, data.error_code, values)
    };
    topics
        .flat_map(|topic| {
            let name = topic.topic.to_string();
            topic
                .partitions
                .into_iter()
                .map(move |data| of(name.clone(), data))
        })
        .collect()
}

fn brought(topic: &str, found: &[(i64, &str)]) -> (String, i16, Vec<(i64, String)>) {
    let found = found.iter().map(|(at, value)| (*at, (*value).to_owned()));
    (topic.to_owned(), 0, found.collect())
}

async fn with_topics(topics: &[&str], settings: &[(&str, &str)]) -> wire::Cluster {
    let broker = cluster(1, settings).await;
    for topic in topics {
        broker.shared.create(topic, &[1], &[]);
    }
    broker.apply().await;
    broker
}

#[tokio::test]
async fn a_session_tells_what_changed() {
    let broker = with_topics(&["a", "b", "c"], &[]).await;
    let mut writer = Wire::connect(broker.address()).await;
    let (mut reader, first) = Reader::begin(&broker, &["a", "b"]).await;
    assert_eq!(first, [brought("a", &[]), brought("b", &[])]);
    assert_ne!(reader.id, 0);
    assert_eq!(reader.next(&[], &[]).await, []);

    writer.produce("b", -1, batch(&["x"])).await;
    writer.produce("c", -1, batch(&["y"])).await;
    let x = || brought("b", &[(0, "x")]);
    assert_eq!(reader.next(&[], &[]).await, [x()]);
    // The reader stands where it stood.
    assert_eq!(reader.next(&[], &[]).await, [x()]);
    assert_eq!(reader.next(&[("b", 1)], &[]).await, []);
    assert_eq!(
        reader.next(&[("c", 0)], &[]).await,
        [brought("c", &[(0, "y")])]
    );

    writer.produce("b", -1, batch(&["z"])).await;
    assert_eq!(reader.next(&[("c", 1)], &["b"]).await, []);
    writer.produce("b", -1, batch(&["zz"])).await;
    assert_eq!(reader.next(&[], &[]).await, []);
    let again = reader.next(&[("b", 1)], &[]).await;
    assert_eq!(again, [brought("b", &[(1, "z"), (2, "zz")])]);
}

#[tokio::test]
async fn a_session_waits_for_a_change() {
    let broker = with_topics(&["a", "b"], &[]).await;
    let (mut reader, _) = Reader::begin(&broker, &["a", "b"]).await;
    assert_eq!(reader.next(&[], &[]).await, []);
    reader.wait_ms = 40_000;
    let waiting = tokio::spawn(async move { reader.next(&[], &[]).await });
    let mut writer = Wire::connect(broker.address()).await;
    writer.produce("b", -1, batch(&["x"])).await;
    // Long before its time is over.
    let told = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    let told = told.expect("told at once").expect("an answer");
    assert_eq!(told, [brought("b", &[(0, "x")])]);
}

#[tokio::test]
async fn busy_partitions_take_turns() {
    let broker = with_topics(&["a", "b", "c"], &[]).await;
    let mut writer = Wire::connect(broker.address()).await;
    for topic in ["a", "b", "c"] {
        writer.produce(topic, -1, batch(&["x"])).await;
    }
    let (mut reader, _) = Reader::begin(&broker, &["a", "b", "c"]).await;
    // Room for one batch at a time.
    reader.max_bytes = 1;
    let mut turns = Vec::new();
    for _ in 0..6 {
        let told = reader.next(&[], &[]).await;
        assert_eq!(told.len(), 1, "{told:?}");
        turns.extend(told.into_iter().map(|(topic, ..)| topic));
    }
    assert_eq!(turns, ["a", "b", "c", "a", "b", "c"]);
}

#[tokio::test]
async fn what_is_no_request_of_the_session_is_refused() {
    let broker = with_topics(&["a"], &[]).await;
    let (mut reader, _) = Reader::begin(&broker, &["a"]).await;
    let good = reader.request(&[], &[]);
    let refused = [
        (good.clone().with_session_epoch(2), WRONG_EPOCH),
        (good.clone().with_session_id(good.session_id ^ 1), NOT_FOUND),
        (good.clone().with_isolation_level(1), NOT_FOUND),
        (good.clone().with_replica_id(BrokerId(7)), NOT_FOUND),
    ];
    for (request, code) in refused {
        let answer = reader.answer(&request).await;
        assert_eq!((answer.error_code, answer.session_id), (code, 0));
    }
    assert_eq!(reader.answer(&good).await.error_code, 0);
    // Said twice.
    assert_eq!(reader.answer(&good).await.error_code, WRONG_EPOCH);
    let next = good.clone().with_session_epoch(2);
    let by_id: FetchResponse = reader.wire.call(ApiKey::Fetch, 13, &next).await;
    assert_eq!(by_id.error_code, TOPIC_ID_ERROR);
    assert_eq!(reader.answer(&next).await.error_code, NOT_FOUND);
}

#[tokio::test]
async fn a_session_ends_when_its_reader_says_so_or_wants_nothing() {
    let broker = with_topics(&["a"], &[]).await;
    let (mut reader, _) = Reader::begin(&broker, &["a"]).await;
    let next = reader.request(&[], &[]);
    let close = reader.request(&[("a", 0)], &[]).with_session_epoch(-1);
    let closed = reader.answer(&close).await;
    assert_eq!((closed.error_code, closed.session_id), (0, 0));
    assert_eq!(reader.answer(&next).await.error_code, NOT_FOUND);

    let (mut reader, _) = Reader::begin(&broker, &["a"]).await;
    let former = reader.id;
    let anew = reader.request(&[("a", 0)], &[]).with_session_epoch(0);
    let anew = reader.answer(&anew).await;
    assert!(anew.session_id != 0 && anew.session_id != former);
    let stale = reader.request(&[], &[]);
    assert_eq!(reader.answer(&stale).await.error_code, NOT_FOUND);

    let (mut reader, _) = Reader::begin(&broker, &["a"]).await;
    assert_eq!(reader.next(&[], &["a"]).await, []);
    assert_eq!(reader.id, 0);
}

#[tokio::test]
async fn a_session_goes_with_a_connection_that_waits() {
    let broker = with_topics(&["a"], &[]).await;
    let (mut waiting, _) = Reader::begin(&broker, &["a"]).await;
    waiting.wait_ms = 40_000;
    let mut other = Reader {
        wire: Wire::connect(broker.address()).await,
        ..Reader::begin(&broker, &["a"]).await.0
    };
    let request = waiting.request(&[], &[]);
    waiting.wire.send_quietly(ApiKey::Fetch, BY_NAME, &request);
    waiting.wire.flush().await;
    drop(waiting);
    // Never its next one.
    let next = request.with_max_wait_ms(0).with_session_epoch(99);
    // Until the broker has seen the connection end.
    let gone = async {
        loop {
            match other.answer(&next).await.error_code {
                NOT_FOUND => break,
                WRONG_EPOCH => tokio::time::sleep(Duration::from_millis(5)).await,
                code => panic!("error {code}"),
            }
        }
    };
    let gone = tokio::time::timeout(wire::DEADLINE, gone).await;
    gone.expect("the session goes");
}

#[tokio::test]
async fn where_all_slots_are_taken_nobody_gets_one() {
    let slots = [("max.incremental.fetch.session.cache.slots", "1")];
    let broker = with_topics(&["a"], &slots).await;
    let (mut first, _) = Reader::begin(&broker, &["a"]).await;
    assert_ne!(first.id, 0);
    let (second, told) = Reader::begin(&broker, &["a"]).await;
    assert_eq!((second.id, told), (0, vec![brought("a", &[])]));
    assert_eq!(first.next(&[], &[]).await, []);
}

#[tokio::test]
async fn what_can_not_be_read_is_told_until_it_can() {
    let broker = with_topics(&["a"], &[]).await;
    let (mut reader, told) = Reader::begin(&broker, &["a", "later"]).await;
    let unknown = || ("later".to_owned(), 3, Vec::new());
    assert_eq!(told, [brought("a", &[]), unknown()]);
    for _ in 0..3 {
        assert_eq!(reader.next(&[], &[]).await, [unknown()]);
    }
    broker.shared.create("later", &[1], &[]);
    broker.apply().await;
    assert_eq!(reader.next(&[], &[]).await, [brought("later", &[])]);
    assert_eq!(reader.next(&[], &[]).await, []);
}

#[tokio::test]
async fn a_follower_has_one_session_and_a_new_life_none() {
    let broker = cluster(2, wire::STEADY).await;
    // Broker 2 follows nothing of its own accord.
    let id = broker.shared.create("a", &[1], &[]);
    broker.apply().await;
    let (mut reader, _) = Reader::begin(&broker, &["a"]).await;
    let life = |epoch| {
        ReplicaState::default()
            .with_replica_id(BrokerId(2))
            .with_replica_epoch(epoch)
    };
    let mut begin = reader
        .request(&[("a", 0)], &[])
        .with_session_id(0)
        .with_session_epoch(0);
    begin.topics[0].topic = TopicName::default();
    begin.topics[0].topic_id = id;
    let mut of_life = async |request: &FetchRequest, epoch| -> FetchResponse {
        let request = request.clone().with_replica_state(life(epoch));
        reader.wire.call(ApiKey::Fetch, 17, &request).await
    };
    let first = of_life(&begin, 5).await.session_id;
    let second = of_life(&begin, 5).await.session_id;
    assert!(first != 0 && second != 0 && first != second);
    let next = FetchRequest::default().with_session_epoch(1);
    let of = |session| next.clone().with_session_id(session);
    assert_eq!(of_life(&of(first), 5).await.error_code, NOT_FOUND);
    assert_eq!(of_life(&of(second), 6).await.error_code, NOT_FOUND);
    assert_eq!(of_life(&of(second), 5).await.error_code, 0);
}
