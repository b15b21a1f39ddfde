//! Exactly once across a leader change: how commands get from the node where they came in to the leader.
//!
//! Two pure state machines, both run by `consensus::node` on the raft thread. [`Forwarder`] is the origin's
//! side, [`Intake`] the leader's. Commands are bytes here; nothing looks inside.
//!
//! ```text
//!            poll                      applied (own request)
//! waiting ─────────▶ sent(T, number) ─────────────────────────▶ settled
//!    ▲                    │    │
//!    └────────────────────┘    └──▶ outcome unknown: a snapshot skipped entries, or this node was removed
//!     an entry of a later term was applied, and every index since: it never will be done in T
//! ```
//!
//! Rules:
//! - Numbers have no gaps, per (node, boot nonce, term). The leader takes n only after n-1 and drops repeats;
//!   a number it can't take blocks all behind it, until the origin resends from there. Numbers that an origin
//!   gave up (their outcome is unknown) are skipped: each run says from where on there are no gaps.
//! - Nothing is forwarded in a term older than the newest applied entry's.
//! - `sent` holds commands of one term only: what waits goes out in a later term only when none is left.
//!
//! There is no other retry inside the server.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;

use crate::mutants::{self, Mutant};

/// A run of commands on its way to a leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The term in which they may be proposed, and in no other.
    pub term: u64,
    /// Numbers below this one were given up by the origin: whoever has not taken them never will.
    pub base: u64,
    /// Number of the first; the others follow without gaps.
    pub first: u64,
    /// The encoded commands.
    pub commands: Vec<Bytes>,
}

/// A command that waits for a leader.
#[derive(Clone, Debug)]
struct Waiting {
    request: u64,
    deadline_ms: i64,
    bytes: Bytes,
}

#[derive(Clone, Debug)]
struct Sent {
    number: u64,
    waiting: Waiting,
}

/// Bounds of the stream to the leader.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// Commands sent and not yet applied.
    pub commands: usize,
    /// Commands in one [`Forward`].
    pub run_commands: usize,
    /// Bytes in one [`Forward`], unless a single command is larger.
    pub run_bytes: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            commands: 20_000,
            run_commands: 1_000,
            run_bytes: 512 << 10,
        }
    }
}

/// The origin's side.
#[derive(Debug)]
pub struct Forwarder {
    window: Window,
    waiting: VecDeque<Waiting>,
    /// In order of their numbers; all of `sent_term`.
    sent: VecDeque<Sent>,
    /// The next of `sent` to transmit; those before it are on their way.
    transmit: usize,
    sent_term: u64,
    /// The leader of `sent_term`.
    sent_to: u64,
    next_number: u64,
    /// Numbers below were given up, in `sent_term`.
    base: u64,
    /// Term of the newest applied entry.
    applied_term: u64,
    /// Term and leader, as raft knows them.
    target: Option<(u64, u64)>,
}

impl Forwarder {
    /// Nothing in flight.
    pub fn new(window: Window, applied_term: u64) -> Self {
        Self {
            window,
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            transmit: 0,
            sent_term: 0,
            sent_to: 0,
            next_number: 1,
            base: 1,
            applied_term,
            target: None,
        }
    }

    /// Commands without an outcome.
    pub fn len(&self) -> usize {
        self.waiting.len() + self.sent.len()
    }

    /// Whether every command has its outcome.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Queues a command behind all before it. `deadline_ms` is by the wall clock, 0 for none.
    pub fn submit(&mut self, request: u64, deadline_ms: i64, bytes: Bytes) {
        self.waiting.push_back(Waiting {
            request,
            deadline_ms,
            bytes,
        });
    }

    /// What raft knows of the leader now; nothing when it knows none.
    pub fn set_target(&mut self, target: Option<(u64, u64)>) {
        self.target = target;
    }

    /// Where the commands went that have no outcome yet.
    pub fn sent_to(&self) -> u64 {
        self.sent_to
    }

    /// The stream to `node` was broken and is there again: everything not seen applied goes out once more, now
    /// or when its leader is known again.
    pub fn link_renewed(&mut self, node: u64) {
        if self.sent_to == node {
            self.transmit = 0;
        }
    }

    /// The leader of `term` takes `next` as its next number.
    pub fn rewind(&mut self, term: u64, next: u64) {
        if term == self.sent_term {
            let at = self.sent.partition_point(|sent| sent.number < next);
            self.transmit = self.transmit.min(at);
        }
    }

    /// The next run to send, and to whom.
    pub fn poll(&mut self) -> Option<(u64, Forward)> {
        let (term, leader) = self.target?;
        if term < self.applied_term {
            return None;
        }
        if self.sent.is_empty() && term > self.sent_term {
            self.sent_term = term;
            self.sent_to = leader;
            self.next_number = 1;
            self.base = 1;
            self.transmit = 0;
        }
        if term != self.sent_term {
            return None;
        }
        let mut run = Forward {
            term,
            base: self.base,
            first: 0,
            commands: Vec::new(),
        };
        let mut bytes = 0;
        while run.commands.len() < self.window.run_commands {
            if self.transmit == self.sent.len() && !self.number_one() {
                break;
            }
            let Some(sent) = self.sent.get(self.transmit) else {
                break;
            };
            let follows =
                run.commands.is_empty() || sent.number == run.first + run.commands.len() as u64;
            let fits = run.commands.is_empty()
                || bytes + sent.waiting.bytes.len() <= self.window.run_bytes;
            if !follows || !fits {
                break;
            }
            if run.commands.is_empty() {
                run.first = sent.number;
            }
            bytes += sent.waiting.bytes.len();
            run.commands.push(sent.waiting.bytes.clone());
            self.transmit += 1;
        }
        (!run.commands.is_empty()).then_some((leader, run))
    }

    /// Gives the first waiting command its number.
    fn number_one(&mut self) -> bool {
        if self.sent.len() >= self.window.commands {
            return false;
        }
        let Some(waiting) = self.waiting.pop_front() else {
            return false;
        };
        self.sent.push_back(Sent {
            number: self.next_number,
            waiting,
        });
        self.next_number += 1;
        true
    }

    /// Entries up to one of `term` were applied, without a gap since the last call; `own` are the requests of
    /// this node and boot among them, in order. Returns the requests that are found to be refused: the leader
    /// takes numbers in order, so what has no outcome before one that has was refused, and stays so. To send
    /// it again in a later term would put it behind its successors.
    pub fn applied(&mut self, term: u64, own: &[u64]) -> Vec<u64> {
        let mut refused = Vec::new();
        for &request in own {
            let newer = self.target.is_some_and(|(term, _)| term > self.sent_term);
            if mutants::is(Mutant::AppliedSentAgain) && newer {
                continue;
            }
            self.settle(request, &mut refused);
        }
        self.applied_term = self.applied_term.max(term);
        if self.applied_term > self.sent_term {
            // Nothing of an older term can stand behind an entry of this one.
            while let Some(sent) = self.sent.pop_back() {
                self.waiting.push_front(sent.waiting);
            }
            self.transmit = 0;
        }
        refused
    }

    /// The leader of `term` refused these numbers for good: they were taken by nobody and never will be.
    pub fn refused(&mut self, term: u64, numbers: &[u64]) -> Vec<u64> {
        if term != self.sent_term {
            return Vec::new();
        }
        let mut requests = Vec::new();
        for number in numbers {
            if let Ok(at) = self.sent.binary_search_by_key(number, |sent| sent.number) {
                requests.extend(self.remove_sent(at));
            }
        }
        requests
    }

    /// A snapshot was installed, or this node was removed: nobody can tell what became of these requests. What
    /// waits behind them is given up with them: a later write of a session must not be done where an earlier one
    /// perhaps was not.
    pub fn lose_track(&mut self, applied_term: u64) -> Vec<u64> {
        self.applied_term = self.applied_term.max(applied_term);
        self.transmit = 0;
        self.base = self.next_number;
        if self.sent.is_empty() {
            return Vec::new();
        }
        let sent = self.sent.drain(..).map(|sent| sent.waiting);
        sent.chain(self.waiting.drain(..))
            .map(|waiting| waiting.request)
            .collect()
    }

    /// Requests that wait unsent beyond their deadline, and all behind the first of them: a later write of
    /// a session must not be done where an earlier one was not. They are forgotten here.
    pub fn expire(&mut self, now_ms: i64) -> Vec<u64> {
        let late = |waiting: &Waiting| waiting.deadline_ms != 0 && waiting.deadline_ms <= now_ms;
        let Some(first) = self.waiting.iter().position(late) else {
            return Vec::new();
        };
        let expired = self.waiting.drain(first..);
        expired.map(|waiting| waiting.request).collect()
    }

    /// Gives up everything unsent: there has been no leader for too long.
    pub fn give_up(&mut self) -> Vec<u64> {
        self.waiting
            .drain(..)
            .map(|waiting| waiting.request)
            .collect()
    }

    fn settle(&mut self, request: u64, refused: &mut Vec<u64>) {
        // Entries keep the order of the numbers, so it nearly always stands first.
        let mut sent = self.sent.iter();
        let Some(at) = sent.position(|sent| sent.waiting.request == request) else {
            return;
        };
        refused.extend(self.sent.drain(..at).map(|sent| sent.waiting.request));
        self.transmit = self.transmit.saturating_sub(at);
        self.remove_sent(0);
    }

    fn remove_sent(&mut self, at: usize) -> Option<u64> {
        let sent = self.sent.remove(at)?;
        if at < self.transmit {
            self.transmit -= 1;
        }
        Some(sent.waiting.request)
    }
}

/// What the leader does with one command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Proposes it.
    Take,
    /// Never: its number is used up, its origin is told.
    Refuse,
    /// Not now: it and all behind it have to be sent again.
    Full,
}

#[derive(Debug, Default)]
struct Stream {
    /// Numbers up to this one were taken or refused.
    taken: u64,
    /// Refused, and perhaps not yet heard of by the origin.
    refused: BTreeSet<u64>,
    /// Something could not be taken: the origin has to go back.
    blocked: bool,
}

/// What the leader answers to a run of commands.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// How many were taken.
    pub taken: usize,
    /// Numbers that were refused for good.
    pub refused: Vec<u64>,
}

/// The leader's side, of one term.
#[derive(Debug, Default)]
pub struct Intake {
    /// The term this node leads; nothing while it does not.
    term: Option<u64>,
    streams: BTreeMap<(u64, u64), Stream>,
}

impl Intake {
    /// This node leads `term`, or none. A new term begins with number 1 for everyone.
    pub fn set_term(&mut self, term: Option<u64>) {
        if self.term != term {
            self.term = term;
            self.streams.clear();
        }
    }

    /// Takes what may be taken of a run from (node, boot), in order.
    pub fn offer(
        &mut self,
        origin: (u64, u64),
        run: &Forward,
        mut admit: impl FnMut(&Bytes) -> Admission,
    ) -> Accepted {
        let mut accepted = Accepted::default();
        if self.term != Some(run.term) {
            return accepted;
        }
        let stream = self.streams.entry(origin).or_default();
        // A gap that the origin will never fill is none.
        stream.taken = stream.taken.max(run.base - 1);
        // The origin resends from the first it has not seen settled: what stands before, it knows.
        stream.refused = stream.refused.split_off(&run.first);
        for (number, command) in (run.first..).zip(&run.commands) {
            if number <= stream.taken {
                if stream.refused.contains(&number) {
                    accepted.refused.push(number);
                }
                continue;
            }
            if number > stream.taken + 1 && !mutants::is(Mutant::GapTaken) {
                stream.blocked = true;
                break;
            }
            match admit(command) {
                Admission::Take => accepted.taken += 1,
                Admission::Refuse => {
                    stream.refused.insert(number);
                    accepted.refused.push(number);
                }
                Admission::Full => {
                    stream.blocked = true;
                    break;
                }
            }
            stream.taken = number;
        }
        accepted
    }

    /// Who has to go back, and to which number; asked once per tick, so that one gap is one message.
    pub fn rewinds(&mut self) -> Vec<(u64, u64, u64)> {
        let mut rewinds = Vec::new();
        for (&(node, boot), stream) in &mut self.streams {
            if std::mem::take(&mut stream.blocked) {
                rewinds.push((node, boot, stream.taken + 1));
            }
        }
        rewinds
    }
}

#[cfg(test)]
#[path = "forward_tests.rs"]
mod tests;
