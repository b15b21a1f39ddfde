//! The task that decides what is sent when.
//!
//! It never waits for a broker: connecting, sending, answers and metadata are other tasks' work,
//! and come back as [`Event`]s. Only the producer id is asked for here, since nothing can be sent
//! without one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::InitProducerIdRequest;
use tokio::sync::mpsc;

use super::node::{self, PartitionBatch, ToSend};
use super::queue::{Identity, Outcome};
use super::{Shared, State};
use crate::clock;
use crate::kafka::client::Client;
use crate::kafka::error::{KafkaError, check};

/// What comes back to the sender.
pub(super) enum Event {
    /// What came of a batch.
    Answered {
        topic: String,
        partition: i32,
        number: u64,
        outcome: Outcome,
    },
    /// Metadata of a topic was asked for.
    Refreshed(String),
}

/// The longest time between two looks at the queues.
const IDLE: Duration = Duration::from_secs(1);

struct Sender {
    client: Client,
    nodes: HashMap<i32, mpsc::UnboundedSender<ToSend>>,
    refreshing: HashSet<String>,
    identity: Option<Identity>,
    events: mpsc::UnboundedSender<Event>,
}

/// Runs until the producer is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let (events, mut happened) = mpsc::unbounded_channel();
    let mut sender = Sender {
        client: shared.client.clone(),
        nodes: HashMap::new(),
        refreshing: HashSet::new(),
        identity: (!shared.options.idempotent).then_some(Identity::NONE),
        events,
    };
    let weak: Weak<Shared> = Arc::downgrade(&shared);
    drop(shared);
    while let Some(shared) = weak.upgrade() {
        if shared.state.lock().closed {
            return;
        }
        let until = sender.round(&shared).await;
        let wait = until.saturating_duration_since(clock::now());
        tokio::select! {
            () = shared.wake.notified() => {}
            event = happened.recv() => {
                let mut next = event;
                while let Some(event) = next {
                    sender.happened(&shared, event);
                    next = happened.try_recv().ok();
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
    }
}

impl Sender {
    /// Sends what is ready; says when to look again.
    async fn round(&mut self, shared: &Shared) -> Instant {
        let now = clock::now();
        self.find_identity(shared, now).await;
        let now = clock::now();
        let Some(identity) = self.identity else {
            let mut state = shared.state.lock();
            for entry in state.entries() {
                entry.queue.expire(now);
            }
            if state.is_idle() {
                shared.progress.notify_waiters();
            }
            return now + self.client.options().retry_backoff;
        };
        let (requests, missing, until) = self.plan(&mut shared.state.lock(), identity, now, shared);
        if shared.state.lock().is_idle() {
            shared.progress.notify_waiters();
        }
        for topic in missing {
            self.refresh(topic);
        }
        for (node, batches) in requests {
            self.dispatch(shared, node, batches);
        }
        until
    }

    /// Takes ready batches by leader; the topics whose leader is unknown; the next deadline.
    fn plan(
        &self,
        state: &mut State,
        identity: Identity,
        now: Instant,
        shared: &Shared,
    ) -> (HashMap<i32, Vec<PartitionBatch>>, HashSet<String>, Instant) {
        let flushing = state.flushing > 0;
        let mut requests: HashMap<i32, Vec<PartitionBatch>> = HashMap::new();
        let mut missing = HashSet::new();
        let mut until = now + IDLE;
        for (topic, entries) in &mut state.topics {
            for (&partition, entry) in entries.iter_mut() {
                entry.queue.expire(now);
                if entry.queue.ready(now, flushing) && !self.refreshing.contains(topic) {
                    let leader = shared.client.cached_leader(topic, partition);
                    match leader {
                        None => {
                            missing.insert(topic.clone());
                        }
                        Some(leader) => {
                            while let Ok(Some((number, bytes))) =
                                entry.queue.take(identity, now, flushing)
                            {
                                let batch = PartitionBatch {
                                    topic: topic.clone(),
                                    partition,
                                    number,
                                    bytes,
                                };
                                requests.entry(leader).or_default().push(batch);
                            }
                        }
                    }
                }
                if let Some(at) = entry.queue.next_deadline().filter(|&at| at > now) {
                    until = until.min(at);
                }
            }
        }
        (requests, missing, until)
    }

    /// Gets a producer id when something to send needs one, or another one.
    async fn find_identity(&mut self, shared: &Shared, now: Instant) {
        let wanted = {
            let mut state = shared.state.lock();
            let flushing = state.flushing > 0;
            state.entries().any(|e| {
                e.queue.ready(now, flushing)
                    && self
                        .identity
                        .is_none_or(|id| e.queue.needs_other_identity(id))
            })
        };
        if !wanted {
            return;
        }
        self.identity = None;
        match init_producer_id(&self.client).await {
            Ok(identity) => {
                tracing::debug!(id = identity.id, "producer id");
                self.identity = Some(identity);
            }
            Err(error) => tracing::warn!(%error, "no producer id yet"),
        }
    }

    /// Splits batches into requests: of one partition only one batch each, bounded in size.
    fn dispatch(&mut self, shared: &Shared, node: i32, batches: Vec<PartitionBatch>) {
        let queue = self.nodes.entry(node).or_insert_with(|| {
            let (queue, requests) = mpsc::unbounded_channel();
            let worker = node::Node {
                client: self.client.clone(),
                id: node,
                acks: shared.options.acks.code(),
                request_timeout: shared.options.request_timeout,
                events: self.events.clone(),
            };
            tokio::spawn(worker.run(requests));
            queue
        });
        let mut request = Vec::new();
        let mut size = 0;
        let mut partitions = HashSet::new();
        for batch in batches {
            let again = !partitions.insert((batch.topic.clone(), batch.partition));
            if again || size + batch.bytes.len() > shared.options.request_bytes {
                let full = std::mem::take(&mut request);
                if !full.is_empty() {
                    let _ = queue.send(full);
                }
                size = 0;
                partitions.clear();
                partitions.insert((batch.topic.clone(), batch.partition));
            }
            size += batch.bytes.len();
            request.push(batch);
        }
        if !request.is_empty() {
            let _ = queue.send(request);
        }
    }

    /// Asks a broker for the leaders of a topic. What is remembered may say that a partition has none, as it was while one was
    /// being elected.
    fn refresh(&mut self, topic: String) {
        if !self.refreshing.insert(topic.clone()) {
            return;
        }
        self.client.forget_topic(&topic);
        let (client, events) = (self.client.clone(), self.events.clone());
        tokio::spawn(async move {
            let found = client.topic(&topic, false).await;
            // Without a leader for each there is nothing to hurry for.
            if !found.is_ok_and(|t| t.partitions.values().all(|p| p.leader.is_some())) {
                tokio::time::sleep(client.options().retry_backoff).await;
            }
            let _ = events.send(Event::Refreshed(topic));
        });
    }

    fn happened(&mut self, shared: &Shared, event: Event) {
        match event {
            Event::Refreshed(topic) => {
                self.refreshing.remove(&topic);
            }
            Event::Answered {
                topic,
                partition,
                number,
                outcome,
            } => {
                if let Outcome::Failed(error) = &outcome {
                    tracing::debug!(%topic, partition, %error, "batch not delivered");
                    if error.stale_metadata() {
                        self.client.forget_topic(&topic);
                    }
                }
                let mut state = shared.state.lock();
                let entry = state
                    .topics
                    .get_mut(&topic)
                    .and_then(|t| t.get_mut(&partition));
                if let Some(entry) = entry {
                    entry.queue.answered(number, outcome, clock::now());
                }
            }
        }
    }
}

impl State {
    fn entries(&mut self) -> impl Iterator<Item = &mut super::Entry> {
        self.topics.values_mut().flat_map(|t| t.values_mut())
    }
}

async fn init_producer_id(client: &Client) -> Result<Identity, KafkaError> {
    let connection = client.any().await?;
    let answer = connection
        .call(|version| {
            let mut request = InitProducerIdRequest::default();
            request.transactional_id = None;
            request.transaction_timeout_ms = i32::MAX;
            if version >= 3 {
                request.producer_id = (-1).into();
                request.producer_epoch = -1;
            }
            request
        })
        .await?;
    check(|| "InitProducerId".into(), answer.error_code)?;
    Ok(Identity {
        id: answer.producer_id.0,
        epoch: answer.producer_epoch,
    })
}

/// Bytes shared by batches, named for the sake of signatures.
pub(super) type BatchBytes = Bytes;
