//! OffsetFetch (9): what groups have committed. Up to version 7 one group, then many.

use super::{Context, KafkaError, distinct, findable};
use crate::group::offsets::StoredOffset;
use crate::group::{GroupError, PartitionName};
use crate::wire::codec::text;
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};

/// First version that asks for many groups.
const GROUPS_SINCE: i16 = 8;
/// First version with an error for the whole answer.
const TOP_ERROR_SINCE: i16 = 2;

/// Partitions looked up at a time, each with a copy of its topic's name.
const AT_A_TIME: usize = 1_000;

/// Topics in order, each with its partitions and what is committed of them.
type Found = Vec<(TopicName, Vec<(i32, Option<StoredOffset>)>)>;

pub(super) async fn handle(
    ctx: &Context,
    version: i16,
    request: OffsetFetchRequest,
) -> OffsetFetchResponse {
    let response = OffsetFetchResponse::default();
    if version >= GROUPS_SINCE {
        let groups = distinct(request.groups, |group| group.group_id.clone());
        let groups = groups.into_iter().map(|group| {
            let asked = group.topics.map(|topics| {
                topics
                    .into_iter()
                    .map(|t| (t.name, t.partition_indexes))
                    .collect::<Vec<_>>()
            });
            let answer = OffsetFetchResponseGroup::default();
            let answer = match find(ctx, &group.group_id, asked) {
                Ok(found) => answer.with_topics(found.into_iter().map(to_topics).collect()),
                Err(error) => answer.with_error_code(error.code()),
            };
            answer.with_group_id(group.group_id)
        });
        return response.with_groups(groups.collect());
    }
    let asked: Option<Vec<_>> = request.topics.map(|topics| {
        topics
            .into_iter()
            .map(|t| (t.name, t.partition_indexes))
            .collect()
    });
    match find(ctx, &request.group_id, asked.clone()) {
        Ok(found) => response.with_topics(found.into_iter().map(|t| to_topic(t, 0)).collect()),
        Err(error) if version >= TOP_ERROR_SINCE => response.with_error_code(error.code()),
        Err(error) => {
            let nothing = asked
                .unwrap_or_default()
                .into_iter()
                .map(|(name, partitions)| {
                    let partitions = partitions.into_iter().map(|p| (p, None)).collect();
                    to_topic((name, partitions), error.code())
                });
            response.with_topics(nothing.collect())
        }
    }
}

fn find(
    ctx: &Context,
    group: &str,
    asked: Option<Vec<(TopicName, Vec<i32>)>>,
) -> Result<Found, GroupError> {
    let Some(asked) = asked else {
        let mut found: Found = Vec::new();
        for (partition, stored) in ctx.groups.all_offsets(group)? {
            let entry = (partition.partition, Some(stored));
            match found.last_mut() {
                Some((topic, partitions)) if topic.as_str() == partition.topic => {
                    partitions.push(entry);
                }
                _ => found.push((TopicName(text(partition.topic)), vec![entry])),
            }
        }
        return Ok(found);
    };
    // Of nothing, too: whether this broker coordinates the group shows.
    ctx.groups.offsets(group, &[])?;
    let mut found = Vec::with_capacity(asked.len());
    for (topic, partitions) in distinct(asked, |(topic, _)| topic.clone()) {
        let partitions = distinct(partitions, |partition| *partition);
        let mut offsets = Vec::with_capacity(partitions.len());
        for some in partitions.chunks(AT_A_TIME) {
            let names = some.iter().map(|&partition| PartitionName {
                topic: findable(&topic).to_owned(),
                partition,
            });
            offsets.extend(ctx.groups.offsets(group, &names.collect::<Vec<_>>())?);
        }
        found.push((topic, partitions.into_iter().zip(offsets).collect()));
    }
    Ok(found)
}

fn parts(stored: Option<StoredOffset>) -> (i64, i32, String) {
    stored.map_or((-1, -1, String::new()), |s| {
        (s.offset, s.leader_epoch, s.metadata)
    })
}

fn to_topic(
    (name, partitions): (TopicName, Vec<(i32, Option<StoredOffset>)>),
    code: i16,
) -> OffsetFetchResponseTopic {
    let partitions = partitions.into_iter().map(|(index, stored)| {
        let (offset, leader_epoch, metadata) = parts(stored);
        OffsetFetchResponsePartition::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(leader_epoch)
            .with_metadata(Some(text(metadata)))
            .with_error_code(code)
    });
    let partitions = partitions.collect();
    OffsetFetchResponseTopic::default()
        .with_name(name)
        .with_partitions(partitions)
}

fn to_topics(
    (name, partitions): (TopicName, Vec<(i32, Option<StoredOffset>)>),
) -> OffsetFetchResponseTopics {
    let partitions = partitions.into_iter().map(|(index, stored)| {
        let (offset, leader_epoch, metadata) = parts(stored);
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(offset)
            .with_committed_leader_epoch(leader_epoch)
            .with_metadata(Some(text(metadata)))
    });
    let partitions = partitions.collect();
    OffsetFetchResponseTopics::default()
        .with_name(name)
        .with_partitions(partitions)
}
