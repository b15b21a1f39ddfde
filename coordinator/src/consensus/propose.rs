//! The leader's batch: whatever is queued when the raft thread comes round becomes one entry.
//!
//! Batches form while the thread and the disk are busy. Beyond that a batch waits only while the one before it is on
//! its way to be committed, and for some milliseconds at most: so a lone command never waits, and under load a few large
//! entries take the place of many small ones, each of which costs every node a sync and some changes of threads.
//!
//! Commands accepted here and not yet proposed when leadership ends are dropped: their origins forward them again by
//! the rules of `request::forward`, as they would after a crash of the leader.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::state_machine::{Command, EntryBuilder, Op};

/// Bytes of accepted commands that wait for their entry.
const QUEUE_BYTES: usize = 64 << 20;

/// How long a batch waits for the one before it, milliseconds: longer than it takes to commit one nearby, and short
/// beside the way to a node far away, whose answer would otherwise be waited for twice.
const GATHER_MS: u64 = 3;

/// Commands accepted in this term, in order.
#[derive(Debug)]
pub struct Batcher {
    queue: VecDeque<Bytes>,
    queued_bytes: usize,
    entry_bytes: usize,
    /// Time of the newest entry; never goes back.
    time_ms: i64,
    /// When the newest entry was proposed, by the clock of [`Batcher::proposed`].
    proposed_ms: u64,
    /// Commands of the queue up to the last one that ends a session by its timeout.
    up_to_expiry: usize,
}

impl Batcher {
    /// Empty; entries of about `entry_bytes`.
    pub fn new(entry_bytes: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            queued_bytes: 0,
            entry_bytes,
            time_ms: 0,
            proposed_ms: 0,
            up_to_expiry: 0,
        }
    }

    /// Whether another command fits.
    pub fn has_room(&self) -> bool {
        self.queued_bytes < QUEUE_BYTES
    }

    /// Adds an encoded command.
    pub fn push(&mut self, command: Bytes) {
        self.queued_bytes += command.len();
        self.queue.push_back(command);
    }

    /// Adds an encoded command that ends a session by its timeout.
    pub fn push_expiry(&mut self, command: Bytes) {
        self.push(command);
        self.up_to_expiry = self.queue.len();
    }

    /// Whether an expiry waits to be proposed.
    pub fn holds_expiry(&self) -> bool {
        self.up_to_expiry > 0
    }

    /// Leadership ended: what was not proposed never will be.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.queued_bytes = 0;
        self.up_to_expiry = 0;
    }

    /// An entry of the log has this time; later ones must not be earlier.
    pub fn not_before(&mut self, time_ms: i64) {
        self.time_ms = self.time_ms.max(time_ms);
    }

    /// The next entry and how many commands it takes from the queue; [`Batcher::proposed`] removes them.
    pub fn entry(&mut self, term: u64, now_ms: i64) -> Option<(Bytes, usize)> {
        let first = self.queue.front()?.len();
        self.time_ms = self.time_ms.max(now_ms);
        let mut builder = EntryBuilder::new(term, self.time_ms);
        let mut taken = 0;
        let mut bytes = 0;
        for command in &self.queue {
            if taken > 0 && bytes + command.len() > self.entry_bytes.max(first) {
                break;
            }
            builder.push_encoded(command);
            bytes += command.len();
            taken += 1;
        }
        Some((builder.finish(), taken))
    }

    /// Whether what is queued waits for the newest entry, which is not committed yet.
    pub fn gathers(&self, now_ms: u64) -> bool {
        self.queued_bytes < self.entry_bytes && now_ms < self.proposed_ms + GATHER_MS
    }

    /// Until when what is queued waits at most; nothing if nothing is queued.
    pub fn gathers_until_ms(&self) -> Option<u64> {
        (!self.queue.is_empty()).then_some(self.proposed_ms + GATHER_MS)
    }

    /// Raft has taken the entry with that many commands.
    pub fn proposed(&mut self, commands: usize, now_ms: u64) {
        self.proposed_ms = now_ms;
        for command in self.queue.drain(..commands) {
            self.queued_bytes -= command.len();
        }
        self.up_to_expiry = self.up_to_expiry.saturating_sub(commands);
    }
}

/// Whether a command may go on while the disk is nearly full: it frees space or concerns sessions.
pub fn frees_space(command: &Command) -> bool {
    match &command.op {
        Op::OpenSession { .. }
        | Op::AttachSession { .. }
        | Op::CloseSession
        | Op::ExpireSession
        | Op::Sync
        | Op::Delete { .. }
        | Op::DeleteContainer { .. }
        | Op::Check { .. }
        | Op::CheckCreated { .. }
        | Op::SetLimits { .. } => true,
        Op::Multi(ops) => ops.iter().all(|op| {
            matches!(
                op,
                Op::Delete { .. } | Op::Check { .. } | Op::CheckCreated { .. }
            )
        }),
        Op::Create(_)
        | Op::CreateContainer(_)
        | Op::SetData { .. }
        | Op::SetAcl { .. }
        | Op::FencedBatch { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionId;
    use crate::state_machine::{Entry, Origin};

    fn command(request: u64) -> Command {
        Command {
            origin: Origin {
                node: 1,
                boot: 2,
                request,
            },
            session: SessionId(9),
            attach: 1,
            auth: Vec::new(),
            deadline_ms: 0,
            trace: [0; 16],
            op: Op::Sync,
        }
    }

    fn encoded(request: u64) -> Bytes {
        let mut bytes = bytes::BytesMut::new();
        command(request).encode(&mut bytes);
        bytes.freeze()
    }

    #[test]
    fn one_entry_takes_what_is_queued_up_to_its_size() {
        let size = encoded(1).len();
        let mut batcher = Batcher::new(2 * size);
        for request in 1..=3 {
            batcher.push(encoded(request));
        }
        let (data, taken) = batcher.entry(7, 1_000).unwrap();
        assert_eq!(taken, 2);
        let entry = Entry::decode(data).unwrap();
        assert_eq!((entry.term, entry.time_ms), (7, 1_000));
        assert_eq!(entry.commands, [command(1), command(2)]);
        batcher.proposed(taken, 5);
        assert_eq!(
            Entry::decode(batcher.entry(7, 900).unwrap().0)
                .unwrap()
                .time_ms,
            1_000,
            "time never goes back"
        );
        batcher.clear();
        assert!(batcher.entry(7, 2_000).is_none());
    }

    #[test]
    fn a_batch_gathers_until_it_is_large_or_old() {
        let size = encoded(1).len();
        let mut batcher = Batcher::new(2 * size);
        batcher.push(encoded(1));
        let (_, taken) = batcher.entry(7, 1_000).unwrap();
        batcher.proposed(taken, 50);
        batcher.push(encoded(2));
        assert!(batcher.gathers(50) && batcher.gathers(50 + GATHER_MS - 1));
        assert_eq!(batcher.gathers_until_ms(), Some(50 + GATHER_MS));
        assert!(
            !batcher.gathers(50 + GATHER_MS),
            "it has waited long enough"
        );
        batcher.push(encoded(3));
        assert!(!batcher.gathers(50), "it is an entry's worth");
    }

    #[test]
    fn an_expiry_is_held_until_it_is_proposed() {
        let mut batcher = Batcher::new(encoded(1).len());
        batcher.push(encoded(1));
        batcher.push_expiry(encoded(2));
        batcher.push(encoded(3));
        for held in [true, false] {
            let (_, taken) = batcher.entry(7, 1_000).unwrap();
            batcher.proposed(taken, 5);
            assert_eq!(batcher.holds_expiry(), held);
        }
        batcher.push_expiry(encoded(4));
        batcher.clear();
        assert!(!batcher.holds_expiry());
    }

    #[test]
    fn only_what_frees_space_passes_a_full_disk() {
        let with = |op| frees_space(&Command { op, ..command(1) });
        let delete = || Op::Delete {
            path: "/a".to_owned(),
            version: -1,
        };
        let set = || Op::SetData {
            path: "/a".to_owned(),
            data: None,
            version: -1,
        };
        assert!(with(delete()) && with(Op::CloseSession) && with(Op::Multi(vec![delete()])));
        assert!(!with(set()) && !with(Op::Multi(vec![delete(), set()])));
    }
}
