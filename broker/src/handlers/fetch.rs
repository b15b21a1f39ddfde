//! Fetch (1): records to consumers and followers.
//!
//! Fetch sessions (KIP-227) are not kept: a request to begin one is answered in full with session id 0, which
//! tells the client to go on with full requests; one that names a session is told that it is not found.

use super::new_leader::fetch as new_leader;
use super::{Context, KafkaError, findable};
use crate::clock;
use crate::log::TopicPartition;
use crate::purgatory::fetch::{Bounds, Fetched, Wanted, fetch};
use crate::replica::hosted::{FetchedRecords, FollowerRead, PartitionError, ReadFrom, Reader};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{
    EpochEndOffset, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::{FetchRequest, FetchResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use uuid::Uuid;

/// First version that names topics by id.
const TOPIC_IDS_SINCE: i16 = 13;
/// First version that carries a follower's broker epoch.
const REPLICA_STATE_SINCE: i16 = 15;
/// First version that names the new leader beside an error.
const CURRENT_LEADER_SINCE: i16 = 16;
/// `isolation.level=read_committed`.
const READ_COMMITTED: i8 = 1;

pub(super) async fn handle(ctx: &Context, version: i16, request: FetchRequest) -> FetchResponse {
    if request.session_id != 0 {
        return FetchResponse::default()
            .with_error_code(ResponseError::FetchSessionIdNotFound.code());
    }
    let reader = reader(version, &request);
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let most = match reader {
        Reader::Consumer { .. } => request.max_bytes.min(ctx.config.net.fetch_max_bytes),
        Reader::Follower(_) => request.max_bytes,
    };
    let bounds = Bounds {
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(most).unwrap_or(0),
        deadline: Instant::from_std(clock::now() + wait),
    };
    let wanted: Vec<Wanted> = request
        .topics
        .iter()
        .flat_map(|topic| wanted(ctx, version, topic))
        .collect();
    let fetched = fetch(&wanted, reader, bounds).await;
    count(ctx, &wanted, reader, &fetched);
    let mut fetched = fetched.into_iter();
    let committed_only = matches!(
        reader,
        Reader::Consumer {
            committed_only: true
        }
    );
    let responses =
        request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().zip(fetched.by_ref()).map(
                |(asked, fetched)| match fetched {
                    Ok(records) => found(asked, records, committed_only),
                    Err(error) => failed(
                        ctx,
                        version,
                        topic_name(ctx, version, &topic).as_deref(),
                        asked,
                        &error,
                    ),
                },
            );
            let partitions = partitions.collect();
            FetchableTopicResponse::default()
                .with_topic(topic.topic)
                .with_topic_id(topic.topic_id)
                .with_partitions(partitions)
        });
    let response = FetchResponse::default().with_responses(responses.collect());
    with_endpoints(ctx, version, response)
}

fn count(ctx: &Context, wanted: &[Wanted], reader: Reader, fetched: &Fetched) {
    let metrics = ctx.replicas.metrics();
    metrics.fetches.add(fetched.len() as u64);
    for (wanted, fetched) in wanted.iter().zip(fetched) {
        match (&wanted.partition, fetched) {
            (Ok(partition), Ok(found)) => partition.count_sent(reader, found.records.len()),
            _ => metrics.fetches_failed.one(),
        }
    }
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

fn wanted(ctx: &Context, version: i16, topic: &FetchTopic) -> Vec<Wanted> {
    let name = topic_name(ctx, version, topic);
    let wanted = topic.partitions.iter().map(|asked| {
        let partition = match &name {
            Some(name) => ctx
                .replicas
                .partition(&TopicPartition::new(findable(name), asked.partition)),
            None => Err(PartitionError::UnknownTopicId),
        };
        let same_topic = |id: Uuid| version < TOPIC_IDS_SINCE || id == topic.topic_id;
        let partition = partition.and_then(|partition| match same_topic(partition.topic_id()) {
            true => Ok(partition),
            false => Err(PartitionError::WrongTopicId),
        });
        let from = ReadFrom {
            leader_epoch: asked.current_leader_epoch,
            offset: asked.fetch_offset,
            last_fetched_epoch: asked.last_fetched_epoch,
            max_bytes: usize::try_from(asked.partition_max_bytes).unwrap_or(0),
            min_one: false,
        };
        Wanted { partition, from }
    });
    wanted.collect()
}

/// The topic's name; `None` if its id is not known.
fn topic_name(ctx: &Context, version: i16, topic: &FetchTopic) -> Option<Arc<str>> {
    match version {
        TOPIC_IDS_SINCE.. => ctx
            .image()
            .topic_by_id(&topic.topic_id)
            .map(|topic| Arc::clone(&topic.name)),
        _ => Some(Arc::from(topic.topic.as_str())),
    }
}

fn found(asked: &FetchPartition, found: FetchedRecords, committed_only: bool) -> PartitionData {
    let data = PartitionData::default()
        .with_partition_index(asked.partition)
        .with_high_watermark(found.high_watermark)
        .with_last_stable_offset(found.last_stable_offset)
        .with_log_start_offset(found.log_start_offset)
        .with_aborted_transactions(committed_only.then(Vec::new))
        .with_records(Some(found.records));
    match found.diverging {
        None => data,
        Some(end) => data.with_diverging_epoch(
            EpochEndOffset::default()
                .with_epoch(end.leader_epoch)
                .with_end_offset(end.end_offset),
        ),
    }
}

fn failed(
    ctx: &Context,
    version: i16,
    topic: Option<&str>,
    asked: &FetchPartition,
    error: &PartitionError,
) -> PartitionData {
    let name = topic.map(|topic| TopicPartition::new(findable(topic), asked.partition));
    // A follower whose log ends before this one begins has to know where to begin anew.
    let log_start = match (error.response_error(), &name) {
        (ResponseError::OffsetOutOfRange, Some(name)) => ctx
            .replicas
            .partition(name)
            .map_or(-1, |partition| partition.log().log_start_offset()),
        _ => -1,
    };
    let data = PartitionData::default()
        .with_partition_index(asked.partition)
        .with_error_code(error.code())
        .with_high_watermark(-1)
        .with_last_stable_offset(-1)
        .with_log_start_offset(log_start)
        .with_records(Some(Bytes::new()));
    let moved = matches!(
        error,
        PartitionError::NotLeader | PartitionError::FencedLeaderEpoch { .. }
    );
    match name.and_then(|name| ctx.leader_of(&name)) {
        Some(leader) if moved && version >= CURRENT_LEADER_SINCE => {
            data.with_current_leader(new_leader::leader(leader))
        }
        _ => data,
    }
}

/// Adds where the leaders named in the answer can be reached.
fn with_endpoints(ctx: &Context, version: i16, response: FetchResponse) -> FetchResponse {
    if version < CURRENT_LEADER_SINCE {
        return response;
    }
    let answers = response
        .responses
        .iter()
        .flat_map(|topic| &topic.partitions);
    let named = answers.map(|answer| &answer.current_leader);
    let endpoints = new_leader::endpoints(ctx, named);
    response.with_node_endpoints(endpoints)
}
