//! Sessions end in time and not before, and no client is answered by a node after others may have seen its session
//! expire.
//!
//! A client is *steady* while it sends something each third of its timeout, as clients' libraries do. Only to such
//! ones the rule of the lock is promised: one that is silent for longer knows by its own clock that it may have
//! lost its session. One that asked to be missed sooner once it has hung up knows that too.

use std::collections::{BTreeMap, VecDeque};

use super::order::Hold;
use super::truth::Truth;

/// How much later than a third of the timeout a steady client may send: it looks at its clock now and then.
const SLACK_US: u64 = 80_000;
/// What the clocks of two machines may differ by within one timeout, as a part of it.
const DRIFT: u64 = 20;
/// The leader counts in ticks, of which the first may be nearly over.
const TICK_US: u64 = 25_000;
/// A silent session is gone so long after its timeout, once somebody leads.
const EXPIRY_LAG_US: u64 = 2_000_000;
/// So long after the last fault nobody else is elected: who leads has heard of everyone who hung up since.
const ELECTED_US: u64 = 3_000_000;

#[derive(Debug)]
struct Held {
    node: usize,
    timeout_us: u64,
    sent_us: u64,
    steady: bool,
    /// When its node heard from it, and no acknowledged report covers that yet.
    touched: VecDeque<u64>,
    /// The last time of which the leader is known to have heard.
    confirmed_us: u64,
    /// The client has given the connection up.
    over: bool,
    /// The client takes the session to another connection, and leaves this one as it is.
    moved: bool,
    /// When its node saw that, and how soon after it the client wanted to be missed.
    left: Option<(u64, u64)>,
}

#[derive(Debug, Default)]
pub struct Expiry {
    held: BTreeMap<Hold, Held>,
    /// When its node heard from the client last, be it after the client has given the connection up. What comes in under
    /// a former attach number keeps no session alive.
    heard: BTreeMap<Hold, u64>,
    /// Entries, by index and term, that expire a session too early. A deposed leader may write such: it is wrong only
    /// if it is committed.
    early: BTreeMap<(u64, u64), String>,
    pub answered_steady: u64,
}

impl Expiry {
    /// A connection to `node` has the session from now on.
    pub fn hold(&mut self, now_us: u64, hold: Hold, node: usize, timeout_ms: u32) {
        let timeout_us = u64::from(timeout_ms) * 1_000;
        let held = Held {
            node,
            timeout_us,
            sent_us: now_us,
            steady: true,
            touched: VecDeque::new(),
            confirmed_us: 0,
            over: false,
            moved: false,
            left: None,
        };
        self.held.insert(hold, held);
        self.heard.insert(hold, now_us);
    }

    /// The client sends something.
    pub fn sent(&mut self, now_us: u64, hold: Hold) {
        if let Some(held) = self.held.get_mut(&hold) {
            held.steady &= now_us <= held.sent_us + held.timeout_us / 3 + SLACK_US;
            held.sent_us = now_us;
        }
    }

    /// The client goes to another node with it, and keeps this connection.
    pub fn moved(&mut self, hold: Hold) {
        if let Some(held) = self.held.get_mut(&hold) {
            held.moved = true;
        }
    }

    /// Its node hears from it.
    pub fn touched(&mut self, now_us: u64, hold: Hold) {
        self.heard.insert(hold, now_us);
        if let Some(held) = self.held.get_mut(&hold) {
            held.touched.push_back(now_us);
        }
    }

    /// A report that `node` made at `sent_us` has been acknowledged.
    pub fn reported(&mut self, node: usize, sent_us: u64) {
        for held in self.held.values_mut().filter(|held| held.node == node) {
            while held.touched.front().is_some_and(|&at| at < sent_us) {
                held.confirmed_us = held.touched.pop_front().unwrap_or_default();
            }
        }
    }

    /// Its node has seen that the client has ended the connection.
    pub fn left(&mut self, now_us: u64, hold: Hold, disconnect_timeout_ms: u32) {
        if let Some(held) = self.held.get_mut(&hold) {
            held.left = Some((now_us, u64::from(disconnect_timeout_ms) * 1_000));
        }
    }

    /// What `node` had heard and not yet reported goes with it, also where clients do not notice that it is gone.
    pub fn node_ends(&mut self, node: usize) {
        for held in self.held.values_mut().filter(|held| held.node == node) {
            held.touched.clear();
        }
    }

    /// A leader asks for a session to be expired, by the entry at that index and term.
    pub fn proposed(&mut self, now_us: u64, at: (u64, u64), hold: Hold) {
        let Some(held) = self.held.get(&hold) else {
            return;
        };
        let earliest_us = held.confirmed_us + held.timeout_us - held.timeout_us / DRIFT;
        let missed = held.left.is_some_and(|(left_us, timeout_us)| {
            now_us + TICK_US >= left_us + timeout_us - timeout_us / DRIFT
        });
        if held.confirmed_us > 0 && now_us < earliest_us && !missed {
            let (session, heard_us) = (hold.0, held.confirmed_us);
            let (timeout_us, left) = (held.timeout_us, held.left);
            let early = format!(
                "session {session:#x}, of {timeout_us}, is expired at {now_us}, the ensemble heard from it at {heard_us}; \
                 its client hung up: {left:?}"
            );
            self.early.entry(at).or_insert(early);
        }
    }

    /// An entry is applied for the first time.
    pub fn applied(&mut self, at: (u64, u64)) {
        if let Some(early) = self.early.remove(&at) {
            panic!("{early}");
        }
    }

    /// Something leaves a node for a client.
    pub fn answered(&mut self, now_us: u64, hold: Hold, truth: &Truth) {
        let Some(held) = self.held.get(&hold).filter(|held| !held.over) else {
            return;
        };
        let steady = held.steady && now_us <= held.sent_us + held.timeout_us / 3 + SLACK_US;
        if !steady {
            return;
        }
        self.answered_steady += 1;
        // Who has taken the session to another connection decides there how long it lives, and knows.
        let elsewhere = |attach| held.moved && attach != hold.1;
        let life = truth.life(hold.0).filter(|life| !elsewhere(life.attach));
        let end = life.and_then(|life| life.end);
        assert!(
            end.is_none_or(|end| !end.expired || end.at_us >= now_us),
            "session {:#x}, whose client is steady, is answered by member {} at {now_us}; {end:?}",
            hold.0,
            held.node + 1
        );
    }

    /// The connection is over.
    pub fn over(&mut self, hold: Hold) {
        if let Some(held) = self.held.get_mut(&hold) {
            held.over = true;
        }
    }

    /// All faults ended at `healed_us`: who has been silent for long enough since must be gone.
    pub fn at_the_end(&self, now_us: u64, healed_us: u64, truth: &Truth) {
        for (session, life) in truth.living() {
            let hold = (session, life.attach);
            let heard_us = self.heard.get(&hold).copied().unwrap_or(0);
            let since_us = heard_us.max(life.attached_us).max(healed_us);
            let timeout_us = u64::from(life.timeout_ms) * 1_000;
            let left = self.held.get(&hold).and_then(|held| held.left);
            let latest_us = EXPIRY_LAG_US
                + match left {
                    Some((left_us, soon_us)) if left_us > healed_us + ELECTED_US => {
                        left_us + soon_us.min(timeout_us)
                    }
                    _ => since_us + timeout_us,
                };
            assert!(
                now_us <= latest_us,
                "session {session:#x} lives at {now_us}, though silent since {since_us}: {life:?}"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use zweig_coordinator::state_machine::Op;

    use super::*;
    use crate::checks::samples::{entry, of, open};

    const HOLD: Hold = (7, 1);

    fn expiry() -> Expiry {
        let mut expiry = Expiry::default();
        expiry.hold(0, HOLD, 0, 2_000);
        expiry
    }

    /// Session 7 is opened, and expires at two seconds.
    fn expired() -> Truth {
        let mut truth = Truth::default();
        truth.applied(0, &entry(1, vec![open(7)]));
        truth.applied(2_000_000, &entry(2, vec![of(7, 1, Op::ExpireSession)]));
        truth
    }

    #[test]
    fn silence_then_expiry_is_right() {
        let mut expiry = expiry();
        expiry.touched(100_000, HOLD);
        expiry.reported(0, 200_000);
        expiry.proposed(2_100_000, (5, 1), HOLD);
        expiry.applied((5, 1));
        expiry.answered(2_200_000, HOLD, &expired());
        expiry.at_the_end(9_000_000, 1_000_000, &expired());
    }

    #[test]
    #[should_panic(expected = "the ensemble heard from it")]
    fn an_early_expiry_is_found() {
        let mut expiry = expiry();
        expiry.touched(100_000, HOLD);
        expiry.reported(0, 200_000);
        expiry.proposed(1_500_000, (5, 1), HOLD);
        expiry.applied((5, 2));
        expiry.applied((5, 1));
    }

    #[test]
    fn who_hung_up_may_be_missed_as_soon_as_it_asked() {
        let mut expiry = expiry();
        expiry.touched(100_000, HOLD);
        expiry.reported(0, 200_000);
        expiry.over(HOLD);
        expiry.left(1_000_000, HOLD, 300);
        expiry.proposed(1_300_000, (5, 1), HOLD);
        expiry.applied((5, 1));
    }

    #[test]
    #[should_panic(expected = "the ensemble heard from it")]
    fn who_hung_up_is_not_missed_sooner() {
        let mut expiry = expiry();
        expiry.touched(100_000, HOLD);
        expiry.reported(0, 200_000);
        expiry.left(1_000_000, HOLD, 300);
        expiry.proposed(1_200_000, (5, 1), HOLD);
        expiry.applied((5, 1));
    }

    #[test]
    #[should_panic(expected = "though silent since")]
    fn one_that_hung_up_and_is_not_missed_is_found() {
        let mut truth = Truth::default();
        truth.applied(0, &entry(1, vec![open(7)]));
        let mut expiry = expiry();
        expiry.touched(5_500_000, HOLD);
        expiry.left(5_600_000, HOLD, 100);
        expiry.at_the_end(7_800_000, 1_000_000, &truth);
    }

    #[test]
    fn what_a_node_took_with_it_was_not_reported() {
        let mut expiry = expiry();
        expiry.touched(100_000, HOLD);
        expiry.reported(0, 200_000);
        expiry.touched(500_000, HOLD);
        expiry.node_ends(0);
        expiry.reported(0, 900_000);
        expiry.proposed(2_100_000, (5, 1), HOLD);
        expiry.applied((5, 1));
    }

    #[test]
    #[should_panic(expected = "whose client is steady, is answered")]
    fn an_answer_behind_the_expiry_is_found() {
        let mut expiry = expiry();
        (1..5).for_each(|n| expiry.sent(n * 600_000, HOLD));
        expiry.answered(2_500_000, HOLD, &expired());
    }

    /// Session 7 goes to another connection, and expires at two seconds.
    fn taken_and_expired() -> Truth {
        let mut truth = Truth::default();
        truth.applied(0, &entry(1, vec![open(7)]));
        let attach = Op::AttachSession {
            timeout_ms: 2_000,
            password: [1; 16],
        };
        truth.applied(1_000_000, &entry(2, vec![of(7, 0, attach)]));
        truth.applied(2_000_000, &entry(3, vec![of(7, 2, Op::ExpireSession)]));
        truth
    }

    #[test]
    fn an_answer_to_the_connection_that_its_client_left_is_none_to_the_session() {
        let mut expiry = expiry();
        (1..5).for_each(|n| expiry.sent(n * 600_000, HOLD));
        expiry.moved(HOLD);
        expiry.answered(2_500_000, HOLD, &taken_and_expired());
    }

    /// Somebody else took it, or nobody: its client does not know.
    #[test]
    #[should_panic(expected = "whose client is steady, is answered")]
    fn an_answer_to_a_client_that_lost_the_session_is_found() {
        let mut expiry = expiry();
        (1..5).for_each(|n| expiry.sent(n * 600_000, HOLD));
        expiry.answered(2_500_000, HOLD, &taken_and_expired());
    }

    #[test]
    fn what_arrives_after_its_client_has_left_counts() {
        let mut truth = Truth::default();
        truth.applied(0, &entry(1, vec![open(7)]));
        let mut expiry = expiry();
        expiry.over(HOLD);
        expiry.touched(5_500_000, HOLD);
        expiry.at_the_end(9_000_000, 1_000_000, &truth);
    }

    #[test]
    #[should_panic(expected = "though silent since")]
    fn what_arrives_under_another_attach_number_does_not() {
        let mut truth = Truth::default();
        truth.applied(0, &entry(1, vec![open(7)]));
        let mut expiry = expiry();
        expiry.touched(5_500_000, (7, 2));
        expiry.at_the_end(9_000_000, 1_000_000, &truth);
    }

    #[test]
    #[should_panic(expected = "though silent since")]
    fn one_that_never_ends_is_found() {
        let mut truth = Truth::default();
        truth.applied(0, &entry(1, vec![open(7)]));
        expiry().at_the_end(9_000_000, 1_000_000, &truth);
    }
}
