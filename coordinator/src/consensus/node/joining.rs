//! How a node gets in: what it asks for, and what the leader does about it. The rules are `membership`'s.
//!
//! Whoever is not yet what zoo.cfg makes of it asks all servers, again and again; the leader takes one step each
//! time, when the one before is applied. Nothing here is remembered over a restart or a change of leader.

use std::collections::BTreeMap;

use super::{Node, PeerMessage};
use crate::consensus::applier::Fatal;
use crate::consensus::membership::{Applicant, Step, former_of, is_settled, next_step, server_of};

/// Between two requests of a node that is not in yet, milliseconds.
const ASK_MS: u64 = 100;
/// A member that was silent for so long may have its place taken by a later incarnation, milliseconds.
const FORMER_SILENT_MS: u64 = 1_000;

/// Volatile knowledge around joining.
#[derive(Debug, Default)]
pub(super) struct Joining {
    asked_ms: u64,
    /// When each raft id was heard from last.
    heard_ms: BTreeMap<u64, u64>,
    /// Since when this node leads, if it does.
    led_since_ms: u64,
}

impl Joining {
    pub(super) fn leads_since(&mut self, now_ms: u64) {
        self.led_since_ms = now_ms;
    }

    /// Whether `id` was heard from lately. A leader that is new has heard from nobody yet.
    fn is_alive(&self, id: u64, now_ms: u64) -> bool {
        let heard_ms = self.heard_ms.get(&id).copied().unwrap_or(0);
        now_ms < heard_ms.max(self.led_since_ms) + FORMER_SILENT_MS
    }
}

impl Node {
    /// Whether to listen to `from`. One that is new hears whether this node knows it, one that was replaced hears
    /// that.
    pub(super) fn admits(&mut self, from: u64, message: &PeerMessage) -> bool {
        if let PeerMessage::Blank { .. } = message {
            let met = self.config.met.clone();
            self.out.send.push((from, PeerMessage::Formed { met }));
            return false;
        }
        if self.core.has_replaced(from) {
            let told = PeerMessage::Replaced { id: from };
            self.out.send.push((from, told));
            return false;
        }
        self.joining.heard_ms.insert(from, self.now.ms);
        true
    }

    /// On each tick: is this node what it should be?
    pub(super) fn ask_to_be_let_in(&mut self) {
        if self.now.ms < self.joining.asked_ms + ASK_MS {
            return;
        }
        self.joining.asked_ms = self.now.ms;
        let own = server_of(self.config.node);
        let votes = self.votes(own);
        if is_settled(&self.core.conf_state(), self.config.node, votes) {
            return;
        }
        let others = self.config.servers.keys().filter(|&&server| server != own);
        self.out
            .send
            .extend(others.map(|&server| (server, PeerMessage::Join)));
    }

    /// As the leader: takes the next step for `id`.
    pub(super) fn let_in(&mut self, id: u64) {
        // Armed: an entry of this very term is applied, without which a change of members is not safe.
        let leads = self.armed && self.led_term.is_some_and(|term| self.core.leads(term));
        let known = self.config.servers.contains_key(&server_of(id));
        if !leads || !known || server_of(id) == server_of(self.config.node) {
            return;
        }
        let conf = self.core.conf_state();
        let former = former_of(&conf, id);
        let applicant = Applicant {
            id,
            votes: self.votes(server_of(id)),
            caught_up: self.core.is_caught_up(id),
            former_alive: former.is_some_and(|id| self.joining.is_alive(id, self.now.ms)),
        };
        let step = next_step(&conf, &applicant);
        if step == Step::Replaced {
            self.out.send.push((id, PeerMessage::Replaced { id }));
        }
        // Refused while an earlier change is not applied; the applicant asks again.
        if let Some(change) = step.change()
            && self.core.propose_conf_change(&change).is_ok()
        {
            tracing::info!(server = server_of(id), ?step, "letting a node in");
        }
    }

    pub(super) fn end_replaced(&mut self) {
        let server = server_of(self.config.node);
        self.out.fatal = Some(Fatal::new(format!(
            "a later incarnation of node {server} is a member of the ensemble, this one was removed; if this machine \
             shall be node {server}, see that its clock is right, and run: zweig coordinator wipe --config FILE"
        )));
    }

    fn votes(&self, server: u64) -> bool {
        self.config.servers.get(&server).copied().unwrap_or(false)
    }
}
