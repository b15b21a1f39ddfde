//! Rebalances: waiting for everyone to join, then beginning the next generation.
//!
//! A group that was empty first waits `group.initial.rebalance.delay.ms`, and again as long as
//! new members keep coming, up to the longest rebalance timeout; any other rebalance is complete
//! as soon as every member, and everyone who was given an id, has joined, or when time is up.

use super::{
    Effect, Group, GroupConfig, GroupError, GroupState, Joined, Now, Then, membership::release,
};

/// A rebalance that waits for members to join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rebalance {
    /// When this wait ends, monotonic.
    pub deadline_ms: i64,
    /// Set while it is the first one of a group that was empty.
    pub initial: Option<InitialDelay>,
    /// Someone joined since this wait began.
    pub member_added: bool,
}

/// How a first rebalance may yet be put off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitialDelay {
    /// `group.initial.rebalance.delay.ms`
    pub step_ms: i64,
    /// What is left of the longest rebalance timeout.
    pub remaining_ms: i64,
}

impl Group {
    /// Begins a rebalance where the state allows one; `why` is for the log.
    pub(super) fn maybe_prepare_rebalance(
        &mut self,
        why: &str,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        let initial = match self.state() {
            GroupState::Empty => true,
            GroupState::CompletingRebalance => {
                self.refuse_syncs(GroupError::RebalanceInProgress, out);
                false
            }
            GroupState::Stable => false,
            GroupState::PreparingRebalance | GroupState::Dead => return,
        };
        let timeout_ms = self.rebalance_timeout_ms();
        let step_ms = config.initial_rebalance_delay_ms.max(0);
        let wait_ms = if initial { step_ms } else { timeout_ms };
        self.sync_deadline_ms = None;
        self.rebalance = Some(Rebalance {
            deadline_ms: now.mono_ms + wait_ms,
            initial: initial.then_some(InitialDelay {
                step_ms,
                remaining_ms: (timeout_ms - step_ms).max(0),
            }),
            member_added: false,
        });
        let (group, generation, members) = (&self.id, self.generation, self.members.len());
        tracing::info!(group, generation, members, why, "a group rebalances");
        self.move_to(GroupState::PreparingRebalance, now);
        if initial && step_ms == 0 {
            self.rebalance_deadline(now, config, out);
        }
    }

    /// Completes the join when nobody is missing any more.
    pub(super) fn maybe_complete_join(&mut self, now: Now, out: &mut Vec<Effect>) {
        let Some(rebalance) = &self.rebalance else {
            return;
        };
        let complete = rebalance.initial.is_none()
            && self.pending.is_empty()
            && self.awaiting_join() == self.members.len();
        if complete {
            self.complete_join(now, out);
        }
    }

    /// The wait is over: put off once more, or go on with those who are here.
    pub(super) fn rebalance_deadline(
        &mut self,
        now: Now,
        _config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        let Some(rebalance) = &mut self.rebalance else {
            return;
        };
        if let Some(initial) = &mut rebalance.initial
            && rebalance.member_added
            && initial.remaining_ms > 0
        {
            let delay_ms = initial.step_ms.min(initial.remaining_ms);
            initial.remaining_ms -= delay_ms;
            rebalance.member_added = false;
            rebalance.deadline_ms = now.mono_ms + delay_ms;
            return;
        }
        self.complete_join(now, out);
    }

    fn complete_join(&mut self, now: Now, out: &mut Vec<Effect>) {
        let missing: Vec<String> = self
            .members
            .values()
            .filter(|m| m.awaiting_join.is_none() && m.instance_id.is_none())
            .map(|m| m.id.clone())
            .collect();
        for id in missing {
            self.remove(&id, out);
        }
        let leader_is_here = self
            .leader
            .as_ref()
            .and_then(|l| self.members.get(l))
            .is_some_and(|l| l.awaiting_join.is_some());
        if !self.members.is_empty() && !leader_is_here {
            // Static members outlive a missed join, but one who is here must lead.
            let Some(here) = self.members.values().find(|m| m.awaiting_join.is_some()) else {
                let wait_ms = self.rebalance_timeout_ms();
                self.rebalance = Some(Rebalance {
                    deadline_ms: now.mono_ms + wait_ms.max(1),
                    initial: None,
                    member_added: false,
                });
                return;
            };
            self.leader = Some(here.id.clone());
        }
        self.rebalance = None;
        self.generation += 1;
        if self.members.is_empty() {
            self.protocol = None;
            tracing::info!(
                group = self.id,
                generation = self.generation,
                "a group is empty: no member is left"
            );
            self.move_to(GroupState::Empty, now);
            out.push(Effect::Append {
                records: vec![self.to_record()],
                then: Then::Noted,
            });
        } else {
            self.begin_generation(now, out);
        }
    }

    fn begin_generation(&mut self, now: Now, out: &mut Vec<Effect>) {
        self.protocol = self.select_protocol();
        self.move_to(GroupState::CompletingRebalance, now);
        self.sync_deadline_ms = Some(now.mono_ms + self.rebalance_timeout_ms());
        let ids: Vec<String> = self.members.keys().cloned().collect();
        let answers: Vec<Joined> = ids.iter().map(|id| self.joined(id)).collect();
        for (id, answer) in ids.iter().zip(answers) {
            let Some(member) = self.members.get_mut(id) else {
                continue;
            };
            member.is_new = false;
            member.owes_sync = true;
            member.touch(now);
            if let Some(ticket) = member.awaiting_join.take() {
                out.push(Effect::Joined(ticket, answer));
            }
        }
    }

    /// Forgets a half-made assignment and answers the syncs that wait for it.
    pub(super) fn refuse_syncs(&mut self, error: GroupError, out: &mut Vec<Effect>) {
        for member in self.members.values_mut() {
            member.assignment = bytes::Bytes::new();
            if let Some(ticket) = member.awaiting_sync.take() {
                out.push(Effect::Synced(ticket, Err(error)));
            }
        }
    }

    /// Removes a member and lets the others take over what it had; `why` is for the log.
    pub(super) fn remove_and_rebalance(
        &mut self,
        id: &str,
        why: &str,
        now: Now,
        config: &GroupConfig,
        out: &mut Vec<Effect>,
    ) {
        if !self.remove(id, out) {
            return;
        }
        tracing::info!(group = self.id, member = id, why, "a member is gone");
        match self.state() {
            GroupState::Stable | GroupState::CompletingRebalance => {
                self.maybe_prepare_rebalance(why, now, config, out);
                self.maybe_complete_join(now, out);
            }
            GroupState::PreparingRebalance => self.maybe_complete_join(now, out),
            GroupState::Empty | GroupState::Dead => {}
        }
    }

    /// Does what is due at `now`: lapsed ids, silent members, waits that are over.
    pub fn tick(&mut self, now: Now, config: &GroupConfig, out: &mut Vec<Effect>) {
        let lapsed = self.pending.len();
        self.pending.retain(|_, lapses| *lapses > now.mono_ms);
        if self.pending.len() < lapsed {
            self.maybe_complete_join(now, out);
        }
        let silent: Vec<String> = self
            .members
            .values()
            .filter(|m| m.expires_at().is_some_and(|at| at <= now.mono_ms))
            .map(|m| m.id.clone())
            .collect();
        for id in silent {
            let why = "a member was silent for as long as its session timeout";
            self.remove_and_rebalance(&id, why, now, config, out);
        }
        if self.sync_deadline_ms.is_some_and(|at| at <= now.mono_ms) {
            self.expire_syncs(now, config, out);
        }
        if self
            .rebalance
            .as_ref()
            .is_some_and(|r| r.deadline_ms <= now.mono_ms)
        {
            self.rebalance_deadline(now, config, out);
        }
    }

    /// Members that joined this generation but never asked for their assignment go.
    fn expire_syncs(&mut self, now: Now, config: &GroupConfig, out: &mut Vec<Effect>) {
        self.sync_deadline_ms = None;
        let owing: Vec<String> = self
            .members
            .values()
            .filter(|m| m.owes_sync)
            .map(|m| m.id.clone())
            .collect();
        if owing.is_empty() {
            return;
        }
        for id in owing {
            self.remove(&id, out);
        }
        let why = "members never asked for their assignment";
        self.maybe_prepare_rebalance(why, now, config, out);
        self.maybe_complete_join(now, out);
    }

    /// Another broker coordinates the group now, or it is deleted: everyone waiting is told.
    pub fn abandon(&mut self, error: GroupError, out: &mut Vec<Effect>) {
        for member in self.members.values_mut() {
            release(member, error, out);
            member.awaiting_join = None;
            member.awaiting_sync = None;
        }
    }
}
