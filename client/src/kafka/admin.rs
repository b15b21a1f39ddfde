//! Administration: topics, configurations, brokers, groups.
//!
//! Each method is one question, sent to the broker that can answer it and retried while the error
//! is retriable. Called by the `zweig topic`, `group` and `broker` commands.

use std::collections::BTreeMap;

use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::{
    BrokerId, CreateTopicsRequest, DeleteGroupsRequest, DeleteTopicsRequest,
    DescribeConfigsRequest, GroupId, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::client::{Client, ClusterMetadata, Lane};
use super::error::{KafkaError, check, check_with};

mod elections;
mod groups;
mod log_dirs;
pub use elections::{Election, ElectionKind};
pub(crate) use groups::decode_assignment;
pub use groups::{CommittedOffset, GroupDescription, GroupListing, GroupMember};
pub use log_dirs::{LogDir, LogDirReplica};

/// DescribeConfigs' number for a topic.
const RESOURCE_TOPIC: i8 = 2;
/// DescribeConfigs' number for a broker.
const RESOURCE_BROKER: i8 = 4;

/// A topic to create.
#[derive(Debug, Clone, Default)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// Number of partitions; `None` for the cluster's default (brokers since 2.4).
    pub partitions: Option<i32>,
    /// Replicas of each partition; `None` for the cluster's default.
    pub replication_factor: Option<i16>,
    /// Replicas by partition, instead of the two numbers.
    pub assignment: BTreeMap<i32, Vec<i32>>,
    /// Settings that differ from the defaults.
    pub configs: BTreeMap<String, String>,
    /// Only check whether it could be created.
    pub validate_only: bool,
}

/// DescribeConfigs' source of a setting nobody set.
const DEFAULT_CONFIG: i8 = 5;
/// DescribeConfigs' source of a setting of a topic's own.
const TOPIC_CONFIG: i8 = 1;

/// One setting of a topic or broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its key.
    pub name: String,
    /// Its value; `None` if it has none or is secret.
    pub value: Option<String>,
    /// Whether nobody set it.
    pub is_default: bool,
    /// Whether it was set on the topic itself.
    pub is_topics_own: bool,
}

/// Asks a cluster to describe or change itself.
#[derive(Clone)]
pub struct Admin {
    client: Client,
}

impl Admin {
    /// Administers the cluster of `client`.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// The client underneath.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Brokers, controller, and every topic.
    ///
    /// # Errors
    /// [`KafkaError`] if no broker answers.
    pub async fn describe_cluster(&self) -> Result<ClusterMetadata, KafkaError> {
        self.client
            .retry(|| self.client.metadata(None, false))
            .await
    }

    /// The named topics, each with its description or its error.
    ///
    /// # Errors
    /// [`KafkaError`] if no broker answers.
    pub async fn describe_topics(&self, names: &[String]) -> Result<ClusterMetadata, KafkaError> {
        self.client
            .retry(|| self.client.metadata(Some(names), false))
            .await
    }

    /// Creates a topic.
    ///
    /// # Errors
    /// [`KafkaError::Broker`] with the broker's words, TOPIC_ALREADY_EXISTS among them.
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<(), KafkaError> {
        let timeout = self.client.options().connection.request_timeout;
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        self.client
            .retry(|| async {
                let connection = self.client.controller().await?;
                let answer = connection
                    .call(|_| {
                        let mut request = CreateTopicsRequest::default();
                        request.topics = vec![to_creatable(topic)];
                        request.timeout_ms = timeout_ms;
                        request.validate_only = topic.validate_only;
                        request
                    })
                    .await?;
                for result in &answer.topics {
                    check_with(
                        || format!("creating topic {}", topic.name),
                        result.error_code,
                        result.error_message.as_deref(),
                    )?;
                }
                self.client.forget_topic(&topic.name);
                Ok(())
            })
            .await
    }

    /// Deletes a topic and its records.
    ///
    /// # Errors
    /// [`KafkaError::Broker`] UNKNOWN_TOPIC_OR_PARTITION if there is none.
    pub async fn delete_topic(&self, name: &str) -> Result<(), KafkaError> {
        let timeout = self.client.options().connection.request_timeout;
        let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let connection = self.client.retry(|| self.client.controller()).await?;
        let answer = connection
            .call(|_| {
                let mut request = DeleteTopicsRequest::default();
                request.topic_names = vec![TopicName(StrBytes::from_string(name.to_owned()))];
                request.timeout_ms = timeout_ms;
                request
            })
            .await?;
        self.client.forget_topic(name);
        for result in &answer.responses {
            check_with(
                || format!("deleting topic {name}"),
                result.error_code,
                result.error_message.as_deref(),
            )?;
        }
        Ok(())
    }

    /// Settings of a topic.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn topic_configs(&self, name: &str) -> Result<Vec<ConfigEntry>, KafkaError> {
        self.client
            .retry(|| async {
                let connection = self.client.any().await?;
                self.configs(&connection, RESOURCE_TOPIC, name).await
            })
            .await
    }

    /// Settings of a broker, asked of that broker.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn broker_configs(&self, id: i32) -> Result<Vec<ConfigEntry>, KafkaError> {
        self.client
            .retry(|| async {
                let connection = self.client.broker(id, Lane::Control).await?;
                self.configs(&connection, RESOURCE_BROKER, &id.to_string())
                    .await
            })
            .await
    }

    async fn configs(
        &self,
        connection: &super::connection::Connection,
        kind: i8,
        name: &str,
    ) -> Result<Vec<ConfigEntry>, KafkaError> {
        let answer = connection
            .call(|_| {
                let mut resource = DescribeConfigsResource::default();
                resource.resource_type = kind;
                resource.resource_name = StrBytes::from_string(name.to_owned());
                let mut request = DescribeConfigsRequest::default();
                request.resources = vec![resource];
                request
            })
            .await?;
        let mut entries = Vec::new();
        for result in answer.results {
            check_with(
                || format!("settings of {name}"),
                result.error_code,
                result.error_message.as_deref(),
            )?;
            entries.extend(result.configs.into_iter().map(|c| ConfigEntry {
                name: c.name.to_string(),
                value: c.value.map(|v| v.to_string()),
                is_default: c.config_source == DEFAULT_CONFIG,
                is_topics_own: c.config_source == TOPIC_CONFIG,
            }));
        }
        Ok(entries)
    }

    /// Deletes a group without members, and its offsets.
    ///
    /// # Errors
    /// [`KafkaError::Broker`] NON_EMPTY_GROUP or GROUP_ID_NOT_FOUND among them.
    pub async fn delete_group(&self, group: &str) -> Result<(), KafkaError> {
        self.with_coordinator(group, async |connection| {
            let answer = connection
                .call(|_| {
                    let mut request = DeleteGroupsRequest::default();
                    request.groups_names = vec![GroupId(StrBytes::from_string(group.to_owned()))];
                    request
                })
                .await?;
            for result in &answer.results {
                check(|| format!("deleting group {group}"), result.error_code)?;
            }
            Ok(())
        })
        .await
    }

    /// Asks the coordinator of `group`, looking it up again when it has moved.
    pub(super) async fn with_coordinator<T>(
        &self,
        group: &str,
        ask: impl AsyncFn(super::connection::Connection) -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        self.client
            .retry(|| async {
                let connection = self.client.coordinator(group).await?;
                let answer = ask(connection).await;
                if answer.as_ref().is_err_and(KafkaError::retriable) {
                    self.client.forget_coordinator(group);
                }
                answer
            })
            .await
    }
}

fn to_creatable(topic: &NewTopic) -> CreatableTopic {
    let mut creatable = CreatableTopic::default();
    creatable.name = TopicName(StrBytes::from_string(topic.name.clone()));
    let assigned = !topic.assignment.is_empty();
    creatable.num_partitions = topic.partitions.filter(|_| !assigned).unwrap_or(-1);
    creatable.replication_factor = topic.replication_factor.filter(|_| !assigned).unwrap_or(-1);
    creatable.assignments = topic
        .assignment
        .iter()
        .map(|(&partition, brokers)| {
            let mut assignment = CreatableReplicaAssignment::default();
            assignment.partition_index = partition;
            assignment.broker_ids = brokers.iter().map(|&id| BrokerId(id)).collect();
            assignment
        })
        .collect();
    creatable.configs = topic
        .configs
        .iter()
        .map(|(name, value)| {
            let mut config = CreatableTopicConfig::default();
            config.name = StrBytes::from_string(name.clone());
            config.value = Some(StrBytes::from_string(value.clone()));
            config
        })
        .collect();
    creatable
}
