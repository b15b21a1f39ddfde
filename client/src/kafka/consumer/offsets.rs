//! Looking up the first and the last offset of partitions, or the first of a time, each at its leader.

use std::collections::BTreeMap;

use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::{Position, TopicPartition};
use crate::kafka::client::{Client, Lane};
use crate::kafka::error::{KafkaError, check};

/// ListOffsets' timestamp for the first record kept.
const EARLIEST: i64 = -2;
/// ListOffsets' timestamp for the end.
const LATEST: i64 = -1;
/// ListOffsets' offset where no record is as young as was asked.
const NONE: i64 = -1;

/// The offsets of `positions`, each found or with its own error.
pub(super) async fn look_up(
    client: &Client,
    positions: &BTreeMap<TopicPartition, Position>,
) -> BTreeMap<TopicPartition, Result<i64, KafkaError>> {
    let mut found = look_up_once(client, positions).await;
    let all_older = |partition: &&TopicPartition| {
        matches!(positions.get(partition), Some(Position::Time(_)))
            && matches!(found.get(partition), Some(Ok(NONE)))
    };
    let ends: BTreeMap<_, _> = found
        .keys()
        .filter(all_older)
        .map(|partition| (partition.clone(), Position::Latest))
        .collect();
    if !ends.is_empty() {
        found.extend(look_up_once(client, &ends).await);
    }
    found
}

async fn look_up_once(
    client: &Client,
    positions: &BTreeMap<TopicPartition, Position>,
) -> BTreeMap<TopicPartition, Result<i64, KafkaError>> {
    let mut found = BTreeMap::new();
    let mut by_leader: BTreeMap<i32, Vec<(&TopicPartition, i64)>> = BTreeMap::new();
    for (partition, position) in positions {
        let timestamp = match position {
            Position::Earliest => EARLIEST,
            Position::Latest => LATEST,
            // Below 0 are names of something else.
            Position::Time(time_ms) => (*time_ms).max(0),
            Position::Offset(offset) => {
                found.insert(partition.clone(), Ok(*offset));
                continue;
            }
        };
        match client.leader(&partition.topic, partition.partition).await {
            Ok((leader, _)) => by_leader
                .entry(leader)
                .or_default()
                .push((partition, timestamp)),
            Err(error) => {
                found.insert(partition.clone(), Err(error));
            }
        }
    }
    for (leader, wanted) in by_leader {
        match ask(client, leader, &wanted).await {
            Ok(answers) => found.extend(answers),
            Err(error) => {
                found.extend(
                    wanted
                        .iter()
                        .map(|(p, _)| ((*p).clone(), Err(error.clone()))),
                );
            }
        }
    }
    found
}

async fn ask(
    client: &Client,
    leader: i32,
    wanted: &[(&TopicPartition, i64)],
) -> Result<Vec<(TopicPartition, Result<i64, KafkaError>)>, KafkaError> {
    let connection = client.broker(leader, Lane::Control).await?;
    let answer = connection
        .call(|_| {
            let mut request = ListOffsetsRequest::default();
            request.replica_id = BrokerId(-1);
            for (partition, timestamp) in wanted {
                let mut lookup = ListOffsetsPartition::default();
                lookup.partition_index = partition.partition;
                lookup.current_leader_epoch = -1;
                lookup.timestamp = *timestamp;
                let known = request
                    .topics
                    .iter_mut()
                    .find(|t| t.name.as_str() == partition.topic);
                match known {
                    Some(topic) => topic.partitions.push(lookup),
                    None => {
                        let mut topic = ListOffsetsTopic::default();
                        topic.name = TopicName(StrBytes::from_string(partition.topic.clone()));
                        topic.partitions = vec![lookup];
                        request.topics.push(topic);
                    }
                }
            }
            request
        })
        .await?;
    let mut found = Vec::new();
    for topic in answer.topics {
        for p in topic.partitions {
            let partition = TopicPartition::new(topic.name.to_string(), p.partition_index);
            let operation = || {
                format!(
                    "finding an offset of {}-{}",
                    partition.topic, partition.partition
                )
            };
            let offset = check(operation, p.error_code).map(|()| p.offset);
            found.push((partition, offset));
        }
    }
    Ok(found)
}

impl Client {
    /// Where these positions are in their partitions, each with its own error.
    pub async fn offsets(
        &self,
        positions: &BTreeMap<TopicPartition, Position>,
    ) -> BTreeMap<TopicPartition, Result<i64, KafkaError>> {
        let found = look_up(self, positions).await;
        for (partition, outcome) in &found {
            // Whoever tries again asks who leads now.
            if outcome.as_ref().is_err_and(KafkaError::stale_metadata) {
                self.forget_topic(&partition.topic);
            }
        }
        found
    }
}
