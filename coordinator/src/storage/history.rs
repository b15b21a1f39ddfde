//! How the past is kept: transactions in runs, which are stored as one value each, and runs in spans, which are cut
//! from the old end by age and size.
//!
//! Pure; `state` stores what comes out of it in one batch. A transaction is written as bytes where it is applied, so that no
//! znode lives on for the history's sake, and a database does not handle each for itself. Cutting goes by whole spans, so a
//! little more is kept than the bounds say, never less. A span begins and ends with a run.
use std::collections::VecDeque;

use bytes::Bytes;

use super::keys::history as stored;
use super::keys::meta::Span;
use super::{HistoryBounds, StoreError};
use crate::tree::{Transaction, Zxid};

/// A run takes no further transaction when it has so many bytes ...
const RUN_BYTES: usize = 32 << 10;
/// ... or one that is so much later than its first, milliseconds.
const RUN_MS: i64 = 1_000;
/// A span is closed when it holds this many bytes ...
const SPAN_BYTES: u64 = 1 << 20;
/// ... or covers this much time, milliseconds.
const SPAN_MS: i64 = 10_000;

/// Transactions that are stored together.
#[derive(Debug)]
pub struct Run {
    first: Zxid,
    last: Zxid,
    /// Of the first one.
    since_ms: i64,
    /// Of the last one.
    time_ms: i64,
    /// Of all images, as [`Transaction::size_bytes`] counts them.
    image_bytes: u64,
    value: Vec<u8>,
}

impl Run {
    /// With its first transaction; `capacity` is about how many bytes will come.
    fn begin(transaction: &Transaction, capacity: usize) -> Run {
        let mut value = Vec::with_capacity(capacity);
        stored::begin(&mut value);
        let mut run = Run {
            first: transaction.zxid,
            last: transaction.zxid,
            since_ms: transaction.time_ms,
            time_ms: transaction.time_ms,
            image_bytes: 0,
            value,
        };
        run.add(transaction);
        run
    }

    fn add(&mut self, transaction: &Transaction) {
        stored::put(transaction, &mut self.value);
        self.last = transaction.zxid;
        self.time_ms = transaction.time_ms;
        self.image_bytes += transaction.size_bytes() as u64;
    }

    /// Whether it takes another one. A large transaction stands alone, so that who reads small ones need not read it.
    fn takes(&self, transaction: &Transaction) -> bool {
        self.value.len() < RUN_BYTES
            && transaction.size_bytes() < RUN_BYTES
            && transaction.time_ms - self.since_ms < RUN_MS
    }

    /// Its first transaction.
    pub fn first(&self) -> Zxid {
        self.first
    }

    /// Its last transaction.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// As it is stored.
    pub fn value(&self) -> &[u8] {
        &self.value
    }

    /// Its transactions, in order.
    ///
    /// # Errors
    /// [`StoreError::Damaged`]: never of what was just written.
    pub fn transactions(&self) -> Result<Vec<Transaction>, StoreError> {
        let value = Bytes::copy_from_slice(&self.value);
        decode(&stored::key(self.first), value)
    }
}

/// Adds a transaction to the last of `runs`, or begins another; tells how many bytes more there are.
pub fn push(runs: &mut Vec<Run>, transaction: &Transaction) -> usize {
    match runs.last_mut() {
        Some(run) if run.takes(transaction) => {
            let before = run.value.len();
            run.add(transaction);
            run.value.len() - before
        }
        // Where one was filled another will be.
        other => {
            let capacity = other.map_or(0, |_| RUN_BYTES + RUN_BYTES / 16);
            let run = Run::begin(transaction, capacity);
            let bytes = run.value.len();
            runs.push(run);
            bytes
        }
    }
}

/// The transactions of a stored run.
///
/// # Errors
/// [`StoreError::Damaged`].
pub fn decode(key: &[u8], value: Bytes) -> Result<Vec<Transaction>, StoreError> {
    let damaged = |source| StoreError::Damaged {
        what: "history",
        source,
    };
    stored::decode(Bytes::copy_from_slice(key), value).map_err(damaged)
}

/// The spans of the history, oldest first.
#[derive(Debug)]
pub struct Spans {
    bounds: HistoryBounds,
    floor: Zxid,
    spans: VecDeque<OpenSpan>,
    bytes: u64,
}

#[derive(Debug)]
struct OpenSpan {
    span: Span,
    /// When it began, or this process did, to close it in time.
    since_ms: i64,
}

/// What changed in the spans with a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Spans that are new or longer.
    pub changed: Vec<Span>,
    /// First zxids of spans that are gone.
    pub cut: Vec<Zxid>,
    /// The new floor, if some are.
    pub floor: Option<Zxid>,
}

impl Spans {
    /// The spans as stored.
    pub fn new(bounds: HistoryBounds, floor: Zxid, spans: Vec<Span>) -> Spans {
        let bytes = spans.iter().map(|span| span.bytes).sum();
        let spans = spans
            .into_iter()
            .map(|span| OpenSpan {
                since_ms: span.time_ms,
                span,
            })
            .collect();
        Spans {
            bounds,
            floor,
            spans,
            bytes,
        }
    }

    /// Every transaction after this one is kept.
    pub fn floor(&self) -> Zxid {
        self.floor
    }

    /// Takes in the runs of a batch, and cuts what is too much now.
    pub fn take_in(&mut self, runs: &[Run]) -> Step {
        let mut step = Step::default();
        for run in runs {
            self.add(run, &mut step);
        }
        let Some(newest) = runs.last() else {
            return step;
        };
        let oldest_ms = newest.time_ms.saturating_sub(self.bounds.max_age_ms);
        // The last span stays whatever its size: it is still being written.
        while self.spans.len() > 1
            && let Some(front) = self.spans.front().map(|open| open.span)
            && (front.time_ms < oldest_ms || self.bytes > self.bounds.max_bytes)
        {
            self.spans.pop_front();
            self.bytes -= front.bytes;
            self.floor = front.last;
            step.cut.push(front.first);
            step.floor = Some(front.last);
        }
        step.changed.retain(|span| span.first > self.floor);
        step
    }

    fn add(&mut self, run: &Run, step: &mut Step) {
        let &Run {
            first,
            last,
            time_ms,
            image_bytes: bytes,
            ..
        } = run;
        self.bytes += bytes;
        match self.spans.back_mut() {
            Some(open) if open.span.bytes < SPAN_BYTES && time_ms - open.since_ms < SPAN_MS => {
                open.span = Span {
                    last,
                    time_ms,
                    bytes: open.span.bytes + bytes,
                    ..open.span
                };
            }
            _ => {
                let span = Span {
                    first,
                    last,
                    time_ms,
                    bytes,
                };
                self.spans.push_back(OpenSpan {
                    span,
                    since_ms: time_ms,
                });
            }
        }
        let Some(open) = self.spans.back() else {
            return;
        };
        match step.changed.last_mut() {
            Some(last) if last.first == open.span.first => *last = open.span,
            _ => step.changed.push(open.span),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a transaction without mutations.
    const EMPTY: u64 = 33;

    fn transaction(zxid: i64, time_ms: i64) -> Transaction {
        Transaction {
            zxid: Zxid(zxid),
            time_ms,
            session: crate::session::SessionId(1),
            cause: crate::tree::Cause::Asked,
            mutations: Vec::new(),
        }
    }

    fn run(zxid: i64, time_ms: i64) -> Run {
        Run::begin(&transaction(zxid, time_ms), 0)
    }

    #[test]
    fn a_run_ends_where_it_is_large_and_is_read_back() {
        let mut runs = Vec::new();
        let zxids: Vec<i64> = (1..=2_000).collect();
        let bytes: usize = zxids
            .iter()
            .map(|&zxid| push(&mut runs, &transaction(zxid, 5)))
            .sum();
        assert_eq!(
            bytes,
            runs.iter().map(|run| run.value().len()).sum::<usize>()
        );
        assert!(runs.len() > 1 && runs.iter().all(|run| run.value().len() < RUN_BYTES + 64));
        assert!(
            runs.windows(2)
                .all(|two| two[0].last().next() == two[1].first())
        );
        let read = runs.iter().flat_map(|run| run.transactions().unwrap());
        assert_eq!(read.map(|each| each.zxid.0).collect::<Vec<_>>(), zxids);
        let before = runs.len();
        push(&mut runs, &transaction(2_001, 4 + RUN_MS));
        assert_eq!(runs.len(), before);
        push(&mut runs, &transaction(2_002, 5 + RUN_MS));
        assert_eq!(runs.len(), before + 1, "it is a second later");
    }

    fn spans(max_age_ms: i64, max_bytes: u64) -> Spans {
        Spans::new(
            HistoryBounds {
                max_age_ms,
                max_bytes,
            },
            Zxid(0),
            Vec::new(),
        )
    }

    #[test]
    fn transactions_gather_in_spans() {
        let mut spans = spans(1_000_000, 1_000_000);
        let step = spans.take_in(&[run(3, 0), run(5, 100), run(6, SPAN_MS)]);
        let expected = [
            Span {
                first: Zxid(3),
                last: Zxid(5),
                time_ms: 100,
                bytes: 2 * EMPTY,
            },
            Span {
                first: Zxid(6),
                last: Zxid(6),
                time_ms: SPAN_MS,
                bytes: EMPTY,
            },
        ];
        assert_eq!((step.changed.as_slice(), step.floor), (&expected[..], None));
        let step = spans.take_in(&[run(7, SPAN_MS + 1)]);
        assert_eq!(
            step.changed,
            [Span {
                first: Zxid(6),
                last: Zxid(7),
                time_ms: SPAN_MS + 1,
                bytes: 2 * EMPTY
            }]
        );
    }

    #[test]
    fn the_old_end_is_cut_by_age() {
        let mut spans = spans(60_000, 1_000_000);
        spans.take_in(&[run(1, 0), run(2, 20_000), run(3, 40_000)]);
        let step = spans.take_in(&[run(9, 80_001)]);
        assert_eq!(
            (step.cut.as_slice(), step.floor),
            (&[Zxid(1), Zxid(2)][..], Some(Zxid(2)))
        );
        assert_eq!(spans.floor(), Zxid(2));
    }

    #[test]
    fn the_old_end_is_cut_by_size() {
        let mut spans = spans(i64::MAX, 2 * EMPTY + 2);
        let step = spans.take_in(&[run(1, 0), run(2, 20_000), run(3, 40_000)]);
        assert_eq!(
            (step.cut.as_slice(), step.floor),
            (&[Zxid(1)][..], Some(Zxid(1)))
        );
        assert_eq!(
            step.changed.len(),
            2,
            "a span that came and went in one batch is not written"
        );
    }

    #[test]
    fn spans_go_on_after_a_restart() {
        let stored = vec![Span {
            first: Zxid(4),
            last: Zxid(8),
            time_ms: 1000,
            bytes: 30,
        }];
        let mut spans = Spans::new(
            HistoryBounds {
                max_age_ms: 100_000,
                max_bytes: 40,
            },
            Zxid(3),
            stored,
        );
        let step = spans.take_in(&[run(9, 50_000)]);
        assert_eq!(
            (step.cut.as_slice(), step.floor),
            (&[Zxid(4)][..], Some(Zxid(8)))
        );
    }
}
