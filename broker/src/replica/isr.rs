//! The in-sync replicas as a set of brokers with the epochs they are in sync under, and a change of
//! the set on its way into the state's znode.
//!
//! ```text
//!           propose            written(Ok)            committed := proposed
//! settled ──────────▶ sent ───────────────────────▶ settled
//!                      │ written(Unknown)           ▲ written(NotDone), from sent alone
//!                      ▼
//!                   uncertain ◀────────▶ resent      propose: the same again; any end but Ok and Stale
//!
//!          sent, resent ── written(Stale) ──▶ stale
//!                   any ── adopt(newer image) ──▶ settled
//! ```
//! Every write is conditional on the partition epoch it was decided from. So an image with a newer
//! partition epoch decides any write under way: it is in what the image shows, or it never will be.

use std::collections::BTreeMap;

use crate::mutants::{self, Mutant};

/// In-sync brokers, each with the broker epoch under which it is in sync (0: not told by the state).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Isr(BTreeMap<i32, i64>);

impl Isr {
    /// A set of brokers and their epochs.
    #[must_use]
    pub fn new(members: impl IntoIterator<Item = (i32, i64)>) -> Self {
        Self(members.into_iter().collect())
    }

    /// Members with their broker epochs, by id.
    pub fn members(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        self.0.iter().map(|(id, epoch)| (*id, *epoch))
    }

    /// Member ids in rising order.
    #[must_use]
    pub fn ids(&self) -> Vec<i32> {
        self.0.keys().copied().collect()
    }

    /// Epoch of a member; `None` for others.
    #[must_use]
    pub fn epoch_of(&self, broker: i32) -> Option<i64> {
        self.0.get(&broker).copied()
    }

    /// Whether a broker is a member, under whatever epoch.
    #[must_use]
    pub fn contains(&self, broker: i32) -> bool {
        self.0.contains_key(&broker)
    }

    /// How many members.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nobody is in sync.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, broker: i32, epoch: i64) {
        self.0.insert(broker, epoch);
    }

    pub(super) fn remove(&mut self, broker: i32) {
        self.0.remove(&broker);
    }
}

/// A change of the ISR to be written under a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// The set after the change.
    pub isr: Isr,
    /// The partition epoch (version of the state's znode) the write is conditional on.
    pub expected_partition_epoch: i32,
    /// The leader epoch under which it is proposed; the same in the znode after the write.
    pub leader_epoch: i32,
}

/// How the write of a proposal ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteEnd {
    /// Written; the znode now has this version.
    Written {
        /// The new partition epoch.
        partition_epoch: i32,
    },
    /// Refused: the znode has another version. What it says comes with the image.
    Stale,
    /// Certainly not written, and never will be.
    NotDone,
    /// Perhaps written.
    Unknown,
}

/// Where a proposal stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Under way for the first time.
    Sent,
    /// An earlier attempt may still be written.
    Uncertain,
    /// The same again, while an earlier attempt may still be written.
    Resent,
    Stale,
}

/// The ISR as written, and at most one change of it under way.
#[derive(Debug, Clone)]
pub struct IsrState {
    committed: Isr,
    partition_epoch: i32,
    pending: Option<(Proposal, Stage)>,
}

impl IsrState {
    /// What the state's znode says in version `partition_epoch`.
    #[must_use]
    pub fn new(committed: Isr, partition_epoch: i32) -> Self {
        Self {
            committed,
            partition_epoch,
            pending: None,
        }
    }

    /// The set as last known to be written.
    #[must_use]
    pub fn committed(&self) -> &Isr {
        &self.committed
    }

    /// Version of the znode `committed` was read from or written as.
    #[must_use]
    pub fn partition_epoch(&self) -> i32 {
        self.partition_epoch
    }

    /// Everyone who may be in sync by the znode's word: as written, and as proposed.
    pub fn maximal(&self) -> impl Iterator<Item = i32> + '_ {
        let shrunk = self
            .pending
            .as_ref()
            .filter(|_| mutants::is(Mutant::ShrinkCountsAtOnce));
        let counts = move |id: i32| shrunk.is_none_or(|(proposal, _)| proposal.isr.contains(id));
        let proposed = self
            .pending
            .iter()
            .filter(|_| !mutants::is(Mutant::ProposedIsrIgnored))
            .flat_map(|(proposal, _)| proposal.isr.members());
        let added = proposed.filter(|(id, _)| !self.committed.contains(*id));
        let all = self.committed.members().chain(added).map(|(id, _)| id);
        all.filter(move |id| counts(*id))
    }

    /// Whether a new set can be proposed now.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pending.is_none()
    }

    /// A write to repeat because its outcome is unknown; the second can't do harm, since the first,
    /// if it was written, moved the version on.
    pub fn repeat(&mut self) -> Option<Proposal> {
        match &mut self.pending {
            Some((proposal, stage @ Stage::Uncertain)) => {
                *stage = Stage::Resent;
                Some(proposal.clone())
            }
            _ => None,
        }
    }

    /// Begins a change. The caller has checked [`Self::is_settled`].
    pub fn propose(&mut self, isr: Isr, leader_epoch: i32) -> Proposal {
        assert!(self.pending.is_none(), "one change of the ISR at a time");
        let proposal = Proposal {
            isr,
            expected_partition_epoch: self.partition_epoch,
            leader_epoch,
        };
        self.pending = Some((proposal.clone(), Stage::Sent));
        proposal
    }

    /// The write of a proposal, known by the partition epoch it expected, ended. Ends of writes that an
    /// image has decided meanwhile are ignored.
    pub fn on_write_end(&mut self, expected_partition_epoch: i32, end: WriteEnd) {
        let Some((proposal, stage)) = self.pending.take() else {
            return;
        };
        if proposal.expected_partition_epoch != expected_partition_epoch {
            self.pending = Some((proposal, stage));
            return;
        }
        match end {
            WriteEnd::Written { partition_epoch } => {
                assert!(
                    partition_epoch > self.partition_epoch,
                    "a write raises the version"
                );
                self.committed = proposal.isr;
                self.partition_epoch = partition_epoch;
            }
            // What is certain of the second attempt says nothing of the first.
            WriteEnd::NotDone if stage == Stage::Sent => {}
            WriteEnd::Stale => self.pending = Some((proposal, Stage::Stale)),
            WriteEnd::NotDone | WriteEnd::Unknown => {
                self.pending = Some((proposal, Stage::Uncertain))
            }
        }
    }

    /// An image shows the znode in some version. Returns whether that was news.
    pub fn adopt(&mut self, isr: &Isr, partition_epoch: i32) -> bool {
        if partition_epoch <= self.partition_epoch {
            return false;
        }
        self.committed = isr.clone();
        self.partition_epoch = partition_epoch;
        self.pending = None;
        true
    }
}
