//! What the core knows; nothing here changes it.

use raft::eraftpb::ConfState;
use raft::{INVALID_ID, ProgressState, StateRole};

use super::Core;
use crate::consensus::membership::{is_replaced, server_of};
use crate::consensus::status::{MemberStatus, Role};
use crate::consensus::view::LogView;

/// So many entries may a learner lack, and still become a voter: less than are in flight at any time.
const NEARLY_ALL: u64 = 256;

impl Core {
    /// The newest term seen.
    pub fn term(&self) -> u64 {
        self.raw.raft.term
    }

    /// The leader of that term, if known.
    pub fn leader(&self) -> Option<u64> {
        Some(self.raw.raft.leader_id).filter(|&leader| leader != INVALID_ID)
    }

    /// Whether this node leads.
    pub fn is_leader(&self) -> bool {
        self.raw.raft.state == StateRole::Leader && self.installing.is_none()
    }

    /// Whether this node leads that very term.
    pub fn leads(&self, term: u64) -> bool {
        self.is_leader() && self.term() == term
    }

    /// This node's role.
    pub fn role(&self) -> Role {
        match self.raw.raft.state {
            StateRole::Leader => Role::Leader,
            StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            StateRole::Follower if self.raw.raft.promotable() => Role::Follower,
            StateRole::Follower => Role::Observer,
        }
    }

    /// Index up to which a majority holds the log.
    pub fn committed(&self) -> u64 {
        self.raw.raft.raft_log.committed
    }

    /// Index up to which this node has told us that it applied.
    pub fn applied_index(&self) -> u64 {
        self.applied
    }

    /// The log in memory.
    pub fn view(&self) -> &LogView {
        self.raw.store()
    }

    /// Last index, unsynced entries included.
    pub fn last_index(&self) -> u64 {
        self.raw.raft.raft_log.last_index()
    }

    /// Whether this node is in the configuration at all.
    pub fn is_member(&self) -> bool {
        self.raw.raft.prs().get(self.config.node).is_some()
    }

    /// Whether it has no configuration at all yet: it joins, and waits for a checkpoint.
    pub fn is_stranger(&self) -> bool {
        let conf_state = &self.raw.store().conf_state;
        conf_state.voters.is_empty() && conf_state.learners.is_empty()
    }

    /// The configuration as far as it is in force here.
    pub fn conf_state(&self) -> ConfState {
        self.raw.raft.prs().conf().to_conf_state()
    }

    /// Whether a later incarnation has taken the place of `id`.
    pub fn has_replaced(&self, id: u64) -> bool {
        self.raw.raft.prs().get(id).is_none() && is_replaced(&self.conf_state(), id)
    }

    /// Whether `id` holds nearly all of this leader's log.
    pub fn is_caught_up(&self, id: u64) -> bool {
        let last = self.last_index();
        self.raw.raft.prs().get(id).is_some_and(|progress| {
            progress.recent_active
                && progress.state == ProgressState::Replicate
                && progress.matched + NEARLY_ALL >= last
        })
    }

    /// The raft ids of a server's incarnations in the configuration.
    pub(super) fn incarnations(&self, server: u64) -> Vec<u64> {
        let all = self.raw.raft.prs().iter().map(|(&id, _)| id);
        all.filter(|&id| server_of(id) == server).collect()
    }

    /// The most advanced of the other voters that `may`: who should lead instead.
    pub fn best_successor(&self, may: impl Fn(u64) -> bool) -> Option<u64> {
        let progress = self.raw.raft.prs();
        let others = self
            .voters()
            .into_iter()
            .filter(|&id| id != self.config.node);
        others
            .filter(|&id| may(id) && progress.get(id).is_some_and(|p| p.recent_active))
            .max_by_key(|&id| progress.get(id).map_or(0, |p| p.matched))
    }

    /// Shortest time without a leader before an election, milliseconds.
    pub fn election_ms(&self) -> u64 {
        self.config.election_ticks as u64 * self.config.tick_ms
    }

    /// Everyone in the configuration.
    pub fn members(&self) -> Vec<MemberStatus> {
        let progress = self.raw.raft.prs();
        let leads = self.is_leader();
        let state = progress.conf().to_conf_state();
        let member = |&node: &u64, voter: bool| {
            let at = progress.get(node).filter(|_| leads);
            MemberStatus {
                node,
                voter,
                matched: at.map_or(0, |p| p.matched),
                active: at.is_some_and(|p| p.recent_active || node == self.config.node),
            }
        };
        let mut members: Vec<_> = state.voters.iter().map(|node| member(node, true)).collect();
        members.extend(state.learners.iter().map(|node| member(node, false)));
        members.sort_by_key(|member| member.node);
        members
    }

    /// Everyone with a vote, old and new while the members change; sorted.
    pub fn voters(&self) -> Vec<u64> {
        let mut voters: Vec<u64> = self.raw.raft.prs().conf().voters().ids().iter().collect();
        voters.sort_unstable();
        voters
    }

    pub(super) fn is_joint(&self) -> bool {
        !self
            .raw
            .raft
            .prs()
            .conf()
            .to_conf_state()
            .voters_outgoing
            .is_empty()
    }
}
