//! Reading a partition of `__consumer_offsets` into groups.
//!
//! A directory that comes from Kafka may hold offsets committed within transactions: they count from the
//! marker that commits them on, and an aborted one's never do. What is still open at the end is passed over: this
//! broker takes no part in transactions.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use zweig_client::kafka::records::{Batch, Batches, Record};

use super::LoadError;
use super::hosted::Shard;
use crate::clock;
use crate::group::{Groups, LogRecord, Now};
use crate::mutants::{self, Mutant};
use crate::tasks;

/// Wait before a failed load is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// The key of the marker that commits a transaction: version 0, type 1.
const COMMIT_MARKER: [u8; 4] = [0, 0, 0, 1];

/// What has been read so far.
#[derive(Default)]
struct Loaded {
    groups: Groups,
    count: usize,
    /// Where the log ended when the reading began.
    end: i64,
    /// Offset and record of open transactions, by producer id.
    open: HashMap<i64, Vec<(i64, LogRecord)>>,
}

/// Loads a shard and lets it serve; tries again while it is still led.
pub(super) async fn load(shard: Arc<Shard>) {
    while shard.is_loading() {
        let reading = shard.clone();
        let begun = clock::now();
        let loaded = tasks::blocking(move || read_all(&reading)).await;
        let partition = shard.partition();
        match loaded {
            Ok(Ok(loaded)) => {
                await_commit(&shard, loaded.end).await;
                let (records, took) = (loaded.count, clock::now().saturating_duration_since(begun));
                if shard.is_loading() {
                    tracing::info!(partition, records, ?took, "groups loaded");
                }
                return shard.serve(loaded.groups);
            }
            Ok(Err(LoadError::NotLeader)) => {}
            Ok(Err(error)) => tracing::error!(partition, %error, "groups not loaded"),
            Err(panicked) => tracing::error!(partition, %panicked, "groups not loaded"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Waits until what was read is committed, or the shard is given up.
async fn await_commit(shard: &Shard, end: i64) {
    let (partition, leader_epoch) = (shard.partition(), shard.leader_epoch());
    while shard.is_loading() && !mutants::is(Mutant::GroupsServedUncommitted) {
        match shard
            .backing()
            .committed(partition, leader_epoch, end)
            .await
        {
            Ok(()) => return,
            Err(LoadError::NotLeader) => tokio::time::sleep(RETRY).await,
            Err(error) => tracing::warn!(partition, %error, "groups not served yet"),
        }
    }
}

/// Everything up to the end of the log: what is not committed yet was accepted by an earlier
/// leader, and will be, if this broker leads long enough.
fn read_all(shard: &Shard) -> Result<Loaded, LoadError> {
    let backing = shard.backing();
    let (mut offset, end) = backing.bounds(shard.partition(), shard.leader_epoch())?;
    let mut loaded = Loaded {
        end,
        ..Loaded::default()
    };
    while offset < end {
        if !shard.is_loading() {
            return Err(LoadError::NotLeader);
        }
        let bytes = backing.read(shard.partition(), offset)?;
        let next = take_in(shard, bytes, offset, &mut loaded)?;
        if next <= offset {
            let reason = "the log ends before its end offset".to_owned();
            return Err(LoadError::Read { offset, reason });
        }
        offset = next;
    }
    Ok(loaded)
}

/// Replays whole batches; the offset behind the last of them.
fn take_in(
    shard: &Shard,
    bytes: Bytes,
    mut next: i64,
    loaded: &mut Loaded,
) -> Result<i64, LoadError> {
    let now = shard.now();
    for batch in Batches::new(bytes) {
        let malformed = |e: &dyn std::fmt::Display| LoadError::Read {
            offset: next,
            reason: e.to_string(),
        };
        let batch = batch.map_err(|e| malformed(&e))?;
        if batch.last_offset >= next {
            let mut records = batch.records().map_err(|e| malformed(&e))?;
            records.retain(|(offset, _)| *offset >= next);
            loaded.take_batch(shard.partition(), &batch, records, now);
        }
        next = next.max(batch.last_offset + 1);
    }
    Ok(next)
}

impl Loaded {
    fn take_batch(&mut self, partition: i32, batch: &Batch, records: Vec<(i64, Record)>, now: Now) {
        if batch.is_control() {
            let marker = records
                .first()
                .and_then(|(_, marker)| marker.key.as_deref());
            let ended = self.open.remove(&batch.producer_id);
            if marker == Some(&COMMIT_MARKER) {
                for (offset, record) in ended.into_iter().flatten() {
                    self.replay(partition, offset, record, now);
                }
            }
            return;
        }
        for (offset, record) in records {
            let Some(key) = record.key else { continue };
            self.count += 1;
            let value = record.value;
            let record = LogRecord { key, value };
            if batch.is_transactional() {
                let open = self.open.entry(batch.producer_id).or_default();
                open.push((offset, record));
            } else {
                self.replay(partition, offset, record, now);
            }
        }
    }

    fn replay(&mut self, partition: i32, offset: i64, record: LogRecord, now: Now) {
        if let Err(error) = self.groups.replay(record, now) {
            tracing::warn!(partition, offset, %error, "passed over a record");
        }
    }
}
