//! What an answer to a fetch says of each partition.

use super::super::new_leader::fetch as new_leader;
use super::super::{Context, KafkaError, findable};
use crate::log::TopicPartition;
use crate::replica::hosted::{FetchedRecords, PartitionError};
use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::FetchResponse;
use kafka_protocol::messages::fetch_response::{EpochEndOffset, PartitionData};

/// First version that names the new leader beside an error.
const CURRENT_LEADER_SINCE: i16 = 16;

pub(super) fn found(partition: i32, found: FetchedRecords, committed_only: bool) -> PartitionData {
    let data = PartitionData::default()
        .with_partition_index(partition)
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

pub(super) fn failed(
    ctx: &Context,
    version: i16,
    topic: Option<&str>,
    partition: i32,
    error: &PartitionError,
) -> PartitionData {
    let name = topic.map(|topic| TopicPartition::new(findable(topic), partition));
    // A follower whose log ends before this one begins has to know where to begin anew.
    let log_start = match (error.response_error(), &name) {
        (ResponseError::OffsetOutOfRange, Some(name)) => ctx
            .replicas
            .partition(name)
            .map_or(-1, |partition| partition.log().log_start_offset()),
        _ => -1,
    };
    let data = PartitionData::default()
        .with_partition_index(partition)
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
pub(super) fn with_endpoints(
    ctx: &Context,
    version: i16,
    response: FetchResponse,
) -> FetchResponse {
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
