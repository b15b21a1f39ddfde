//! A cluster as a client sees it: metadata, one connection per broker, leaders, coordinators.
//!
//! Admin, producer and consumer share one [`Client`]. What it caches may be stale: an answer that
//! says so (see [`KafkaError::stale_metadata`]) makes the caller drop that part of the cache
//! ([`Client::forget_topic`], [`Client::forget_coordinator`]) and ask again.
//!
//! Connections come in four lanes per broker, because answers keep the order of requests: a
//! heartbeat must not queue behind a fetch that the broker holds back.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use kafka_protocol::messages::{
    FindCoordinatorRequest, MetadataRequest, TopicName, metadata_request::MetadataRequestTopic,
};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;

use super::connection::{Connection, ConnectionOptions};
use super::error::{KafkaError, check_with};
use crate::clock;
use metadata::to_metadata;

mod metadata;
pub use metadata::{Broker, ClusterMetadata, PartitionMetadata, TopicMetadata};

/// How a client reaches and remembers a cluster.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// host:port of brokers to begin with; any that answers will do.
    pub bootstrap: Vec<String>,
    /// Name and time limits of connections.
    pub connection: ConnectionOptions,
    /// Metadata older than this is asked for again.
    pub metadata_max_age: Duration,
    /// First wait before a retry; doubles up to `retry_backoff_max`.
    pub retry_backoff: Duration,
    /// Longest wait before a retry.
    pub retry_backoff_max: Duration,
    /// How long an operation is retried before its last error is returned.
    pub operation_timeout: Duration,
}

impl ClientOptions {
    /// Defaults, for the brokers of a comma-separated list.
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap
                .split(',')
                .map(str::trim)
                .filter(|s| !s.is_empty())
                .map(str::to_owned)
                .collect(),
            connection: ConnectionOptions::default(),
            metadata_max_age: Duration::from_secs(300),
            retry_backoff: Duration::from_millis(50),
            retry_backoff_max: Duration::from_secs(1),
            operation_timeout: Duration::from_secs(30),
        }
    }
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// Metadata and admin: must not queue behind a produce that waits for replicas.
    Control,
    /// Produce.
    Data,
    /// Fetch, which brokers hold back until there is data.
    Fetch,
    /// Group membership: join, sync, heartbeat, commit.
    Group,
}

/// Where to find things in a cluster; clones share it.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

type Slot = Arc<tokio::sync::Mutex<Option<Connection>>>;

struct Inner {
    options: ClientOptions,
    cache: Mutex<Cache>,
    connections: Mutex<HashMap<(String, Lane), Slot>>,
    next_bootstrap: AtomicUsize,
}

#[derive(Default)]
struct Cache {
    brokers: BTreeMap<i32, Broker>,
    controller: Option<i32>,
    topics: HashMap<String, (Arc<TopicMetadata>, Instant)>,
    /// Group id to the broker that coordinates it.
    coordinators: HashMap<String, i32>,
}

impl Client {
    /// A client of the cluster behind `options.bootstrap`. Connects when first asked something.
    pub fn new(options: ClientOptions) -> Self {
        Self {
            inner: Arc::new(Inner {
                options,
                cache: Mutex::default(),
                connections: Mutex::default(),
                next_bootstrap: AtomicUsize::new(0),
            }),
        }
    }

    /// The options it was made with.
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// Asks for metadata: of `topics`, or of every topic.
    ///
    /// # Errors
    /// [`KafkaError`] if no broker answers. Errors of single topics stand in the answer.
    pub async fn metadata(
        &self,
        topics: Option<&[String]>,
        auto_create: bool,
    ) -> Result<ClusterMetadata, KafkaError> {
        let connection = self.any().await?;
        let answer = connection
            .call(|version| {
                let mut request = MetadataRequest::default();
                request.allow_auto_topic_creation = auto_create || version < 4;
                request.topics = topics.map(|names| {
                    names
                        .iter()
                        .map(|name| {
                            let mut topic = MetadataRequestTopic::default();
                            topic.name = Some(TopicName(StrBytes::from_string(name.clone())));
                            topic
                        })
                        .collect()
                });
                request
            })
            .await?;
        let metadata = to_metadata(answer);
        self.remember(&metadata);
        Ok(metadata)
    }

    fn remember(&self, metadata: &ClusterMetadata) {
        let now = clock::now();
        let mut cache = self.inner.cache.lock();
        cache.brokers.clone_from(&metadata.brokers);
        cache.controller = metadata.controller;
        for (name, topic) in &metadata.topics {
            match topic {
                Ok(topic) => {
                    cache.topics.insert(name.clone(), (topic.clone(), now));
                }
                Err(_) => {
                    cache.topics.remove(name);
                }
            }
        }
    }

    /// A topic, from the cache if it is fresh; asks once otherwise.
    ///
    /// # Errors
    /// [`KafkaError`] if the topic has an error or no broker answers.
    pub async fn topic(
        &self,
        name: &str,
        auto_create: bool,
    ) -> Result<Arc<TopicMetadata>, KafkaError> {
        if let Some(topic) = self.cached_topic(name) {
            return Ok(topic);
        }
        let mut metadata = self.metadata(Some(&[name.to_owned()]), auto_create).await?;
        metadata.topics.remove(name).unwrap_or_else(|| {
            Err(KafkaError::broker(
                format!("metadata of topic {name}"),
                super::ErrorCode::UnknownTopicOrPartition,
            ))
        })
    }

    /// [`Client::topic`], retried until the topic is there or the operation timeout is over.
    ///
    /// # Errors
    /// The last error.
    pub async fn topic_patiently(
        &self,
        name: &str,
        auto_create: bool,
    ) -> Result<Arc<TopicMetadata>, KafkaError> {
        self.retry(|| self.topic(name, auto_create)).await
    }

    /// The leader of a partition, from the cache if it is fresh.
    ///
    /// # Errors
    /// [`KafkaError`], LEADER_NOT_AVAILABLE if there is none now.
    pub async fn leader(
        &self,
        topic: &str,
        partition: i32,
    ) -> Result<(i32, PartitionMetadata), KafkaError> {
        let metadata = self.topic(topic, false).await?;
        let operation = || format!("leader of {topic}-{partition}");
        let found = metadata.partitions.get(&partition).ok_or_else(|| {
            KafkaError::broker(operation(), super::ErrorCode::UnknownTopicOrPartition)
        });
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                self.forget_topic(topic);
                return Err(error);
            }
        };
        match found.leader {
            Some(leader) => Ok((leader, found.clone())),
            None => {
                self.forget_topic(topic);
                Err(KafkaError::broker(
                    operation(),
                    super::ErrorCode::LeaderNotAvailable,
                ))
            }
        }
    }

    /// A topic, if it is in the cache and fresh.
    pub fn cached_topic(&self, name: &str) -> Option<Arc<TopicMetadata>> {
        let cache = self.inner.cache.lock();
        let (topic, at) = cache.topics.get(name)?;
        let age = clock::now().saturating_duration_since(*at);
        (age < self.inner.options.metadata_max_age).then(|| topic.clone())
    }

    /// The leader of a partition, if it is in the cache and fresh.
    pub fn cached_leader(&self, topic: &str, partition: i32) -> Option<i32> {
        self.cached_topic(topic)?.partitions.get(&partition)?.leader
    }

    /// Makes the next question about `topic` go to a broker.
    pub fn forget_topic(&self, topic: &str) {
        self.inner.cache.lock().topics.remove(topic);
    }

    /// A connection to a broker by id.
    ///
    /// # Errors
    /// [`KafkaError`] if the broker is unknown or cannot be reached.
    pub async fn broker(&self, id: i32, lane: Lane) -> Result<Connection, KafkaError> {
        let known = self
            .inner
            .cache
            .lock()
            .brokers
            .get(&id)
            .map(Broker::address);
        let address = match known {
            Some(address) => address,
            None => self
                .metadata(Some(&[]), false)
                .await?
                .brokers
                .get(&id)
                .map(Broker::address)
                .ok_or_else(|| {
                    KafkaError::broker(
                        format!("address of broker {id}"),
                        super::ErrorCode::BrokerNotAvailable,
                    )
                })?,
        };
        self.open(&address, lane).await
    }

    async fn open(&self, address: &str, lane: Lane) -> Result<Connection, KafkaError> {
        let slot = self
            .inner
            .connections
            .lock()
            .entry((address.to_owned(), lane))
            .or_default()
            .clone();
        let mut slot = slot.lock().await;
        if let Some(connection) = slot.as_ref().filter(|c| c.alive()) {
            return Ok(connection.clone());
        }
        let connection = Connection::open(address, &self.inner.options.connection).await?;
        *slot = Some(connection.clone());
        Ok(connection)
    }

    /// A connection to any broker: known ones first, then the bootstrap addresses.
    ///
    /// # Errors
    /// [`KafkaError::Unreachable`] naming every address tried.
    pub async fn any(&self) -> Result<Connection, KafkaError> {
        let options = &self.inner.options;
        let mut addresses: Vec<String> = self
            .inner
            .cache
            .lock()
            .brokers
            .values()
            .map(Broker::address)
            .collect();
        let start = self.inner.next_bootstrap.load(Ordering::Relaxed);
        let count = options.bootstrap.len();
        addresses.extend((0..count).map(|i| options.bootstrap[(start + i) % count].clone()));
        addresses.dedup();
        let mut last = "no address given".to_owned();
        for address in &addresses {
            match self.open(address, Lane::Control).await {
                Ok(connection) => return Ok(connection),
                Err(KafkaError::Unreachable { reason, .. }) => last = reason,
                Err(error) => last = error.to_string(),
            }
        }
        self.inner.next_bootstrap.fetch_add(1, Ordering::Relaxed);
        Err(KafkaError::Unreachable {
            addresses: addresses.join(","),
            reason: last,
        })
    }

    /// A connection to the controller.
    ///
    /// # Errors
    /// [`KafkaError`] if there is none now.
    pub async fn controller(&self) -> Result<Connection, KafkaError> {
        let metadata = self.metadata(Some(&[]), false).await?;
        let id = metadata.controller.ok_or_else(|| {
            KafkaError::broker(
                "finding the controller",
                super::ErrorCode::BrokerNotAvailable,
            )
        })?;
        self.broker(id, Lane::Control).await
    }

    /// A connection to the broker that coordinates `group`.
    ///
    /// # Errors
    /// [`KafkaError`], COORDINATOR_NOT_AVAILABLE among them; retriable.
    pub async fn coordinator(&self, group: &str) -> Result<Connection, KafkaError> {
        let cached = self.inner.cache.lock().coordinators.get(group).copied();
        if let Some(id) = cached {
            match self.broker(id, Lane::Group).await {
                Ok(connection) => return Ok(connection),
                Err(_) => self.forget_coordinator(group),
            }
        }
        let connection = self.any().await?;
        let answer = connection
            .call(|version| {
                let mut request = FindCoordinatorRequest::default();
                request.key = StrBytes::from_string(group.to_owned());
                // Key type 0, a group, is the default, and unknown to version 0.
                debug_assert!(version <= FIND_COORDINATOR_SINGLE_KEY_MAX);
                request
            })
            .await?;
        let operation = || format!("finding the coordinator of group {group}");
        check_with(
            operation,
            answer.error_code,
            answer.error_message.as_deref(),
        )?;
        let broker = Broker {
            id: answer.node_id.0,
            host: answer.host.to_string(),
            port: answer.port,
            rack: None,
        };
        let address = broker.address();
        {
            let mut cache = self.inner.cache.lock();
            cache.coordinators.insert(group.to_owned(), broker.id);
            cache.brokers.entry(broker.id).or_insert(broker);
        }
        self.open(&address, Lane::Group).await
    }

    /// Makes the next question about `group`'s coordinator go to a broker.
    pub fn forget_coordinator(&self, group: &str) {
        self.inner.cache.lock().coordinators.remove(group);
    }

    /// Repeats `attempt` while it fails in a retriable way, up to the operation timeout.
    ///
    /// # Errors
    /// The first error that is not retriable, or the last one.
    pub async fn retry<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T, KafkaError>
    where
        F: Future<Output = Result<T, KafkaError>>,
    {
        let options = &self.inner.options;
        let deadline = clock::now() + options.operation_timeout;
        let mut backoff = options.retry_backoff;
        loop {
            match attempt().await {
                Err(error) if error.retriable() && clock::now() + backoff < deadline => {
                    tracing::debug!(%error, ?backoff, "trying again");
                    tokio::time::sleep(backoff).await;
                    backoff = (backoff * 2).min(options.retry_backoff_max);
                }
                other => return other,
            }
        }
    }
}

/// From version 4 on FindCoordinator asks for many keys at once.
const FIND_COORDINATOR_SINGLE_KEY_MAX: i16 = 3;
