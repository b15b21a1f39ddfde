//! Committing offsets, and asking what is committed.

use std::collections::BTreeMap;

use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::{OffsetCommitRequest, OffsetFetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::Membership;
use crate::kafka::consumer::TopicPartition;
use crate::kafka::error::{KafkaError, check};

impl Membership {
    /// Commits offsets as a member of this generation.
    pub(in crate::kafka::consumer) async fn commit(
        &self,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), KafkaError> {
        if offsets.is_empty() {
            return Ok(());
        }
        self.client
            .retry(|| async {
                let answer = self.commit_once(offsets).await;
                if answer.as_ref().is_err_and(KafkaError::retriable) {
                    self.client.forget_coordinator(&self.options.group);
                }
                answer
            })
            .await
    }

    /// Commits, without trying again.
    pub(in crate::kafka::consumer) async fn try_commit(
        &self,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), KafkaError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let answer = self.commit_once(offsets).await;
        if answer.as_ref().is_err_and(KafkaError::retriable) {
            self.client.forget_coordinator(&self.options.group);
        }
        answer
    }

    async fn commit_once(&self, offsets: &BTreeMap<TopicPartition, i64>) -> Result<(), KafkaError> {
        let connection = self.client.coordinator(&self.options.group).await?;
        let answer = connection
            .call(|version| {
                let mut request = OffsetCommitRequest::default();
                request.group_id = self.group_id();
                request.generation_id_or_member_epoch = self.generation;
                request.member_id = StrBytes::from_string(self.member_id.clone());
                if version >= 7 {
                    request.group_instance_id = self.instance_id();
                }
                request.topics = commit_topics(offsets);
                request
            })
            .await?;
        for topic in &answer.topics {
            for p in &topic.partitions {
                check(
                    || format!("committing {}-{}", topic.name.as_str(), p.partition_index),
                    p.error_code,
                )?;
            }
        }
        Ok(())
    }

    /// What the group has committed for `partitions`; those without are left out.
    pub(in crate::kafka::consumer) async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, KafkaError> {
        self.client
            .retry(|| async {
                let answer = self.committed_once(partitions).await;
                if answer.as_ref().is_err_and(KafkaError::retriable) {
                    self.client.forget_coordinator(&self.options.group);
                }
                answer
            })
            .await
    }

    async fn committed_once(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, i64>, KafkaError> {
        let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
        for partition in partitions {
            topics
                .entry(&partition.topic)
                .or_default()
                .push(partition.partition);
        }
        let connection = self.client.coordinator(&self.options.group).await?;
        let answer = connection
            .call(|_| {
                let mut request = OffsetFetchRequest::default();
                request.group_id = self.group_id();
                let topics = topics.iter().map(|(name, indexes)| {
                    let mut topic = OffsetFetchRequestTopic::default();
                    topic.name = TopicName(StrBytes::from_string((*name).to_owned()));
                    topic.partition_indexes.clone_from(indexes);
                    topic
                });
                request.topics = Some(topics.collect());
                request
            })
            .await?;
        check(
            || format!("offsets of group {}", self.options.group),
            answer.error_code,
        )?;
        let mut committed = BTreeMap::new();
        for topic in &answer.topics {
            for p in &topic.partitions {
                check(
                    || format!("offset of {}", topic.name.as_str()),
                    p.error_code,
                )?;
                if p.committed_offset >= 0 {
                    let partition = TopicPartition::new(topic.name.to_string(), p.partition_index);
                    committed.insert(partition, p.committed_offset);
                }
            }
        }
        Ok(committed)
    }
}

fn commit_topics(offsets: &BTreeMap<TopicPartition, i64>) -> Vec<OffsetCommitRequestTopic> {
    let mut topics: BTreeMap<&str, Vec<OffsetCommitRequestPartition>> = BTreeMap::new();
    for (partition, &offset) in offsets {
        let mut commit = OffsetCommitRequestPartition::default();
        commit.partition_index = partition.partition;
        commit.committed_offset = offset;
        commit.committed_metadata = Some(StrBytes::default());
        topics.entry(&partition.topic).or_default().push(commit);
    }
    topics
        .into_iter()
        .map(|(name, partitions)| {
            let mut topic = OffsetCommitRequestTopic::default();
            topic.name = TopicName(StrBytes::from_string(name.to_owned()));
            topic.partitions = partitions;
            topic
        })
        .collect()
}
