//! How this node stands, which it tells the others; and what it concludes from what they tell.

use super::{Node, PeerMessage};
use crate::consensus::agreement::Ensemble;

impl Node {
    /// Tells the others how this node stands when that is due, and ends it when its state is not theirs.
    pub(super) fn compare_states(&mut self) {
        let (now, node) = (self.now, self.config.node);
        let (voters, leader) = (self.core.voters(), self.core.leader());
        let ensemble = Ensemble {
            node,
            voters: &voters,
            leader,
        };
        self.out.fatal = self.agreement.verdict(now.ms, &ensemble);
        if now.ms < self.standing_at_ms {
            return;
        }
        self.standing_at_ms = now.ms + self.config.report_period_ms;
        let (index, digest) = self.agreement.newest();
        let members = self.core.members();
        for member in members.iter().filter(|member| member.node != node) {
            let standing = PeerMessage::Standing {
                index,
                digest,
                space_low: self.space_low,
            };
            self.out.send.push((member.node, standing));
        }
    }
}
