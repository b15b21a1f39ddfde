//! What partitions count, and how they look to whoever watches this broker.

use super::manager::{Hosted, ReplicaManager};
use super::partition::{Partition, Role};
use super::{Certainty, Reader};
use crate::clock;
use crate::log::{Appended, LogError};
use crate::metrics::{Metrics, Traffic};
use crate::replica::isr::{Isr, Proposal, WriteEnd};
use std::sync::Arc;
use zweig_monitoring::Tracer;

/// How a partition that is led here stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Led {
    /// Its replicas.
    pub replicas: usize,
    /// Those of them that are in sync.
    pub in_sync: usize,
    /// `min.insync.replicas`.
    pub min_in_sync: usize,
    /// Records that the follower which is most behind lacks.
    pub most_behind: i64,
}

impl Partition {
    fn counted(&self) -> [&Traffic; 2] {
        [&self.host.metrics.all, &self.traffic]
    }

    pub(super) fn count_appended(&self, appended: &Appended, bytes: u64) {
        let records = appended.last_offset - appended.first_offset + 1;
        for traffic in self.counted() {
            traffic.messages_in.add(u64::try_from(records).unwrap_or(0));
            traffic.bytes_in.add(bytes);
        }
    }

    pub(super) fn count_replicated(&self, bytes: u64) {
        for traffic in self.counted() {
            traffic.replication_bytes_in.add(bytes);
        }
    }

    /// So many bytes go to a reader.
    pub fn count_sent(&self, reader: Reader, bytes: usize) {
        for traffic in self.counted() {
            let counter = match reader {
                Reader::Consumer { .. } => &traffic.bytes_out,
                Reader::Follower(_) => &traffic.replication_bytes_out,
            };
            counter.add(bytes as u64);
        }
    }

    /// The ISR of a leadership of this broker; empty if that is over.
    pub(super) fn isr_in(&self, leader_epoch: i32) -> Isr {
        let mut inner = self.lock();
        let leader = inner.leader(leader_epoch);
        leader.map_or_else(|_| Isr::default(), |leader| leader.isr().clone())
    }

    /// Why a proposal changes the ISR as it does, as words.
    pub(super) fn why_isr(&self, proposal: &Proposal) -> String {
        let mut inner = self.lock();
        let leader = inner.leader(proposal.leader_epoch);
        let reasons = leader.map_or_else(|_| Vec::new(), |leader| leader.reasons(proposal));
        let words = reasons.iter().map(|(id, why)| format!("broker {id} {why}"));
        words.collect::<Vec<_>>().join(", ")
    }

    /// The end of a write that was to change the ISR from `before`.
    pub(super) fn count_isr_change(&self, before: &Isr, proposal: &Proposal, end: WriteEnd) {
        let metrics = &self.host.metrics;
        let lacks = |of: &Isr, than: &Isr| than.ids().iter().any(|id| !of.contains(*id));
        match end {
            WriteEnd::Written { .. } => {
                if lacks(&proposal.isr, before) {
                    metrics.isr_shrinks.one();
                }
                if lacks(before, &proposal.isr) {
                    metrics.isr_expands.one();
                }
            }
            WriteEnd::NotDone | WriteEnd::Unknown => metrics.isr_failures.one(),
            WriteEnd::Stale => {}
        }
    }

    /// Flushes the log, and counts how long that took.
    pub(super) fn flush_timed(&self) -> Result<(), LogError> {
        let begun = clock::now();
        let flushed = self.log.flush();
        let took = clock::now().saturating_duration_since(begun);
        self.host.metrics.syncs.observe(took);
        flushed
    }

    /// How it stands, if it is led here.
    #[must_use]
    pub fn led(&self) -> Option<Led> {
        let min_in_sync = self.min_in_sync();
        let inner = self.lock();
        let Role::Leading(leader) = &inner.role else {
            return None;
        };
        Some(Led {
            replicas: leader.replica_count(),
            in_sync: leader.isr().len(),
            min_in_sync,
            most_behind: leader.most_behind(),
        })
    }
}

impl ReplicaManager {
    /// What this broker counts.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.host.metrics
    }

    /// Tells of batches that are followed.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.host.config.tracer
    }

    /// Partitions assigned to this broker whose logs cannot be opened.
    #[must_use]
    pub fn offline_count(&self) -> usize {
        let partitions = self.partitions.read();
        let offline = partitions
            .values()
            .filter(|hosted| matches!(hosted, Hosted::Offline(_)));
        offline.count()
    }

    /// Whether this broker is sure of its registration.
    #[must_use]
    pub fn is_sure(&self) -> bool {
        self.host.ensemble.certainty() == Certainty::Sure
    }
}
