//! Whole brokers over an ensemble in memory, spoken to over real sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsRequest, FetchRequest, MetadataRequest, ProduceRequest,
    RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use crate::ensemble::fake::FakeEnsemble;
use crate::log::format::record_batch;
use crate::log::format::record_batch::tests::Batch;

use super::*;

mod damage;
mod full;
mod unreadable;

const LIMIT: Duration = Duration::from_secs(120);
const TOPIC: &str = "orders";

/// One broker of a test's cluster.
struct Node {
    id: i32,
    dir: TempDir,
    shutdown: CancellationToken,
    running: Option<JoinHandle<Result<(), RunError>>>,
}

impl Node {
    fn new(id: i32) -> Node {
        Node {
            id,
            dir: tempfile::tempdir().expect("dir"),
            shutdown: CancellationToken::new(),
            running: None,
        }
    }

    fn start(&mut self, ensemble: &FakeEnsemble) {
        self.start_with(ensemble, &[]);
    }

    fn start_with(&mut self, ensemble: &FakeEnsemble, settings: &[(&str, &str)]) {
        let config = config(self.id, self.dir.path(), settings);
        self.shutdown = CancellationToken::new();
        let ports = Arc::new(ensemble.clone());
        let run = run_over(config, ports, disk::real(), self.shutdown.clone());
        self.running = Some(tokio::spawn(run));
    }

    async fn stop(&mut self) {
        self.shutdown.cancel();
        let running = self.running.take().expect("was started");
        let ended = tokio::time::timeout(LIMIT, running).await;
        ended.expect("in time").expect("no panic").expect("clean");
    }
}

fn config(id: i32, dir: &Path, settings: &[(&str, &str)]) -> Config {
    let pairs = [
        ("broker.id", id.to_string()),
        ("zookeeper.connect", "nowhere:1".to_owned()),
        ("listeners", "PLAINTEXT://127.0.0.1:0".to_owned()),
        ("log.dirs", dir.display().to_string()),
        ("min.insync.replicas", "2".to_owned()),
        // Who leaves the ISR here leaves it because it is gone, not because the machine is busy.
        ("replica.lag.time.max.ms", "600000".to_owned()),
        ("controlled.shutdown.max.retries", "1".to_owned()),
        ("controlled.shutdown.retry.backoff.ms", "3000".to_owned()),
    ];
    let pairs: Vec<_> = pairs
        .into_iter()
        .chain(
            settings
                .iter()
                .map(|(key, value)| (*key, (*value).to_owned())),
        )
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    Config::load(None, &pairs).expect("good settings")
}

async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let search = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, search).await;
    found.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// Where a registered broker listens.
fn address(ensemble: &FakeEnsemble, id: i32) -> Option<SocketAddr> {
    let text = ensemble.text(&format!("/brokers/ids/{id}"))?;
    let json: serde_json::Value = serde_json::from_str(&text).ok()?;
    let port = json.get("port")?.as_u64()?;
    Some(SocketAddr::from((
        [127, 0, 0, 1],
        u16::try_from(port).ok()?,
    )))
}

/// Sends one request over a connection of its own.
async fn ask<Q: Request>(at: SocketAddr, version: i16, request: &Q) -> Option<Q::Response> {
    let key = ApiKey::try_from(Q::KEY).ok()?;
    let mut frame = BytesMut::from(&[0; 4][..]);
    let header = RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_correlation_id(7)
        .with_client_id(Some(StrBytes::from_static_str("test")));
    header
        .encode(&mut frame, key.request_header_version(version))
        .ok()?;
    request.encode(&mut frame, version).ok()?;
    let length = u32::try_from(frame.len() - 4).ok()?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    let mut stream = TcpStream::connect(at).await.ok()?;
    stream.write_all(&frame).await.ok()?;
    let length = stream.read_u32().await.ok()?;
    let mut answer = vec![0; length as usize];
    stream.read_exact(&mut answer).await.ok()?;
    let mut answer = Bytes::from(answer);
    let header = ResponseHeader::decode(&mut answer, key.response_header_version(version)).ok()?;
    assert_eq!(header.correlation_id, 7);
    Q::Response::decode(&mut answer, version).ok()
}

fn name() -> TopicName {
    TopicName(StrBytes::from_static_str(TOPIC))
}

async fn create_topic(at: SocketAddr, replicas: i16) {
    create_named(at, TOPIC, replicas).await;
}

async fn create_named(at: SocketAddr, name: &'static str, replicas: i16) {
    let topic = CreatableTopic::default()
        .with_name(TopicName(StrBytes::from_static_str(name)))
        .with_num_partitions(1)
        .with_replication_factor(replicas);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![topic])
        .with_timeout_ms(60_000);
    let answer = ask(at, 5, &request).await.expect("answer");
    assert_eq!(answer.topics[0].error_code, 0, "{answer:?}");
}

/// Leader and ISR of the partition as a broker sees it.
async fn seen(at: SocketAddr) -> Option<(i32, Vec<i32>)> {
    let topic = MetadataRequestTopic::default().with_name(Some(name()));
    let request = MetadataRequest::default().with_topics(Some(vec![topic]));
    let answer = ask(at, 5, &request).await?;
    let partition = answer.topics.first()?.partitions.first()?;
    let mut isr: Vec<i32> = partition.isr_nodes.iter().map(|id| id.0).collect();
    isr.sort_unstable();
    (partition.error_code == 0 && partition.leader_id.0 >= 0)
        .then_some((partition.leader_id.0, isr))
}

/// Produces one batch with `acks=all`; the base offset, or the error.
async fn produce(at: SocketAddr, records: i32) -> Option<Result<i64, i16>> {
    let data = PartitionProduceData::default()
        .with_index(0)
        .with_records(Some(Batch::of(records).bytes().into()));
    let topic = TopicProduceData::default()
        .with_name(name())
        .with_partition_data(vec![data]);
    let request = ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(60_000)
        .with_topic_data(vec![topic]);
    let answer = ask(at, 8, &request).await?;
    let partition = &answer.responses[0].partition_responses[0];
    Some(match partition.error_code {
        0 => Ok(partition.base_offset),
        code => Err(code),
    })
}

/// Offset behind the last committed record that can be fetched.
async fn fetched_end(at: SocketAddr) -> Option<i64> {
    let partition = FetchPartition::default()
        .with_partition(0)
        .with_fetch_offset(0)
        .with_partition_max_bytes(1 << 20);
    let topic = FetchTopic::default()
        .with_topic(name())
        .with_partitions(vec![partition]);
    let request = FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(100)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic]);
    let answer = ask(at, 11, &request).await?;
    let partition = answer.responses.first()?.partitions.first()?;
    let records = partition.records.clone()?;
    let headers: Vec<_> = record_batch::headers(&records)
        .map_while(Result::ok)
        .collect();
    Some(headers.last().map_or(0, |(header, _)| header.next_offset()))
}

/// Waits until the first broker sees as many; where it listens.
async fn all_seen(ensemble: &FakeEnsemble, brokers: usize) -> SocketAddr {
    let at = until("registered", async || address(ensemble, 1)).await;
    until("all brokers seen", async || {
        let answer = ask(at, 5, &MetadataRequest::default()).await?;
        (answer.brokers.len() == brokers).then_some(at)
    })
    .await
}

async fn leader_of(ensemble: &FakeEnsemble, nodes: &[i32], isr: &[i32]) -> (i32, SocketAddr) {
    until(&format!("a leader, and {isr:?} in sync"), async || {
        for id in nodes {
            let Some(at) = address(ensemble, *id) else {
                continue;
            };
            if let Some((leader, members)) = seen(at).await
                && members == isr
                && nodes.contains(&leader)
            {
                return Some((leader, address(ensemble, leader)?));
            }
        }
        None
    })
    .await
}

async fn produce_until_done(ensemble: &FakeEnsemble, nodes: &[i32], records: i32) -> i64 {
    until("a batch acknowledged", async || {
        for id in nodes {
            let Some(at) = address(ensemble, *id) else {
                continue;
            };
            if let Some(Ok(offset)) = produce(at, records).await {
                return Some(offset);
            }
        }
        None
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_broker_serves_stops_and_serves_again() {
    let ensemble = FakeEnsemble::default();
    let mut node = Node::new(1);
    node.start(&ensemble);
    let at = until("registered", async || address(&ensemble, 1)).await;
    create_topic(at, 1).await;
    leader_of(&ensemble, &[1], &[1]).await;
    // An image may show the leader before its replica leads.
    let refused = until("an answer", async || {
        produce(at, 2).await.filter(|r| *r != Err(6))
    })
    .await;
    assert_eq!(
        refused,
        Err(19),
        "one replica is fewer than min.insync.replicas"
    );
    node.stop().await;
    assert_eq!(address(&ensemble, 1), None, "the session was closed");
    assert!(node.dir.path().join(".kafka_cleanshutdown").exists());
    assert!(node.dir.path().join("orders-0/partition.metadata").exists());
    node.start(&ensemble);
    let at = until("registered again", async || address(&ensemble, 1)).await;
    let (leader, _) = leader_of(&ensemble, &[1], &[1]).await;
    assert_eq!(leader, 1);
    assert_eq!(until("an answer", async || fetched_end(at).await).await, 0);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_records_survive_a_leader_that_stops() {
    let ensemble = FakeEnsemble::default();
    let mut nodes: BTreeMap<i32, Node> = (1..=3).map(|id| (id, Node::new(id))).collect();
    nodes.values_mut().for_each(|node| node.start(&ensemble));
    let at = all_seen(&ensemble, 3).await;
    create_topic(at, 3).await;
    let (first, _) = leader_of(&ensemble, &[1, 2, 3], &[1, 2, 3]).await;
    for batch in 0..5 {
        assert_eq!(produce_until_done(&ensemble, &[first], 3).await, batch * 3);
    }
    nodes.get_mut(&first).expect("there").stop().await;
    let rest: Vec<i32> = (1..=3).filter(|id| *id != first).collect();
    let (second, at) = leader_of(&ensemble, &rest, &rest).await;
    assert_ne!(second, first);
    let end = until("all records", async || {
        fetched_end(at).await.filter(|&end| end == 15)
    })
    .await;
    assert_eq!(end, 15);
    assert_eq!(produce_until_done(&ensemble, &rest, 1).await, 15);
    nodes.get_mut(&first).expect("there").start(&ensemble);
    leader_of(&ensemble, &[1, 2, 3], &[1, 2, 3]).await;
    for node in nodes.values_mut() {
        node.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_whose_session_expired_registers_anew_and_leads_again() {
    let ensemble = FakeEnsemble::default();
    let mut node = Node::new(1);
    node.start(&ensemble);
    let at = until("registered", async || address(&ensemble, 1)).await;
    create_topic(at, 1).await;
    leader_of(&ensemble, &[1], &[1]).await;
    let before = ensemble.stat("/brokers/ids/1").expect("registered");
    ensemble.expire(before.ephemeral_owner);
    let after = until("registered anew", async || ensemble.stat("/brokers/ids/1")).await;
    assert_ne!(after.czxid, before.czxid);
    let state = until("elected under the new epoch", async || {
        let text = ensemble.text("/brokers/topics/orders/partitions/0/state")?;
        let epoch = format!("\"leader_broker_epoch\":{}", after.czxid);
        text.contains(&epoch).then_some(text)
    })
    .await;
    assert!(state.contains("\"leader\":1"), "{state}");
    leader_of(&ensemble, &[1], &[1]).await;
    node.stop().await;
}
