//! Waiting for appends, in the order of the log.

use std::sync::Weak;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use zweig_client::kafka::records::{BatchSpec, Record, encode_batch};

use super::hosted::Shard;
use crate::group::{AppendFailure, LogRecord, Then};

/// An append on its way.
pub(super) struct Appending {
    /// What becomes true by it.
    pub(super) then: Then,
    /// Whether it did.
    pub(super) outcome: BoxFuture<'static, Result<(), AppendFailure>>,
}

/// One batch of the log.
pub(super) fn encode(records: &[LogRecord], wall_ms: i64) -> Result<Bytes, AppendFailure> {
    let records: Vec<Record> = records
        .iter()
        .map(|r| Record {
            key: Some(r.key.clone()),
            value: r.value.clone(),
            headers: Vec::new(),
            timestamp_ms: wall_ms,
        })
        .collect();
    encode_batch(&BatchSpec::default(), &records).map_err(|error| {
        tracing::error!(%error, "group records cannot be encoded");
        AppendFailure::TooLarge
    })
}

/// Runs until the shard is gone. One after the other: what was appended later must not hold
/// before what was appended earlier, or memory and a replay of the log would differ.
pub(super) async fn run(shard: Weak<Shard>, mut queue: mpsc::UnboundedReceiver<Appending>) {
    while let Some(Appending { then, outcome }) = queue.recv().await {
        let outcome = outcome.await;
        let Some(shard) = shard.upgrade() else { return };
        if let Err(failure) = &outcome {
            tracing::debug!(partition = shard.partition(), ?failure, "append failed");
        }
        shard.change(|groups, now, config, out| groups.appended(then, outcome, now, config, out));
    }
}
