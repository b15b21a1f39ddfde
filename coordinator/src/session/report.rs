//! How a node keeps its sessions alive at the leader, and how it knows that it still does.
//!
//! Each half tick a node reports the sessions it heard from; the leader acknowledges a report once a majority
//! has confirmed that it still leads, so an acknowledged report means: no later leader's full timeouts
//! began before the report was *sent*. What an unacknowledged report held goes into the next one. The
//! acknowledgement names an index by which every expiry that had begun is over, and counts once this node has
//! applied it: who comes back after a pause must not serve what has expired meanwhile.
//!
//! What a client said it would do once it hung up goes with the report too, and makes it due sooner.
//!
//! A node whose last acknowledged report was sent too long ago closes its clients: the ensemble may be about
//! to expire them. Raft's heartbeats don't count.

use std::collections::{HashMap, VecDeque};

use super::SessionId;
use crate::mutants::{self, Mutant};

/// Bound of sessions in one report; the rest follows in the next.
pub const REPORT_SESSIONS: usize = 100_000;

/// Reports that wait for their acknowledgement, and acknowledged ones that wait for their index; who lags by so many periods is
/// out of touch anyway.
const REPORTS: usize = 64;

/// Sessions heard from since the last report.
pub type Heard = HashMap<SessionId, u64>;

/// A client has ended its connection, not the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Left {
    /// Its session.
    pub session: SessionId,
    /// Under which attach number the connection held it.
    pub attach: u64,
    /// As the client asked when it attached: back within this, or not at all; milliseconds, at least 1.
    pub disconnect_timeout_ms: u32,
}

/// One report to the leader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Number of the report, unique within this life of the node.
    pub sequence: u64,
    /// Sessions and their attach numbers, in order of the ids.
    pub sessions: Vec<(SessionId, u64)>,
    /// Whose connections have ended, in order of the ids; at most [`REPORT_SESSIONS`].
    pub left: Vec<Left>,
}

/// The reporting side of one node. Times are milliseconds of a clock that only moves forward.
#[derive(Debug)]
pub struct Reporter {
    period_ms: u64,
    next_at_ms: u64,
    /// When the last report was made.
    sent_ms: u64,
    sequence: u64,
    /// The newest one while it is not acknowledged; it holds what those before it did that were not.
    open: Option<Report>,
    /// Sent and not acknowledged: number, and when. In order.
    unacknowledged: VecDeque<(u64, u64)>,
    carry: Heard,
    /// To be reported.
    left: Vec<Left>,
    /// Acknowledged, and to be counted once that index is applied: when each was sent. In order.
    counts_at: VecDeque<(u64, u64)>,
    acknowledged_sent_ms: Option<u64>,
}

impl Reporter {
    /// The first report is due at once.
    pub fn new(period_ms: u64) -> Self {
        Self {
            period_ms,
            next_at_ms: 0,
            sent_ms: 0,
            sequence: 0,
            open: None,
            unacknowledged: VecDeque::new(),
            carry: Heard::new(),
            left: Vec::new(),
            counts_at: VecDeque::new(),
            acknowledged_sent_ms: None,
        }
    }

    /// Whether a report is due.
    pub fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.next_at_ms
    }

    /// Makes the report that is due, of what was heard since the last one and of what got no answer.
    pub fn report(&mut self, now_ms: u64, heard: Heard) -> Report {
        self.next_at_ms = now_ms + self.period_ms;
        self.sent_ms = now_ms;
        let mut all = std::mem::take(&mut self.carry);
        let mut left = std::mem::take(&mut self.left);
        if let Some(open) = self.open.take() {
            all.extend(open.sessions);
            left.extend(open.left);
        }
        left.sort_unstable();
        self.left = left.split_off(left.len().min(REPORT_SESSIONS));
        all.extend(heard);
        let mut sessions: Vec<_> = all.into_iter().collect();
        sessions.sort_unstable_by_key(|&(session, _)| session.0);
        let rest = sessions.split_off(sessions.len().min(REPORT_SESSIONS));
        self.carry = rest.into_iter().collect();
        self.sequence += 1;
        let report = Report {
            sequence: self.sequence,
            sessions,
            left,
        };
        self.open = Some(report.clone());
        self.unacknowledged.push_back((self.sequence, now_ms));
        if self.unacknowledged.len() > REPORTS {
            self.unacknowledged.pop_front();
        }
        report
    }

    /// A client has ended its connection: that does not wait for the period. Nor does it follow the last report
    /// at once: who sends faster than answers come is never acknowledged.
    pub fn left(&mut self, left: Left) {
        if !mutants::is(Mutant::LeftUntold) {
            self.left.push(left);
        }
        let soon_ms = self.sent_ms + self.period_ms / 8;
        self.next_at_ms = self.next_at_ms.min(soon_ms);
    }

    /// The leader has acknowledged a report, also one before the newest; that counts once `index` is applied.
    pub fn acknowledged(&mut self, sequence: u64, index: u64) {
        self.open.take_if(|open| open.sequence == sequence);
        let mut sent_ms = None;
        while let Some((number, at_ms)) = self
            .unacknowledged
            .pop_front_if(|(number, _)| *number <= sequence)
        {
            sent_ms = (number == sequence).then_some(at_ms);
        }
        if let Some(sent_ms) = sent_ms {
            // A later leader's log may be shorter: then the newer report counts first.
            while self.counts_at.pop_back_if(|(at, _)| *at >= index).is_some() {}
            self.counts_at.push_back((index, sent_ms));
        }
        if self.counts_at.len() > REPORTS {
            self.counts_at.pop_front();
        }
    }

    /// This node has applied everything up to `index`.
    pub fn applied(&mut self, index: u64) {
        while let Some((_, sent_ms)) = self.counts_at.pop_front_if(|(at, _)| *at <= index) {
            self.acknowledged_sent_ms = Some(sent_ms);
        }
    }

    /// A new leader is known: report to it without waiting for the period.
    pub fn leader_changed(&mut self) {
        self.next_at_ms = 0;
    }

    /// When the last acknowledged report was sent.
    pub fn acknowledged_sent_ms(&self) -> Option<u64> {
        self.acknowledged_sent_ms
    }
}

/// Whether a node may answer its clients at `now_ms`: the last report that was acknowledged had been sent at
/// `reported_ms`.
pub fn may_answer(now_ms: u64, reported_ms: Option<u64>, grace_ms: u64) -> bool {
    let in_touch = reported_ms.is_some_and(|sent_ms| now_ms <= sent_ms.saturating_add(grace_ms));
    in_touch || mutants::is(Mutant::OutOfTouchAnswers)
}

/// How long after the sending of its last acknowledged report a node may answer its clients. A client may have been
/// silent for a third of its timeout before that report: so often clients send something. So two thirds of the
/// shortest session timeout are left, and a tenth of that for clocks that differ and for the way to the node.
pub fn grace_ms(shortest_session_timeout_ms: u64) -> u64 {
    let left_ms = shortest_session_timeout_ms - shortest_session_timeout_ms.div_ceil(3);
    left_ms - left_ms / 10
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(sessions: &[i64]) -> Heard {
        sessions.iter().map(|&id| (SessionId(id), 1)).collect()
    }

    #[test]
    fn what_got_no_answer_is_reported_again() {
        let mut reporter = Reporter::new(100);
        assert!(reporter.is_due(0));
        let first = reporter.report(0, heard(&[1, 2]));
        assert!(!reporter.is_due(99));
        let second = reporter.report(100, heard(&[3]));
        assert_eq!(second.sessions.len(), 3);
        reporter.acknowledged(first.sequence, 0);
        reporter.applied(0);
        assert_eq!(
            reporter.acknowledged_sent_ms(),
            Some(0),
            "late, but what it says holds"
        );
        let third = reporter.report(150, heard(&[]));
        assert_eq!(third.sessions.len(), 3, "the second one is open");
        reporter.acknowledged(second.sequence, 0);
        reporter.applied(0);
        assert_eq!(
            reporter.acknowledged_sent_ms(),
            Some(100),
            "when it was sent, not when it was answered"
        );
        reporter.acknowledged(third.sequence, 0);
        reporter.acknowledged(second.sequence, 0);
        reporter.applied(0);
        assert_eq!(reporter.acknowledged_sent_ms(), Some(150));
        assert_eq!(reporter.report(200, heard(&[])).sessions, []);
    }

    #[test]
    fn an_acknowledgement_counts_when_its_index_is_applied() {
        let mut reporter = Reporter::new(100);
        for (now_ms, index) in [(0, 5), (100, 9), (200, 9)] {
            let report = reporter.report(now_ms, heard(&[]));
            reporter.acknowledged(report.sequence, index);
        }
        reporter.applied(4);
        assert_eq!(reporter.acknowledged_sent_ms(), None);
        reporter.applied(8);
        assert_eq!(reporter.acknowledged_sent_ms(), Some(0));
        reporter.applied(9);
        assert_eq!(reporter.acknowledged_sent_ms(), Some(200));
        for (now_ms, index) in [(300, 50), (400, 12)] {
            let report = reporter.report(now_ms, heard(&[]));
            reporter.acknowledged(report.sequence, index);
        }
        reporter.applied(12);
        assert_eq!(
            reporter.acknowledged_sent_ms(),
            Some(400),
            "the entries up to 50 were never committed"
        );
    }

    #[test]
    fn who_left_is_reported_soon_and_until_it_is_acknowledged() {
        let left = |id| Left {
            session: SessionId(id),
            attach: 1,
            disconnect_timeout_ms: 500,
        };
        let mut reporter = Reporter::new(80);
        reporter.report(100, heard(&[]));
        reporter.left(left(2));
        assert!(!reporter.is_due(109), "the last one may get its answer");
        assert!(reporter.is_due(110));
        assert_eq!(reporter.report(110, heard(&[])).left, [left(2)]);
        reporter.left(left(1));
        let both = reporter.report(120, heard(&[]));
        assert_eq!(both.left, [left(1), left(2)]);
        reporter.acknowledged(both.sequence, 0);
        assert_eq!(reporter.report(200, heard(&[])).left, []);
    }

    #[test]
    fn a_newer_attach_number_wins() {
        let mut reporter = Reporter::new(100);
        reporter.report(0, heard(&[1]));
        let again = reporter.report(100, [(SessionId(1), 2)].into());
        assert_eq!(again.sessions, [(SessionId(1), 2)]);
    }

    /// The client's last word before the report that was acknowledged may be a third of its timeout old, and the
    /// leader counts from then.
    #[test]
    fn the_grace_ends_before_the_shortest_session_of_a_steady_client() {
        for timeout_ms in [10, 2_000, 4_000, 40_000] {
            let (grace_ms, silent_ms) = (grace_ms(timeout_ms), timeout_ms / 3);
            assert!(silent_ms + grace_ms + timeout_ms / 20 <= timeout_ms);
        }
        assert_eq!(grace_ms(4_000), 2_400);
    }
}
