//! Offsets of topics that are gone: forgotten in memory at once, and in the log by tombstones.
//!
//! Who reads a new topic of the same name must not begin where a group stopped in the old one. A tombstone that
//! could not be appended is owed, and tried again with the next ones.

use super::offsets::{PartitionName, StoredOffset};
use super::table::Groups;
use super::{AppendFailure, Effect, Group, Then, record};

/// Tombstones of one batch.
const BATCH_TOMBSTONES: usize = 1000;
/// Bytes of one batch of them, about.
const BATCH_BYTES: usize = 256 * 1024;
/// The longest name a topic may have, and what else stands in a key.
const KEY_BYTES: usize = 260;

impl Groups {
    /// Forgets the offsets that `gone` names.
    pub fn forget_offsets(
        &mut self,
        gone: impl Fn(&PartitionName, &StoredOffset) -> bool,
        out: &mut Vec<Effect>,
    ) {
        for group in self.groups.values_mut() {
            let lost = group.forget_offsets(&gone);
            let at_once = (BATCH_BYTES / (KEY_BYTES + group.id.len())).clamp(1, BATCH_TOMBSTONES);
            for partitions in lost.chunks(at_once) {
                let tombstone = |p: &PartitionName| record::offset_tombstone(&group.id, p);
                out.push(Effect::Append {
                    records: partitions.iter().map(tombstone).collect(),
                    then: Then::Forgotten {
                        group: group.id.clone(),
                        partitions: partitions.to_vec(),
                    },
                });
            }
        }
    }
}

impl Group {
    fn forget_offsets(
        &mut self,
        gone: &impl Fn(&PartitionName, &StoredOffset) -> bool,
    ) -> Vec<PartitionName> {
        let offsets = &mut self.offsets;
        let all = offsets.by_partition.iter();
        let lost = all.filter(|(partition, stored)| gone(partition, stored));
        let mut lost: Vec<PartitionName> = lost.map(|(partition, _)| partition.clone()).collect();
        for partition in &lost {
            offsets.by_partition.remove(partition);
            offsets.owed.remove(partition);
        }
        if offsets.in_flight == 0 {
            // Else one of these might fall on a newer commit that is on its way.
            lost.extend(std::mem::take(&mut offsets.owed));
        }
        lost
    }

    /// The tombstones are in the log, or are owed.
    pub(super) fn forgotten(
        &mut self,
        partitions: Vec<PartitionName>,
        result: Result<(), AppendFailure>,
    ) {
        match result {
            Ok(()) => {
                // Commits that came before them in the log are known by now.
                for partition in &partitions {
                    self.offsets.by_partition.remove(partition);
                }
            }
            Err(_) => self.offsets.owed.extend(partitions),
        }
    }
}
