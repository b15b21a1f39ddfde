//! One member of a group.

use bytes::Bytes;

use super::{Now, Ticket};

/// Who a member is and what it asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Id given by the coordinator.
    pub id: String,
    /// `group.instance.id`, if it is a static member.
    pub instance_id: Option<String>,
    /// Name its client gave itself.
    pub client_id: String,
    /// Address it came from, with Java's leading slash.
    pub client_host: String,
    /// How long a rebalance waits for it.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// Protocols in order of preference, each with metadata opaque to the coordinator.
    pub protocols: Vec<(String, Bytes)>,
    /// What the leader assigned to it, opaque too.
    pub assignment: Bytes,
    /// Joined, and has not had a first reply yet: it cannot heartbeat.
    pub is_new: bool,
    /// Its join, while that waits.
    pub awaiting_join: Option<Ticket>,
    /// Its sync, while that waits.
    pub awaiting_sync: Option<Ticket>,
    /// Whether it has not yet asked for its assignment of this generation.
    pub owes_sync: bool,
    /// When its session ends unless it is heard from, monotonic.
    pub deadline_ms: i64,
}

/// A new member cannot heartbeat before its first reply; it is given this long.
pub const NEW_MEMBER_TIMEOUT_MS: i64 = 5 * 60 * 1000;

impl Member {
    /// Heard from it: its session begins anew.
    pub fn touch(&mut self, now: Now) {
        self.deadline_ms = now.mono_ms + i64::from(self.session_timeout_ms);
    }

    /// When silence ends its session; `None` while a request of its own waits here.
    pub fn expires_at(&self) -> Option<i64> {
        let parked = self.awaiting_join.is_some() || self.awaiting_sync.is_some();
        (self.is_new || !parked).then_some(self.deadline_ms)
    }

    /// Metadata for `protocol`, empty if it does not support it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, metadata)| metadata.clone())
            .unwrap_or_default()
    }

    /// Whether it supports `protocol`.
    pub fn supports(&self, protocol: &str) -> bool {
        self.protocols.iter().any(|(name, _)| name == protocol)
    }
}
