//! Building up what a log knows from what is on disk: producers from a snapshot and the batches
//! behind it, leader epochs from the batches.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::super::super::error::{FileError, ReadError};
use super::super::super::format::record_batch::{HEADER_SIZE, Header};
use super::super::super::format::{names, producer_snapshot, record};
use super::super::super::producer_state::ProducerTable;
use super::super::file;
use super::super::segment::Segment;
use super::super::window::FILE_CHUNK;
use crate::disk::Disk;

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
