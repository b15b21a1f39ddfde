//! When sessions end: the leader's volatile knowledge, in ticks that ran.
//!
//! Every node keeps the table of live sessions; only a leader arms it. Time is the number of ticks that this
//! process ran, so a pause of the leader expires nobody when it resumes, and a new leader gives every session
//! its full timeout.
//!
//! A client may ask for less patience once it has hung up ([`Left`]): a process that dies takes its connections with
//! it, and one that lives is back at once. That a connection has ended stays true, so it is remembered for the attach
//! number it concerns, by whoever leads next too.
//!
//! Sessions stand in buckets by the tick they would end at. A sign of life only notes the new deadline; the
//! session moves when its old bucket comes up, so hearing from it costs one map look-up.

use std::collections::{BTreeMap, HashMap};

use super::SessionId;
use super::report::Left;
use crate::mutants::{self, Mutant};

#[derive(Clone, Copy, Debug)]
struct Live {
    attach: u64,
    timeout_ticks: u64,
    deadline: u64,
    /// The one bucket that names it; what others hold of it is stale.
    bucket: Option<u64>,
    /// Already asked to be expired at this attach number.
    asked: bool,
    /// Its client has ended the connection of this attach number, and gives itself so long to come back.
    left_ticks: Option<u64>,
}

impl Live {
    /// How long it lives from now on without a sign of life.
    fn patience_ticks(&self) -> u64 {
        self.timeout_ticks.min(self.left_ticks.unwrap_or(u64::MAX))
    }
}

/// Live sessions and, at a leader, their deadlines.
#[derive(Debug)]
pub struct ExpiryQueue {
    tick_ms: u64,
    sessions: HashMap<SessionId, Live>,
    /// Tick at which to look again, and at whom. Empty while not armed.
    buckets: BTreeMap<u64, Vec<SessionId>>,
    armed: bool,
}

impl ExpiryQueue {
    /// No sessions; `tick_ms` is the length of a tick.
    pub fn new(tick_ms: u64) -> Self {
        Self {
            tick_ms,
            sessions: HashMap::new(),
            buckets: BTreeMap::new(),
            armed: false,
        }
    }

    /// How many sessions live.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session lives.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Forgets everything, as before an installed checkpoint is read.
    pub fn clear(&mut self) {
        self.sessions.clear();
        self.buckets.clear();
    }

    fn ticks(&self, ms: u32) -> u64 {
        u64::from(ms).div_ceil(self.tick_ms).max(1)
    }

    /// A session was opened, or attached anew: it has its full timeout from `now` on.
    pub fn live(&mut self, session: SessionId, attach: u64, timeout_ms: u32, now: u64) {
        let timeout_ticks = self.ticks(timeout_ms);
        let deadline = now + timeout_ticks;
        let mut bucket = self.sessions.get(&session).and_then(|live| live.bucket);
        if self.armed && bucket.is_none_or(|at| at > deadline || at < now) {
            bucket = Some(deadline);
            self.buckets.entry(deadline).or_default().push(session);
        }
        self.sessions.insert(
            session,
            Live {
                attach,
                timeout_ticks,
                deadline,
                bucket,
                asked: false,
                left_ticks: None,
            },
        );
    }

    /// A session has ended.
    pub fn gone(&mut self, session: SessionId) {
        self.sessions.remove(&session);
    }

    /// A node heard from the session's client under that attach number.
    pub fn heard(&mut self, session: SessionId, attach: u64, now: u64) {
        if let Some(live) = self.sessions.get_mut(&session)
            && live.attach == attach
            && live.left_ticks.is_none()
        {
            live.deadline = now + live.timeout_ticks;
        }
    }

    /// A client has ended its connection, and is not heard from under that attach number any more.
    pub fn left(&mut self, left: &Left, now: u64) {
        let ticks = self.ticks(left.disconnect_timeout_ms);
        let Some(live) = self
            .sessions
            .get_mut(&left.session)
            .filter(|live| live.attach == left.attach || mutants::is(Mutant::LeftUnderAnyAttach))
        else {
            return;
        };
        if live.left_ticks.is_some() {
            return;
        }
        live.left_ticks = Some(ticks);
        let deadline = live.deadline.min(now + ticks);
        if self.armed && live.bucket.is_some_and(|at| at > deadline) {
            live.bucket = Some(deadline);
            let bucket = self.buckets.entry(deadline).or_default();
            bucket.push(left.session);
        }
        live.deadline = deadline;
    }

    /// Whether its client is known to have ended the connection.
    pub fn has_left(&self, session: SessionId) -> bool {
        let live = self.sessions.get(&session);
        live.is_some_and(|live| live.left_ticks.is_some())
    }

    /// This node leads from now on: everyone gets the full timeout, but for those known to have left.
    pub fn arm(&mut self, now: u64) {
        self.armed = true;
        self.buckets.clear();
        for (&session, live) in &mut self.sessions {
            if !mutants::is(Mutant::NoFullTimeout) {
                live.deadline = now + live.patience_ticks();
            }
            live.asked = false;
            live.bucket = Some(live.deadline);
            self.buckets.entry(live.deadline).or_default().push(session);
        }
    }

    /// This node no longer leads.
    pub fn disarm(&mut self) {
        self.armed = false;
        self.buckets.clear();
        for live in self.sessions.values_mut() {
            live.bucket = None;
        }
    }

    /// Sessions to expire at `now`, each with the attach number this is meant for, in order of their ids.
    /// Each is named once per attach number and term of leadership.
    pub fn due(&mut self, now: u64) -> Vec<(SessionId, u64)> {
        let mut due = Vec::new();
        while let Some(bucket) = self.buckets.first_entry()
            && *bucket.key() <= now
        {
            let at = *bucket.key();
            for session in bucket.remove() {
                let Some(live) = self
                    .sessions
                    .get_mut(&session)
                    .filter(|live| live.bucket == Some(at))
                else {
                    continue;
                };
                live.bucket = None;
                if live.asked {
                    continue;
                }
                if live.deadline <= now {
                    live.asked = true;
                    due.push((session, live.attach));
                } else {
                    live.bucket = Some(live.deadline);
                    self.buckets.entry(live.deadline).or_default().push(session);
                }
            }
        }
        due.sort_unstable_by_key(|&(session, _)| session.0);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const B: SessionId = SessionId(2);

    fn queue() -> ExpiryQueue {
        let mut queue = ExpiryQueue::new(10);
        queue.live(A, 1, 100, 0);
        queue.live(B, 1, 200, 0);
        queue
    }

    #[test]
    fn a_silent_session_is_due_once_its_timeout_ran() {
        let mut queue = queue();
        queue.arm(0);
        assert_eq!(queue.due(9), []);
        assert_eq!(queue.due(10), [(A, 1)]);
        assert_eq!(queue.due(11), [], "asked for once");
        queue.gone(A);
        assert_eq!(queue.due(20), [(B, 1)]);
    }

    #[test]
    fn a_sign_of_life_counts_only_under_the_present_attach_number() {
        let mut queue = queue();
        queue.arm(0);
        queue.heard(A, 1, 8);
        queue.heard(B, 9, 19);
        assert_eq!(queue.due(17), []);
        assert_eq!(queue.due(20), [(A, 1), (B, 1)]);
    }

    #[test]
    fn attaching_anew_gives_the_full_timeout_and_a_new_number() {
        let mut queue = queue();
        queue.arm(0);
        queue.live(A, 2, 100, 9);
        assert_eq!(queue.due(10), []);
        assert_eq!(queue.due(19), [(A, 2)]);
        queue.live(A, 3, 100, 20);
        assert_eq!(
            queue.due(30),
            [(A, 3), (B, 1)],
            "the expiry meant for number 2 was void"
        );
    }

    fn left(session: SessionId, attach: u64, disconnect_timeout_ms: u32) -> Left {
        Left {
            session,
            attach,
            disconnect_timeout_ms,
        }
    }

    #[test]
    fn who_has_hung_up_is_due_sooner_whatever_is_still_heard() {
        let mut queue = queue();
        queue.arm(0);
        queue.left(&left(B, 1, 30), 4);
        queue.heard(B, 1, 5);
        queue.left(&left(B, 1, 500), 6);
        assert_eq!(queue.due(6), []);
        assert_eq!(queue.due(7), [(B, 1)]);
        assert_eq!(queue.due(30), [(A, 1)], "named once");
    }

    #[test]
    fn hanging_up_gives_nobody_more_time() {
        let mut queue = queue();
        queue.arm(0);
        queue.left(&left(A, 1, 5_000), 9);
        assert_eq!(queue.due(10), [(A, 1)]);
    }

    #[test]
    fn a_connection_that_ended_under_a_former_attach_number_does_not_count() {
        let mut queue = queue();
        queue.arm(0);
        queue.live(B, 2, 200, 3);
        queue.left(&left(B, 1, 30), 4);
        assert_eq!(queue.due(22), [(A, 1)]);
        assert_eq!(queue.due(23), [(B, 2)]);
    }

    #[test]
    fn who_comes_back_has_its_full_timeout_again() {
        let mut queue = queue();
        queue.arm(0);
        queue.left(&left(B, 1, 30), 4);
        queue.live(B, 2, 200, 6);
        queue.heard(B, 2, 10);
        assert_eq!(queue.due(29), [(A, 1)]);
        assert_eq!(queue.due(30), [(B, 2)]);
    }

    #[test]
    fn who_leads_next_remembers_who_left() {
        let mut queue = queue();
        queue.left(&left(B, 1, 30), 4);
        queue.arm(100);
        assert_eq!(queue.due(103), [(B, 1)]);
        queue.disarm();
        queue.arm(200);
        assert_eq!(queue.due(203), [(B, 1)]);
        assert_eq!(queue.due(210), [(A, 1)]);
    }

    #[test]
    fn a_new_leader_gives_every_session_its_full_timeout() {
        let mut queue = queue();
        assert_eq!(queue.due(1_000), [], "only a leader expires");
        queue.arm(1_000);
        assert_eq!(queue.due(1_009), []);
        assert_eq!(queue.due(1_010), [(A, 1)]);
        queue.disarm();
        assert_eq!(queue.due(5_000), []);
        queue.arm(6_000);
        assert_eq!(
            queue.due(6_010),
            [(A, 1)],
            "asked again under the new leadership"
        );
    }
}
