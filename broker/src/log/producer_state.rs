//! What a log knows of its producers: exactly-once appends (KIP-98, KIP-360, KIP-447).
//!
//! Pure; `store::log` asks `prepare` before it writes and calls `commit` after, so a failed write
//! leaves no trace. The last five batches of each producer are remembered: a retry of one of them is
//! answered with the offsets it got then. Everything is rebuilt from a snapshot and the batches
//! behind it, so that followers know the same as the leader did.
//!
//! Rules for a client's batch, as Kafka's: an older producer epoch is refused; a newer one begins at
//! sequence 0; within an epoch sequences have no gap and wrap from `i32::MAX` to 0; a producer of
//! whom nothing is known (expired, or its records were deleted) may begin anywhere.

use std::collections::{BTreeMap, VecDeque};

use super::error::AppendError;
use super::format::producer_snapshot::SnapshotEntry;
use super::format::record::EndMarker;
use super::format::record_batch::{Header, NO_SEQUENCE};
use crate::mutants::{self, Mutant};

/// Batches remembered per producer; clients keep at most this many in flight.
pub const REMEMBERED_BATCHES: usize = 5;
const NO_EPOCH: i16 = -1;

/// Where a batch comes from, as far as the rules differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// A producer: all rules.
    Client,
    /// This broker's coordinator: epochs, no sequences.
    Coordinator,
    /// A leader or our own disk: taken as it is.
    Replication,
}

/// A batch that is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchMemory {
    /// Sequence of its last record.
    pub last_sequence: i32,
    /// Offset of its last record.
    pub last_offset: i64,
    /// Records in it, less one.
    pub offset_delta: i32,
    /// Its largest timestamp.
    pub timestamp_ms: i64,
}

impl BatchMemory {
    /// Offset of its first record.
    pub fn first_offset(&self) -> i64 {
        self.last_offset - i64::from(self.offset_delta)
    }

    fn first_sequence(&self) -> i32 {
        let first = i64::from(self.last_sequence) - i64::from(self.offset_delta);
        first.rem_euclid(i64::from(i32::MAX) + 1) as i32
    }
}

/// One producer.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// At most `REMEMBERED_BATCHES`, all of `epoch`, newest last.
    batches: VecDeque<BatchMemory>,
    last_timestamp_ms: i64,
    coordinator_epoch: i32,
    txn_first_offset: Option<i64>,
}

impl Producer {
    fn unknown() -> Producer {
        Producer {
            epoch: NO_EPOCH,
            batches: VecDeque::new(),
            last_timestamp_ms: -1,
            coordinator_epoch: -1,
            txn_first_offset: None,
        }
    }

    fn last_sequence(&self) -> i32 {
        let last = self.batches.back();
        last.map_or(NO_SEQUENCE, |batch| batch.last_sequence)
    }

    fn enter_epoch(&mut self, epoch: i16) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches.clear();
        }
    }
}

/// What an append will change; nothing has changed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prepared {
    /// A retry of a batch that is in the log.
    Duplicate(BatchMemory),
    /// New records.
    Fresh(Update),
}

/// Changed producers, for `ProducerTable::commit`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Update(BTreeMap<i64, Producer>);

/// All producers of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProducerTable {
    producers: BTreeMap<i64, Producer>,
    /// Producers with a transaction open, and its first offset: always as in `producers`.
    open: BTreeMap<i64, i64>,
}

impl ProducerTable {
    /// Begins with what a snapshot holds.
    pub fn from_snapshot(entries: &[SnapshotEntry]) -> ProducerTable {
        let producers = entries.iter().map(|entry| {
            let mut producer = Producer {
                epoch: entry.producer_epoch,
                last_timestamp_ms: entry.timestamp_ms,
                coordinator_epoch: entry.coordinator_epoch,
                txn_first_offset: entry.txn_first_offset,
                ..Producer::unknown()
            };
            if entry.last_offset >= 0 {
                producer.batches.push_back(BatchMemory {
                    last_sequence: entry.last_sequence,
                    last_offset: entry.last_offset,
                    offset_delta: entry.offset_delta,
                    timestamp_ms: entry.timestamp_ms,
                });
            }
            (entry.producer_id, producer)
        });
        let mut table = ProducerTable::default();
        table.commit(Update(producers.collect()));
        table
    }

    /// What goes into a snapshot: the last batch of each producer.
    pub fn snapshot(&self) -> Vec<SnapshotEntry> {
        let entry = |(&producer_id, producer): (&i64, &Producer)| {
            let last = producer.batches.back();
            SnapshotEntry {
                producer_id,
                producer_epoch: producer.epoch,
                last_sequence: producer.last_sequence(),
                last_offset: last.map_or(-1, |batch| batch.last_offset),
                offset_delta: last.map_or(0, |batch| batch.offset_delta),
                timestamp_ms: producer.last_timestamp_ms,
                coordinator_epoch: producer.coordinator_epoch,
                txn_first_offset: producer.txn_first_offset,
            }
        };
        self.producers.iter().map(entry).collect()
    }

    /// A snapshot holds the last batch of each producer only, but a retry may be of one before it: this takes headers
    /// of batches that came before, in the order of the log, and remembers those that lead up to the last one.
    pub fn recall<'a>(&mut self, before: impl IntoIterator<Item = &'a Header>) {
        let mut seen: BTreeMap<i64, Producer> = BTreeMap::new();
        for header in before {
            if header.has_producer_id() && !header.is_control() {
                let producer = seen.entry(header.producer_id);
                let producer = producer.or_insert_with(Producer::unknown);
                // What is in the log is taken as it is.
                let _ = append_data(producer, header, Source::Replication);
            }
        }
        for (id, seen) in seen {
            if let Some(producer) = self.producers.get_mut(&id)
                && producer.epoch == seen.epoch
                && producer.batches.back() == seen.batches.back()
            {
                producer.batches = seen.batches;
            }
        }
    }

    /// How many producers are known.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// True when none is known.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }

    /// Checks batches, offsets assigned, in the order they will have in the log.
    pub fn prepare<'a>(
        &self,
        batches: impl IntoIterator<Item = (&'a Header, Option<EndMarker>)>,
        source: Source,
    ) -> Result<Prepared, AppendError> {
        let mut update = Update::default();
        for (header, end_marker) in batches {
            if !header.has_producer_id() {
                continue;
            }
            if source == Source::Client
                && !mutants::is(Mutant::SequencesUnchecked)
                && let Some(batch) = self.duplicate_of(header)
            {
                return Ok(Prepared::Duplicate(batch));
            }
            let known = update.0.remove(&header.producer_id);
            let known = known.or_else(|| self.producers.get(&header.producer_id).cloned());
            let mut producer = known.unwrap_or_else(Producer::unknown);
            if !header.is_control() {
                append_data(&mut producer, header, source)?;
            } else if let Some(marker) = end_marker {
                append_marker(&mut producer, header, marker, source)?;
            }
            if producer.epoch != NO_EPOCH {
                update.0.insert(header.producer_id, producer);
            }
        }
        Ok(Prepared::Fresh(update))
    }

    /// The records are in the log: what `prepare` found becomes known.
    pub fn commit(&mut self, update: Update) {
        for (producer_id, producer) in update.0 {
            match producer.txn_first_offset {
                Some(first) => self.open.insert(producer_id, first),
                None => self.open.remove(&producer_id),
            };
            self.producers.insert(producer_id, producer);
        }
    }

    /// Takes over a batch from a leader or from disk.
    pub fn replay(&mut self, header: &Header, end_marker: Option<EndMarker>) {
        match self.prepare([(header, end_marker)], Source::Replication) {
            Ok(Prepared::Fresh(update)) => self.commit(update),
            Ok(Prepared::Duplicate(_)) | Err(_) => {
                unreachable!("replicated batches are taken as they are")
            }
        }
    }

    /// Forgets producers that were silent for `expiration_ms` and have no transaction open.
    pub fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.producers.retain(|_, producer| {
            let silent_ms = now_ms.saturating_sub(producer.last_timestamp_ms);
            producer.txn_first_offset.is_some() || silent_ms < expiration_ms
        });
    }

    /// The log starts at `log_start_offset` now: transactions that began before begin there.
    pub fn advance_start(&mut self, log_start_offset: i64) {
        for (producer_id, first) in &mut self.open {
            *first = (*first).max(log_start_offset);
            if let Some(producer) = self.producers.get_mut(producer_id) {
                producer.txn_first_offset = Some(*first);
            }
        }
    }

    /// First offset of the oldest open transaction: readers of committed records stop there.
    pub fn first_unstable_offset(&self) -> Option<i64> {
        self.open.values().copied().min()
    }

    fn duplicate_of(&self, header: &Header) -> Option<BatchMemory> {
        let producer = self.producers.get(&header.producer_id)?;
        if producer.epoch != header.producer_epoch {
            return None;
        }
        let same = |batch: &&BatchMemory| {
            batch.first_sequence() == header.base_sequence
                && batch.last_sequence == header.last_sequence()
        };
        producer.batches.iter().find(same).copied()
    }
}

fn append_data(
    producer: &mut Producer,
    header: &Header,
    source: Source,
) -> Result<(), AppendError> {
    check_epoch(producer, header, source)?;
    if source == Source::Client {
        check_sequence(producer, header)?;
    }
    if source != Source::Replication
        && producer.txn_first_offset.is_some()
        && !header.is_transactional()
    {
        return Err(AppendError::InvalidTxnState(header.producer_id));
    }
    producer.enter_epoch(header.producer_epoch);
    if producer.batches.len() == REMEMBERED_BATCHES {
        producer.batches.pop_front();
    }
    producer.batches.push_back(BatchMemory {
        last_sequence: header.last_sequence(),
        last_offset: header.last_offset(),
        offset_delta: header.last_offset_delta,
        timestamp_ms: header.max_timestamp_ms,
    });
    producer.last_timestamp_ms = header.max_timestamp_ms;
    if header.is_transactional() {
        producer.txn_first_offset.get_or_insert(header.base_offset);
    }
    Ok(())
}

fn append_marker(
    producer: &mut Producer,
    header: &Header,
    marker: EndMarker,
    source: Source,
) -> Result<(), AppendError> {
    check_epoch(producer, header, source)?;
    if source != Source::Replication && producer.coordinator_epoch > marker.coordinator_epoch {
        return Err(AppendError::TransactionCoordinatorFenced {
            producer_id: header.producer_id,
            found: marker.coordinator_epoch,
            current: producer.coordinator_epoch,
        });
    }
    producer.enter_epoch(header.producer_epoch);
    producer.coordinator_epoch = marker.coordinator_epoch;
    producer.last_timestamp_ms = header.max_timestamp_ms;
    producer.txn_first_offset = None;
    Ok(())
}

fn check_epoch(producer: &Producer, header: &Header, source: Source) -> Result<(), AppendError> {
    if source == Source::Replication || header.producer_epoch >= producer.epoch {
        return Ok(());
    }
    Err(AppendError::InvalidProducerEpoch {
        producer_id: header.producer_id,
        found: header.producer_epoch,
        current: producer.epoch,
    })
}

fn check_sequence(producer: &Producer, header: &Header) -> Result<(), AppendError> {
    if producer.epoch == NO_EPOCH || mutants::is(Mutant::SequencesUnchecked) {
        return Ok(());
    }
    let expected = if header.producer_epoch == producer.epoch {
        match producer.last_sequence() {
            i32::MAX => 0,
            last => last + 1,
        }
    } else {
        0
    };
    if header.base_sequence == expected {
        return Ok(());
    }
    Err(AppendError::OutOfOrderSequence {
        producer_id: header.producer_id,
        expected,
        found: header.base_sequence,
    })
}

#[cfg(test)]
mod tests;
