//! What must hold in every run.
//!
//! - `agreement`: all members apply the same entries and reach the same state; what was answered stays.
//! - `promises`: what members say to each other: one vote per term, one leader per term.
//! - `witness`: what clients did and saw, against what happened (`truth`, which `model` checks): their writes' `order`,
//!   the `replies` of each connection and its `watches`, the `expiry` of sessions, `ephemerals`, and the search for
//!   one `linear` order; a native watch `stream`.

mod agreement;
pub mod ephemerals;
pub mod expiry;
pub mod linear;
pub mod model;
pub mod order;
mod promises;
pub mod replies;
#[cfg(test)]
mod samples;
pub mod stream;
pub mod truth;
pub mod watches;
pub mod witness;

pub use agreement::Agreement;
pub use promises::Promises;

use zweig_coordinator::consensus::Committed;

#[derive(Default)]
pub struct Checks {
    pub agreement: Agreement,
    pub promises: Promises,
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
}
