//! Kafka's range assignment, and the bytes in which members say what they want and get it. Pure.
//!
//! Per topic, its partitions in order are dealt out in contiguous ranges to the members that want
//! it, in the order of their ids; the first ones get one more if they don't divide evenly. Every
//! Kafka client knows this one, so groups may mix clients.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::consumer_protocol_assignment::{
    ConsumerProtocolAssignment, TopicPartition as AssignedTopic,
};
use kafka_protocol::messages::consumer_protocol_subscription::ConsumerProtocolSubscription;
use kafka_protocol::protocol::{Encodable, StrBytes};

use crate::kafka::admin::decode_assignment;
use crate::kafka::error::KafkaError;
use crate::kafka::guarded;

/// Name of the protocol in JoinGroup.
pub const RANGE: &str = "range";

/// Partitions by topic.
pub type Assignment = BTreeMap<String, Vec<i32>>;

/// A member as the leader sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Member id.
    pub id: String,
    /// `group.instance.id`; static members keep their place by it.
    pub instance_id: Option<String>,
    /// Topics it wants.
    pub topics: Vec<String>,
}

/// Deals out partitions; `partitions` counts those of each topic, topics missing there are skipped.
pub fn assign_range(
    candidates: &[Candidate],
    partitions: &BTreeMap<String, i32>,
) -> BTreeMap<String, Assignment> {
    let mut assigned: BTreeMap<String, Assignment> = candidates
        .iter()
        .map(|c| (c.id.clone(), Assignment::new()))
        .collect();
    for (topic, &count) in partitions {
        let mut wanting: Vec<&Candidate> = candidates
            .iter()
            .filter(|c| c.topics.contains(topic))
            .collect();
        wanting.sort_by_key(|c| {
            (
                c.instance_id.is_none(),
                c.instance_id.clone().unwrap_or_default(),
                c.id.clone(),
            )
        });
        let members = wanting.len() as i32;
        let mut next = 0;
        for (place, member) in wanting.iter().enumerate() {
            let share = count / members + i32::from((place as i32) < count % members);
            if share > 0
                && let Some(assignment) = assigned.get_mut(&member.id)
            {
                assignment.insert(topic.clone(), (next..next + share).collect());
            }
            next += share;
        }
    }
    assigned
}

/// What a member says when joining.
///
/// # Errors
/// [`KafkaError::Malformed`] if a name is too long.
pub fn encode_subscription(topics: &[String]) -> Result<Bytes, KafkaError> {
    let mut subscription = ConsumerProtocolSubscription::default();
    subscription.topics = topics
        .iter()
        .map(|t| StrBytes::from_string(t.clone()))
        .collect();
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    subscription
        .encode(&mut bytes, 0)
        .map_err(|e| KafkaError::Malformed(e.to_string()))?;
    Ok(bytes.freeze())
}

/// Topics out of what another member said; none if it cannot be read.
pub fn decode_subscription(mut bytes: Bytes) -> Vec<String> {
    if bytes.remaining() < 2 {
        return Vec::new();
    }
    let version = bytes.get_i16().clamp(0, 3);
    guarded::decode(&mut bytes, version)
        .map(|s: ConsumerProtocolSubscription| s.topics.iter().map(|t| t.to_string()).collect())
        .unwrap_or_default()
}

/// What the leader hands in for a member.
///
/// # Errors
/// [`KafkaError::Malformed`] if a name is too long.
pub fn encode_assignment(assignment: &Assignment) -> Result<Bytes, KafkaError> {
    let mut message = ConsumerProtocolAssignment::default();
    message.assigned_partitions = assignment
        .iter()
        .map(|(topic, partitions)| {
            let mut assigned = AssignedTopic::default();
            assigned.topic = TopicName(StrBytes::from_string(topic.clone()));
            assigned.partitions.clone_from(partitions);
            assigned
        })
        .collect();
    let mut bytes = BytesMut::new();
    bytes.put_i16(0);
    message
        .encode(&mut bytes, 0)
        .map_err(|e| KafkaError::Malformed(e.to_string()))?;
    Ok(bytes.freeze())
}

/// Partitions out of what the leader handed in. Empty bytes mean none.
///
/// # Errors
/// [`KafkaError::Malformed`].
pub fn read_assignment(bytes: Bytes) -> Result<Assignment, KafkaError> {
    if bytes.is_empty() {
        return Ok(Assignment::new());
    }
    decode_assignment(bytes)
        .ok_or_else(|| KafkaError::Malformed("an assignment that cannot be read".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: &str, topics: &[&str]) -> Candidate {
        Candidate {
            id: id.to_owned(),
            instance_id: None,
            topics: topics.iter().map(|t| (*t).to_owned()).collect(),
        }
    }

    #[test]
    fn ranges_are_contiguous_and_the_first_ones_longer() {
        let members = [candidate("b", &["t", "u"]), candidate("a", &["t"])];
        let counts = BTreeMap::from([("t".to_owned(), 3), ("u".to_owned(), 2)]);
        let assigned = assign_range(&members, &counts);
        assert_eq!(
            assigned["a"],
            BTreeMap::from([("t".to_owned(), vec![0, 1])])
        );
        let b = BTreeMap::from([("t".to_owned(), vec![2]), ("u".to_owned(), vec![0, 1])]);
        assert_eq!(assigned["b"], b);
    }

    #[test]
    fn more_members_than_partitions_leaves_some_without() {
        let members = [candidate("a", &["t"]), candidate("b", &["t"])];
        let assigned = assign_range(&members, &BTreeMap::from([("t".to_owned(), 1)]));
        assert_eq!(assigned["a"]["t"], vec![0]);
        assert!(assigned["b"].is_empty());
    }

    #[test]
    fn what_members_claim_costs_nothing() {
        // Two thousand million topics, and as many partitions of one topic.
        let topics = Bytes::from_static(&[0, 0, 0x7f, 0xff, 0xff, 0xff]);
        assert!(decode_subscription(topics).is_empty());
        let partitions = Bytes::from_static(b"\0\0\0\0\0\x01\0\x01t\x7f\xff\xff\xff");
        assert!(read_assignment(partitions).is_err());
    }

    #[test]
    fn both_messages_survive_the_wire() {
        let topics = vec!["t".to_owned(), "u".to_owned()];
        let said = encode_subscription(&topics).expect("encode");
        assert_eq!(decode_subscription(said), topics);
        let assignment = BTreeMap::from([("t".to_owned(), vec![0, 2])]);
        let given = encode_assignment(&assignment).expect("encode");
        assert_eq!(read_assignment(given).expect("decode"), assignment);
        assert!(read_assignment(Bytes::from_static(b"\0")).is_err());
    }
}
