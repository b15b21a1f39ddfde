//! [`Cluster`] in the shapes that the replicas and the handlers ask for.

use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use futures::future::BoxFuture;
use zweig_monitoring::Tracer;

use crate::ensemble::cluster::{AlterIsrError, Cluster, Standing};
use crate::ensemble::elections::AskElectionsError;
use crate::ensemble::topics::{CreateTopic, CreateTopicError, DeleteTopicError};
use crate::handlers::cluster_admin::{AdminError, ClusterAdmin, CreatedTopic, NewTopic};
use crate::log::{TopicId, TopicPartition};
use crate::metadata::{ElectionKind, MetadataCache, PartitionState};
use crate::replica::hosted::{Certainty, StateWriter};
use crate::replica::isr::{Proposal, WriteEnd};

/// The ensemble as the replicas and the handlers see it.
pub(super) struct EnsembleFace {
    pub(super) cluster: Cluster,
    pub(super) metadata: Arc<MetadataCache>,
    pub(super) tracer: Tracer,
}

impl EnsembleFace {
    /// Requests of the Kafka protocol say nothing of a trace: a share of them is followed.
    async fn followed<T, E: Display>(
        &self,
        what: &'static str,
        topic: String,
        asking: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        let name = || match topic.as_str() {
            "" => what.into(),
            topic => format!("{what} {topic}").into(),
        };
        let failure = |done: &Result<T, E>| done.as_ref().err().map(ToString::to_string);
        let tracer = &self.tracer;
        tracer.within(tracer.sample(), name, asking, failure).await
    }

    /// The state a proposal leads to, and the czxid of its znode; `None` if this broker does not lead in that epoch of
    /// that topic any more.
    fn proposed(
        &self,
        (partition, topic_id): (&TopicPartition, TopicId),
        proposal: &Proposal,
    ) -> Option<(PartitionState, i64)> {
        let image = self.metadata.image();
        image
            .topic(&partition.topic)
            .filter(|topic| topic.id == topic_id)?;
        let current = image.partition(&partition.topic, partition.partition)?;
        let leads = current.leader == Some(self.cluster.broker_id())
            && current.leader_epoch == proposal.leader_epoch;
        let (isr, isr_broker_epochs) = proposal.isr.members().unzip();
        leads.then(|| {
            let state = PartitionState {
                isr,
                isr_broker_epochs,
                ..current.state()
            };
            (state, current.state_czxid)
        })
    }
}

impl StateWriter for EnsembleFace {
    fn certainty(&self) -> Certainty {
        match self.cluster.standing() {
            Standing::Sure => Certainty::Sure,
            Standing::InDoubt => Certainty::InDoubt,
            Standing::Expired => Certainty::Expired,
        }
    }

    fn broker_epoch(&self) -> Option<i64> {
        let registered = self.cluster.standing() != Standing::Expired;
        registered.then(|| self.cluster.broker_epoch())
    }

    fn write_isr(
        &self,
        partition: TopicPartition,
        topic_id: TopicId,
        proposal: Proposal,
    ) -> BoxFuture<'static, WriteEnd> {
        let proposed = self.proposed((&partition, topic_id), &proposal);
        let cluster = self.cluster.clone();
        Box::pin(async move {
            let Some((proposed, czxid)) = proposed else {
                return WriteEnd::Stale;
            };
            let expected = (czxid, proposal.expected_partition_epoch);
            match cluster.alter_isr(&partition, proposed, expected).await {
                Ok(partition_epoch) => WriteEnd::Written { partition_epoch },
                Err(AlterIsrError::Stale(_) | AlterIsrError::Gone(_)) => WriteEnd::Stale,
                Err(AlterIsrError::OutcomeUnknown(_)) => WriteEnd::Unknown,
                Err(AlterIsrError::InDoubt | AlterIsrError::Fenced | AlterIsrError::NotDone(_)) => {
                    WriteEnd::NotDone
                }
            }
        })
    }
}

impl ClusterAdmin for EnsembleFace {
    fn create_topic(&self, topic: NewTopic) -> BoxFuture<'_, Result<CreatedTopic, AdminError>> {
        let wanted = CreateTopic {
            name: topic.name,
            partitions: topic.partitions,
            replication_factor: topic.replication_factor,
            assignment: topic.assignment,
            configs: topic.configs,
            validate_only: topic.validate_only,
        };
        Box::pin(async move {
            let name = wanted.name.clone();
            let creating = self.cluster.create_topic(wanted);
            let created = self.followed("create topic", name, creating).await;
            let created = created.map_err(create_error)?;
            Ok(CreatedTopic {
                id: created.id,
                partitions: created.partitions,
                replication_factor: created.replication_factor,
            })
        })
    }

    fn delete_topic(&self, name: String) -> BoxFuture<'_, Result<(), AdminError>> {
        Box::pin(async move {
            let deleting = self.cluster.delete_topic(&name);
            let deleted = self.followed("delete topic", name.clone(), deleting).await;
            deleted.map_err(|error| match error {
                DeleteTopicError::Unknown(name) => AdminError::UnknownTopic(name),
                DeleteTopicError::Disabled => AdminError::DeletionDisabled,
                DeleteTopicError::Ensemble(_, error) if error.outcome_unknown() => {
                    AdminError::OutcomeUnknown(error.to_string())
                }
                DeleteTopicError::Ensemble(_, error) => AdminError::NotDone(error.to_string()),
            })
        })
    }

    fn ask_elections(
        &self,
        kind: ElectionKind,
        partitions: Vec<(String, i32)>,
    ) -> BoxFuture<'_, Result<i64, AdminError>> {
        Box::pin(async move {
            let asking = self.cluster.ask_elections(kind, partitions);
            let asked = self
                .followed("ask for elections", String::new(), asking)
                .await;
            asked.map_err(|error| match error {
                AskElectionsError::Ensemble(error) if error.outcome_unknown() => {
                    AdminError::OutcomeUnknown(error.to_string())
                }
                error => AdminError::NotDone(error.to_string()),
            })
        })
    }

    fn producer_id_block(&self) -> BoxFuture<'_, Result<Range<i64>, AdminError>> {
        Box::pin(async move {
            let asking = self.cluster.producer_id_block();
            let block = self
                .followed("take producer ids", String::new(), asking)
                .await;
            let block = block.map_err(|error| AdminError::NotDone(error.to_string()))?;
            Ok(block.first..block.first + block.len)
        })
    }
}

fn create_error(error: CreateTopicError) -> AdminError {
    match error {
        CreateTopicError::Exists(name) => AdminError::TopicExists(name),
        CreateTopicError::InvalidName(why) => AdminError::InvalidName(why),
        CreateTopicError::InvalidPartitions(why) => AdminError::InvalidPartitions(why),
        CreateTopicError::InvalidReplicationFactor(why) => {
            AdminError::InvalidReplicationFactor(why)
        }
        CreateTopicError::InvalidAssignment(why) => AdminError::InvalidAssignment(why),
        CreateTopicError::Contradiction => AdminError::Contradiction,
        CreateTopicError::InvalidConfig(why) => AdminError::InvalidConfig(why.to_string()),
        CreateTopicError::OutcomeUnknown(why) => AdminError::OutcomeUnknown(why),
        CreateTopicError::Ensemble(why) => AdminError::NotDone(why.to_string()),
    }
}
