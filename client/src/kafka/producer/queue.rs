//! The batches of one partition: collecting, on their way, to be sent again. Pure.
//!
//! ```text
//!  push ─▶ open ─▶ closed ─▶ in flight ─▶ done
//!                               │  ▲
//!                               ▼  │ one at a time, oldest first, when nothing is in flight
//!                              again
//! ```
//! Invariants, from which order and exactly-once follow: a batch gets its sequence when it is
//! first sent, and keeps it; nothing new is sent while something is to be sent again; a batch whose
//! outcome will never be known takes all those sent after it along, and the sequence then begins
//! anew under another producer id.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::kafka::error::KafkaError;
use crate::kafka::records::encode_batch;
use crate::kafka::records::{BatchSpec, Compression, NO_PRODUCER_ID, Record, RecordsError};

/// Producer id and epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The id; [`NO_PRODUCER_ID`] for a producer that is not idempotent.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
}

impl Identity {
    /// Not idempotent.
    pub const NONE: Self = Self {
        id: NO_PRODUCER_ID,
        epoch: -1,
    };
}

/// How batches are made and how many may be on their way.
#[derive(Debug, Clone, Copy)]
pub struct QueueLimits {
    /// A batch of this many bytes, uncompressed, is closed.
    pub batch_bytes: usize,
    /// A batch this old is closed.
    pub linger: Duration,
    /// Batches on their way at once.
    pub max_in_flight: usize,
    /// From the first record's arrival to giving up.
    pub delivery_timeout: Duration,
    /// Wait before sending again.
    pub retry_backoff: Duration,
    /// Codec.
    pub compression: Compression,
}

/// Where a batch came to lie: base offset (-1 if not told) and the broker's append time, if used.
pub type Landed = (i64, i64);

/// Records that travel together.
#[derive(Debug)]
pub struct Batch {
    records: Vec<Record>,
    size: usize,
    since: Instant,
    done: Option<oneshot::Sender<Result<Landed, KafkaError>>>,
    /// Memory given back when the batch is done.
    memory: Vec<OwnedSemaphorePermit>,
    /// Once sent: what was sent, with its sequence in it.
    encoded: Option<Bytes>,
}

impl Batch {
    fn finish(mut self, result: Result<Landed, KafkaError>) {
        self.memory.clear();
        if let Some(done) = self.done.take() {
            let _ = done.send(result);
        }
    }
}

/// What came of one batch sent.
#[derive(Debug)]
pub enum Outcome {
    /// In the log.
    Landed(Landed),
    /// Not, or not known.
    Failed(KafkaError),
}

/// The batches of one partition.
#[derive(Debug)]
pub struct PartitionQueue {
    limits: QueueLimits,
    open: Option<Batch>,
    closed: VecDeque<Batch>,
    /// By number, in order of sending.
    in_flight: BTreeMap<u64, Batch>,
    again: BTreeMap<u64, Batch>,
    next_number: u64,
    identity: Option<Identity>,
    next_sequence: i32,
    not_before: Option<Instant>,
    /// The sequence has a gap that nothing will fill: `identity` must change.
    broken: bool,
}

/// Where a pushed record went.
#[derive(Debug)]
pub enum Pushed {
    /// Into a batch just begun; its fate will be told here.
    First(oneshot::Receiver<Result<Landed, KafkaError>>),
    /// Into the open batch, as its nth record.
    Nth(usize),
}

impl PartitionQueue {
    /// An empty queue.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            limits,
            open: None,
            closed: VecDeque::new(),
            in_flight: BTreeMap::new(),
            again: BTreeMap::new(),
            next_number: 0,
            identity: None,
            next_sequence: 0,
            not_before: None,
            broken: false,
        }
    }

    /// Adds a record; `memory` is released when its batch is done. Says whether a batch was closed.
    pub fn push(
        &mut self,
        record: Record,
        memory: OwnedSemaphorePermit,
        now: Instant,
    ) -> (Pushed, bool) {
        let size = record.size_bound();
        let full = self
            .open
            .as_ref()
            .is_some_and(|b| b.size + size > self.limits.batch_bytes);
        if full {
            self.close();
        }
        match &mut self.open {
            Some(batch) => {
                batch.size += size;
                batch.records.push(record);
                batch.memory.push(memory);
                (Pushed::Nth(batch.records.len() - 1), full)
            }
            None => {
                let (done, told) = oneshot::channel();
                self.open = Some(Batch {
                    records: vec![record],
                    size,
                    since: now,
                    done: Some(done),
                    memory: vec![memory],
                    encoded: None,
                });
                (Pushed::First(told), full)
            }
        }
    }

    fn close(&mut self) {
        self.closed.extend(self.open.take());
    }

    /// Whether everything pushed is done.
    pub fn is_idle(&self) -> bool {
        self.open.is_none() && self.closed.is_empty() && self.outstanding() == 0
    }

    /// Whether there is an open batch.
    pub fn is_collecting(&self) -> bool {
        self.open.is_some()
    }

    fn outstanding(&self) -> usize {
        self.in_flight.len() + self.again.len()
    }

    /// Gives up batches that waited too long without being on their way.
    pub fn expire(&mut self, now: Instant) {
        let limit = self.limits.delivery_timeout;
        let late = |batch: &Batch| now.saturating_duration_since(batch.since) >= limit;
        let error = || KafkaError::TimedOut {
            operation: "delivery of a batch".into(),
            after: limit,
        };
        if self.again.first_key_value().is_some_and(|(_, b)| late(b)) {
            self.give_up_sent(&error());
        }
        while self.closed.front().is_some_and(late) {
            if let Some(batch) = self.closed.pop_front() {
                batch.finish(Err(error()));
            }
        }
        if self.open.as_ref().is_some_and(late)
            && let Some(batch) = self.open.take()
        {
            batch.finish(Err(error()));
        }
    }

    /// Fails everything waiting to be sent again: one of it will never be known to have landed.
    fn give_up_sent(&mut self, error: &KafkaError) {
        for (_, batch) in std::mem::take(&mut self.again) {
            batch.finish(Err(error.clone()));
        }
        self.broken = true;
    }

    /// Whether [`PartitionQueue::take`] would give a batch. `flushing` closes an open one.
    pub fn ready(&self, now: Instant, flushing: bool) -> bool {
        if self.not_before.is_some_and(|at| now < at) {
            return false;
        }
        if !self.again.is_empty() {
            return self.in_flight.is_empty();
        }
        if self.broken && !self.in_flight.is_empty() {
            return false;
        }
        self.in_flight.len() < self.limits.max_in_flight
            && (!self.closed.is_empty() || self.open_is_due(now, flushing))
    }

    fn open_is_due(&self, now: Instant, flushing: bool) -> bool {
        self.open.as_ref().is_some_and(|batch| {
            flushing
                || batch.size >= self.limits.batch_bytes
                || now.saturating_duration_since(batch.since) >= self.limits.linger
        })
    }

    /// Whether the next batch needs an identity other than the one used so far.
    pub fn needs_other_identity(&self, current: Identity) -> bool {
        self.again.is_empty() && self.broken && self.identity == Some(current)
    }

    /// The next batch to send, with its number, if it is time. It is in flight then.
    ///
    /// # Errors
    /// [`RecordsError`] if it cannot be encoded; it has failed then.
    pub fn take(
        &mut self,
        current: Identity,
        now: Instant,
        flushing: bool,
    ) -> Result<Option<(u64, Bytes)>, RecordsError> {
        if !self.ready(now, flushing) {
            return Ok(None);
        }
        self.not_before = None;
        if let Some((number, batch)) = self.again.pop_first() {
            let bytes = batch.encoded.clone().unwrap_or_default();
            self.in_flight.insert(number, batch);
            return Ok(Some((number, bytes)));
        }
        if self.closed.is_empty() {
            self.close();
        }
        let Some(mut batch) = self.closed.pop_front() else {
            return Ok(None);
        };
        // A sequence belongs to its id: another id only begins when nothing of the former is out.
        if self.in_flight.is_empty() && self.identity != Some(current) {
            self.identity = Some(current);
            self.next_sequence = 0;
            self.broken = false;
        }
        let identity = self.identity.unwrap_or(current);
        let idempotent = identity != Identity::NONE;
        let spec = BatchSpec {
            compression: self.limits.compression,
            producer_id: identity.id,
            producer_epoch: identity.epoch,
            base_sequence: if idempotent { self.next_sequence } else { -1 },
        };
        let bytes = match encode_batch(&spec, &batch.records) {
            Ok(bytes) => bytes,
            Err(error) => {
                batch.finish(Err(KafkaError::Malformed(error.to_string())));
                return Err(error);
            }
        };
        // Sequences run from 0 to the largest i32 and round again.
        let after = (i64::from(self.next_sequence) + batch.records.len() as i64) & 0x7fff_ffff;
        self.next_sequence = after as i32;
        batch.records = Vec::new();
        batch.encoded = Some(bytes.clone());
        let number = self.next_number;
        self.next_number += 1;
        self.in_flight.insert(number, batch);
        Ok(Some((number, bytes)))
    }

    /// What came of batch `number`.
    pub fn answered(&mut self, number: u64, outcome: Outcome, now: Instant) {
        let Some(batch) = self.in_flight.remove(&number) else {
            return;
        };
        let error = match outcome {
            Outcome::Landed(landed) => return batch.finish(Ok(landed)),
            Outcome::Failed(error) => error,
        };
        let first = self.again.range(..number).next().is_none()
            && self.in_flight.range(..number).next().is_none();
        match error.code() {
            // The broker has it already: an earlier answer got lost.
            Some(ResponseError::DuplicateSequenceNumber) => return batch.finish(Ok((-1, -1))),
            // Behind one that failed: its turn comes after that one. Otherwise the sequence is lost.
            Some(ResponseError::OutOfOrderSequenceNumber) if !first && !self.broken => {}
            _ if self.broken || !error.retriable() => {
                let gap = self.identity.is_some_and(|i| i != Identity::NONE);
                batch.finish(Err(error.clone()));
                if gap {
                    self.give_up_sent(&error);
                }
                return;
            }
            _ => {}
        }
        self.again.insert(number, batch);
        self.not_before = Some(now + self.limits.retry_backoff);
        self.expire(now);
    }

    /// When this queue next has something to do, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let linger = self.open.as_ref().map(|b| b.since + self.limits.linger);
        let expiry = |batch: &Batch| batch.since + self.limits.delivery_timeout;
        let oldest = self
            .again
            .first_key_value()
            .map(|(_, b)| expiry(b))
            .into_iter()
            .chain(self.closed.front().map(expiry));
        linger
            .into_iter()
            .chain(self.not_before)
            .chain(oldest)
            .min()
    }
}

#[cfg(test)]
mod tests;
