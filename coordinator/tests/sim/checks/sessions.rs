//! When sessions end, and who may still answer for them.

use std::collections::HashSet;

use zweig_coordinator::session::SessionId;
use zweig_coordinator::state_machine::{Outcome, SessionChange};

#[derive(Default)]
pub struct Sessions {
    ended: HashSet<SessionId>,
    /// Ended since it was asked last.
    fresh: bool,
    pub expired: u64,
}

impl Sessions {
    /// Some member has applied a command.
    pub fn outcome(&mut self, outcome: &Outcome, _index: u64) {
        let expired = match outcome.session_change {
            Some(SessionChange::Expired) => true,
            Some(SessionChange::Closed) => false,
            _ => return,
        };
        if self.ended.insert(outcome.session) {
            self.fresh = true;
            self.expired += u64::from(expired);
        }
    }

    /// Whether some session has ended since the last question.
    pub fn has_news(&mut self) -> bool {
        std::mem::take(&mut self.fresh)
    }

    /// A client believes in this session, and the member that it is connected to may still answer it.
    pub fn is_served(&self, session: SessionId, member: u64) {
        assert!(
            !self.ended.contains(&session),
            "session {session} has ended, and member {member} may still answer its client"
        );
    }
}
