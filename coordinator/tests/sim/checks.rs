//! What must hold in every run.
//!
//! - `agreement`: all members apply the same entries and reach the same state; what was answered stays.
//! - `promises`: what members say to each other: one vote per term, one leader per term.
//! - `sessions`: none ends while the member that serves it may still answer its client.

mod agreement;
mod promises;
mod sessions;

pub use agreement::Agreement;
pub use promises::Promises;
pub use sessions::Sessions;

use zweig_coordinator::consensus::Committed;
use zweig_coordinator::state_machine::Outcome;

#[derive(Default)]
pub struct Checks {
    pub agreement: Agreement,
    pub promises: Promises,
    pub sessions: Sessions,
}

impl Checks {
    /// A member is about to apply an entry.
    pub fn applied(&mut self, member: u64, entry: &Committed) {
        self.agreement.applied(member, entry);
    }

    /// The state of a member behind `index`.
    pub fn digest(&mut self, member: u64, index: u64, digest: u64) {
        self.agreement.digest(member, index, digest);
    }

    /// A member has applied a command.
    pub fn outcome(&mut self, outcome: &Outcome, index: u64) {
        self.sessions.outcome(outcome, index);
    }
}
