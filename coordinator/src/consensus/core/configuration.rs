//! What changes the configuration: entries that say so, and checkpoints that hold another one.

use prost011::Message as _;
use raft::eraftpb::{ConfChangeV2, ConfState, Snapshot};

use super::{Core, Install};
use crate::consensus::applier::{CheckpointMark, CommittedData};
use crate::consensus::membership::incarnation_of;
use crate::storage::raft_log::Position;

impl Core {
    pub(super) fn change_members(&mut self, index: u64, data: &[u8]) -> CommittedData {
        let changed = ConfChangeV2::decode(data)
            .ok()
            .and_then(|change| self.raw.apply_conf_change(&change).ok());
        // What can't be applied is left out by everyone alike.
        if let Some(conf_state) = changed {
            let view = self.raw.mut_store();
            view.conf_state = conf_state;
            view.conf_index = index;
        }
        CommittedData::Conf(self.raw.store().conf_state.encode_to_vec().into())
    }

    /// Once somebody has joined, an empty log is filled by a checkpoint only: see [`Core::message`]. What is hidden
    /// stays on the disk.
    pub(super) fn hide_first_entry(&mut self) {
        let view = self.raw.store();
        let mut members = view
            .conf_state
            .voters
            .iter()
            .chain(&view.conf_state.learners);
        if view.base().index == 0
            && self.raw.raft.raft_log.applied() > 0
            && members.any(|&id| incarnation_of(id) > 0)
        {
            self.raw.mut_store().compact(1);
        }
    }

    pub(super) fn install(&self, snapshot: &Snapshot) -> Install {
        let metadata = snapshot.get_metadata();
        let at = Position {
            index: metadata.index,
            term: metadata.term,
        };
        let conf_state = metadata.get_conf_state().encode_to_vec();
        Install {
            mark: CheckpointMark { at, conf_state },
            hard_state: self.hard_state.clone(),
        }
    }

    pub(super) fn finish_install(&mut self) {
        let Some(ready) = self.installing.take() else {
            return;
        };
        let metadata = ready.snapshot().get_metadata();
        let at = Position {
            index: metadata.index,
            term: metadata.term,
        };
        self.raw
            .mut_store()
            .reset(at, metadata.get_conf_state().clone());
        let number = ready.number();
        self.raw.advance_append_async(ready);
        self.persisted(number);
        self.handed_out = at.index;
        self.applied(at.index);
    }
}

/// A state without a ConfState of its own has seen no change of the first one.
pub(super) fn snapshot(mark: &CheckpointMark, first: &ConfState) -> Option<Snapshot> {
    let conf_state = match mark.conf_state.as_slice() {
        [] => first.clone(),
        bytes => ConfState::decode(bytes).ok()?,
    };
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    metadata.index = mark.at.index;
    metadata.term = mark.at.term;
    metadata.set_conf_state(conf_state);
    Some(snapshot)
}
