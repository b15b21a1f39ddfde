//! Which parts of an image differ from the one before it, so that those who follow images need
//! not compare whole ones.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What changed between two images. Over-reporting is allowed, under-reporting is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Everything may have changed: the stream began anew.
    pub all: bool,
    /// Brokers that came, went, or registered anew.
    pub brokers: BTreeSet<i32>,
    /// Topics created, deleted, or assigned anew.
    pub topics: BTreeSet<Arc<str>>,
    /// Partitions whose state changed.
    pub partitions: BTreeSet<(Arc<str>, i32)>,
    /// Topics whose settings changed.
    pub topic_configs: BTreeSet<Arc<str>>,
    /// Whether settings of brokers changed.
    pub broker_configs: bool,
    /// Whether `/controller` or its epoch changed.
    pub controller: bool,
    /// Whether something was asked of the controller, or withdrawn: deletions, elections,
    /// shutdowns, ends of logs, notifications.
    pub requests: bool,
}

impl Delta {
    /// A delta that says that everything may have changed.
    #[must_use]
    pub fn everything() -> Delta {
        Delta {
            all: true,
            ..Delta::default()
        }
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Delta::default()
    }

    /// Adds what another delta reports.
    pub fn merge(&mut self, other: Delta) {
        self.all |= other.all;
        self.brokers.extend(other.brokers);
        self.topics.extend(other.topics);
        self.partitions.extend(other.partitions);
        self.topic_configs.extend(other.topic_configs);
        self.broker_configs |= other.broker_configs;
        self.controller |= other.controller;
        self.requests |= other.requests;
    }
}
