//! Building up what a log knows from what is on disk: producers from a snapshot and the batches
//! behind it, leader epochs from the batches.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::super::error::{FileError, ReadError};
use super::super::super::format::record_batch::{HEADER_SIZE, Header};
use super::super::super::format::{names, producer_snapshot, record};
use super::super::super::producer_state::{ProducerTable, REMEMBERED_BATCHES};
use super::super::file;
use super::super::segment::Segment;
use super::super::window::FILE_CHUNK;
use crate::disk::Disk;

/// How much of the log before a snapshot is looked through: as many batches as are remembered, of the largest size that clients
/// have by default.
const RECALLED_BYTES: u64 = REMEMBERED_BATCHES as u64 * (1 << 20);

/// Offsets of the producer snapshots in a folder, rising.
pub fn snapshots(disk: &dyn Disk, folder: &Path) -> Result<Vec<i64>, FileError> {
    let names = file::list(disk, folder)?;
    let offsets = names
        .iter()
        .filter_map(|name| match names::parse_segment_file(name) {
            Some((offset, names::SNAPSHOT)) => Some(offset),
            _ => None,
        });
    Ok(offsets.collect())
}

/// The producers as of `end`, from the last good snapshot at or before it. Bad ones are removed.
pub fn producers(
    disk: &dyn Disk,
    folder: &Path,
    segments: &BTreeMap<i64, Arc<Segment>>,
    start: i64,
    end: i64,
) -> Result<ProducerTable, ReadError> {
    let mut table = ProducerTable::default();
    let mut from = start;
    for offset in snapshots(disk, folder)?.into_iter().rev() {
        let path = folder.join(names::segment_file(offset, names::SNAPSHOT));
        if offset > end || offset < start {
            continue;
        }
        let bytes = file::read(disk, &path)?.unwrap_or_default();
        match producer_snapshot::decode(&bytes) {
            Ok(entries) => {
                table = ProducerTable::from_snapshot(&entries);
                from = offset;
                recall(&mut table, segments, from);
                break;
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "producer snapshot removed");
                file::remove(disk, &path)?;
            }
        }
    }
    for_each_batch(segments, from, end, |header, body| {
        let end_marker = record::end_marker(body.unwrap_or_default()).ok().flatten();
        if header.has_producer_id() {
            table.replay(header, end_marker);
        }
    })?;
    table.advance_start(start);
    Ok(table)
}

/// Adds what the end of the log before a snapshot tells: Kafka's snapshots have one batch of each producer, and a client that
/// lost its answers at a clean restart sends up to five again. Kafka refuses them then, which ends librdkafka's producers.
fn recall(table: &mut ProducerTable, segments: &BTreeMap<i64, Arc<Segment>>, end: i64) {
    if table.is_empty() {
        return;
    }
    let mut headers = Vec::new();
    // The newest segment may have only just begun.
    let last_two: Vec<_> = segments.range(..end).rev().take(2).collect();
    for (_, segment) in last_two.into_iter().rev() {
        let looked = segment.last_headers(end, RECALLED_BYTES, |header| headers.push(*header));
        if let Err(error) = looked {
            tracing::warn!(%error, "batches of producers before their snapshot not recalled");
        }
    }
    table.recall(&headers);
}

/// Passes every batch of `from..end`; the records too, of control batches only.
pub fn for_each_batch(
    segments: &BTreeMap<i64, Arc<Segment>>,
    from: i64,
    end: i64,
    mut visit: impl FnMut(&Header, Option<&[u8]>),
) -> Result<(), ReadError> {
    if from >= end {
        return Ok(());
    }
    let floor = segments.range(..=from).next_back();
    let low = floor.map_or(i64::MIN, |(&base, _)| base);
    for segment in segments.range(low..).map(|(_, segment)| segment) {
        let Some(first) = segment.find(from)? else {
            continue;
        };
        let mut window = segment.window(u64::MAX, FILE_CHUNK);
        let mut position = first.position;
        while let Some(header) = window
            .header(position)
            .map_err(|error| segment.scan_error(error))?
        {
            if header.base_offset >= end {
                return Ok(());
            }
            if header.is_control() {
                let batch = window.bytes(position, header.size());
                let batch = batch.map_err(|error| segment.scan_error(error.into()))?;
                visit(&header, batch.get(HEADER_SIZE..));
            } else {
                visit(&header, None);
            }
            position += header.size() as u64;
        }
    }
    Ok(())
}
