//! All that is known of what clients did and saw, in one place.

use zweig_coordinator::consensus::Committed;
use zweig_coordinator::state_machine::Op;

use super::expiry::Expiry;
use super::linear::Linear;
use super::order::Orders;
use super::truth::Truth;
use crate::clients::script::REGISTERS;

#[derive(Default)]
pub struct Witness {
    pub truth: Truth,
    pub orders: Orders,
    pub expiry: Expiry,
    pub linear: Linear,
    pub seen: Seen,
}

/// How much clients saw: a run in which nothing happened proves nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    pub opened: u64,
    pub attached: u64,
    pub expired: u64,
    pub left: u64,
    pub refused: u64,
    pub moved: u64,
    pub reads: u64,
    pub writes: u64,
    pub unknown: u64,
    pub not_done: u64,
    pub events: u64,
    pub replays: u64,
    pub closed: u64,
    pub changes: u64,
    pub resumed: u64,
}

impl Seen {
    pub fn add(&mut self, other: &Seen) {
        self.opened += other.opened;
        self.attached += other.attached;
        self.expired += other.expired;
        self.left += other.left;
        self.refused += other.refused;
        self.moved += other.moved;
        self.reads += other.reads;
        self.writes += other.writes;
        self.unknown += other.unknown;
        self.not_done += other.not_done;
        self.events += other.events;
        self.replays += other.replays;
        self.closed += other.closed;
        self.changes += other.changes;
        self.resumed += other.resumed;
    }

    /// Every number by its name.
    pub fn counts(&self) -> [(&'static str, u64); 15] {
        [
            ("opened", self.opened),
            ("attached", self.attached),
            ("expired sessions", self.expired),
            ("hung up, to be missed soon", self.left),
            ("refused sessions", self.refused),
            ("moved", self.moved),
            ("clients' reads", self.reads),
            ("clients' writes", self.writes),
            ("clients' unknown", self.unknown),
            ("clients' not done", self.not_done),
            ("watch events", self.events),
            ("replays", self.replays),
            ("closed", self.closed),
            ("streamed changes", self.changes),
            ("streams resumed", self.resumed),
        ]
    }
}

impl Witness {
    /// A node is about to apply an entry.
    pub fn applied(&mut self, now_us: u64, committed: &Committed) {
        if !self.truth.applied(now_us, committed) {
            return;
        }
        self.expiry.applied((committed.index, committed.term));
        for (origin, zxid) in self.truth.take_fresh() {
            self.orders.logged(&origin, zxid);
            let deed = self.truth.deed(zxid);
            if let Some(deed) = deed
                && matches!(deed.op, Op::CloseSession | Op::ExpireSession)
                && deed.result.is_ok()
            {
                let session = deed.session;
                self.linear.settled(now_us, session);
            }
        }
    }

    /// Everything has come to its end.
    pub fn at_the_end(&mut self) {
        self.linear.look(&REGISTERS);
    }
}
