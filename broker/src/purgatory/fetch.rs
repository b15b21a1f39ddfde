//! A fetch: reads its partitions; if that is too little, waits until there is enough, something to tell at once, or
//! no time left, and reads again. While it waits nothing is read: the sizes come from the segments' indexes.

use crate::replica::hosted::wake::wait_until;
use crate::replica::hosted::{FetchedRecords, Partition, PartitionError, ReadFrom, Reader};
use std::sync::Arc;
use tokio::time::Instant;

/// One partition of a fetch, in the order of the request.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// The partition, or why it can't be read.
    pub partition: Result<Arc<Partition>, PartitionError>,
    /// Where and how much; `min_one` is set here.
    pub from: ReadFrom,
}

/// Bounds of a whole fetch.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Answer as soon as there is so much, in bytes.
    pub min_bytes: usize,
    /// Answer with no more, except for one batch that is larger.
    pub max_bytes: usize,
    /// Answer with what there is.
    pub deadline: Instant,
}

/// What became of each partition, in the order given.
pub type Fetched = Vec<Result<FetchedRecords, PartitionError>>;

/// Reads until the bounds are met. An error of any partition, or a log that parts from the reader's, is told
/// at once.
pub async fn fetch(wanted: &[Wanted], reader: Reader, bounds: Bounds) -> Fetched {
    let register = |waiter: &_| {
        for partition in wanted
            .iter()
            .filter_map(|wanted| wanted.partition.as_ref().ok())
        {
            partition.waiters().register(waiter);
        }
    };
    let mut read_before = false;
    let look = || {
        if std::mem::replace(&mut read_before, true) && !worth_reading(wanted, reader, bounds) {
            return None;
        }
        let (fetched, size) = read_all(wanted, reader, bounds.max_bytes);
        let urgent = |one: &Result<FetchedRecords, _>| !matches!(one, Ok(records) if records.diverging.is_none());
        (size >= bounds.min_bytes || wanted.is_empty() || fetched.iter().any(urgent))
            .then_some(fetched)
    };
    match wait_until(bounds.deadline, register, look).await {
        Some(fetched) => fetched,
        None => read_all(wanted, reader, bounds.max_bytes).0,
    }
}

/// Whether there is enough now, or something to tell at once.
fn worth_reading(wanted: &[Wanted], reader: Reader, bounds: Bounds) -> bool {
    let mut size = 0;
    for one in wanted {
        let Ok(partition) = &one.partition else {
            return true;
        };
        let from = within(one.from, bounds.max_bytes, size);
        match partition.available(from, reader) {
            Ok(Some(bytes)) => size += bytes,
            Ok(None) | Err(_) => return true,
        }
    }
    size >= bounds.min_bytes
}

/// What is left for a partition of a fetch that has `size` bytes already. The first that has records may exceed all
/// bounds by one batch, so that a reader always gets on.
pub(super) fn within(from: ReadFrom, max_bytes: usize, size: usize) -> ReadFrom {
    ReadFrom {
        max_bytes: from.max_bytes.min(max_bytes.saturating_sub(size)),
        min_one: size == 0,
        ..from
    }
}

/// Reads each partition once, within what the ones before it left.
fn read_all(wanted: &[Wanted], reader: Reader, max_bytes: usize) -> (Fetched, usize) {
    let mut size = 0;
    let fetched = wanted.iter().map(|one| {
        let partition = one.partition.as_ref().map_err(Clone::clone)?;
        let records = partition.read(within(one.from, max_bytes, size), reader)?;
        size += records.records.len();
        Ok(records)
    });
    (fetched.collect(), size)
}
