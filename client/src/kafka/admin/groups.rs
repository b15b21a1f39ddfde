//! Consumer groups: who they are, who is in them, what they have committed.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::consumer_protocol_assignment::ConsumerProtocolAssignment;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{
    DescribeGroupsRequest, GroupId, ListGroupsRequest, OffsetFetchRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::Admin;
use crate::kafka::client::Lane;
use crate::kafka::error::{KafkaError, check};
use crate::kafka::guarded;

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// `consumer` for consumers, other words for other uses, empty for offsets without members.
    pub protocol_type: String,
    /// State, if the broker says it in lists.
    pub state: Option<String>,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupMember {
    /// Id given by the coordinator.
    pub member_id: String,
    /// `group.instance.id`, for static members.
    pub instance_id: Option<String>,
    /// Name its client gave itself.
    pub client_id: String,
    /// Address it came from.
    pub client_host: String,
    /// Partitions it holds, by topic; empty if its protocol is not a consumer's.
    pub assignment: BTreeMap<String, Vec<i32>>,
}

/// A group in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Kafka's word for its state.
    pub state: String,
    /// `consumer` for consumers.
    pub protocol_type: String,
    /// Protocol its members agreed on, such as `range`.
    pub protocol: String,
    /// Its members.
    pub members: Vec<GroupMember>,
}

/// An offset a group has committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the record before it, or -1.
    pub leader_epoch: i32,
    /// What the committer noted.
    pub metadata: String,
}

impl Admin {
    /// Every group of every broker, sorted.
    ///
    /// # Errors
    /// [`KafkaError`] if a broker does not answer: a list that lacks some would mislead.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, KafkaError> {
        let client = self.client();
        let brokers = self
            .client()
            .retry(|| client.metadata(Some(&[]), false))
            .await?
            .brokers;
        let mut groups = Vec::new();
        for &id in brokers.keys() {
            let answer = client
                .retry(|| async {
                    let connection = client.broker(id, Lane::Control).await?;
                    let answer = connection.call(|_| ListGroupsRequest::default()).await?;
                    check(
                        || format!("listing the groups of broker {id}"),
                        answer.error_code,
                    )?;
                    Ok(answer)
                })
                .await?;
            groups.extend(answer.groups.into_iter().map(|g| GroupListing {
                group: g.group_id.to_string(),
                protocol_type: g.protocol_type.to_string(),
                state: Some(g.group_state.to_string()).filter(|s| !s.is_empty()),
            }));
        }
        groups.sort();
        groups.dedup();
        Ok(groups)
    }

    /// A group with its members. An unknown group is `Dead` and empty, as Kafka answers it.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn describe_group(&self, group: &str) -> Result<GroupDescription, KafkaError> {
        self.with_coordinator(group, async |connection| {
            let answer = connection
                .call(|_| {
                    let mut request = DescribeGroupsRequest::default();
                    request.groups = vec![GroupId(StrBytes::from_string(group.to_owned()))];
                    request
                })
                .await?;
            let described = answer.groups.into_iter().next().ok_or_else(|| {
                KafkaError::Malformed("an answer to DescribeGroups without a group".into())
            })?;
            check(|| format!("describing group {group}"), described.error_code)?;
            Ok(to_description(described))
        })
        .await
    }

    /// Everything a group has committed, by topic and partition.
    ///
    /// # Errors
    /// [`KafkaError`].
    pub async fn committed_offsets(
        &self,
        group: &str,
    ) -> Result<BTreeMap<(String, i32), CommittedOffset>, KafkaError> {
        self.with_coordinator(group, async |connection| {
            let answer = connection
                .call(|_| {
                    let mut request = OffsetFetchRequest::default();
                    request.group_id = GroupId(StrBytes::from_string(group.to_owned()));
                    request.topics = None; // all of them
                    request
                })
                .await?;
            check(|| format!("offsets of group {group}"), answer.error_code)?;
            let mut offsets = BTreeMap::new();
            for topic in answer.topics {
                for p in topic.partitions {
                    check(
                        || format!("offset of {}", topic.name.as_str()),
                        p.error_code,
                    )?;
                    if p.committed_offset >= 0 {
                        let committed = CommittedOffset {
                            offset: p.committed_offset,
                            leader_epoch: p.committed_leader_epoch,
                            metadata: p.metadata.map(|m| m.to_string()).unwrap_or_default(),
                        };
                        offsets.insert((topic.name.to_string(), p.partition_index), committed);
                    }
                }
            }
            Ok(offsets)
        })
        .await
    }
}

fn to_description(group: DescribedGroup) -> GroupDescription {
    let consumers = group.protocol_type.as_str() == "consumer";
    GroupDescription {
        group: group.group_id.to_string(),
        state: group.group_state.to_string(),
        protocol_type: group.protocol_type.to_string(),
        protocol: group.protocol_data.to_string(),
        members: group
            .members
            .into_iter()
            .map(|m| GroupMember {
                member_id: m.member_id.to_string(),
                instance_id: m.group_instance_id.map(|i| i.to_string()),
                client_id: m.client_id.to_string(),
                client_host: m.client_host.to_string(),
                assignment: if consumers {
                    decode_assignment(m.member_assignment).unwrap_or_default()
                } else {
                    BTreeMap::new()
                },
            })
            .collect(),
    }
}

/// Partitions by topic out of a consumer's assignment, as Java's consumers encode it: an i16
/// version, then the message of that version. `None` if the bytes are something else.
pub(crate) fn decode_assignment(mut bytes: Bytes) -> Option<BTreeMap<String, Vec<i32>>> {
    use bytes::Buf;
    if bytes.remaining() < 2 {
        return None;
    }
    let version = bytes.get_i16().clamp(0, 3);
    let assignment: ConsumerProtocolAssignment = guarded::decode(&mut bytes, version).ok()?;
    Some(
        assignment
            .assigned_partitions
            .into_iter()
            .map(|t| (t.topic.to_string(), t.partitions))
            .collect(),
    )
}
