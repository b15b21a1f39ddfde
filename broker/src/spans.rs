//! What a broker tells of the batches that are followed (`zweig_monitoring::trace`).
//!
//! ```text
//!  producer's span (`traceparent` of its record) ─▶ the leader: "produce T", from the request to its answer
//!      ├─▶ the leader: "append", then, with acks=all, "replicate": until it is committed
//!      ├─▶ the leader: "change ISR", if one was written while the batch waited, and under it the ensemble's spans
//!      └─▶ each follower: "follow T"
//! ```
//! A follower learns of the trace as the leader does, from the record; the id of the leader's span is derived from what
//! both know of the batch. A batch that the leader follows by chance is not followed by the others: nothing in it says so.
//!
//! Records are looked into only where spans are sent somewhere; of each batch no more than a bound, since a small one may unpack
//! to a lot.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

use parking_lot::Mutex;
use zweig_monitoring::Tracer;
use zweig_monitoring::trace::{Said, Span, SpanId, SpanKind, TraceContext, derived, now};

use crate::log::format::record_batch::{self, Header};
use crate::log::format::record_stream;
use crate::log::{Appended, TopicId, TopicPartition};

/// Traces told of in one batch; of a batch with more, the first ones.
const OF_A_BATCH: usize = 32;

/// Traces told of in one request, and in one partition's part of a leader's answer.
const OF_A_REQUEST: usize = 256;

/// Bytes of a batch's records, unpacked, that are looked through.
const LOOKED_BYTES: u64 = 1 << 20;

/// The same of a request, and of one partition's part of a leader's answer.
const LOOKED_AT_ALL_BYTES: u64 = 4 << 20;

/// Batches of one partition that are known to wait for its replicas.
const WAITING: usize = 64;

/// A follower that catches up tells nothing of batches older than this.
const NEWS_MS: i64 = 60_000;

/// What a request may still cost.
#[derive(Debug)]
pub struct Budget {
    traces: usize,
    looked_bytes: u64,
}

impl Budget {
    fn is_over(&self) -> bool {
        self.traces == 0 || self.looked_bytes == 0
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            traces: OF_A_REQUEST,
            looked_bytes: LOOKED_AT_ALL_BYTES,
        }
    }
}

/// What is told of one partition's part of a produce request; it ends with this.
#[derive(Debug)]
pub struct Producing {
    tracer: Tracer,
    spans: Vec<Span>,
    appended: OnceLock<SystemTime>,
    waiting: Mutex<Option<Waiting>>,
}

impl Producing {
    /// The batch has come; nothing if it is not followed.
    #[must_use]
    pub fn begin(
        tracer: &Tracer,
        name: &TopicPartition,
        batch: &[u8],
        budget: &mut Budget,
    ) -> Option<Self> {
        if !tracer.is_on() || budget.is_over() {
            return None;
        }
        let header = Header::parse(batch).ok()?;
        let Traces {
            mut followed,
            silent,
        } = Traces::of(batch, &header, budget);
        if silent && let Some(chosen) = tracer.sample() {
            budget.traces -= 1;
            followed.push(chosen);
        }
        let begin = |parent| {
            let what = format!("produce {}", name.topic);
            about(tracer.span(what, SpanKind::Server, parent), name, &header)
        };
        let spans: Vec<Span> = followed.into_iter().map(begin).collect();
        (!spans.is_empty()).then(|| Self {
            tracer: tracer.clone(),
            spans,
            appended: OnceLock::new(),
            waiting: Mutex::default(),
        })
    }

    /// It stands in the leader's log, appended now in this leader epoch, or before.
    pub fn appended(&mut self, place: &Place, appended: &Appended) {
        for span in &mut self.spans {
            span.set("messaging.kafka.offset", appended.first_offset);
            if appended.duplicate {
                // What followers told hangs under the span of the first time.
                span.set("zweig.duplicate", true);
                continue;
            }
            span.set_id(place.leaders_span(span.parent()));
            span.set("zweig.leader_epoch", i64::from(place.leader_epoch));
            let append = self
                .tracer
                .span("append", SpanKind::Internal, span.context());
            drop(append.since(span.begun()));
        }
        let _ = self.appended.set(now());
    }

    /// From now on it waits for its replicas: a change of the ISR belongs to its trace.
    pub fn waits(&mut self, among: &Arc<Followed>) {
        let first = self.spans.first();
        *self.waiting.get_mut() = first.and_then(|span| among.begin(span.context()));
    }

    /// The wait is over, in failure for a reason.
    pub fn waited(&self, failure: Option<&str>) {
        *self.waiting.lock() = None;
        for span in &self.spans {
            let wait = self
                .tracer
                .span("replicate", SpanKind::Internal, span.context());
            let mut wait = wait.since(self.appended.get().copied().unwrap_or_else(now));
            if let Some(reason) = failure {
                wait.fail(reason);
            }
        }
    }

    /// It ends so.
    pub fn fail(&mut self, reason: &str) {
        for span in &mut self.spans {
            span.fail(reason);
        }
    }
}

/// The traces of batches that wait for the replicas of one partition: the first ones, if many do.
#[derive(Debug, Default)]
pub struct Followed(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(u64, TraceContext)>,
    next: u64,
}

impl Followed {
    fn begin(self: &Arc<Self>, context: TraceContext) -> Option<Waiting> {
        let mut queue = self.0.lock();
        if queue.waiting.len() >= WAITING {
            return None;
        }
        queue.next += 1;
        let number = queue.next;
        queue.waiting.push_back((number, context));
        Some(Waiting {
            among: Arc::clone(self),
            number,
        })
    }

    /// The one that waits longest.
    #[must_use]
    pub fn first(&self) -> Option<TraceContext> {
        self.0.lock().waiting.front().map(|(_, context)| *context)
    }
}

/// One of [`Followed`], until it is dropped.
#[derive(Debug)]
struct Waiting {
    among: Arc<Followed>,
    number: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut queue = self.among.0.lock();
        queue.waiting.retain(|(number, _)| *number != self.number);
    }
}

/// What is told of batches that a follower appends; it ends with this.
#[derive(Debug)]
pub struct Following(Vec<Span>);

impl Following {
    /// These have come from the leader of their partition. To be asked for before a lock is taken.
    #[must_use]
    pub fn begin(
        tracer: &Tracer,
        (name, topic_id): (&TopicPartition, TopicId),
        records: &[u8],
        wall_ms: i64,
    ) -> Option<Self> {
        if !tracer.is_on() {
            return None;
        }
        let mut budget = Budget::default();
        let mut spans = Vec::new();
        for (header, range) in record_batch::headers(records).map_while(Result::ok) {
            if wall_ms.saturating_sub(header.max_timestamp_ms) > NEWS_MS {
                continue;
            }
            let Some(batch) = records.get(range).filter(|_| !budget.is_over()) else {
                break;
            };
            let place = Place {
                topic_id,
                partition: name.partition,
                base_offset: header.base_offset,
                leader_epoch: header.leader_epoch,
            };
            for parent in Traces::of(batch, &header, &mut budget).followed {
                let leaders = TraceContext {
                    trace: parent.trace,
                    span: place.leaders_span(parent),
                };
                let what = format!("follow {}", name.topic);
                let span = tracer.span(what, SpanKind::Consumer, leaders);
                let span = about(span, name, &header);
                spans.push(span.with("messaging.kafka.offset", header.base_offset));
            }
        }
        Some(Self(spans))
    }

    /// They could not be appended.
    pub fn fail(&mut self, reason: &str) {
        for span in &mut self.0 {
            span.fail(reason);
        }
    }
}

/// Which batch: what its leader and its followers know of it.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// Id of its topic.
    pub topic_id: TopicId,
    /// Its partition's number.
    pub partition: i32,
    /// Its first offset.
    pub base_offset: i64,
    /// Leader epoch in which it was appended.
    pub leader_epoch: i32,
}

impl Place {
    fn leaders_span(&self, parent: TraceContext) -> SpanId {
        let parts: [&[u8]; 5] = [
            &parent.span.to_bytes(),
            self.topic_id.as_bytes(),
            &self.partition.to_be_bytes(),
            &self.base_offset.to_be_bytes(),
            &self.leader_epoch.to_be_bytes(),
        ];
        derived(parent.trace, &parts)
    }
}

/// Names are those of OpenTelemetry's conventions for messaging, where it has them.
fn about(span: Span, name: &TopicPartition, header: &Header) -> Span {
    let partition = name.partition.to_string();
    span.with("messaging.system", "kafka")
        .with("messaging.destination.name", name.topic.clone())
        .with("messaging.destination.partition.id", partition)
        .with(
            "messaging.batch.message_count",
            i64::from(header.record_count),
        )
}

/// What a batch's records say of traces.
#[derive(Debug, Default)]
struct Traces {
    /// Those that are followed, each once.
    followed: Vec<TraceContext>,
    /// No record says anything.
    silent: bool,
}

impl Traces {
    /// What can't be read says nothing: whether it may be appended is checked elsewhere.
    fn of(batch: &[u8], header: &Header, budget: &mut Budget) -> Self {
        let most = OF_A_BATCH.min(budget.traces);
        let mut traces = Self {
            followed: Vec::new(),
            silent: true,
        };
        let look = record_stream::Look {
            name: TraceContext::HEADER,
            bytes: LOOKED_BYTES.min(budget.looked_bytes),
        };
        let looked = look.through(batch, header, |value| {
            let said = TraceContext::of_traceparent(value);
            traces.silent &= said == Said::Nothing;
            if let Said::Followed(context) = said
                && traces.followed.len() < most
                && !traces.followed.contains(&context)
            {
                traces.followed.push(context);
            }
            traces.followed.len() < most
        });
        budget.looked_bytes -= looked;
        budget.traces -= traces.followed.len();
        traces
    }
}

#[cfg(test)]
mod tests;
