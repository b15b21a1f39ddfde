//! Virtual time: what is due next, in microseconds. Nothing happens between two instants.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What becomes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Something on the network arrives; by its place in the network.
    Arrive(u32),
    /// The stream from one server to another is set up again, if it is still the same break.
    Renew { from: u8, to: u8, stamp: u32 },
    /// Something of one life of a member.
    Member { at: u8, boot: u32, what: What },
    /// A member that is down starts, if it is still the same fall.
    Start { at: u8, fall: u32 },
    /// The next fault of the plan.
    Fault(u32),
    /// A phase begins or ends.
    Phase(u32),
    /// Something happens to clients.
    Clients,
}

/// What becomes due within one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Raft's clock.
    Tick,
    /// The raft thread carries out what the node wants done.
    Round,
    /// The log thread has written and synced what it took.
    Logged,
    /// The apply thread is done with its job.
    Applied,
    /// The flush thread comes round.
    Flush,
    /// The log thread looks at the disk's space.
    Space,
    /// Somebody wants to read what is newest.
    Clients,
    /// The connection to that server's process closed.
    LinkLost(u8),
    /// The stream to that server stands again.
    LinkUp(u8),
}

#[derive(PartialEq, Eq)]
struct Item {
    at_us: u64,
    sequence: u64,
    event: Event,
}

impl Ord for Item {
    fn cmp(&self, other: &Self) -> Ordering {
        // The heap gives the greatest first.
        (other.at_us, other.sequence).cmp(&(self.at_us, self.sequence))
    }
}

impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// All that is due, and the present.
#[derive(Default)]
pub struct Agenda {
    heap: BinaryHeap<Item>,
    sequence: u64,
    pub now_us: u64,
}

impl Agenda {
    /// `event` is due at that time, behind what is due then already.
    pub fn put(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.heap.push(Item {
            at_us: at_us.max(self.now_us),
            sequence: self.sequence,
            event,
        });
    }

    /// `event` is due so much later.
    pub fn put_in(&mut self, us: u64, event: Event) {
        self.put(self.now_us + us, event);
    }

    /// The next event up to `end_us`; time moves to it, or to the end.
    pub fn next(&mut self, end_us: u64) -> Option<Event> {
        match self.heap.peek() {
            Some(item) if item.at_us <= end_us => {
                self.now_us = item.at_us;
                self.heap.pop().map(|item| item.event)
            }
            _ => {
                self.now_us = end_us;
                None
            }
        }
    }
}
