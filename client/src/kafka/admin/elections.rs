//! Elections of leaders (KIP-183, KIP-460).

use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::{ElectLeadersRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use std::collections::BTreeMap;
use std::time::Duration;

use super::Admin;
use crate::kafka::error::{KafkaError, check, check_with};

/// Which leader to elect (Kafka's `ElectionType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ElectionKind {
    /// The first replica of the assignment, if it is in sync.
    Preferred,
    /// Any replica that is here, for partitions without a leader. Records may be lost.
    Unclean,
}

/// What became of one election.
#[derive(Debug)]
pub struct Election {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Elected, or why not: ELECTION_NOT_NEEDED, PREFERRED_LEADER_NOT_AVAILABLE, ELIGIBLE_LEADERS_NOT_AVAILABLE among
    /// others.
    pub outcome: Result<(), KafkaError>,
}

impl Admin {
    /// Has leaders elected for these partitions (topic, index), or for all that there are, within `limit`. Of all, those
    /// that need no election are left out of the answer.
    ///
    /// # Errors
    /// [`KafkaError`] if the cluster was not asked, or refused the request as a whole.
    pub async fn elect_leaders(
        &self,
        kind: ElectionKind,
        partitions: Option<&[(String, i32)]>,
        limit: Duration,
    ) -> Result<Vec<Election>, KafkaError> {
        let connection = self.client.retry(|| self.client.controller()).await?;
        let answer = connection
            .call_within(limit, |_| {
                let mut request = ElectLeadersRequest::default();
                request.election_type = match kind {
                    ElectionKind::Preferred => 0,
                    ElectionKind::Unclean => 1,
                };
                request.topic_partitions = partitions.map(by_topic);
                // The answer shall come before this end gives up.
                let timeout_ms = limit.as_millis() * 9 / 10;
                request.timeout_ms = i32::try_from(timeout_ms).unwrap_or(i32::MAX);
                request
            })
            .await?;
        check(|| "electing leaders".to_owned(), answer.error_code)?;
        let topics = answer.replica_election_results.into_iter();
        let elections = topics.flat_map(|topic| {
            let name = topic.topic.to_string();
            topic.partition_result.into_iter().map(move |result| {
                let message = result.error_message.as_deref();
                let what = || format!("electing a leader of {name}-{}", result.partition_id);
                Election {
                    outcome: check_with(what, result.error_code, message),
                    topic: name.clone(),
                    partition: result.partition_id,
                }
            })
        });
        Ok(elections.collect())
    }
}

fn by_topic(partitions: &[(String, i32)]) -> Vec<TopicPartitions> {
    let mut topics = BTreeMap::<&str, Vec<i32>>::new();
    for (topic, index) in partitions {
        topics.entry(topic).or_default().push(*index);
    }
    let topics = topics.into_iter().map(|(topic, indexes)| {
        let mut asked = TopicPartitions::default();
        asked.topic = TopicName(StrBytes::from_string(topic.to_owned()));
        asked.partitions = indexes;
        asked
    });
    topics.collect()
}
