//! ListOffsets (2): the first, the last, or the offset at a time.

use super::{Context, KafkaError, findable};
use crate::log::TopicPartition;
use crate::replica::hosted::{FollowerRead, FoundOffset, OffsetLookup, PartitionError, Reader};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

/// Timestamps with a meaning of their own.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
/// The first on local disk: all of a log is.
const EARLIEST_LOCAL: i64 = -4;
/// The last in remote storage: there is none.
const LATEST_TIERED: i64 = -5;
/// First version that knows MAX_TIMESTAMP.
const MAX_TIMESTAMP_SINCE: i16 = 7;
/// First version that answers with a leader epoch.
const LEADER_EPOCH_SINCE: i16 = 4;
/// First version whose clients know OFFSET_NOT_AVAILABLE; older ones understand LEADER_NOT_AVAILABLE.
const OFFSET_NOT_AVAILABLE_SINCE: i16 = 5;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: ListOffsetsRequest,
) -> ListOffsetsResponse {
    let reader = match request.replica_id.0 {
        broker @ 0.. => Reader::Follower(FollowerRead {
            broker,
            broker_epoch: None,
        }),
        _ => Reader::Consumer {
            committed_only: request.isolation_level == 1,
        },
    };
    let topics = request.topics.into_iter().map(|topic| {
        let answer = |asked: &ListOffsetsPartition| {
            let name = TopicPartition::new(findable(&topic.name), asked.partition_index);
            partition(version, asked, find(ctx, version, &name, asked, reader))
        };
        let partitions = topic.partitions.iter().map(answer).collect();
        ListOffsetsTopicResponse::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn find(
    ctx: &Context,
    version: i16,
    name: &TopicPartition,
    asked: &ListOffsetsPartition,
    reader: Reader,
) -> Result<FoundOffset, i16> {
    let lookup = match asked.timestamp {
        LATEST => OffsetLookup::Latest,
        EARLIEST | EARLIEST_LOCAL => OffsetLookup::Earliest,
        MAX_TIMESTAMP if version >= MAX_TIMESTAMP_SINCE => OffsetLookup::MaxTimestamp,
        LATEST_TIERED => {
            return Ok(FoundOffset {
                timestamp_ms: -1,
                offset: -1,
                leader_epoch: -1,
            });
        }
        timestamp_ms @ 0.. => OffsetLookup::Timestamp(timestamp_ms),
        _ => return Err(ResponseError::UnsupportedVersion.code()),
    };
    let found = ctx
        .replicas
        .partition(name)
        .and_then(|p| p.find_offset(asked.current_leader_epoch, lookup, reader));
    found.map_err(|error| match error {
        PartitionError::OffsetNotAvailable if version < OFFSET_NOT_AVAILABLE_SINCE => {
            ResponseError::LeaderNotAvailable.code()
        }
        error => error.code(),
    })
}

fn partition(
    version: i16,
    asked: &ListOffsetsPartition,
    found: Result<FoundOffset, i16>,
) -> ListOffsetsPartitionResponse {
    let answer =
        ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
    match found {
        Err(code) => answer.with_error_code(code),
        Ok(found) => {
            let leader_epoch = if version >= LEADER_EPOCH_SINCE {
                found.leader_epoch
            } else {
                -1
            };
            answer
                .with_timestamp(found.timestamp_ms)
                .with_offset(found.offset)
                .with_leader_epoch(leader_epoch)
        }
    }
}
