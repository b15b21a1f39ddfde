//! OffsetForLeaderEpoch (23): where a leader epoch ends, for clients that check whether a log was cut.

use super::{Context, KafkaError, findable};
use crate::log::TopicPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

pub(super) async fn handle(
    ctx: &Context,
    _: i16,
    request: OffsetForLeaderEpochRequest,
) -> OffsetForLeaderEpochResponse {
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let name = TopicPartition::new(findable(&topic.topic), asked.partition);
            let end = ctx.replicas.partition(&name).and_then(|partition| {
                partition.end_for_epoch(asked.current_leader_epoch, asked.leader_epoch)
            });
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            match end {
                Ok(Some(end)) => answer
                    .with_leader_epoch(end.leader_epoch)
                    .with_end_offset(end.end_offset),
                Ok(None) => answer,
                Err(error) => answer.with_error_code(error.code()),
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default()
            .with_topic(topic.topic)
            .with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
