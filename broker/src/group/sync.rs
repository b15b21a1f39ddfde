//! SyncGroup: the leader hands in the assignment, the others fetch theirs.

use bytes::Bytes;

use super::{AppendFailure, Effect, Group, GroupConfig, GroupError, GroupState, Now, Then, Ticket};

/// What a member asks when syncing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyncRequest {
    /// Its id.
    pub member_id: String,
    /// Its `group.instance.id`, if it says so.
    pub instance_id: Option<String>,
    /// The generation it joined.
    pub generation: i32,
    /// Kind of the group, if it says so.
    pub protocol_type: Option<String>,
    /// Protocol it was told, if it says so.
    pub protocol: Option<String>,
    /// Assignment by member id; empty unless it leads.
    pub assignments: Vec<(String, Bytes)>,
}

/// The answer to a sync.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// Kind of the group.
    pub protocol_type: Option<String>,
    /// Protocol of this generation.
    pub protocol: Option<String>,
    /// What the member is assigned.
    pub assignment: Bytes,
}

impl Group {
    /// A member wants its assignment.
    pub fn sync(&mut self, request: &SyncRequest, ticket: Ticket, now: Now, out: &mut Vec<Effect>) {
        if let Err(error) = self.try_sync(request, ticket, now, out) {
            out.push(Effect::Synced(ticket, Err(error)));
        }
    }

    fn try_sync(
        &mut self,
        request: &SyncRequest,
        ticket: Ticket,
        now: Now,
        out: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        if self.state() == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        self.validate(&request.member_id, request.instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let differs = |said: &Option<String>, is: &Option<String>| said.is_some() && said != is;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol, &self.protocol)
        {
            return Err(GroupError::InconsistentProtocol);
        }
        match self.state() {
            GroupState::Empty | GroupState::Dead => Err(GroupError::UnknownMember),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance => {
                self.await_assignment(request, ticket, out);
                Ok(())
            }
            GroupState::Stable => {
                let answer = self.synced(&request.member_id);
                if let Some(member) = self.members.get_mut(&request.member_id) {
                    member.owes_sync = false;
                    member.touch(now);
                }
                out.push(Effect::Synced(ticket, Ok(answer)));
                Ok(())
            }
        }
    }

    fn await_assignment(&mut self, request: &SyncRequest, ticket: Ticket, out: &mut Vec<Effect>) {
        if let Some(member) = self.members.get_mut(&request.member_id) {
            member.owes_sync = false;
            if let Some(older) = member.awaiting_sync.replace(ticket) {
                out.push(Effect::Synced(older, Err(GroupError::RebalanceInProgress)));
            }
        }
        if !self.is_leader(&request.member_id) {
            return;
        }
        // Whoever the leader left out gets nothing, rather than what it had before.
        let assignments: Vec<(String, Bytes)> = self
            .members
            .keys()
            .map(|id| {
                let given = request.assignments.iter().find(|(member, _)| member == id);
                (
                    id.clone(),
                    given.map(|(_, bytes)| bytes.clone()).unwrap_or_default(),
                )
            })
            .collect();
        out.push(Effect::Append {
            records: vec![self.to_record_with(&assignments)],
            then: Then::Assigned {
                group: self.id.clone(),
                generation: self.generation,
                assignments,
            },
        });
    }

    /// The leader's assignment is committed, or failed.
    pub(super) fn assigned(
        &mut self,
        generation: i32,
        assignments: Vec<(String, Bytes)>,
        result: Result<(), AppendFailure>,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        // A rebalance began, or the leader handed it in twice.
        if self.state() != GroupState::CompletingRebalance || self.generation != generation {
            return;
        }
        if let Err(failure) = result {
            self.refuse_syncs(failure.as_error(), out);
            self.maybe_prepare_rebalance("the assignment could not be stored", now, config, out);
            return;
        }
        for (id, assignment) in assignments {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = assignment;
            }
        }
        let (group, members) = (&self.id, self.members.len());
        tracing::info!(
            group,
            generation,
            members,
            "a group is stable: everyone has an assignment"
        );
        self.move_to(GroupState::Stable, now);
        let waiting: Vec<(String, Ticket)> = self
            .members
            .values_mut()
            .filter_map(|m| {
                m.touch(now);
                m.awaiting_sync.take().map(|ticket| (m.id.clone(), ticket))
            })
            .collect();
        for (id, ticket) in waiting {
            out.push(Effect::Synced(ticket, Ok(self.synced(&id))));
        }
    }

    fn synced(&self, id: &str) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self
                .members
                .get(id)
                .map(|m| m.assignment.clone())
                .unwrap_or_default(),
        }
    }
}
