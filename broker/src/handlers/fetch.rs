//! Fetch (1): records to consumers and followers, by requests that name every partition, or in a session (KIP-227).
//!
//! | session id | epoch | what it asks |
//! | --- | --- | --- |
//! | any | -1 | all that it names; a session of that id is closed |
//! | any | 0 | the same, and to begin a session, in place of that one |
//! | a session's | its next | what changed of the session's partitions, after those named here were added, moved or forgotten |
//!
//! The answer to one that begins a session has its id, or 0 if there is no room for it ([`crate::purgatory::session`]).

mod answer;
mod encode;

pub(super) use encode::encode;

use super::{Context, findable};
use crate::clock;
use crate::log::TopicPartition;
use crate::purgatory::fetch::{Bounds, Wanted, fetch};
use crate::purgatory::session::{Named, NoSession, Session, Told};
use crate::replica::hosted::{FollowerRead, Partition, PartitionError, ReadFrom, Reader};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::FetchableTopicResponse;
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// First version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// First version that carries a follower's broker epoch.
const REPLICA_STATE_SINCE: i16 = 15;
/// `isolation.level=read_committed`.
const READ_COMMITTED: i8 = 1;
/// Epoch of a request outside of sessions.
const WITHOUT_SESSION: i32 = -1;
/// Epoch of a request that begins a session.
const BEGINS_SESSION: i32 = 0;

pub(super) async fn handle(ctx: &Context, version: i16, request: FetchRequest) -> FetchResponse {
    let reader = reader(version, &request);
    let bounds = bounds(ctx, reader, &request);
    let (id, epoch) = (request.session_id, request.session_epoch);
    if epoch == WITHOUT_SESSION || epoch == BEGINS_SESSION {
        ctx.fetch_sessions.close(id);
        return full(ctx, version, request, reader, bounds).await;
    }
    match incremental(ctx, version, request, reader, bounds).await {
        Ok(response) => response,
        Err(error) => FetchResponse::default().with_error_code(error.code()),
    }
}

fn bounds(ctx: &Context, reader: Reader, request: &FetchRequest) -> Bounds {
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let most = match reader {
        Reader::Consumer { .. } => request.max_bytes.min(ctx.config.net.fetch_max_bytes),
        Reader::Follower(_) => request.max_bytes,
    };
    Bounds {
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(most).unwrap_or(0),
        deadline: Instant::from_std(clock::now() + wait),
    }
}

/// Answers all that is named, and begins a session if that is asked for.
async fn full(
    ctx: &Context,
    version: i16,
    request: FetchRequest,
    reader: Reader,
    bounds: Bounds,
) -> FetchResponse {
    let asked = asked(ctx, version, &request);
    let (named, wanted): (Vec<Named>, Vec<Wanted>) = asked.into_iter().unzip();
    let fetched = fetch(&wanted, reader, bounds).await;
    for (wanted, outcome) in wanted.iter().zip(&fetched) {
        if let (Ok(partition), Ok(found)) = (&wanted.partition, outcome) {
            partition.count_sent(reader, found.records.len());
        }
    }
    let session = begins_session(ctx, reader, &request).then(|| {
        let mut session = Session::new(reader, version >= TOPIC_IDS_SINCE);
        for ((named, wanted), outcome) in named.iter().zip(&wanted).zip(&fetched) {
            let partition = wanted.partition.as_ref().map_err(Clone::clone);
            session.want(named.clone(), partition, wanted.from);
            if let Ok(found) = outcome {
                session.was_told(named, found);
            }
        }
        session
    });
    let id = session.map_or(0, |session| ctx.fetch_sessions.open(session));
    let told = named.into_iter().zip(fetched);
    let told = told
        .map(|(named, outcome)| Told { named, outcome })
        .collect();
    answer(ctx, version, reader, told).with_session_id(id)
}

/// Whether a session is asked for, by somebody who may have one: of those who say that they are followers, brokers.
fn begins_session(ctx: &Context, reader: Reader, request: &FetchRequest) -> bool {
    let known = match reader {
        Reader::Follower(follower) => ctx.image().broker(follower.broker).is_some(),
        Reader::Consumer { .. } => true,
    };
    let partitions = request.topics.iter().map(|topic| topic.partitions.len());
    let partitions = partitions.sum();
    known
        && request.session_epoch == BEGINS_SESSION
        && partitions > 0
        && ctx.fetch_sessions.has_room(reader, partitions)
}

/// Answers what changed of a session's partitions.
async fn incremental(
    ctx: &Context,
    version: i16,
    request: FetchRequest,
    reader: Reader,
    bounds: Bounds,
) -> Result<FetchResponse, ResponseError> {
    let (id, epoch) = (request.session_id, request.session_epoch);
    let taken = ctx.fetch_sessions.take(id, epoch, reader);
    let mut in_use = taken.map_err(|error| match error {
        NoSession::NotFound => ResponseError::FetchSessionIdNotFound,
        NoSession::WrongEpoch { .. } => ResponseError::InvalidFetchSessionEpoch,
    })?;
    let session = in_use.session();
    if session.is_by_id() != (version >= TOPIC_IDS_SINCE) {
        return Err(ResponseError::FetchSessionTopicIdError);
    }
    for (named, from) in session.failed() {
        let name = topic_name(ctx, version, &named.topic, &named.topic_id);
        let partition = find(ctx, version, name.as_deref(), &named);
        session.want(named, partition.as_ref().map_err(Clone::clone), from);
    }
    for topic in &request.forgotten_topics_data {
        for &partition in &topic.partitions {
            let (topic, topic_id) = (topic.topic.clone(), topic.topic_id);
            session.forget(&Named {
                topic,
                topic_id,
                partition,
            });
        }
    }
    for (named, wanted) in asked(ctx, version, &request) {
        let partition = wanted.partition.as_ref().map_err(Clone::clone);
        session.want(named, partition, wanted.from);
    }
    let told = match session.is_empty() {
        true => Vec::new(),
        false => session.fetch(bounds).await,
    };
    let id = in_use.done();
    Ok(answer(ctx, version, reader, told).with_session_id(id))
}

/// The answer to a reader who is told this, in this order.
fn answer(ctx: &Context, version: i16, reader: Reader, told: Vec<Told>) -> FetchResponse {
    let committed_only = matches!(
        reader,
        Reader::Consumer {
            committed_only: true
        }
    );
    let metrics = ctx.replicas.metrics();
    metrics.fetches.add(told.len() as u64);
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    for Told { named, outcome } in told {
        let number = named.partition;
        let data = match outcome {
            Ok(records) => answer::found(number, records, committed_only),
            Err(error) => {
                metrics.fetches_failed.one();
                let topic = topic_name(ctx, version, &named.topic, &named.topic_id);
                answer::failed(ctx, version, topic.as_deref(), number, &error)
            }
        };
        match responses.last_mut() {
            Some(last) if last.topic == named.topic && last.topic_id == named.topic_id => {
                last.partitions.push(data);
            }
            _ => responses.push(
                FetchableTopicResponse::default()
                    .with_topic(named.topic)
                    .with_topic_id(named.topic_id)
                    .with_partitions(vec![data]),
            ),
        }
    }
    let response = FetchResponse::default().with_responses(responses);
    answer::with_endpoints(ctx, version, response)
}

fn reader(version: i16, request: &FetchRequest) -> Reader {
    let (broker, epoch) = match version {
        REPLICA_STATE_SINCE.. => (
            request.replica_state.replica_id.0,
            Some(request.replica_state.replica_epoch),
        ),
        _ => (request.replica_id.0, None),
    };
    match broker {
        0.. => Reader::Follower(FollowerRead {
            broker,
            broker_epoch: epoch.filter(|epoch| *epoch >= 0),
        }),
        _ => Reader::Consumer {
            committed_only: request.isolation_level == READ_COMMITTED,
        },
    }
}

/// What a request names, in its order.
fn asked(ctx: &Context, version: i16, request: &FetchRequest) -> Vec<(Named, Wanted)> {
    let mut all = Vec::with_capacity(request.topics.iter().map(|t| t.partitions.len()).sum());
    for topic in &request.topics {
        let name = topic_name(ctx, version, &topic.topic, &topic.topic_id);
        for asked in &topic.partitions {
            let named = Named {
                topic: topic.topic.clone(),
                topic_id: topic.topic_id,
                partition: asked.partition,
            };
            let partition = find(ctx, version, name.as_deref(), &named);
            let from = from(asked);
            all.push((named, Wanted { partition, from }));
        }
    }
    all
}

fn from(asked: &FetchPartition) -> ReadFrom {
    ReadFrom {
        leader_epoch: asked.current_leader_epoch,
        offset: asked.fetch_offset,
        last_fetched_epoch: asked.last_fetched_epoch,
        max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
        min_one: false,
    }
}

/// The partition of a topic of this name, if it is the one that is meant.
fn find(
    ctx: &Context,
    version: i16,
    topic: Option<&str>,
    named: &Named,
) -> Result<Arc<Partition>, PartitionError> {
    let topic = topic.ok_or(PartitionError::UnknownTopicId)?;
    let name = TopicPartition::new(findable(topic), named.partition);
    let partition = ctx.replicas.partition(&name)?;
    match version < TOPIC_IDS_SINCE || partition.topic_id() == named.topic_id {
        true => Ok(partition),
        false => Err(PartitionError::WrongTopicId),
    }
}

/// The topic's name; `None` if its id is not known.
fn topic_name(ctx: &Context, version: i16, topic: &TopicName, id: &Uuid) -> Option<Arc<str>> {
    match version {
        TOPIC_IDS_SINCE.. => {
            let image = ctx.image();
            image.topic_by_id(id).map(|topic| Arc::clone(&topic.name))
        }
        _ => Some(Arc::from(topic.as_str())),
    }
}
