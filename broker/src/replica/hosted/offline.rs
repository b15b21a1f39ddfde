//! Partitions whose log can't be opened: tried again, since room may have come, and not led for longer than it takes
//! to say so.
//!
//! Nobody else knows that such a leader serves nothing. It leaves the ISR by its own conditional write, and the
//! controller then elects one of those that are left in it. A leader that is in sync alone stays: to read that the
//! partition has a leader that answers with an error is more than to read that it has none.

use super::manager::{Hosted, ReplicaManager};
use super::seen::state_of;
use super::{Certainty, Proposal};
use crate::log::TopicPartition;
use crate::metadata::Image;
use crate::replica::isr::Isr;
use crate::replica::state::{Part, part};
use crate::tasks;
use std::collections::BTreeSet;
use std::sync::Arc;
use tracing::{error, warn};

impl ReplicaManager {
    /// Tries to open what is offline, and gives up what stays so.
    pub(super) fn mend_offline(&self) {
        if self.offline().is_empty() {
            return;
        }
        let applied = self.applied.lock();
        let Some(applied) = &*applied else { return };
        let topics: BTreeSet<String> = self.offline().into_iter().map(|name| name.topic).collect();
        for topic in topics.iter().filter_map(|name| applied.image.topic(name)) {
            self.apply_topic(&applied.image, topic, applied.broker_epoch);
        }
        self.tell_leaderships();
        for name in self.offline() {
            self.leave_isr(&name, &applied.image, applied.broker_epoch);
        }
    }

    fn offline(&self) -> Vec<TopicPartition> {
        let partitions = self.partitions.read();
        let offline = partitions
            .iter()
            .filter(|(_, hosted)| matches!(hosted, Hosted::Offline(_)));
        let mut offline: Vec<_> = offline.map(|(name, _)| name.clone()).collect();
        offline.sort_unstable();
        offline
    }

    /// Writes an ISR without this broker, if it leads and others are in it.
    fn leave_isr(&self, name: &TopicPartition, image: &Image, broker_epoch: Option<i64>) {
        let me = self.broker_id();
        let Some(topic) = image.topic(&name.topic) else {
            return;
        };
        let Some(seen) = topic.partitions.get(&name.partition) else {
            return;
        };
        let (topic_id, state) = (topic.id, state_of(seen));
        let others = Isr::new(state.isr.members().filter(|(id, _)| *id != me));
        let leads = part(&state, me, broker_epoch) == Part::Lead;
        let sure = self.host.ensemble.certainty() == Certainty::Sure;
        if !leads || !sure || others.is_empty() || others == state.isr {
            return;
        }
        error!(partition = %name, isr = ?others.ids(), "led here, and its log can't be opened: left to those in sync");
        let proposal = Proposal {
            isr: others,
            expected_partition_epoch: state.partition_epoch,
            leader_epoch: state.leader_epoch,
        };
        let (ensemble, name) = (Arc::clone(&self.host.ensemble), name.clone());
        tasks::spawn_on(&self.host.runtime, async move {
            let end = ensemble.write_isr(name.clone(), topic_id, proposal).await;
            if !matches!(end, super::WriteEnd::Written { .. }) {
                warn!(partition = %name, ?end, "not left yet");
            }
        });
    }
}
