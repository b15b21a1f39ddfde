//! All groups of one partition of `__consumer_offsets`.
//!
//! Created empty when leadership of the partition arrives, filled by [`Groups::replay`] record by
//! record, opened by [`Groups::loaded`]; dropped when leadership goes, after [`Groups::abandon`].

use std::collections::{BTreeMap, BTreeSet};

use super::describe::{Described, Listed};
use super::heartbeat::Leaving;
use super::member::Member;
use super::offsets::{Committed, StoredOffset, refuse};
use super::record::{self, Key, RecordError, StoredGroup};
use super::{
    AppendFailure, CommitRequest, Effect, Group, GroupConfig, GroupError, GroupState, JoinRequest,
    Joined, LogRecord, Now, PartitionName, SyncRequest, Then, Ticket,
};

/// Groups by id, and when each next needs attention.
#[derive(Debug, Clone, Default)]
pub struct Groups {
    pub(super) groups: BTreeMap<String, Group>,
    /// (monotonic ms, group) of each group that has a deadline, the earliest first.
    deadlines: BTreeSet<(i64, String)>,
    /// The entry each group has in `deadlines`.
    scheduled: BTreeMap<String, i64>,
}

impl Groups {
    /// Runs `change` on a group and schedules what it now waits for.
    fn with<T>(&mut self, id: &str, change: impl FnOnce(&mut Group) -> T) -> Option<T> {
        let group = self.groups.get_mut(id)?;
        let result = change(group);
        let next = group.next_deadline_ms();
        self.schedule(id, next);
        Some(result)
    }

    fn schedule(&mut self, id: &str, next: Option<i64>) {
        if self.scheduled.get(id).copied() == next {
            return;
        }
        if let Some(at) = self.scheduled.remove(id) {
            self.deadlines.remove(&(at, id.to_owned()));
        }
        if let Some(at) = next {
            self.deadlines.insert((at, id.to_owned()));
            self.scheduled.insert(id.to_owned(), at);
        }
    }

    fn create(&mut self, id: &str, now: Now) {
        if !self.groups.contains_key(id) {
            self.groups.insert(id.to_owned(), Group::new(id, now));
        }
    }

    /// A client wants to join; the group comes into being by it.
    pub fn join(
        &mut self,
        group: &str,
        request: JoinRequest,
        ticket: Ticket,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        if !is_valid_id(group) || !request.can_be_stored() {
            let refused = Joined::refused(&request.member_id, GroupError::InvalidGroupId);
            return out.push(Effect::Joined(ticket, refused));
        }
        if request.member_id.is_empty() {
            self.create(group, now);
        } else if !self.groups.contains_key(group) {
            let refused = Joined::refused(&request.member_id, GroupError::UnknownMember);
            return out.push(Effect::Joined(ticket, refused));
        }
        self.with(group, |g| g.join(request, ticket, now, config, out));
    }

    /// A member wants its assignment.
    pub fn sync(
        &mut self,
        group: &str,
        request: &SyncRequest,
        ticket: Ticket,
        now: Now,
        out: &mut Vec<Effect>,
    ) {
        if self
            .with(group, |g| g.sync(request, ticket, now, out))
            .is_none()
        {
            out.push(Effect::Synced(ticket, Err(unknown(group))));
        }
    }

    /// A member is alive.
    ///
    /// # Errors
    /// See [`Group::heartbeat`].
    pub fn heartbeat(
        &mut self,
        group: &str,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        now: Now,
    ) -> Result<(), GroupError> {
        self.with(group, |g| g.heartbeat(member, instance, generation, now))
            .unwrap_or_else(|| Err(unknown(group)))
    }

    /// Members leave; one result for each.
    pub fn leave(
        &mut self,
        group: &str,
        members: &[Leaving],
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) -> Vec<Result<(), GroupError>> {
        self.with(group, |g| {
            members
                .iter()
                .map(|m| g.leave(m, now, config, out))
                .collect()
        })
        .unwrap_or_else(|| members.iter().map(|_| Err(unknown(group))).collect())
    }

    /// Commits offsets. A group comes into being if a consumer without management commits.
    pub fn commit(
        &mut self,
        group: &str,
        request: CommitRequest,
        ticket: Ticket,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        if !is_valid_id(group) {
            let answer = refuse(&request.offsets, GroupError::InvalidGroupId);
            return out.push(Effect::Committed(ticket, answer));
        }
        if request.generation < 0 {
            self.create(group, now);
        } else if !self.groups.contains_key(group) {
            let answer = refuse(&request.offsets, GroupError::IllegalGeneration);
            return out.push(Effect::Committed(ticket, answer));
        }
        self.with(group, |g| g.commit(request, ticket, now, config, out));
    }

    /// A group, to read from.
    pub fn get(&self, group: &str) -> Option<&Group> {
        self.groups.get(group)
    }

    /// What is committed for a partition.
    pub fn offset(&self, group: &str, partition: &PartitionName) -> Option<&StoredOffset> {
        self.groups.get(group)?.offset(partition)
    }

    /// Every group.
    pub fn list(&self) -> impl Iterator<Item = Listed> + '_ {
        self.groups.values().map(Group::listed)
    }

    /// A group in detail; an unknown one is dead.
    pub fn describe(&self, group: &str) -> Described {
        self.groups
            .get(group)
            .map_or_else(Described::unknown, Group::described)
    }

    /// Deletes a group that has no members, with its offsets.
    pub fn delete(&mut self, group: &str, ticket: Ticket, now: Now, out: &mut Vec<Effect>) {
        let Some(found) = self.groups.get_mut(group) else {
            return out.push(Effect::Deleted(ticket, Err(GroupError::NotFound)));
        };
        let refusal = match found.state() {
            GroupState::Empty if found.offsets.in_flight == 0 => None,
            GroupState::Empty | GroupState::Dead => Some(GroupError::NotAvailable),
            _ => Some(GroupError::NonEmpty),
        };
        if let Some(error) = refusal {
            return out.push(Effect::Deleted(ticket, Err(error)));
        }
        found.move_to(GroupState::Dead, now);
        out.push(Effect::Append {
            records: found.tombstones(),
            then: Then::Deleted {
                ticket: Some(ticket),
                group: group.to_owned(),
            },
        });
    }

    /// An append is committed, or failed: what hung on it happens now.
    pub fn appended(
        &mut self,
        then: Then,
        result: Result<(), AppendFailure>,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        match then {
            Then::Noted => {}
            Then::Forgotten { group, partitions } => {
                self.with(&group, |g| g.forgotten(partitions, result));
            }
            Then::Assigned {
                group,
                generation,
                assignments,
            } => {
                self.with(&group, |g| {
                    g.assigned(generation, assignments, result, now, config, out);
                });
            }
            Then::Replaced { group, by } => {
                let error = result.err().map(AppendFailure::as_error);
                self.with(&group, |g| g.replaced(*by, error, now, out));
            }
            Then::Committed {
                ticket,
                group,
                offsets,
                refused,
            } => {
                let mut lost = Some((offsets, refused));
                self.with(&group, |g| {
                    if let Some((offsets, refused)) = lost.take() {
                        g.committed(ticket, offsets, refused, result, out);
                    }
                });
                if let Some((offsets, refused)) = lost {
                    let gone = refuse(&offsets, GroupError::NotAvailable);
                    let answer: Vec<Committed> = refused.into_iter().chain(gone).collect();
                    out.push(Effect::Committed(ticket, answer));
                }
            }
            Then::Deleted { ticket, group } => self.deleted(ticket, &group, result, out),
        }
    }

    fn deleted(
        &mut self,
        ticket: Option<Ticket>,
        group: &str,
        result: Result<(), AppendFailure>,
        out: &mut Vec<Effect>,
    ) {
        if result.is_ok() {
            self.schedule(group, None);
            self.groups.remove(group);
        } else if let Some(found) = self.groups.get_mut(group) {
            // Still in the log, so still there.
            found.restore_state(GroupState::Empty);
        }
        if let Some(ticket) = ticket {
            out.push(Effect::Deleted(
                ticket,
                result.map_err(AppendFailure::as_error),
            ));
        }
    }

    /// When [`Groups::tick`] next has something to do, monotonic.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Does what is due in every group.
    pub fn tick(&mut self, now: Now, config: &GroupConfig, out: &mut Vec<Effect>) {
        let end = (now.mono_ms + 1, String::new());
        let due: Vec<String> = self
            .deadlines
            .range(..end)
            .map(|(_, id)| id.clone())
            .collect();
        for id in due {
            self.with(&id, |g| g.tick(now, config, out));
        }
    }

    /// Forgets offsets, and groups, whose retention is over. At most 1000 tombstones a batch.
    pub fn expire_offsets(&mut self, now: Now, config: &GroupConfig, out: &mut Vec<Effect>) {
        let mut vacant = Vec::new();
        for group in self.groups.values_mut() {
            let lapsed = group.expire_offsets(now, config);
            for records in lapsed.chunks(1000) {
                out.push(Effect::Append {
                    records: records.to_vec(),
                    then: Then::Noted,
                });
            }
            if group.is_vacant() {
                vacant.push(group.id.clone());
            }
        }
        for id in vacant {
            let Some(group) = self.groups.get_mut(&id) else {
                continue;
            };
            group.move_to(GroupState::Dead, now);
            out.push(Effect::Append {
                records: group.tombstones(),
                then: Then::Deleted {
                    ticket: None,
                    group: id,
                },
            });
        }
    }

    /// Takes in one record of the log.
    ///
    /// # Errors
    /// [`RecordError`]; the record is passed over then.
    pub fn replay(&mut self, record: LogRecord, now: Now) -> Result<(), RecordError> {
        match record::decode_key(record.key)? {
            Key::Offset { group, partition } => match record.value {
                Some(value) => {
                    let stored = record::decode_offset(value)?;
                    self.create(&group, now);
                    if let Some(found) = self.groups.get_mut(&group) {
                        found.offsets.by_partition.insert(partition, stored);
                    }
                }
                None => {
                    if let Some(found) = self.groups.get_mut(&group) {
                        found.offsets.by_partition.remove(&partition);
                    }
                }
            },
            Key::Group(group) => match record.value {
                Some(value) => {
                    let stored = record::decode_group(value)?;
                    self.create(&group, now);
                    if let Some(found) = self.groups.get_mut(&group) {
                        found.restore(stored, now);
                    }
                }
                None => self.forget_members(&group, now),
            },
            Key::Other(_) => {}
        }
        Ok(())
    }

    /// A group's tombstone: its offsets have tombstones of their own.
    fn forget_members(&mut self, id: &str, now: Now) {
        if let Some(group) = self.groups.get_mut(id) {
            let offsets = std::mem::take(&mut group.offsets);
            *group = Group::new(id, now);
            group.offsets = offsets;
        }
    }

    /// The log has been read to its end: sessions begin now.
    pub fn loaded(&mut self, now: Now) {
        self.groups.retain(|_, group| {
            let nothing = group.offsets.by_partition.is_empty() && group.generation == 0;
            !nothing
        });
        let ids: Vec<String> = self.groups.keys().cloned().collect();
        for id in ids {
            self.with(&id, |g| g.members.values_mut().for_each(|m| m.touch(now)));
        }
    }

    /// Leadership went: everyone who waits is sent to the new coordinator.
    pub fn abandon(&mut self, out: &mut Vec<Effect>) {
        for group in self.groups.values_mut() {
            group.abandon(GroupError::NotCoordinator, out);
        }
    }
}

impl Group {
    /// Takes the place of whatever was known of the members.
    fn restore(&mut self, stored: StoredGroup, now: Now) {
        let offsets = std::mem::take(&mut self.offsets);
        let id = std::mem::take(&mut self.id);
        *self = Group::new(&id, now);
        self.offsets = offsets;
        self.generation = stored.generation;
        self.protocol.clone_from(&stored.protocol);
        if stored.state_since_ms >= 0 {
            self.state_since_wall_ms = stored.state_since_ms;
        }
        let protocol = stored.protocol.unwrap_or_default();
        for member in stored.members {
            let protocols = vec![(protocol.clone(), member.subscription)];
            let member = Member {
                id: member.id,
                instance_id: member.instance_id,
                client_id: member.client_id,
                client_host: member.client_host,
                rebalance_timeout_ms: member.rebalance_timeout_ms,
                session_timeout_ms: member.session_timeout_ms,
                protocols,
                assignment: member.assignment,
                is_new: false,
                awaiting_join: None,
                awaiting_sync: None,
                owes_sync: false,
                deadline_ms: now.mono_ms,
            };
            self.add(member, &stored.protocol_type);
        }
        self.protocol_type = Some(stored.protocol_type).filter(|t| !t.is_empty());
        if let Some(leader) = stored.leader.filter(|l| self.members.contains_key(l)) {
            self.leader = Some(leader);
        }
        let state = if self.members.is_empty() {
            GroupState::Empty
        } else {
            GroupState::Stable
        };
        self.restore_state(state);
    }
}

fn unknown(group: &str) -> GroupError {
    if is_valid_id(group) {
        GroupError::UnknownMember
    } else {
        GroupError::InvalidGroupId
    }
}

fn is_valid_id(group: &str) -> bool {
    (1..=record::MAX_NAME_BYTES).contains(&group.len())
}
