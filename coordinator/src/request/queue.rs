//! The order of one session's requests: pure, so that it can be tested like a function.
//!
//! ```text
//!   push ─▶ waiting ──(write)──▶ in flight ──(settled, and all before it)──▶ answered
//!               └─────(read, when nothing is in flight)────────────────────▶ answered
//! ```
//! Invariants: answers leave in the order of requests; a read starts only when every write before
//! it has been answered, so it sees them; a write starts only when every read before it has been
//! answered, so they don't see it. Writes that follow each other are in flight together.

use std::collections::VecDeque;

use crate::mutants::{self, Mutant};

/// What the head of the queue may do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Next<T, R> {
    /// Answer it at once.
    Read(T, R),
    /// Submit it; then tell [`Queue::submitted`].
    Write(T, R),
}

#[derive(Debug)]
struct InFlight<R, A> {
    id: u64,
    reply: R,
    answer: Option<A>,
}

/// Requests `T` with their way back `R`, and answers `A` of writes that must wait for others.
#[derive(Debug)]
pub struct Queue<T, R, A> {
    /// Writes, in order. Those with an answer wait for one before them.
    in_flight: VecDeque<InFlight<R, A>>,
    /// Behind all of `in_flight`.
    waiting: VecDeque<(Kind, T, R)>,
}

/// How a request takes part in the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answered here, from the state.
    Read,
    /// Goes through the log.
    Write,
}

impl<T, R, A> Queue<T, R, A> {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            in_flight: VecDeque::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Adds a request behind all others.
    pub fn push(&mut self, kind: Kind, request: T, reply: R) {
        self.waiting.push_back((kind, request, reply));
    }

    /// Takes the first waiting request, if it may start.
    pub fn take_next(&mut self) -> Option<Next<T, R>> {
        let (kind, _, _) = self.waiting.front()?;
        let overtakes = mutants::is(Mutant::ReadOvertakesWrite);
        if *kind == Kind::Read && !self.in_flight.is_empty() && !overtakes {
            return None;
        }
        let (kind, request, reply) = self.waiting.pop_front()?;
        Some(match kind {
            Kind::Read => Next::Read(request, reply),
            Kind::Write => Next::Write(request, reply),
        })
    }

    /// A write that [`Queue::take_next`] gave out is in flight under this id.
    pub fn submitted(&mut self, id: u64, reply: R) {
        let ascending = self.in_flight.back().is_none_or(|last| last.id < id);
        assert!(ascending, "ids of writes in flight ascend");
        self.in_flight.push_back(InFlight {
            id,
            reply,
            answer: None,
        });
    }

    /// The write of that id has its answer. False if there is none of that id in flight.
    pub fn settle(&mut self, id: u64, answer: A) -> bool {
        let found = self.in_flight.binary_search_by_key(&id, |write| write.id);
        match found {
            Ok(at) if self.in_flight[at].answer.is_none() => {
                self.in_flight[at].answer = Some(answer);
                true
            }
            _ => false,
        }
    }

    /// Takes the first write in flight, once it has its answer.
    pub fn pop_answered(&mut self) -> Option<(R, A)> {
        self.in_flight.front()?.answer.as_ref()?;
        let InFlight { reply, answer, .. } = self.in_flight.pop_front()?;
        answer.map(|answer| (reply, answer))
    }

    /// May the first waiting request start?
    pub fn can_advance(&self) -> bool {
        match self.waiting.front() {
            None => false,
            Some((Kind::Write, _, _)) => true,
            Some((Kind::Read, _, _)) => self.in_flight.is_empty(),
        }
    }

    /// The ids in flight without an answer.
    pub fn unanswered(&self) -> impl Iterator<Item = u64> {
        let unanswered = self.in_flight.iter().filter(|write| write.answer.is_none());
        unanswered.map(|write| write.id)
    }

    /// Empties the queue: writes in flight, with the answers they may have, then what never started.
    pub fn drain(&mut self) -> (Vec<(R, Option<A>)>, Vec<R>) {
        let in_flight = self.in_flight.drain(..);
        let in_flight = in_flight.map(|write| (write.reply, write.answer)).collect();
        let waiting = self.waiting.drain(..).map(|(_, _, reply)| reply).collect();
        (in_flight, waiting)
    }
}

impl<T, R, A> Default for Queue<T, R, A> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    type Requests = Queue<u32, u32, &'static str>;

    fn start_write(queue: &mut Requests, id: u64) {
        match queue.take_next() {
            Some(Next::Write(_, reply)) => queue.submitted(id, reply),
            other => panic!("a write was expected: {other:?}"),
        }
    }

    #[test]
    fn a_read_waits_for_the_writes_before_it() {
        let mut queue = Requests::new();
        queue.push(Kind::Write, 1, 1);
        queue.push(Kind::Read, 2, 2);
        start_write(&mut queue, 10);
        assert_eq!(queue.take_next(), None);
        assert!(!queue.can_advance());
        assert!(queue.settle(10, "done"));
        assert_eq!(queue.take_next(), None, "settled, but not yet answered");
        assert_eq!(queue.pop_answered(), Some((1, "done")));
        assert_eq!(queue.take_next(), Some(Next::Read(2, 2)));
    }

    #[test]
    fn a_write_waits_for_the_reads_before_it() {
        let mut queue = Requests::new();
        queue.push(Kind::Write, 1, 1);
        queue.push(Kind::Read, 2, 2);
        queue.push(Kind::Write, 3, 3);
        start_write(&mut queue, 10);
        assert_eq!(
            queue.take_next(),
            None,
            "the second write must not be seen by the read"
        );
    }

    #[test]
    fn writes_are_in_flight_together_and_answered_in_order() {
        let mut queue = Requests::new();
        for reply in 1..=3 {
            queue.push(Kind::Write, reply, reply);
            start_write(&mut queue, 10 + u64::from(reply));
        }
        assert!(queue.settle(12, "second"));
        assert_eq!(queue.pop_answered(), None);
        assert!(queue.settle(11, "first"));
        assert_eq!(queue.pop_answered(), Some((1, "first")));
        assert_eq!(queue.pop_answered(), Some((2, "second")));
        assert_eq!(queue.pop_answered(), None);
        assert_eq!(queue.unanswered().collect::<Vec<_>>(), [13]);
        assert!(!queue.settle(12, "again"), "an answer counts once");
        assert!(!queue.settle(99, "nobody's"));
    }

    #[test]
    fn draining_gives_every_way_back_once() {
        let mut queue = Requests::new();
        for reply in 1..=2 {
            queue.push(Kind::Write, reply, reply);
            start_write(&mut queue, u64::from(reply));
        }
        queue.push(Kind::Read, 3, 3);
        queue.settle(2, "done");
        assert_eq!(queue.drain(), (vec![(1, None), (2, Some("done"))], vec![3]));
        assert_eq!(queue.drain(), (vec![], vec![]));
    }

    proptest! {
        /// Whatever the order in which writes are settled, answers leave in the order of requests,
        /// and no read starts while a write is in flight.
        #[test]
        fn answers_leave_in_request_order(
            kinds in proptest::collection::vec(any::<bool>(), 1..40),
            picks in proptest::collection::vec(any::<usize>(), 200),
        ) {
            let mut queue: Queue<u32, u32, u32> = Queue::new();
            for (n, write) in (0_u32..).zip(&kinds) {
                queue.push(if *write { Kind::Write } else { Kind::Read }, n, n);
            }
            let (mut answered, mut id) = (Vec::new(), 0);
            for pick in picks {
                while let Some(next) = queue.take_next() {
                    match next {
                        Next::Read(_, reply) => {
                            prop_assert!(queue.in_flight.is_empty());
                            answered.push(reply);
                        }
                        Next::Write(_, reply) => { id += 1; queue.submitted(id, reply); }
                    }
                }
                let open: Vec<u64> = queue.unanswered().collect();
                if !open.is_empty() {
                    queue.settle(open[pick % open.len()], 0);
                }
                while let Some((reply, _)) = queue.pop_answered() {
                    answered.push(reply);
                }
            }
            let expected: Vec<u32> = (0..).zip(&kinds).map(|(n, _)| n).collect();
            prop_assert_eq!(answered, expected);
        }
    }
}
