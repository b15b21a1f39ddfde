//! Heartbeat and LeaveGroup: staying, and going.

use super::{Effect, Group, GroupConfig, GroupError, GroupState, Now};

/// One member that leaves, as LeaveGroup names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// Its id; may be empty if the instance id is given.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
}

impl Group {
    /// A member is alive.
    ///
    /// # Errors
    /// [`GroupError::RebalanceInProgress`] tells it to join again; the others, to start over.
    pub fn heartbeat(
        &mut self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        now: Now,
    ) -> Result<(), GroupError> {
        if self.state() == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        self.validate(member, instance)?;
        if generation != self.generation {
            return Err(GroupError::IllegalGeneration);
        }
        let answer = match self.state() {
            GroupState::Empty | GroupState::Dead => return Err(GroupError::UnknownMember),
            GroupState::PreparingRebalance => Err(GroupError::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
        };
        if let Some(member) = self.members.get_mut(member) {
            member.touch(now);
        }
        answer
    }

    /// A member leaves, or an administrator removes a static one.
    ///
    /// # Errors
    /// [`GroupError::UnknownMember`] or [`GroupError::FencedInstance`].
    pub fn leave(
        &mut self,
        leaving: &Leaving,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) -> Result<(), GroupError> {
        if self.state() == GroupState::Dead {
            return Err(GroupError::NotAvailable);
        }
        if self.pending.remove(&leaving.member_id).is_some() {
            self.maybe_complete_join(now, out);
            return Ok(());
        }
        let id = match &leaving.instance_id {
            Some(instance) if leaving.member_id.is_empty() => self
                .static_members
                .get(instance)
                .cloned()
                .ok_or(GroupError::UnknownMember)?,
            _ => leaving.member_id.clone(),
        };
        self.validate(&id, leaving.instance_id.as_deref())?;
        self.remove_and_rebalance(&id, "a member left", now, config, out);
        Ok(())
    }
}
