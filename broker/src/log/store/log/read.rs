//! Reading: by offset, and looking offsets up by timestamp.

use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::super::error::{FileError, ReadError};
use super::super::super::format::record_batch::{self, Header};
use super::super::super::format::record_stream::{self, StreamError};
use super::super::buffers::Buffer;
use super::super::segment::{Found, Segment};
use super::super::window::HEADERS_CHUNK;
use super::{Log, Tail};
use crate::disk::DiskFile;

/// Stands in a batch for no leader epoch.
const NO_EPOCH: i32 = -1;

/// Records as they are in the log: whole batches, the first of which may begin before the offset
/// asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Records {
    /// The batches; empty when there is nothing between the offset and the bound.
    pub bytes: Bytes,
    /// Base offset of the first batch, or the offset asked for.
    pub first_offset: i64,
}

/// A part of a segment's file that holds batches; the last one may be cut.
#[derive(Debug, Clone)]
pub struct FileSlice {
    /// The log file, readable for as long as it is held, whatever happens to its name.
    pub file: Arc<dyn DiskFile>,
    /// First byte.
    pub position: u64,
    /// Number of bytes.
    pub length: usize,
    /// Base offset of the first batch.
    pub first_offset: i64,
}

/// A record's place in time and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The record's timestamp, or its batch's largest where that isn't told apart.
    pub timestamp_ms: i64,
    /// The record's offset.
    pub offset: i64,
    /// The leader epoch of its batch, -1 if it has none.
    pub leader_epoch: i32,
}

impl Log {
    /// Whole batches from the one that holds `offset` on, below `upper_bound`, at most `max_bytes`.
    /// With `min_one` the first batch comes even if it is larger. Checksums of what was on the disk when the log was
    /// opened are compared: nothing comes from a corrupt batch on, and an error if that is the first.
    pub fn read(
        &self,
        offset: i64,
        max_bytes: usize,
        upper_bound: i64,
        min_one: bool,
    ) -> Result<Records, ReadError> {
        let nothing = Records {
            bytes: Bytes::new(),
            first_offset: offset,
        };
        let Some(slice) = self.slice(offset, max_bytes, upper_bound, min_one)? else {
            return Ok(nothing);
        };
        let mut buffer = Buffer::of(slice.length);
        let length = slice
            .file
            .read_full_at(buffer.space(), slice.position)
            .map_err(|error| FileError::new("read", &self.folder, error))?;
        let whole = self.good_part(&buffer.space()[..length])?;
        Ok(Records {
            bytes: buffer.into_bytes(whole),
            first_offset: slice.first_offset,
        })
    }

    /// The checksum covers neither the base offset nor the leader epoch; of the latter the log knows better.
    fn check_cold(&self, header: &Header, batch: &[u8]) -> Result<(), String> {
        record_batch::parse_whole(batch).map_err(|error| error.to_string())?;
        let found = header.leader_epoch;
        let known = self.epoch_at(header.base_offset.max(self.log_start_offset()));
        match known {
            Some(known) if known != found && found != NO_EPOCH => {
                Err(format!("leader epoch {found} where {known} wrote"))
            }
            _ => Ok(()),
        }
    }

    /// How many of the bytes are whole batches, and good as far as that is to be checked.
    fn good_part(&self, bytes: &[u8]) -> Result<usize, ReadError> {
        let mut good = 0;
        for (header, range) in record_batch::headers(bytes).map_while(Result::ok) {
            let cold = header.base_offset < self.opened_end;
            if cold && let Err(error) = self.check_cold(&header, &bytes[range.clone()]) {
                let offset = header.base_offset;
                if self.corrupt_told.swap(offset, Ordering::Relaxed) != offset {
                    let partition = &self.partition;
                    tracing::error!(%partition, offset, %error, "a batch is corrupt and is not served");
                }
                if good == 0 {
                    return Err(ReadError::Corrupt(format!("at offset {offset}: {error}")));
                }
                break;
            }
            good = range.end;
        }
        Ok(good)
    }

    /// As `read`, naming the bytes in their file; the last batch may be cut by `max_bytes`.
    pub fn slice(
        &self,
        offset: i64,
        max_bytes: usize,
        upper_bound: i64,
        min_one: bool,
    ) -> Result<Option<FileSlice>, ReadError> {
        let tail = *self.tail.read();
        let log_start = self.log_start_offset();
        if offset < log_start || offset > tail.offset {
            let log_end = tail.offset;
            return Err(ReadError::OutOfRange {
                offset,
                log_start,
                log_end,
            });
        }
        let upper = upper_bound.min(tail.offset);
        if offset >= upper {
            return Ok(None);
        }
        let Some((segment, found)) = self.locate(offset, upper)? else {
            return Ok(None);
        };
        let limit = self.position_below(&segment, upper, tail)?;
        let available = limit.saturating_sub(found.position) as usize;
        let first = found.header.size();
        if available < first {
            return Ok(None);
        }
        let length = match first > max_bytes {
            true if min_one => first,
            true => return Ok(None),
            false => available.min(max_bytes),
        };
        Ok(Some(FileSlice {
            file: segment.file(),
            position: found.position,
            length,
            first_offset: found.header.base_offset,
        }))
    }

    /// The first record with that timestamp or a later one, below `upper_bound`.
    pub fn offset_for_timestamp(
        &self,
        timestamp_ms: i64,
        upper_bound: i64,
    ) -> Result<Option<TimestampOffset>, ReadError> {
        let start = self.log_start_offset();
        for segment in self.segments_from(start) {
            if segment.largest_timestamp().timestamp_ms < timestamp_ms {
                continue;
            }
            if let Some(found) = find_timestamp(&segment, timestamp_ms, start)? {
                return Ok(Some(found).filter(|found| found.offset < upper_bound));
            }
        }
        Ok(None)
    }

    /// The first record that has the largest timestamp of the log, if it is below `upper_bound`.
    pub fn max_timestamp(&self, upper_bound: i64) -> Result<Option<TimestampOffset>, ReadError> {
        let start = self.log_start_offset();
        let segments = self.segments_from(start);
        let timestamps = segments
            .iter()
            .map(|one| one.largest_timestamp().timestamp_ms);
        match timestamps.max() {
            Some(largest) if largest >= 0 => self.offset_for_timestamp(largest, upper_bound),
            _ => Ok(None),
        }
    }

    /// The batch that holds `offset` or, where compaction left a gap, the next one below `upper`.
    fn locate(&self, offset: i64, upper: i64) -> Result<Option<(Arc<Segment>, Found)>, ReadError> {
        let mut next = self.segment_at(offset);
        while let Some(segment) = next.filter(|segment| segment.base_offset() < upper) {
            if let Some(found) = segment.find(offset)? {
                let below = found.header.base_offset < upper;
                return Ok(below.then_some((segment, found)));
            }
            next = self.segment_behind(segment.base_offset());
        }
        Ok(None)
    }

    /// Where the batches of a segment that lie below `upper` end.
    fn position_below(
        &self,
        segment: &Arc<Segment>,
        upper: i64,
        tail: Tail,
    ) -> Result<u64, ReadError> {
        let active = segment.base_offset() == tail.active_base;
        let size = if active {
            tail.active_size
        } else {
            segment.size()
        };
        // Also all of what lies before the active segment, where a reader is that has fallen behind.
        if upper == tail.offset || (!active && upper >= tail.active_base) {
            return Ok(size);
        }
        Ok(match segment.find(upper)? {
            Some(behind) => behind.position.min(size),
            None => size,
        })
    }

    /// The segment that holds `offset`, the first one if it lies before all.
    fn segment_at(&self, offset: i64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let floor = segments.range(..=offset).next_back();
        let found = floor.or_else(|| segments.first_key_value());
        found.map(|(_, segment)| Arc::clone(segment))
    }

    fn segment_behind(&self, base_offset: i64) -> Option<Arc<Segment>> {
        let segments = self.segments.read();
        let behind = segments.range((Excluded(base_offset), Unbounded)).next();
        behind.map(|(_, segment)| Arc::clone(segment))
    }

    /// The segment that holds `offset`, and all behind it.
    fn segments_from(&self, offset: i64) -> Vec<Arc<Segment>> {
        let segments = self.segments.read();
        let floor = segments.range(..=offset).next_back();
        let low = floor.map_or(i64::MIN, |(&base, _)| base);
        let behind = segments.range(low..);
        behind.map(|(_, segment)| Arc::clone(segment)).collect()
    }
}

/// The first record of a segment at or behind `start` with that timestamp or a later one.
fn find_timestamp(
    segment: &Segment,
    timestamp_ms: i64,
    start: i64,
) -> Result<Option<TimestampOffset>, ReadError> {
    let from = match segment.time_index().lookup(timestamp_ms)? {
        // An index that lies costs time, not truth.
        Some(entry) if segment.has_time(entry)? => entry.offset.max(start),
        _ => start,
    };
    let Some(first) = segment.find(from)? else {
        return Ok(None);
    };
    let mut window = segment.window(u64::MAX, HEADERS_CHUNK);
    let mut position = first.position;
    loop {
        let header = window.header(position);
        let Some(header) = header.map_err(|error| segment.scan_error(error))? else {
            return Ok(None);
        };
        if header.max_timestamp_ms >= timestamp_ms {
            let batch = window.bytes(position, header.size());
            let batch = batch.map_err(|error| segment.scan_error(error.into()))?;
            let found = find_in_batch(&header, batch, timestamp_ms, start);
            if found.is_some() {
                return Ok(found);
            }
        }
        position += header.size() as u64;
    }
}

fn find_in_batch(
    header: &Header,
    batch: &[u8],
    timestamp_ms: i64,
    start: i64,
) -> Option<TimestampOffset> {
    let answer = |timestamp_ms, offset| TimestampOffset {
        timestamp_ms,
        offset,
        leader_epoch: header.leader_epoch,
    };
    if header.last_offset() < start {
        return None;
    }
    let whole_batch = answer(header.max_timestamp_ms, header.base_offset.max(start));
    if header.is_log_append_time() {
        return Some(whole_batch);
    }
    // Records that can't be unpacked still have a batch to begin reading at.
    first_at(header, batch, timestamp_ms, start)
        .map(|found| found.map(|(timestamp_ms, offset)| answer(timestamp_ms, offset)))
        .unwrap_or(Some(whole_batch))
}

/// Timestamp and offset of the first record at or behind `start` with that timestamp or a later one; stops there.
fn first_at(
    header: &Header,
    batch: &[u8],
    timestamp_ms: i64,
    start: i64,
) -> Result<Option<(i64, i64)>, StreamError> {
    for place in record_stream::places(batch, header)? {
        let place = place?;
        let timestamp = header
            .base_timestamp_ms
            .saturating_add(place.timestamp_delta_ms);
        let offset = header
            .base_offset
            .saturating_add(i64::from(place.offset_delta));
        if timestamp >= timestamp_ms && offset >= start {
            return Ok(Some((timestamp, offset)));
        }
    }
    Ok(None)
}
