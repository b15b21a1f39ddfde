//! Reading a partition of `__consumer_offsets` into groups.

use std::sync::Arc;

use bytes::Bytes;
use zweig_client::kafka::records::Batches;

use super::LoadError;
use super::hosted::Shard;
use crate::clock;
use crate::group::{Groups, LogRecord};

/// Wait before a failed load is tried again.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// Loads a shard and lets it serve; tries again while it is still led.
pub(super) async fn load(shard: Arc<Shard>) {
    while shard.is_loading() {
        let reading = shard.clone();
        let begun = clock::now();
        let loaded = tokio::task::spawn_blocking(move || read_all(&reading)).await;
        let partition = shard.partition();
        match loaded {
            Ok(Ok((groups, records))) => {
                let took = clock::now().saturating_duration_since(begun);
                tracing::info!(partition, records, ?took, "groups loaded");
                return shard.serve(groups);
            }
            Ok(Err(LoadError::NotLeader)) => {}
            Ok(Err(error)) => tracing::error!(partition, %error, "groups not loaded"),
            Err(panicked) => tracing::error!(partition, %panicked, "groups not loaded"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Everything up to the end of the log: what is not committed yet was accepted by an earlier
/// leader, and will be, for this broker leads now.
fn read_all(shard: &Shard) -> Result<(Groups, usize), LoadError> {
    let backing = shard.backing();
    let (mut offset, end) = backing.bounds(shard.partition(), shard.leader_epoch())?;
    let mut groups = Groups::default();
    let mut count = 0;
    while offset < end {
        if !shard.is_loading() {
            return Err(LoadError::NotLeader);
        }
        let bytes = backing.read(shard.partition(), offset)?;
        let next = take_in(shard, bytes, offset, &mut groups, &mut count)?;
        if next <= offset {
            let reason = "the log ends before its end offset".to_owned();
            return Err(LoadError::Read { offset, reason });
        }
        offset = next;
    }
    Ok((groups, count))
}

/// Replays whole batches; the offset behind the last of them.
fn take_in(
    shard: &Shard,
    bytes: Bytes,
    mut next: i64,
    groups: &mut Groups,
    count: &mut usize,
) -> Result<i64, LoadError> {
    let now = shard.now();
    for batch in Batches::new(bytes) {
        let malformed = |e: &dyn std::fmt::Display| LoadError::Read {
            offset: next,
            reason: e.to_string(),
        };
        let batch = batch.map_err(|e| malformed(&e))?;
        if batch.is_control() || batch.last_offset < next {
            next = next.max(batch.last_offset + 1);
            continue;
        }
        for (offset, record) in batch.records().map_err(|e| malformed(&e))? {
            if offset < next {
                continue;
            }
            let Some(key) = record.key else { continue };
            *count += 1;
            if let Err(error) = groups.replay(
                LogRecord {
                    key,
                    value: record.value,
                },
                now,
            ) {
                let partition = shard.partition();
                tracing::warn!(partition, offset, %error, "passed over a record");
            }
        }
        next = batch.last_offset + 1;
    }
    Ok(next)
}
