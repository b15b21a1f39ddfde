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
const QUEUE_BYTES: usize = 256 << 20;

/// From so many bytes of entries on that are proposed and not committed none is proposed. Heartbeats wait on each node behind
/// the entries that were sent before them: behind much more than this a slow machine would take them for lost.
const UNCOMMITTED_BYTES: usize = 8 << 20;

/// How long a batch waits for the one before it, milliseconds: longer than it takes to commit one nearby, and short
/// beside the way to a node far away, whose answer would otherwise be waited for twice.
const GATHER_MS: u64 = 3;

/// Who has not applied what was committed so long ago is out of touch: what its clients read would be too old. As ZooKeeper's
/// `syncLimit` times `tickTime`, as it comes; milliseconds.
const STALE_MS: u64 = 10_000;

/// Between two looks at what is committed, milliseconds.
const LOOK_MS: u64 = 1_000;

/// Commands accepted in this term, in order.
#[derive(Debug)]
pub struct Batcher {
    queue: VecDeque<Bytes>,
    /// Commands that end sessions by their timeout. They go first: while one waits, no report is acknowledged.
    expiries: VecDeque<Bytes>,
    /// Of both.
    queued_bytes: usize,
    entry_bytes: usize,
    /// Index and bytes of entries that were proposed and not committed yet, in order.
    under_way: VecDeque<(u64, usize)>,
    under_way_bytes: usize,
    /// Time of the newest entry; never goes back.
    time_ms: i64,
    /// When the newest entry was proposed, by the clock of [`Batcher::proposed`].
    proposed_ms: u64,
    /// The last entry in which an expiry may be.
    expiries_until: u64,
    /// When was committed up to where: once per [`LOOK_MS`], back to [`STALE_MS`].
    commits: VecDeque<(u64, u64)>,
}

impl Batcher {
    /// Empty; entries of about `entry_bytes`.
    pub fn new(entry_bytes: usize) -> Self {
        Self {
            queue: VecDeque::new(),
            expiries: VecDeque::new(),
            queued_bytes: 0,
            entry_bytes,
            under_way: VecDeque::new(),
            under_way_bytes: 0,
            time_ms: 0,
            proposed_ms: 0,
            expiries_until: 0,
            commits: VecDeque::new(),
        }
    }

    /// This node leads: entries up to `last` were proposed by others, or in another term. Later ones must not be earlier
    /// than `time_ms`.
    pub fn leads_from(&mut self, last: u64, time_ms: i64) {
        self.expiries_until = last;
        self.time_ms = self.time_ms.max(time_ms);
    }

    /// Up to where a node has to have applied the log to answer for its clients: no entry behind this one ends a session by its
    /// timeout, or was committed long ago.
    pub fn to_be_applied(&self, now_ms: u64) -> u64 {
        let old = |(at_ms, _): &&(u64, u64)| now_ms >= at_ms + STALE_MS;
        let old = self.commits.iter().take_while(old).last();
        old.map_or(0, |&(_, index)| index).max(self.expiries_until)
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
        self.queued_bytes += command.len();
        self.expiries.push_back(command);
    }

    /// Whether an expiry waits to be proposed.
    pub fn holds_expiry(&self) -> bool {
        !self.expiries.is_empty()
    }

    /// Leadership ended: what was not proposed never will be.
    pub fn clear(&mut self) {
        self.queue.clear();
        self.expiries.clear();
        self.queued_bytes = 0;
        self.under_way.clear();
        self.under_way_bytes = 0;
        self.commits.clear();
    }

    /// Entries up to `index` are committed.
    pub fn committed(&mut self, index: u64, now_ms: u64) {
        if self
            .commits
            .back()
            .is_none_or(|&(at_ms, _)| now_ms >= at_ms + LOOK_MS)
        {
            self.commits.push_back((now_ms, index));
            // The newest old one counts.
            while self
                .commits
                .get(1)
                .is_some_and(|&(at_ms, _)| now_ms >= at_ms + STALE_MS)
            {
                self.commits.pop_front();
            }
        }
        while let Some((_, bytes)) = self.under_way.pop_front_if(|(at, _)| *at <= index) {
            self.under_way_bytes -= bytes;
        }
    }

    /// Whether no more bytes are under way than may be.
    pub fn may_propose(&self) -> bool {
        self.under_way_bytes < UNCOMMITTED_BYTES
    }

    /// The next entry and how many commands it takes; [`Batcher::proposed`] removes them.
    pub fn entry(&mut self, term: u64, now_ms: i64) -> Option<(Bytes, usize)> {
        let first = self.expiries.front().or(self.queue.front())?.len();
        self.time_ms = self.time_ms.max(now_ms);
        let mut builder = EntryBuilder::new(term, self.time_ms);
        let mut taken = 0;
        let mut bytes = 0;
        for command in self.expiries.iter().chain(&self.queue) {
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
        (self.queued_bytes > 0).then_some(self.proposed_ms + GATHER_MS)
    }

    /// Raft has taken the entry with that many commands as the one of `index`.
    pub fn proposed(&mut self, commands: usize, index: u64, now_ms: u64) {
        self.proposed_ms = now_ms;
        if self.holds_expiry() {
            self.expiries_until = index;
        }
        let ended = commands.min(self.expiries.len());
        let taken = self.expiries.drain(..ended);
        let taken = taken.chain(self.queue.drain(..commands - ended));
        let bytes: usize = taken.map(|command| command.len()).sum();
        self.queued_bytes -= bytes;
        self.under_way.push_back((index, bytes));
        self.under_way_bytes += bytes;
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
        batcher.proposed(taken, 1, 5);
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
        batcher.proposed(taken, 1, 50);
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
    fn what_is_under_way_is_bounded_in_bytes() {
        let large = Bytes::from(vec![0; UNCOMMITTED_BYTES / 2]);
        let mut batcher = Batcher::new(1);
        for index in 1..=2 {
            assert!(batcher.may_propose());
            batcher.push(large.clone());
            batcher.proposed(1, index, 5);
        }
        assert!(!batcher.may_propose());
        batcher.committed(1, 6);
        assert!(batcher.may_propose());
        batcher.push(large);
        batcher.proposed(1, 3, 5);
        assert!(!batcher.may_propose());
        batcher.clear();
        assert!(batcher.may_propose());
    }

    #[test]
    fn what_was_committed_long_ago_has_to_be_applied() {
        let mut batcher = Batcher::new(1);
        batcher.leads_from(4, 0);
        for second in 0..30 {
            batcher.committed(10 + second, second * 1_000);
            batcher.committed(11 + second, second * 1_000 + 1);
            assert!(batcher.commits.len() <= 12);
        }
        assert_eq!(batcher.to_be_applied(29_000), 10 + 19);
        assert_eq!(batcher.to_be_applied(29_999), 10 + 19);
        batcher.clear();
        assert_eq!(batcher.to_be_applied(40_000), 4);
    }

    #[test]
    fn an_expiry_is_held_until_it_is_proposed() {
        let mut batcher = Batcher::new(encoded(1).len());
        batcher.push(encoded(1));
        batcher.push_expiry(encoded(2));
        batcher.push(encoded(3));
        batcher.leads_from(10, 0);
        assert!(batcher.holds_expiry());
        assert_eq!(batcher.to_be_applied(5), 10);
        for index in [11, 12, 13] {
            let (_, taken) = batcher.entry(7, 1_000).unwrap();
            batcher.proposed(taken, index, 5);
            assert!(!batcher.holds_expiry(), "it goes first");
            assert_eq!(batcher.to_be_applied(5), 11);
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
