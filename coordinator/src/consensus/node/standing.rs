//! How this node stands: what it tells the others, and what it concludes from what they tell.
//!
//! A node whose disk is nearly full is *short*. A short leader admits only what frees space or concerns
//! sessions, and hands over to a voter that is not short; a short candidate is refused by whoever has an equally
//! long log. Only when nobody else has led for some election timeouts does it stand like any other: who has
//! space may be down, or lack the newest entry.

use std::collections::BTreeSet;

use super::{Node, PeerMessage};
use crate::consensus::agreement::Ensemble;
use crate::consensus::core::Input;
use crate::mutants::{self, Mutant};

/// Between two attempts to hand leadership to a node with space, milliseconds.
const HAND_OVER_MS: u64 = 5_000;
/// Election timeouts without a leader after which a short node stands like any other.
const RELUCTANT_TIMEOUTS: u64 = 4;

/// Whose disks are nearly full.
#[derive(Debug, Default)]
pub(super) struct Short {
    /// This node's.
    pub own: bool,
    peers: BTreeSet<u64>,
    hand_over_at_ms: u64,
    said: bool,
}

impl Short {
    pub fn set_peer(&mut self, node: u64, short: bool) {
        if short {
            self.peers.insert(node);
        } else {
            self.peers.remove(&node);
        }
    }

    /// Writes are refused: says so once until there is space again.
    pub fn say_refused(&mut self) {
        if !std::mem::replace(&mut self.said, true) {
            tracing::warn!(
                "this leader's disk is nearly full, and no other node leads: writes are refused"
            );
        }
    }
}

impl Node {
    /// Hands leadership over, if this node has it and someone can take it; to one with space if there is one.
    pub fn hand_over(&mut self) {
        let to = self.successor_with_space();
        if let Some(to) = to.or_else(|| self.core.best_successor(|_| true)) {
            self.core.handle(Input::Transfer(to));
        }
    }

    /// Whether there is someone to hand over to.
    pub fn has_successor(&self) -> bool {
        self.core.best_successor(|_| true).is_some()
    }

    fn successor_with_space(&self) -> Option<u64> {
        self.core
            .best_successor(|node| !self.short.peers.contains(&node))
    }

    pub(super) fn space_changed(&mut self, low: bool) {
        self.short.own = low;
        self.short.said &= low;
        // Others decide by it: they hear of it now.
        self.standing_at_ms = self.now.ms;
    }

    pub(super) fn leave_leading_to_others(&mut self) {
        let now_ms = self.now.ms;
        let patience_ms = RELUCTANT_TIMEOUTS * self.core.election_ms();
        let patient = self.known.is_some() || now_ms < self.leaderless_since_ms + patience_ms;
        self.core.set_reluctant(self.short.own && patient);
        if self.short.own
            && self.led_term.is_some()
            && now_ms >= self.short.hand_over_at_ms
            && let Some(to) = self.successor_with_space()
        {
            self.short.hand_over_at_ms = now_ms + HAND_OVER_MS;
            tracing::info!(to, "this leader's disk is nearly full: it hands over");
            self.core.handle(Input::Transfer(to));
        }
    }

    /// Ends this node when its state is not the others'.
    pub(super) fn compare_states(&mut self) {
        if mutants::is(Mutant::DigestsIgnored) {
            return;
        }
        let (voters, leader) = (self.core.voters(), self.core.leader());
        let ensemble = Ensemble {
            node: self.config.node,
            voters: &voters,
            leader,
        };
        let verdict = self.agreement.verdict(self.now.ms, &ensemble);
        self.out.fatal = self.out.fatal.take().or(verdict);
    }

    /// Tells the others how this node stands, when that is due.
    pub(super) fn tell_standing(&mut self) {
        let (now_ms, node) = (self.now.ms, self.config.node);
        if now_ms < self.standing_at_ms {
            return;
        }
        self.standing_at_ms = now_ms + self.config.report_period_ms;
        let (index, digest) = self.agreement.newest();
        let members = self.core.members();
        for member in members.iter().filter(|member| member.node != node) {
            let standing = PeerMessage::Standing {
                index,
                digest,
                space_low: self.short.own,
            };
            self.out.send.push((member.node, standing));
        }
    }
}
