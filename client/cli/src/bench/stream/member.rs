//! One member of a group, request by request: Kafka's classic protocol, without the tasks that a consumer runs beside it.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use zweig_client::kafka::connection::Connection;
use zweig_client::kafka::consumer::assignor::{self, Assignment, Candidate};
use zweig_client::kafka::error::check;
use zweig_client::kafka::{Client, ErrorCode, KafkaError};

use crate::clock;

const SESSION_TIMEOUT_MS: i32 = 30_000;
const REBALANCE_TIMEOUT: Duration = Duration::from_secs(60);
/// Before a join is tried again that a coordinator refused.
const PAUSE: Duration = Duration::from_millis(20);

/// A member, with a client of its own.
pub struct Member {
    client: Client,
    group: String,
    topics: Vec<String>,
    member_id: StrBytes,
    generation: i32,
    assignment: Assignment,
}

impl Member {
    /// One that has not joined yet.
    pub fn new(client: Client, group: &str, topics: Vec<String>) -> Self {
        Self {
            client,
            group: group.to_owned(),
            topics,
            member_id: StrBytes::default(),
            generation: -1,
            assignment: Assignment::new(),
        }
    }

    /// Its group.
    pub fn group(&self) -> &str {
        &self.group
    }

    /// Of the group, when it joined last.
    pub fn generation(&self) -> i32 {
        self.generation
    }

    /// What it was given.
    pub fn partitions(&self) -> impl Iterator<Item = (&String, i32)> {
        self.assignment.iter().flat_map(|(topic, partitions)| {
            partitions.iter().map(move |partition| (topic, *partition))
        })
    }

    /// Joins and gets its partitions; how often the group moved on meanwhile.
    ///
    /// # Errors
    /// [`KafkaError`], the last one if it takes longer than `patience`.
    pub async fn join(&mut self, patience: Duration) -> Result<u64, KafkaError> {
        let began = clock::now();
        let mut rebalances = 0;
        loop {
            let error = match self.join_once().await {
                Ok(()) => return Ok(rebalances),
                Err(error) => error,
            };
            match error.code() {
                Some(ErrorCode::MemberIdRequired) => continue,
                Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {
                    rebalances += 1;
                }
                _ if error.retriable() => {
                    self.client.forget_coordinator(&self.group);
                    tokio::time::sleep(PAUSE).await;
                }
                _ => return Err(error),
            }
            if clock::elapsed(began) > patience {
                return Err(error);
            }
        }
    }

    async fn join_once(&mut self) -> Result<(), KafkaError> {
        let connection = self.coordinator().await?;
        let mut protocol = JoinGroupRequestProtocol::default();
        protocol.name = StrBytes::from_static_str(assignor::RANGE);
        protocol.metadata = assignor::encode_subscription(&self.topics)?;
        let answer = connection
            .call_within(REBALANCE_TIMEOUT, |version| {
                let mut request = JoinGroupRequest::default();
                request.group_id = self.group_id();
                request.session_timeout_ms = SESSION_TIMEOUT_MS;
                if version >= 1 {
                    request.rebalance_timeout_ms = millis(REBALANCE_TIMEOUT);
                }
                request.member_id = self.member_id.clone();
                request.protocol_type = StrBytes::from_static_str("consumer");
                request.protocols = vec![protocol];
                request
            })
            .await?;
        if answer.error_code == ErrorCode::MemberIdRequired.code() {
            self.member_id = answer.member_id.clone();
        }
        check(
            || format!("joining group {}", self.group),
            answer.error_code,
        )?;
        self.member_id = answer.member_id.clone();
        self.generation = answer.generation_id;
        let assignments = match answer.leader == answer.member_id {
            true => self.assign(&answer).await?,
            false => BTreeMap::new(),
        };
        self.sync(&connection, &answer, assignments).await
    }

    /// The leader's duty.
    async fn assign(
        &self,
        answer: &JoinGroupResponse,
    ) -> Result<BTreeMap<String, Assignment>, KafkaError> {
        let candidates: Vec<Candidate> = answer
            .members
            .iter()
            .map(|member| Candidate {
                id: member.member_id.to_string(),
                instance_id: None,
                topics: assignor::decode_subscription(member.metadata.clone()),
            })
            .collect();
        let mut counts = BTreeMap::new();
        for name in &self.topics {
            let topic = self.client.topic_patiently(name, false).await?;
            let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            counts.insert(name.clone(), count);
        }
        Ok(assignor::assign_range(&candidates, &counts))
    }

    async fn sync(
        &mut self,
        connection: &Connection,
        joined: &JoinGroupResponse,
        assignments: BTreeMap<String, Assignment>,
    ) -> Result<(), KafkaError> {
        let mut encoded = Vec::new();
        for (member, assignment) in &assignments {
            let mut given = SyncGroupRequestAssignment::default();
            given.member_id = StrBytes::from_string(member.clone());
            given.assignment = assignor::encode_assignment(assignment)?;
            encoded.push(given);
        }
        let answer = connection
            .call_within(REBALANCE_TIMEOUT, |version| {
                let mut request = SyncGroupRequest::default();
                request.group_id = self.group_id();
                request.generation_id = self.generation;
                request.member_id = self.member_id.clone();
                if version >= 5 {
                    request.protocol_type = Some(StrBytes::from_static_str("consumer"));
                    request.protocol_name.clone_from(&joined.protocol_name);
                }
                request.assignments = encoded;
                request
            })
            .await?;
        check(
            || format!("syncing group {}", self.group),
            answer.error_code,
        )?;
        self.assignment = assignor::read_assignment(answer.assignment)?;
        Ok(())
    }

    /// Says that it is there.
    ///
    /// # Errors
    /// [`KafkaError`], REBALANCE_IN_PROGRESS if it has to join again.
    pub async fn heartbeat(&self) -> Result<(), KafkaError> {
        let connection = self.coordinator().await?;
        let answer = connection
            .call(|_| {
                let mut request = HeartbeatRequest::default();
                request.group_id = self.group_id();
                request.generation_id = self.generation;
                request.member_id = self.member_id.clone();
                request
            })
            .await?;
        check(
            || format!("heartbeat in group {}", self.group),
            answer.error_code,
        )
    }

    /// Commits this offset for each of its partitions.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn commit(&self, offset: i64) -> Result<(), KafkaError> {
        let connection = self.coordinator().await?;
        let topics = self.assignment.iter().map(|(name, partitions)| {
            let commit = |partition: &i32| {
                let mut commit = OffsetCommitRequestPartition::default();
                commit.partition_index = *partition;
                commit.committed_offset = offset;
                commit.committed_metadata = Some(StrBytes::default());
                commit
            };
            let mut topic = OffsetCommitRequestTopic::default();
            topic.name = topic_name(name);
            topic.partitions = partitions.iter().map(commit).collect();
            topic
        });
        let topics = topics.collect();
        let answer = connection
            .call(|_| {
                let mut request = OffsetCommitRequest::default();
                request.group_id = self.group_id();
                request.generation_id_or_member_epoch = self.generation;
                request.member_id = self.member_id.clone();
                request.topics = topics;
                request
            })
            .await?;
        for topic in &answer.topics {
            for p in &topic.partitions {
                let of = || format!("committing {}-{}", topic.name.as_str(), p.partition_index);
                check(of, p.error_code)?;
            }
        }
        Ok(())
    }

    /// What the group has committed for its partitions.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn committed(&self) -> Result<BTreeMap<(String, i32), i64>, KafkaError> {
        let connection = self.coordinator().await?;
        let topics = self.assignment.iter().map(|(name, partitions)| {
            let mut topic = OffsetFetchRequestTopic::default();
            topic.name = topic_name(name);
            topic.partition_indexes.clone_from(partitions);
            topic
        });
        let topics = topics.collect();
        let answer = connection
            .call(|_| {
                let mut request = OffsetFetchRequest::default();
                request.group_id = self.group_id();
                request.topics = Some(topics);
                request
            })
            .await?;
        check(
            || format!("offsets of group {}", self.group),
            answer.error_code,
        )?;
        let mut committed = BTreeMap::new();
        for topic in &answer.topics {
            for p in &topic.partitions {
                check(
                    || format!("offset of {}", topic.name.as_str()),
                    p.error_code,
                )?;
                let partition = (topic.name.to_string(), p.partition_index);
                committed.insert(partition, p.committed_offset);
            }
        }
        Ok(committed)
    }

    /// Leaves.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn leave(&self) -> Result<(), KafkaError> {
        if self.member_id.is_empty() {
            return Ok(());
        }
        let connection = self.coordinator().await?;
        let answer = connection
            .call(|version| {
                let mut request = LeaveGroupRequest::default();
                request.group_id = self.group_id();
                if version >= 3 {
                    let mut identity = MemberIdentity::default();
                    identity.member_id = self.member_id.clone();
                    request.members = vec![identity];
                } else {
                    request.member_id = self.member_id.clone();
                }
                request
            })
            .await?;
        check(
            || format!("leaving group {}", self.group),
            answer.error_code,
        )
    }

    async fn coordinator(&self) -> Result<Connection, KafkaError> {
        let client = &self.client;
        client.retry(|| client.coordinator(&self.group)).await
    }

    fn group_id(&self) -> GroupId {
        GroupId(StrBytes::from_string(self.group.clone()))
    }
}

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}
