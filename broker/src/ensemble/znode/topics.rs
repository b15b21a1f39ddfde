//! `/brokers/topics/T`, the assignment of a topic, and `…/partitions/P/state`, leader and ISR of a
//! partition. The state's znode version is the partition epoch.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::metadata::PartitionState;

use super::{DecodeError, decode, encode, id_text, parse_id};

/// Parent of all topics.
pub const TOPICS: &str = "/brokers/topics";

/// Path of a topic's znode.
#[must_use]
pub fn topic_path(topic: &str) -> String {
    format!("{TOPICS}/{topic}")
}

/// Path of the znode above a topic's partitions.
#[must_use]
pub fn partitions_path(topic: &str) -> String {
    format!("{TOPICS}/{topic}/partitions")
}

/// Path of a partition's znode.
#[must_use]
pub fn partition_path(topic: &str, partition: i32) -> String {
    format!("{TOPICS}/{topic}/partitions/{partition}")
}

/// Path of a partition's state.
#[must_use]
pub fn state_path(topic: &str, partition: i32) -> String {
    format!("{TOPICS}/{topic}/partitions/{partition}/state")
}

/// The assignment of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicNode {
    /// Its id; nil if the znode has none (older Kafka).
    pub id: Uuid,
    /// Partition index and replicas, by index.
    pub assignment: Vec<(i32, Vec<i32>)>,
    /// Replicas being added and removed by a reassignment, carried along untouched.
    pub moving: Moving,
}

/// Replicas being added and removed, by partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moving {
    adding: BTreeMap<i32, Vec<i32>>,
    removing: BTreeMap<i32, Vec<i32>>,
}

#[derive(Serialize, Deserialize)]
struct TopicJson {
    version: i32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    topic_id: Option<String>,
    partitions: BTreeMap<i32, Vec<i32>>,
    #[serde(default)]
    adding_replicas: BTreeMap<i32, Vec<i32>>,
    #[serde(default)]
    removing_replicas: BTreeMap<i32, Vec<i32>>,
}

impl TopicNode {
    /// A new topic.
    #[must_use]
    pub fn new(id: Uuid, assignment: Vec<(i32, Vec<i32>)>) -> TopicNode {
        TopicNode {
            id,
            assignment,
            moving: Moving::default(),
        }
    }

    /// Version 3, as Kafka 3.9 writes it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let partitions = self.assignment.iter();
        encode(&TopicJson {
            version: 3,
            topic_id: (!self.id.is_nil()).then(|| id_text(self.id)),
            partitions: partitions
                .map(|(index, replicas)| (*index, replicas.clone()))
                .collect(),
            adding_replicas: self.moving.adding.clone(),
            removing_replicas: self.moving.removing.clone(),
        })
    }

    /// Reads versions 1 to 3.
    ///
    /// # Errors
    /// [`DecodeError`] if it is not JSON of that shape, or an index or the id is malformed.
    pub fn decode(path: &str, data: &[u8]) -> Result<TopicNode, DecodeError> {
        let json: TopicJson = decode(path, data)?;
        let id = match json.topic_id {
            Some(text) => parse_id(&text).ok_or_else(|| {
                DecodeError::new(path, &format!("topic id {text:?} is malformed"))
            })?,
            None => Uuid::nil(),
        };
        if let Some(index) = json.partitions.keys().find(|index| **index < 0) {
            return Err(DecodeError::new(
                path,
                &format!("partition {index} is negative"),
            ));
        }
        Ok(TopicNode {
            id,
            assignment: json.partitions.into_iter().collect(),
            moving: Moving {
                adding: json.adding_replicas,
                removing: json.removing_replicas,
            },
        })
    }
}

#[derive(Serialize, Deserialize)]
struct StateJson {
    version: i32,
    leader: i32,
    leader_epoch: i32,
    controller_epoch: i32,
    isr: Vec<i32>,
    #[serde(default)]
    leader_broker_epoch: i64,
    #[serde(default)]
    isr_broker_epochs: Vec<i64>,
}

/// The content of a state: version 1, as Kafka writes it, and the broker epochs.
#[must_use]
pub fn encode_state(state: &PartitionState) -> Bytes {
    assert_eq!(
        state.isr.len(),
        state.isr_broker_epochs.len(),
        "each member of an ISR has its broker epoch"
    );
    encode(&StateJson {
        version: 1,
        leader: state.leader.unwrap_or(-1),
        leader_epoch: state.leader_epoch,
        controller_epoch: state.controller_epoch,
        isr: state.isr.clone(),
        leader_broker_epoch: state.leader_broker_epoch,
        isr_broker_epochs: state.isr_broker_epochs.clone(),
    })
}

/// Reads a state. Broker epochs that do not fit the ISR (another program changed the one and not
/// the other) count as not told.
///
/// # Errors
/// [`DecodeError`] if it is not JSON of that shape.
pub fn decode_state(path: &str, data: &[u8]) -> Result<PartitionState, DecodeError> {
    let json: StateJson = decode(path, data)?;
    let mut epochs = json.isr_broker_epochs;
    if epochs.len() != json.isr.len() {
        epochs = vec![0; json.isr.len()];
    }
    Ok(PartitionState {
        leader: Some(json.leader).filter(|id| *id >= 0),
        leader_epoch: json.leader_epoch,
        controller_epoch: json.controller_epoch,
        isr: json.isr,
        leader_broker_epoch: json.leader_broker_epoch,
        isr_broker_epochs: epochs,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_kafkas_text() {
        let node = TopicNode::new(Uuid::from_u128(1), vec![(0, vec![1, 2]), (10, vec![2, 3])]);
        let text = node.encode();
        let expected = "{\"version\":3,\"topic_id\":\"AAAAAAAAAAAAAAAAAAAAAQ\",\
            \"partitions\":{\"0\":[1,2],\"10\":[2,3]},\"adding_replicas\":{},\
            \"removing_replicas\":{}}";
        assert_eq!(text, expected);
        assert_eq!(TopicNode::decode("/t", &text), Ok(node));
    }

    #[test]
    fn older_and_moving_assignments_are_read() {
        let v1 = TopicNode::decode("/t", br#"{"version":1,"partitions":{"1":[3],"0":[2]}}"#);
        let v1 = v1.expect("v1");
        assert!(v1.id.is_nil());
        assert_eq!(v1.assignment, [(0, vec![2]), (1, vec![3])]);
        let text = br#"{"version":3,"topic_id":"AAAAAAAAAAAAAAAAAAAAAQ","partitions":{"0":[1,2]},"adding_replicas":{"0":[2]},"removing_replicas":{}}"#;
        let moving = TopicNode::decode("/t", text).expect("v3");
        assert_eq!(moving.encode().as_ref(), text);
        for bad in [r#"{"version":3,"partitions":{"x":[1]}}"#, "[]", ""] {
            assert!(TopicNode::decode("/t", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_state_is_kafkas_text_with_broker_epochs() {
        let state = PartitionState {
            leader: Some(1),
            leader_epoch: 4,
            controller_epoch: 2,
            isr: vec![1, 3],
            leader_broker_epoch: 77,
            isr_broker_epochs: vec![77, 80],
        };
        let text = encode_state(&state);
        let expected = "{\"version\":1,\"leader\":1,\"leader_epoch\":4,\"controller_epoch\":2,\
            \"isr\":[1,3],\"leader_broker_epoch\":77,\"isr_broker_epochs\":[77,80]}";
        assert_eq!(text, expected);
        assert_eq!(decode_state("/s", &text), Ok(state));
    }

    #[test]
    fn a_state_of_kafka_has_broker_epochs_zero() {
        let text =
            br#"{"controller_epoch":9,"leader":-1,"version":1,"leader_epoch":3,"isr":[1,2]}"#;
        let state = decode_state("/s", text).expect("state");
        assert_eq!((state.leader, state.leader_broker_epoch), (None, 0));
        assert_eq!(state.isr_broker_epochs, [0, 0]);
    }
}
