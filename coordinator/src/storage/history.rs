//! How much of the past is kept: spans of transactions, cut from the old end by age and size.
//!
//! Pure; `state` stores what comes out of it in the same batch as the transactions themselves. Cutting
//! goes by whole spans, so a little more is kept than the bounds say, never less.
use std::collections::VecDeque;
use std::sync::Arc;

use super::HistoryBounds;
use super::keys::meta::Span;
use crate::tree::{Transaction, Zxid};

/// A span is closed when it holds this many bytes ...
const SPAN_BYTES: u64 = 1 << 20;
/// ... or covers this much time, milliseconds.
const SPAN_MS: i64 = 10_000;

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
    /// When its first transaction of this run was, to close it in time.
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

    /// Takes in the transactions of a batch, and cuts what is too much now.
    pub fn take_in(&mut self, transactions: &[Arc<Transaction>]) -> Step {
        let mut step = Step::default();
        for transaction in transactions {
            self.add(transaction, &mut step);
        }
        let Some(newest) = transactions.last() else {
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

    fn add(&mut self, transaction: &Transaction, step: &mut Step) {
        let (zxid, time_ms, bytes) = (
            transaction.zxid,
            transaction.time_ms,
            transaction.size_bytes() as u64,
        );
        self.bytes += bytes;
        match self.spans.back_mut() {
            Some(open) if open.span.bytes < SPAN_BYTES && time_ms - open.since_ms < SPAN_MS => {
                open.span = Span {
                    last: zxid,
                    time_ms,
                    bytes: open.span.bytes + bytes,
                    ..open.span
                };
            }
            _ => {
                let span = Span {
                    first: zxid,
                    last: zxid,
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

    fn transaction(zxid: i64, time_ms: i64) -> Arc<Transaction> {
        Arc::new(Transaction {
            zxid: Zxid(zxid),
            time_ms,
            session: crate::session::SessionId(1),
            cause: crate::tree::Cause::Asked,
            mutations: Vec::new(),
        })
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
        let step = spans.take_in(&[
            transaction(3, 0),
            transaction(5, 100),
            transaction(6, SPAN_MS),
        ]);
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
        let step = spans.take_in(&[transaction(7, SPAN_MS + 1)]);
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
        spans.take_in(&[
            transaction(1, 0),
            transaction(2, 20_000),
            transaction(3, 40_000),
        ]);
        let step = spans.take_in(&[transaction(9, 80_001)]);
        assert_eq!(
            (step.cut.as_slice(), step.floor),
            (&[Zxid(1), Zxid(2)][..], Some(Zxid(2)))
        );
        assert_eq!(spans.floor(), Zxid(2));
    }

    #[test]
    fn the_old_end_is_cut_by_size() {
        let mut spans = spans(i64::MAX, 2 * EMPTY + 2);
        let step = spans.take_in(&[
            transaction(1, 0),
            transaction(2, 20_000),
            transaction(3, 40_000),
        ]);
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
        let step = spans.take_in(&[transaction(9, 50_000)]);
        assert_eq!(
            (step.cut.as_slice(), step.floor),
            (&[Zxid(4)][..], Some(Zxid(8)))
        );
    }
}
