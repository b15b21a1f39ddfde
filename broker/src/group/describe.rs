//! What an administrator sees of a group.

use bytes::Bytes;

use super::{Group, GroupState};

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub group: String,
    /// Kind of its members; empty if it never had any.
    pub protocol_type: String,
    /// Where it stands.
    pub state: GroupState,
}

/// A group in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Where it stands.
    pub state: GroupState,
    /// Kind of its members.
    pub protocol_type: String,
    /// Protocol, once it is stable.
    pub protocol: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member in detail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub id: String,
    /// `group.instance.id`.
    pub instance_id: Option<String>,
    /// Name its client gave itself.
    pub client_id: String,
    /// Where it came from.
    pub client_host: String,
    /// Its metadata; empty unless the group is stable.
    pub metadata: Bytes,
    /// Its assignment; empty unless the group is stable.
    pub assignment: Bytes,
}

impl Described {
    /// What is said of a group nobody knows.
    pub fn unknown() -> Self {
        Self {
            state: GroupState::Dead,
            protocol_type: String::new(),
            protocol: String::new(),
            members: Vec::new(),
        }
    }
}

impl Group {
    /// For a list.
    pub fn listed(&self) -> Listed {
        Listed {
            group: self.id.clone(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            state: self.state(),
        }
    }

    /// In detail. Metadata and assignments are shown only while they are certain.
    pub fn described(&self) -> Described {
        let stable = self.state() == GroupState::Stable;
        let protocol = self.protocol.clone().filter(|_| stable).unwrap_or_default();
        let members = self
            .members
            .values()
            .map(|m| DescribedMember {
                id: m.id.clone(),
                instance_id: m.instance_id.clone(),
                client_id: m.client_id.clone(),
                client_host: m.client_host.clone(),
                metadata: m.metadata(&protocol),
                assignment: if stable {
                    m.assignment.clone()
                } else {
                    Bytes::new()
                },
            })
            .collect();
        Described {
            state: self.state(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol,
            members,
        }
    }
}
