//! OffsetCommit (8). Answered when the offsets are committed in the group's log.

use super::{Context, KafkaError};
use crate::clock;
use crate::group::offsets::StoredOffset;
use crate::group::{CommitRequest, GroupError, OffsetToCommit, PartitionName};
use crate::metadata::Image;
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use kafka_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use std::collections::BTreeMap;

pub(super) async fn handle(
    ctx: &Context,
    _version: i16,
    request: OffsetCommitRequest,
) -> OffsetCommitResponse {
    let image = ctx.image();
    let now_ms = clock::wall_ms();
    // A retention of the request's own ended with version 4; -1 leaves it to the broker.
    let expire_ms =
        (request.retention_time_ms >= 0).then(|| now_ms.saturating_add(request.retention_time_ms));
    let mut results: BTreeMap<PartitionName, Result<(), GroupError>> = BTreeMap::new();
    let mut offsets = Vec::new();
    for topic in &request.topics {
        for asked in &topic.partitions {
            if !exists(&image, &topic.name, asked.partition_index) {
                continue;
            }
            let partition = PartitionName {
                topic: topic.name.to_string(),
                partition: asked.partition_index,
            };
            let stored = StoredOffset {
                offset: asked.committed_offset,
                leader_epoch: asked.committed_leader_epoch,
                metadata: asked
                    .committed_metadata
                    .as_ref()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                commit_ms: now_ms,
                expire_ms,
            };
            offsets.push(OffsetToCommit { partition, stored });
        }
    }
    if !offsets.is_empty() {
        let commit = CommitRequest {
            member_id: request.member_id.to_string(),
            instance_id: request.group_instance_id.as_ref().map(|id| id.to_string()),
            generation: request.generation_id_or_member_epoch,
            offsets,
        };
        let committed = ctx.groups.commit(&request.group_id, commit).await;
        results.extend(committed.into_iter().map(|c| (c.partition, c.result)));
    }
    to_response(&image, request.topics, &results)
}

/// Whether there is such a partition; only then is its topic's name worth a copy.
fn exists(image: &Image, topic: &str, index: i32) -> bool {
    image.partition(topic, index).is_some() && !image.is_gone(topic)
}

fn to_response(
    image: &Image,
    topics: Vec<OffsetCommitRequestTopic>,
    results: &BTreeMap<PartitionName, Result<(), GroupError>>,
) -> OffsetCommitResponse {
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let result = if exists(image, &topic.name, asked.partition_index) {
                let name = PartitionName {
                    topic: topic.name.to_string(),
                    partition: asked.partition_index,
                };
                let result = results.get(&name).copied();
                result.unwrap_or(Err(GroupError::NotAvailable))
            } else {
                Err(GroupError::UnknownPartition)
            };
            OffsetCommitResponsePartition::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(result.map_or_else(|error| error.code(), |()| 0))
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default()
            .with_name(topic.name)
            .with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
