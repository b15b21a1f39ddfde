//! What handlers ask of the ensemble: changes of topics, and blocks of producer ids.
//!
//! A trait, so that handlers can be tried over a socket without an ensemble.

use crate::metadata::ElectionKind;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::ops::Range;
use thiserror::Error;
use uuid::Uuid;

/// A topic to be created.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; `None`: the broker's default. Unused with `assignment`.
    pub partitions: Option<i32>,
    /// Replicas of each; `None`: the broker's default. Unused with `assignment`.
    pub replication_factor: Option<i16>,
    /// Brokers by partition, where the caller chooses them.
    pub assignment: Option<BTreeMap<i32, Vec<i32>>>,
    /// Settings of its own.
    pub configs: BTreeMap<String, String>,
    /// Only say whether it could be created.
    pub validate_only: bool,
}

/// A topic that was created, or could be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatedTopic {
    /// Its id; nil if it was only validated.
    pub id: Uuid,
    /// How many partitions it has.
    pub partitions: i32,
    /// Replicas of each.
    pub replication_factor: i16,
}

/// Why the ensemble did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AdminError {
    /// A topic of this name exists, or is still being deleted.
    #[error("topic {0} exists")]
    TopicExists(String),
    /// No such topic.
    #[error("topic {0} is not known")]
    UnknownTopic(String),
    /// The name can't be a topic's.
    #[error("invalid topic name: {0}")]
    InvalidName(String),
    /// Not a number of partitions.
    #[error("invalid number of partitions: {0}")]
    InvalidPartitions(String),
    /// More replicas than brokers, or none.
    #[error("invalid replication factor: {0}")]
    InvalidReplicationFactor(String),
    /// The chosen brokers can't hold it.
    #[error("invalid replica assignment: {0}")]
    InvalidAssignment(String),
    /// An assignment and numbers were given together.
    #[error("both an assignment and numbers of partitions or replicas are given")]
    Contradiction,
    /// A setting is unknown or its value not allowed.
    #[error("invalid configuration: {0}")]
    InvalidConfig(String),
    /// `delete.topic.enable=false`.
    #[error("deletion of topics is disabled")]
    DeletionDisabled,
    /// Certainly not done: the ensemble can't be reached or has no quorum.
    #[error("not done: {0}")]
    NotDone(String),
    /// Perhaps done.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
}

/// See the module.
pub trait ClusterAdmin: Send + Sync + 'static {
    /// Creates a topic; its partitions get their leaders a little later.
    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'_, Result<CreatedTopic, AdminError>>;

    /// Marks a topic for deletion.
    fn delete_topic(&self, name: String) -> BoxFuture<'_, Result<(), AdminError>>;

    /// Asks the controller for elections. Returns the zxid of what asks for them: images from there on show it until
    /// nothing more can be done.
    fn ask_elections(
        &self,
        kind: ElectionKind,
        partitions: Vec<(String, i32)>,
    ) -> BoxFuture<'_, Result<i64, AdminError>>;

    /// A block of producer ids that nobody else gets.
    fn producer_id_block(&self) -> BoxFuture<'_, Result<Range<i64>, AdminError>>;
}
