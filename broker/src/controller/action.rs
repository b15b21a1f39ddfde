//! What the controller wants written.

use std::sync::Arc;

use crate::metadata::{ElectionKind, PartitionState};

/// Why a state is replaced, for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The leader is gone, or stops, or registered anew; another one was in sync.
    LeaderChanged,
    /// Members of the ISR are gone, or stop, or registered anew.
    IsrChanged,
    /// No replica may lead for now.
    NoLeader,
    /// None of the ISR could vouch for its log: the longest one was chosen among all of them.
    /// Records may be lost if power failed on all.
    LongestLog,
    /// A replica out of sync was chosen, as the topic allows or an operator asked for. Records are lost.
    Unclean,
    /// The preferred replica leads again.
    Preferred,
}

/// One thing to write. Each is done or not as a whole, on its own condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Create the znode above a topic's partitions.
    CreatePartitionsNode {
        /// The topic.
        topic: Arc<str>,
        /// Version of its znode.
        version: i32,
    },
    /// Create the state of a partition.
    CreateState {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// Version of the topic's znode, which assigns the replicas.
        topic_version: i32,
        /// Whether the partition's own znode exists already.
        has_node: bool,
        /// The first state.
        state: PartitionState,
    },
    /// Replace the state of a partition.
    SetState {
        /// The topic.
        topic: Arc<str>,
        /// The partition.
        partition: i32,
        /// The partition epoch it was decided from.
        expected: i32,
        /// The next state.
        state: PartitionState,
        /// The reason.
        why: Why,
    },
    /// Remove a topic with everything that belongs to it, its deletion marker last.
    DeleteTopic(Removal),
    /// Remove the deletion marker of a topic that does not exist.
    DropDeletion {
        /// The topic.
        topic: Arc<str>,
    },
    /// Give a topic of an older Kafka an id.
    FillTopicId {
        /// The topic.
        topic: Arc<str>,
        /// Version of its znode.
        version: i32,
    },
    /// Remove a request for elections.
    EndElection {
        /// Of which kind.
        kind: ElectionKind,
        /// Version of its znode.
        version: i32,
    },
    /// Remove a notification of another implementation.
    DropNotification {
        /// Its path.
        path: Arc<str>,
    },
}

impl Action {
    /// Whether it makes a replica the leader that may lack records.
    #[must_use]
    pub fn may_lose_records(&self) -> bool {
        let Action::SetState { why, .. } = self else {
            return false;
        };
        matches!(why, Why::LongestLog | Why::Unclean)
    }
}

/// What of a topic exists, to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// The topic.
    pub topic: Arc<str>,
    /// Version of its znode.
    pub version: i32,
    /// Whether the znode above its partitions exists.
    pub has_partitions_node: bool,
    /// Partitions that have a znode, and whether it has a state.
    pub partitions: Vec<(i32, bool)>,
    /// Whether it has settings.
    pub has_config: bool,
}
