//! What a broker's metadata says, as values.

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::{MetadataResponse, metadata_response::MetadataResponseTopic};
use uuid::Uuid;

use crate::kafka::error::{KafkaError, check};

/// A broker's address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its `broker.id`.
    pub id: i32,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: i32,
    /// `broker.rack`, if set.
    pub rack: Option<String>,
}

impl Broker {
    /// host:port.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A partition as the metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionMetadata {
    /// Its number.
    pub index: i32,
    /// The leading broker, if there is one.
    pub leader: Option<i32>,
    /// Epoch of the leadership; -1 if the broker is too old to say.
    pub leader_epoch: i32,
    /// Brokers that hold it, the preferred leader first.
    pub replicas: Vec<i32>,
    /// Brokers in sync.
    pub isr: Vec<i32>,
    /// Replicas on brokers that are down.
    pub offline: Vec<i32>,
}

/// A topic as the metadata shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicMetadata {
    /// Its name.
    pub name: String,
    /// Its id; zero if the broker has none.
    pub id: Uuid,
    /// Whether it is one of the cluster's own.
    pub internal: bool,
    /// Partitions by number.
    pub partitions: BTreeMap<i32, PartitionMetadata>,
}

/// The cluster as one broker described it.
#[derive(Debug, Clone, Default)]
pub struct ClusterMetadata {
    /// Cluster id.
    pub cluster_id: Option<String>,
    /// The controller's id, if there is one.
    pub controller: Option<i32>,
    /// Live brokers by id.
    pub brokers: BTreeMap<i32, Broker>,
    /// Topics asked for, each with its description or its error.
    pub topics: BTreeMap<String, Result<Arc<TopicMetadata>, KafkaError>>,
}

pub(super) fn to_metadata(answer: MetadataResponse) -> ClusterMetadata {
    ClusterMetadata {
        cluster_id: answer.cluster_id.map(|id| id.to_string()),
        controller: Some(answer.controller_id.0).filter(|&id| id >= 0),
        brokers: answer
            .brokers
            .into_iter()
            .map(|b| {
                let broker = Broker {
                    id: b.node_id.0,
                    host: b.host.to_string(),
                    port: b.port,
                    rack: b.rack.map(|r| r.to_string()),
                };
                (broker.id, broker)
            })
            .collect(),
        topics: answer
            .topics
            .into_iter()
            .map(|t| {
                let name = t.name.as_ref().map_or_else(String::new, |n| n.to_string());
                let topic = check(|| format!("metadata of topic {name}"), t.error_code)
                    .map(|()| Arc::new(to_topic(name.clone(), &t)));
                (name, topic)
            })
            .collect(),
    }
}

fn to_topic(name: String, topic: &MetadataResponseTopic) -> TopicMetadata {
    let ids =
        |brokers: &[kafka_protocol::messages::BrokerId]| brokers.iter().map(|b| b.0).collect();
    let partitions = topic
        .partitions
        .iter()
        .map(|p| {
            let partition = PartitionMetadata {
                index: p.partition_index,
                leader: Some(p.leader_id.0).filter(|&id| id >= 0),
                leader_epoch: p.leader_epoch,
                replicas: ids(&p.replica_nodes),
                isr: ids(&p.isr_nodes),
                offline: ids(&p.offline_replicas),
            };
            (p.partition_index, partition)
        })
        .collect();
    TopicMetadata {
        name,
        id: topic.topic_id,
        internal: topic.is_internal,
        partitions,
    }
}
