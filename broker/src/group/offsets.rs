//! Committed offsets: who may commit, what is stored, when it is forgotten.

use std::collections::{BTreeMap, BTreeSet};

use super::{AppendFailure, Effect, Group, GroupConfig, GroupError, GroupState, LogRecord, Now};
use super::{Then, Ticket, record};
use crate::mutants::{self, Mutant};

/// Topic and number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionName {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
}

/// A committed offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredOffset {
    /// The next offset to read.
    pub offset: i64,
    /// Leader epoch of the record before it; -1 if not told.
    pub leader_epoch: i32,
    /// What the committer noted.
    pub metadata: String,
    /// Wall-clock time of the commit.
    pub commit_ms: i64,
    /// When it lapses, if the committer said so (versions before 2.1).
    pub expire_ms: Option<i64>,
}

/// An offset a request wants to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// Of what.
    pub partition: PartitionName,
    /// The offset.
    pub stored: StoredOffset,
}

/// The outcome for one partition of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Of what.
    pub partition: PartitionName,
    /// Why not.
    pub result: Result<(), GroupError>,
}

/// What a client asks when committing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRequest {
    /// Its member id; empty for consumers without a group's management.
    pub member_id: String,
    /// Its `group.instance.id`, if it says so.
    pub instance_id: Option<String>,
    /// Its generation; -1 for consumers without a group's management.
    pub generation: i32,
    /// What to commit; never empty.
    pub offsets: Vec<OffsetToCommit>,
}

/// Everything a group has committed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Offsets {
    pub(super) by_partition: BTreeMap<PartitionName, StoredOffset>,
    /// Commits handed to the log whose outcome is not known yet.
    pub(super) in_flight: usize,
    /// Forgotten here, and perhaps not in the log: see `forget.rs`.
    pub(super) owed: BTreeSet<PartitionName>,
}

impl Group {
    /// Commits offsets; the reply is an effect once they are in the log.
    pub fn commit(
        &mut self,
        request: CommitRequest,
        ticket: Ticket,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        if let Err(error) = self.may_commit(&request, now) {
            out.push(Effect::Committed(ticket, refuse(&request.offsets, error)));
            return;
        }
        let max_note = config.offset_metadata_max_bytes.min(record::MAX_NAME_BYTES);
        let (offsets, too_large): (Vec<_>, Vec<_>) = request
            .offsets
            .into_iter()
            .partition(|o| o.stored.metadata.len() <= max_note);
        let refused = refuse(&too_large, GroupError::MetadataTooLarge);
        if offsets.is_empty() {
            out.push(Effect::Committed(ticket, refused));
            return;
        }
        self.offsets.in_flight += 1;
        let records = offsets
            .iter()
            .map(|o| record::offset(&self.id, o))
            .collect();
        let then = Then::Committed {
            ticket,
            group: self.id.clone(),
            offsets,
            refused,
        };
        out.push(Effect::Append { records, then });
    }

    fn may_commit(&mut self, request: &CommitRequest, now: Now) -> Result<(), GroupError> {
        match self.state() {
            GroupState::Dead => return Err(GroupError::NotAvailable),
            GroupState::Empty if request.generation < 0 => return Ok(()),
            _ => {}
        }
        let member = &request.member_id;
        let says_who =
            request.generation >= 0 || !member.is_empty() || request.instance_id.is_some();
        if !says_who {
            return Err(GroupError::UnknownMember);
        }
        if mutants::is(Mutant::FormerGenerationAccepted) {
            return Ok(());
        }
        self.validate(member, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(member) {
            member.touch(now);
        }
        if self.state() == GroupState::CompletingRebalance {
            // Its assignment of this generation is not known yet: it may not own these any more.
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// A commit is in the log, or failed.
    pub(super) fn committed(
        &mut self,
        ticket: Ticket,
        offsets: Vec<OffsetToCommit>,
        refused: Vec<Committed>,
        result: Result<(), AppendFailure>,
        out: &mut Vec<Effect>,
    ) {
        self.offsets.in_flight = self.offsets.in_flight.saturating_sub(1);
        let mut answer = refused;
        let outcome = result.map_err(AppendFailure::as_error);
        for commit in offsets {
            answer.push(Committed {
                partition: commit.partition.clone(),
                result: outcome,
            });
            if outcome.is_ok() {
                self.offsets.owed.remove(&commit.partition);
                self.offsets
                    .by_partition
                    .insert(commit.partition, commit.stored);
            }
        }
        out.push(Effect::Committed(ticket, answer));
    }

    /// What is committed for a partition.
    pub fn offset(&self, partition: &PartitionName) -> Option<&StoredOffset> {
        self.offsets.by_partition.get(partition)
    }

    /// Everything committed, in order.
    pub fn offsets(&self) -> impl Iterator<Item = (&PartitionName, &StoredOffset)> {
        self.offsets.by_partition.iter()
    }

    /// Forgets what has lapsed; tombstones for it, and for the group itself if nothing is left of
    /// it. Offsets of a group that has members are kept: retention counts from when it became
    /// empty, or from the commit for consumers that never joined.
    pub(super) fn expire_offsets(&mut self, now: Now, config: &GroupConfig) -> Vec<LogRecord> {
        if self.state() != GroupState::Empty || self.offsets.in_flight > 0 {
            return Vec::new();
        }
        let joined_once = self.protocol_type.is_some();
        let empty_since = self.state_since_wall_ms;
        let lapsed: Vec<PartitionName> = self
            .offsets
            .by_partition
            .iter()
            .filter(|(_, stored)| {
                let base = if joined_once {
                    empty_since.max(stored.commit_ms)
                } else {
                    stored.commit_ms
                };
                now.wall_ms
                    >= stored
                        .expire_ms
                        .unwrap_or(base + config.offsets_retention_ms)
            })
            .map(|(partition, _)| partition.clone())
            .collect();
        for partition in &lapsed {
            self.offsets.by_partition.remove(partition);
        }
        lapsed
            .iter()
            .map(|p| record::offset_tombstone(&self.id, p))
            .collect()
    }

    /// Tombstones for everything this group has in the log.
    pub(super) fn tombstones(&self) -> Vec<LogRecord> {
        let offsets = self.offsets.by_partition.keys();
        offsets
            .map(|p| record::offset_tombstone(&self.id, p))
            .chain([record::group_tombstone(&self.id)])
            .collect()
    }

    /// Whether nothing would be lost if it were forgotten.
    pub(super) fn is_vacant(&self) -> bool {
        self.state() == GroupState::Empty
            && self.offsets.by_partition.is_empty()
            && self.offsets.in_flight == 0
            && self.offsets.owed.is_empty()
            && self.pending.is_empty()
    }
}

/// The same refusal for every partition of a commit.
pub fn refuse(offsets: &[OffsetToCommit], error: GroupError) -> Vec<Committed> {
    offsets
        .iter()
        .map(|o| Committed {
            partition: o.partition.clone(),
            result: Err(error),
        })
        .collect()
}
