//! A small client: one connection, one request at a time, and what was learnt of who leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiKey, MetadataRequest, RequestHeader, ResponseHeader, TopicName};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{sleep, timeout};
use zweig_broker::sim::Stream;

use crate::history::History;
use crate::net::{Host, Net};

/// What every client of a run has.
#[derive(Clone)]
pub struct Setting {
    /// The network.
    pub net: Net,
    /// What is told of what was seen.
    pub history: History,
    /// Numbers of the brokers.
    pub brokers: Vec<i32>,
    /// How slow it is.
    pub pace: Pace,
}

/// How many times slower than usual all clients are; clones share it.
#[derive(Clone, Default)]
pub struct Pace(Arc<AtomicU64>);

impl Pace {
    /// From now on.
    pub fn set(&self, times: u64) {
        self.0.store(times, Ordering::Relaxed);
    }

    fn of(&self, ms: u64) -> u64 {
        ms * self.0.load(Ordering::Relaxed).max(1)
    }
}

/// Why a call came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallError {
    /// Not sent: nothing can have been done.
    NotConnected,
    /// Sent, and no answer came.
    NoAnswer,
}

/// See the module.
pub struct Client {
    /// What it has.
    pub setting: Setting,
    /// Its chance.
    pub chance: StdRng,
    host: Host,
    connections: BTreeMap<i32, Box<dyn Stream>>,
    leaders: BTreeMap<(String, i32), i32>,
    /// The highest leader epoch heard of.
    epochs: BTreeMap<(String, i32), i32>,
    next_id: i32,
    /// Whether it believes a broker that knows of an earlier leader epoch only, as Kafka's clients do not.
    pub credulous: bool,
    /// How long it waits for an answer.
    pub limit: Duration,
}

/// Text of the protocol.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A topic's name.
pub fn name(topic: &str) -> TopicName {
    TopicName(text(topic))
}

impl Client {
    /// On a host of its own.
    pub fn new(setting: &Setting, host: Host, seed: u64) -> Client {
        Client {
            setting: setting.clone(),
            chance: StdRng::seed_from_u64(seed ^ (host as u64) << 20),
            host,
            connections: BTreeMap::new(),
            leaders: BTreeMap::new(),
            epochs: BTreeMap::new(),
            next_id: 0,
            credulous: false,
            limit: Duration::from_secs(8),
        }
    }

    /// Waits for up to so many milliseconds, or longer if nothing is going on.
    pub async fn rest(&mut self, ms: u64) {
        let ms = self.setting.pace.of(self.chance.random_range(1..=ms));
        sleep(Duration::from_millis(ms)).await;
    }

    /// Any broker.
    pub fn any(&mut self) -> i32 {
        let at = self.chance.random_range(0..self.setting.brokers.len());
        self.setting.brokers[at]
    }

    /// Asks one broker.
    pub async fn call<Q: Request>(
        &mut self,
        broker: i32,
        version: i16,
        request: &Q,
    ) -> Result<Q::Response, CallError> {
        let requests = std::slice::from_ref(request);
        let mut answers = self.call_all(broker, version, requests).await?;
        answers.pop().ok_or(CallError::NoAnswer)
    }

    /// Sends requests one behind the other, then waits for their answers: of all, or of the first ones.
    pub async fn call_all<Q: Request>(
        &mut self,
        broker: i32,
        version: i16,
        requests: &[Q],
    ) -> Result<Vec<Q::Response>, CallError> {
        let limit = self.limit;
        let mut stream = match self.connections.remove(&broker) {
            Some(stream) => stream,
            None => {
                let to = crate::node::host_number(broker);
                let connecting = timeout(limit, self.setting.net.connect(self.host, to)).await;
                connecting
                    .map_err(|_| CallError::NotConnected)?
                    .map_err(|_| CallError::NotConnected)?
            }
        };
        let first = self.next_id + 1;
        let mut answers = Vec::new();
        let exchange = async {
            for request in requests {
                self.next_id += 1;
                let frame = frame(self.next_id, version, request);
                stream.write_all(&frame).await.ok()?;
            }
            for id in first..=self.next_id {
                answers.push(answer::<Q>(&mut *stream, id, version).await?);
            }
            Some(())
        };
        if let Ok(Some(())) = timeout(limit, exchange).await {
            self.connections.insert(broker, stream);
        }
        Ok(answers)
    }

    /// Sends a request that has no answer.
    pub async fn tell<Q: Request>(&mut self, broker: i32, version: i16, request: &Q) {
        let stream = match self.connections.get_mut(&broker) {
            Some(stream) => stream,
            None => {
                let to = crate::node::host_number(broker);
                let Ok(stream) = self.setting.net.connect(self.host, to).await else {
                    return;
                };
                self.connections.entry(broker).or_insert(stream)
            }
        };
        self.next_id += 1;
        let frame = frame(self.next_id, version, request);
        if stream.write_all(&frame).await.is_err() {
            self.connections.remove(&broker);
        }
    }

    /// Who is thought to lead a partition; asks if nobody is known.
    pub async fn leader(&mut self, topic: &str, partition: i32) -> Option<i32> {
        let key = (topic.to_owned(), partition);
        if let Some(leader) = self.leaders.get(&key) {
            return Some(*leader);
        }
        let asked = MetadataRequestTopic::default().with_name(Some(name(topic)));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![asked]))
            .with_allow_auto_topic_creation(false);
        let broker = self.any();
        let answer = self.call(broker, 9, &request).await.ok()?;
        for topic in &answer.topics {
            let name = topic.name.clone().unwrap_or_default().to_string();
            for partition in topic.partitions.iter().filter(|p| p.leader_id.0 >= 0) {
                let key = (name.clone(), partition.partition_index);
                let epoch = self.epochs.entry(key.clone()).or_insert(-1);
                if partition.leader_epoch >= *epoch || self.credulous {
                    *epoch = partition.leader_epoch.max(*epoch);
                    self.leaders.insert(key, partition.leader_id.0);
                }
            }
        }
        self.leaders.get(&key).copied()
    }

    /// The highest leader epoch heard of, from whomever; -1 if none was.
    pub fn leader_epoch(&self, topic: &str, partition: i32) -> i32 {
        let key = (topic.to_owned(), partition);
        self.epochs.get(&key).copied().unwrap_or(-1)
    }

    /// Somebody else may lead a partition by now, or have led it before.
    pub fn guess_leader(&mut self, topic: &str, partition: i32) {
        let broker = self.any();
        self.leaders.insert((topic.to_owned(), partition), broker);
    }

    /// What was learnt of a partition's leader is no longer believed.
    pub fn forget_leader(&mut self, topic: &str, partition: i32) {
        self.leaders.remove(&(topic.to_owned(), partition));
    }
}

fn frame<Q: Request>(id: i32, version: i16, request: &Q) -> BytesMut {
    let api = ApiKey::try_from(Q::KEY).expect("a known request");
    let header = RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_correlation_id(id)
        .with_client_id(Some(StrBytes::from_static_str("sim")));
    let mut frame = BytesMut::from(&[0; 4][..]);
    header
        .encode(&mut frame, api.request_header_version(version))
        .expect("a header");
    request.encode(&mut frame, version).expect("a request");
    let size = u32::try_from(frame.len() - 4).expect("a small request");
    frame[..4].copy_from_slice(&size.to_be_bytes());
    frame
}

async fn answer<Q: Request>(stream: &mut dyn Stream, id: i32, version: i16) -> Option<Q::Response> {
    let api = ApiKey::try_from(Q::KEY).ok()?;
    let size = stream.read_u32().await.ok()?;
    let mut answer = vec![0; usize::try_from(size).ok()?];
    stream.read_exact(&mut answer).await.ok()?;
    let mut answer = Bytes::from(answer);
    let header = ResponseHeader::decode(&mut answer, api.response_header_version(version));
    assert_eq!(header.expect("a header").correlation_id, id);
    let decoded = Q::Response::decode(&mut answer, version).expect("an answer");
    assert!(!answer.has_remaining(), "bytes behind the answer");
    Some(decoded)
}

/// Tells clients when to stop.
#[derive(Clone, Default)]
pub struct Running(Arc<Mutex<bool>>);

impl Running {
    /// They shall end what they do.
    pub fn stop(&self) {
        *self.0.lock() = true;
    }

    /// Whether to go on.
    pub fn goes_on(&self) -> bool {
        !*self.0.lock()
    }
}
