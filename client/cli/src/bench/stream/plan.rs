//! What all lanes of a run have in common.

use std::sync::Arc;
use std::time::{Duration, Instant};

use zweig_client::kafka::raw::FetchLimits;

use super::ledger::Ledger;
use super::topics::Field;
use crate::bench::recorder::{Recorder, Volume};
use crate::bench::threads::Progress;

/// What all lanes of a run have in common.
#[derive(Debug)]
pub struct Plan {
    /// The partitions.
    pub field: Arc<Field>,
    /// What was sent there.
    pub ledger: Arc<Ledger>,
    /// What was done so far.
    pub progress: Arc<Progress>,
    /// 0, 1, or -1 for all in-sync replicas.
    pub acks: i16,
    /// Whether batches carry a producer id and sequences.
    pub idempotent: bool,
    /// Most Produce requests under way on a connection.
    pub in_flight: usize,
    /// Batches of a request, where there are as many partitions.
    pub batches: usize,
    /// How long records wait for others in an open load.
    pub linger: Duration,
    /// Of Fetch requests.
    pub limits: FetchLimits,
    /// Bytes of a record's key and value.
    pub record_bytes: u64,
    /// When answers begin to count, and when no more is sent.
    pub measured: (Instant, Instant),
    /// How long a lane may be without an answer that it waits for.
    pub patience: Duration,
    /// Go on with the new leaders where a connection is lost.
    pub reconnect: bool,
}

impl Plan {
    /// Counts records whose answer came `now`.
    pub fn count(&self, recorder: &mut Recorder, now: Instant, records: u64) {
        use std::sync::atomic::Ordering::Relaxed;
        let bytes = records * self.record_bytes;
        self.progress.operations.fetch_add(1, Relaxed);
        self.progress.records.fetch_add(records, Relaxed);
        self.progress.bytes.fetch_add(bytes, Relaxed);
        if self.counts(now) {
            recorder.count(now.saturating_duration_since(self.measured.0), records);
            recorder.volume += Volume { records, bytes };
        }
    }

    /// Whether what comes `now` is measured.
    pub fn counts(&self, now: Instant) -> bool {
        now >= self.measured.0 && now < self.measured.1
    }
}
