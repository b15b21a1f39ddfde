//! Creating and deleting topics: writes of the broker that was asked, in Kafka's order (settings,
//! then topic), in one transaction. The controller sees the znodes and does the rest.

use std::collections::{BTreeMap, BTreeSet};

use rand::Rng as _;
use uuid::Uuid;
use zweig_client::ensemble::{CreateMode, Error, WriteOp};

use crate::chance;
use crate::config::{TopicConfigError, check_topic_configs, without_effect};
use crate::controller::assignment::{Draw, TooFewBrokers, assign, candidates};
use crate::limits::MAX_TOPIC_NAME_BYTES;
use crate::metadata::Image;

use super::cluster::{Cluster, nothing};
use super::znode::topics::TopicNode;
use super::znode::{admin, config, topics};

/// Largest content of a topic's znode, below the ensemble's limit of 1 MiB.
const MAX_ASSIGNMENT_BYTES: usize = 1_000_000;

/// What a topic shall be like.
#[derive(Clone, Debug, Default)]
pub struct CreateTopic {
    /// Its name.
    pub name: String,
    /// `None`: `num.partitions`. Must be `None` with an explicit assignment.
    pub partitions: Option<i32>,
    /// `None`: `default.replication.factor`. Must be `None` with an explicit assignment.
    pub replication_factor: Option<i16>,
    /// Replicas by partition, if chosen by the caller.
    pub assignment: Option<BTreeMap<i32, Vec<i32>>>,
    /// Its own settings.
    pub configs: BTreeMap<String, String>,
    /// Check, and create nothing.
    pub validate_only: bool,
}

/// A topic that was created, or would have been.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; nil if it was only validated.
    pub id: Uuid,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
}

/// Why a topic was not created.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CreateTopicError {
    /// There is one of this name, or one being deleted.
    #[error("topic '{0}' already exists")]
    Exists(String),
    /// The name is not allowed.
    #[error("{0}")]
    InvalidName(String),
    /// The number of partitions is not allowed.
    #[error("{0}")]
    InvalidPartitions(String),
    /// The number of replicas is not allowed.
    #[error("{0}")]
    InvalidReplicationFactor(String),
    /// The assignment is not allowed.
    #[error("{0}")]
    InvalidAssignment(String),
    /// A number and an assignment were given together.
    #[error("both number of partitions or replicas and an assignment were given")]
    Contradiction,
    /// A setting is not allowed.
    #[error(transparent)]
    InvalidConfig(#[from] TopicConfigError),
    /// It may have been created or not.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// The ensemble refused it, or could not be asked: not created.
    #[error("not created: {0}")]
    Ensemble(Error),
}

/// Why a topic is not being deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicError {
    /// There is none of this name.
    #[error("topic '{0}' does not exist")]
    Unknown(String),
    /// `delete.topic.enable` is false.
    #[error("topic deletion is disabled")]
    Disabled,
    /// The ensemble refused it, or could not be asked.
    #[error("topic '{0}' is not deleted: {1}")]
    Ensemble(String, Error),
}

impl Cluster {
    /// Creates a topic; its partitions get leaders when the controller has seen it, which the
    /// image then shows.
    ///
    /// # Errors
    /// [`CreateTopicError`].
    pub async fn create_topic(
        &self,
        wanted: CreateTopic,
    ) -> Result<CreatedTopic, CreateTopicError> {
        let image = self.inner.metadata.image();
        check_name(&wanted.name, &image)?;
        let configs = wanted.configs.iter();
        check_topic_configs(configs.map(|(k, v)| (k.as_str(), v.as_str())))?;
        let configs = wanted.configs.iter();
        let idle = without_effect(configs.map(|(k, v)| (k.as_str(), v.as_str())));
        if !idle.is_empty() {
            tracing::warn!(
                topic = wanted.name,
                ?idle,
                "settings that have no effect here"
            );
        }
        let assignment = self.assignment(&wanted, &image)?;
        let created = CreatedTopic {
            id: if wanted.validate_only {
                Uuid::nil()
            } else {
                chance::uuid()
            },
            partitions: i32::try_from(assignment.len()).unwrap_or(i32::MAX),
            replication_factor: assignment.first().map_or(0, |(_, replicas)| {
                i16::try_from(replicas.len()).unwrap_or(i16::MAX)
            }),
        };
        let content = TopicNode::new(created.id, assignment).encode();
        if content.len() > MAX_ASSIGNMENT_BYTES {
            let text = format!(
                "{} partitions do not fit into one znode",
                created.partitions
            );
            return Err(CreateTopicError::InvalidPartitions(text));
        }
        if wanted.validate_only {
            return Ok(created);
        }
        let settings = config::encode_configs(&wanted.configs);
        let path = topics::topic_path(&wanted.name);
        let topic = WriteOp::create(&path, content, CreateMode::Persistent);
        let config_path = config::topic_path(&wanted.name);
        let first = WriteOp::create(&config_path, settings.clone(), CreateMode::Persistent);
        let port = self.port();
        let mut result = port.multi(vec![first, topic.clone()]).await;
        if let Err(failed) = &result
            && failed.error == Error::NodeExists(config_path.clone())
        {
            // Settings left by another program: the new topic's replace them.
            let replace = WriteOp::set(&config_path, settings, None);
            result = port.multi(vec![replace, topic]).await;
        }
        match result.map_err(Error::from) {
            Ok(_) => Ok(created),
            Err(Error::NodeExists(_)) => Err(CreateTopicError::Exists(wanted.name)),
            Err(Error::OutcomeUnknown(why)) => Err(CreateTopicError::OutcomeUnknown(why)),
            Err(error) => Err(CreateTopicError::Ensemble(error)),
        }
    }

    /// Asks the controller to delete a topic; the image shows when it is gone.
    ///
    /// # Errors
    /// [`DeleteTopicError`].
    pub async fn delete_topic(&self, name: &str) -> Result<(), DeleteTopicError> {
        if !self.inner.config.topics.delete_enable {
            return Err(DeleteTopicError::Disabled);
        }
        let check = WriteOp::check(topics::topic_path(name), None);
        let marker = WriteOp::create(admin::delete_path(name), nothing(), CreateMode::Persistent);
        match self
            .port()
            .multi(vec![check, marker])
            .await
            .map_err(Error::from)
        {
            Ok(_) | Err(Error::NodeExists(_)) => Ok(()),
            Err(Error::NoNode(_)) => Err(DeleteTopicError::Unknown(name.to_owned())),
            Err(error) => Err(DeleteTopicError::Ensemble(name.to_owned(), error)),
        }
    }

    fn assignment(
        &self,
        wanted: &CreateTopic,
        image: &Image,
    ) -> Result<Vec<(i32, Vec<i32>)>, CreateTopicError> {
        let numbers = wanted.partitions.is_some() || wanted.replication_factor.is_some();
        if let Some(assignment) = &wanted.assignment {
            if numbers {
                return Err(CreateTopicError::Contradiction);
            }
            return check_assignment(assignment, image);
        }
        let config = &self.inner.config.topics;
        let partitions = wanted.partitions.unwrap_or(config.num_partitions);
        if partitions < 1 {
            let text = "number of partitions must be larger than 0".to_owned();
            return Err(CreateTopicError::InvalidPartitions(text));
        }
        let replicas = wanted.replication_factor.map(i32::from);
        let replicas = replicas.unwrap_or(config.default_replication_factor);
        let replicas = usize::try_from(replicas).ok().filter(|n| *n >= 1);
        let Some(replicas) = replicas else {
            let text = "replication factor must be larger than 0".to_owned();
            return Err(CreateTopicError::InvalidReplicationFactor(text));
        };
        let candidates = candidates(image);
        if !may_fit(partitions, replicas.min(candidates.len())) {
            let text = format!("{partitions} partitions do not fit into one znode");
            return Err(CreateTopicError::InvalidPartitions(text));
        }
        let draw = {
            let mut chance = self.inner.chance.lock();
            Draw {
                start: usize::from(chance.random::<u16>()),
                shift: usize::from(chance.random::<u16>()),
            }
        };
        assign(&candidates, 0..partitions, replicas, draw).map_err(|few: TooFewBrokers| {
            CreateTopicError::InvalidReplicationFactor(few.to_string())
        })
    }
}

/// Whether the text of an assignment can be short enough, before any of it is made: a partition takes at
/// least `"0":[1,2],`.
fn may_fit(partitions: i32, replicas: usize) -> bool {
    let partitions = usize::try_from(partitions).unwrap_or(0);
    partitions.saturating_mul(2 * replicas + 6) <= MAX_ASSIGNMENT_BYTES
}

fn check_name(name: &str, image: &Image) -> Result<(), CreateTopicError> {
    let invalid = |why: String| Err(CreateTopicError::InvalidName(why));
    if name.is_empty() || name == "." || name == ".." {
        return invalid(format!("topic name '{name}' is not allowed"));
    }
    if name.len() > MAX_TOPIC_NAME_BYTES {
        return invalid(format!(
            "topic name has {} characters, more than {MAX_TOPIC_NAME_BYTES}",
            name.len()
        ));
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if !name.chars().all(allowed) {
        return invalid(format!(
            "topic name '{name}' has characters other than ASCII letters, digits, '.', '_', '-'"
        ));
    }
    if image.topic(name).is_some() {
        return Err(CreateTopicError::Exists(name.to_owned()));
    }
    // Metrics write both as '_'.
    if name.contains(['.', '_']) {
        let plain = name.replace('.', "_");
        let collides = |other: &&std::sync::Arc<str>| other.replace('.', "_") == plain;
        if let Some(other) = image.topics.keys().find(collides) {
            return invalid(format!(
                "topic '{name}' collides with existing topic '{other}'"
            ));
        }
    }
    Ok(())
}

fn check_assignment(
    assignment: &BTreeMap<i32, Vec<i32>>,
    image: &Image,
) -> Result<Vec<(i32, Vec<i32>)>, CreateTopicError> {
    let invalid = |why: String| Err(CreateTopicError::InvalidAssignment(why));
    let consecutive = assignment.keys().zip(0..).all(|(index, at)| *index == at);
    if assignment.is_empty() || !consecutive {
        return invalid("partitions must be numbered from 0 without gaps".to_owned());
    }
    let factor = assignment.values().map(Vec::len).next().unwrap_or(0);
    for (index, replicas) in assignment {
        let distinct: BTreeSet<_> = replicas.iter().collect();
        if replicas.is_empty() || distinct.len() != replicas.len() || replicas.len() != factor {
            return invalid(format!(
                "partition {index}: {replicas:?} are not {factor} different brokers"
            ));
        }
        if let Some(unknown) = replicas.iter().find(|id| image.broker(**id).is_none()) {
            return invalid(format!(
                "partition {index}: broker {unknown} is not registered"
            ));
        }
    }
    Ok(assignment.iter().map(|(i, r)| (*i, r.clone())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_fit_is_known_before_it_is_made() {
        assert!(!may_fit(i32::MAX, 1) && !may_fit(200_000, 3));
        // No assignment that fits is refused.
        for (partitions, replicas) in [(1, 1), (9, 3), (10_000, 9), (60_000, 1)] {
            let assignment = (0..partitions).map(|index| (index, vec![1; replicas]));
            let node = TopicNode::new(Uuid::nil(), assignment.collect());
            let fits = node.encode().len() <= MAX_ASSIGNMENT_BYTES;
            assert!(
                !fits || may_fit(partitions, replicas),
                "{partitions} x {replicas}"
            );
        }
    }
}
