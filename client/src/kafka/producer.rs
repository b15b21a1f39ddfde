//! A producer: records in, batches out, order and exactly-once kept per partition.
//!
//! [`Producer::send`] puts a record into the open batch of its partition and gives back a
//! [`Delivery`] to await, or to drop. One task (`producer/sender.rs`) decides what is sent when;
//! one task per broker (`producer/node.rs`) sends it, pipelined. The rules of a partition's
//! batches are pure and in `producer/queue.rs`.
//!
//! By default a producer is idempotent and waits for all in-sync replicas: a record whose delivery
//! is `Ok` is in the log once, in the order of the `send` calls per partition, whatever had to be
//! sent again. With `acks` 0 or 1 it is not idempotent, and one batch per partition is on its way
//! at a time so that the order holds all the same.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::Shared as SharedFuture;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::client::{Client, TopicMetadata};
use super::error::KafkaError;
use super::records::{Compression, Record};
use crate::clock;
use queue::{Landed, PartitionQueue, Pushed, QueueLimits};

mod node;
pub mod partitioner;
mod queue;
mod sender;

/// Who must have a record before it counts as delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Acks {
    /// Nobody: the broker does not even answer.
    None,
    /// The leader.
    Leader,
    /// All in-sync replicas, at least `min.insync.replicas`.
    #[default]
    All,
}

impl Acks {
    fn code(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// How a producer batches, waits and tries again.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Who must have a record.
    pub acks: Acks,
    /// Number records so that the broker drops repeats; needs [`Acks::All`].
    pub idempotent: bool,
    /// Codec.
    pub compression: Compression,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// Size at which a batch is closed, uncompressed bytes.
    pub batch_bytes: usize,
    /// Largest request, and largest record, in bytes.
    pub request_bytes: usize,
    /// Batches of one partition on their way at once; 5 at most if idempotent.
    pub max_in_flight: usize,
    /// Memory for records not delivered yet, bytes; `send` waits when it is used up.
    pub buffer_bytes: usize,
    /// From `send` to giving up.
    pub delivery_timeout: Duration,
    /// How long the broker may wait for replicas.
    pub request_timeout: Duration,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            acks: Acks::All,
            idempotent: true,
            compression: Compression::None,
            linger: Duration::from_millis(5),
            batch_bytes: 64 << 10,
            request_bytes: 1 << 20,
            max_in_flight: 5,
            buffer_bytes: 64 << 20,
            delivery_timeout: Duration::from_secs(120),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// A record to send.
#[derive(Debug, Clone, Default)]
pub struct ProducerRecord {
    /// Where to.
    pub topic: String,
    /// Which partition; by key, or in turn, if not given.
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since the epoch; now, if not given.
    pub timestamp_ms: Option<i64>,
}

/// Where a record came to lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// Partition.
    pub partition: i32,
    /// Offset; -1 if the broker did not say (acks 0, or a repeat).
    pub offset: i64,
    /// The broker's append time, if the topic uses that; -1 otherwise.
    pub append_time_ms: i64,
}

type Fate = SharedFuture<oneshot::Receiver<Result<Landed, KafkaError>>>;

/// What will have become of a record.
#[derive(Debug, Clone)]
pub struct Delivery {
    fate: Fate,
    partition: i32,
    place: i64,
}

impl Future for Delivery {
    type Output = Result<Delivered, KafkaError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let (partition, place) = (self.partition, self.place);
        self.fate.poll_unpin(context).map(|told| {
            let (base, append_time_ms) = told.unwrap_or(Err(KafkaError::Closed))?;
            let offset = if base < 0 { -1 } else { base + place };
            Ok(Delivered {
                partition,
                offset,
                append_time_ms,
            })
        })
    }
}

/// Sends records. Dropping it drops what is not sent yet: see [`Producer::close`].
pub struct Producer {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

struct Shared {
    client: Client,
    options: ProducerOptions,
    limits: QueueLimits,
    state: Mutex<State>,
    memory: Arc<Semaphore>,
    /// Something to send, or a deadline changed.
    wake: Notify,
    /// Everything is done.
    progress: Notify,
}

#[derive(Default)]
struct State {
    topics: HashMap<String, HashMap<i32, Entry>>,
    sticky: partitioner::Sticky,
    /// How many flushes wait.
    flushing: usize,
    closed: bool,
}

struct Entry {
    queue: PartitionQueue,
    /// Fate of the open batch.
    fate: Option<Fate>,
}

impl Producer {
    /// A producer on `client`'s cluster.
    ///
    /// # Errors
    /// [`KafkaError::Invalid`] if the options contradict each other.
    pub fn new(client: Client, options: ProducerOptions) -> Result<Self, KafkaError> {
        if options.idempotent && options.acks != Acks::All {
            return Err(KafkaError::Invalid(
                "an idempotent producer needs acks=all".into(),
            ));
        }
        if options.max_in_flight == 0 || (options.idempotent && options.max_in_flight > 5) {
            return Err(KafkaError::Invalid("max_in_flight must be 1 to 5".into()));
        }
        let limits = QueueLimits {
            batch_bytes: options.batch_bytes,
            linger: options.linger,
            max_in_flight: if options.idempotent {
                options.max_in_flight
            } else {
                1
            },
            delivery_timeout: options.delivery_timeout,
            retry_backoff: client.options().retry_backoff,
            compression: options.compression,
        };
        let memory = options
            .buffer_bytes
            .clamp(options.request_bytes, Semaphore::MAX_PERMITS);
        let shared = Arc::new(Shared {
            client,
            limits,
            state: Mutex::new(State {
                sticky: partitioner::Sticky::new(clock::unix_ms() as usize),
                ..State::default()
            }),
            memory: Arc::new(Semaphore::new(memory)),
            wake: Notify::new(),
            progress: Notify::new(),
            options,
        });
        let task = tokio::spawn(sender::run(shared.clone()));
        Ok(Self { shared, task })
    }

    /// Queues a record; waits while the topic is unknown or the buffer is full.
    ///
    /// # Errors
    /// [`KafkaError`] if the topic has no such partition, or the record is too large.
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, KafkaError> {
        let shared = &self.shared;
        let topic = match shared.client.cached_topic(&record.topic) {
            Some(topic) => topic,
            None => shared.client.topic_patiently(&record.topic, true).await?,
        };
        let value = Record {
            key: record.key,
            value: record.value,
            headers: record.headers,
            timestamp_ms: record.timestamp_ms.unwrap_or_else(clock::unix_ms),
        };
        let size = value.size_bound();
        if size > shared.options.request_bytes {
            return Err(KafkaError::broker(
                format!("a record of {size} bytes for topic {}", record.topic),
                super::ErrorCode::MessageTooLarge,
            ));
        }
        let permits = u32::try_from(size).unwrap_or(u32::MAX);
        let memory = shared
            .memory
            .clone()
            .acquire_many_owned(permits)
            .await
            .map_err(|_| KafkaError::Closed)?;

        let mut state = shared.state.lock();
        if state.closed {
            return Err(KafkaError::Closed);
        }
        let keyless = record.partition.is_none() && value.key.is_none();
        let partition = match record.partition {
            Some(partition) => partition,
            None => {
                if keyless && state.batch_left(&record.topic, &topic) {
                    state.sticky.advance(&record.topic);
                }
                choose(&state.sticky, &topic, value.key.as_deref())?
            }
        };
        if !topic.partitions.contains_key(&partition) {
            return Err(KafkaError::Invalid(format!(
                "topic {} has no partition {partition}",
                record.topic
            )));
        }
        let (delivery, closed, first) = state.push(&record.topic, partition, value, memory, shared);
        if keyless && closed {
            state.sticky.advance(&record.topic);
        } else if keyless {
            state.sticky.sent(&record.topic, size);
        }
        drop(state);
        if closed || first {
            shared.wake.notify_one();
        }
        Ok(delivery)
    }

    /// Sends what is queued without lingering, and waits until all of it is delivered or failed.
    pub async fn flush(&self) {
        self.shared.state.lock().flushing += 1;
        self.shared.wake.notify_one();
        loop {
            // Registered before looking, so that no progress is missed.
            let progress = self.shared.progress.notified();
            if self.shared.state.lock().is_idle() || self.task.is_finished() {
                break;
            }
            progress.await;
        }
        self.shared.state.lock().flushing -= 1;
    }

    /// Flushes, then stops.
    pub async fn close(self) {
        self.flush().await;
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.state.lock().closed = true;
        self.shared.wake.notify_one();
        self.task.abort();
    }
}

impl State {
    fn is_idle(&self) -> bool {
        self.topics
            .values()
            .flat_map(HashMap::values)
            .all(|e| e.queue.is_idle())
    }

    /// Whether the batch that records without keys went to has been sent: time for the next partition.
    fn batch_left(&self, name: &str, topic: &TopicMetadata) -> bool {
        if !self.sticky.has_begun(name) {
            return false;
        }
        let current = choose(&self.sticky, topic, None).ok();
        let entry = current.and_then(|p| self.topics.get(name)?.get(&p));
        entry.is_some_and(|e| !e.queue.is_collecting())
    }

    /// Delivery, whether a batch was closed by it, whether one was begun.
    fn push(
        &mut self,
        topic: &str,
        partition: i32,
        record: Record,
        memory: tokio::sync::OwnedSemaphorePermit,
        shared: &Shared,
    ) -> (Delivery, bool, bool) {
        if !self.topics.contains_key(topic) {
            self.topics.insert(topic.to_owned(), HashMap::new());
        }
        let entries = self.topics.entry(topic.to_owned()).or_default();
        let entry = entries.entry(partition).or_insert_with(|| Entry {
            queue: PartitionQueue::new(shared.limits),
            fate: None,
        });
        let (pushed, closed) = entry.queue.push(record, memory, clock::now());
        match (pushed, &entry.fate) {
            (Pushed::Nth(place), Some(fate)) => {
                let delivery = Delivery {
                    fate: fate.clone(),
                    partition,
                    place: place as i64,
                };
                (delivery, closed, false)
            }
            (Pushed::First(told), _) => {
                let fate = told.shared();
                entry.fate = Some(fate.clone());
                (
                    Delivery {
                        fate,
                        partition,
                        place: 0,
                    },
                    closed,
                    true,
                )
            }
            (Pushed::Nth(_), None) => unreachable!("an open batch has a fate"),
        }
    }
}

fn choose(
    sticky: &partitioner::Sticky,
    topic: &TopicMetadata,
    key: Option<&[u8]>,
) -> Result<i32, KafkaError> {
    let none = || KafkaError::Invalid(format!("topic {} has no partitions", topic.name));
    if let Some(key) = key {
        // By number, whether led or not: the place of a key must not depend on who is up.
        let place = partitioner::partition_of_key(key, topic.partitions.len());
        return topic.partitions.keys().nth(place).copied().ok_or_else(none);
    }
    let led: Vec<i32> = topic
        .partitions
        .values()
        .filter(|p| p.leader.is_some())
        .map(|p| p.index)
        .collect();
    let available = if led.is_empty() {
        topic.partitions.keys().copied().collect()
    } else {
        led
    };
    available
        .get(sticky.current(&topic.name, available.len()))
        .copied()
        .ok_or_else(none)
}

#[cfg(test)]
mod tests;
