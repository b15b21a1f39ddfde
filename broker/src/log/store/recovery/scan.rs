//! Passing over a segment: every batch, or just enough to trust it.

use super::super::super::error::FileError;
use super::super::super::format::names;
use super::super::super::format::offset_index::OffsetPosition;
use super::super::super::format::record_batch::{BatchError, HEADER_SIZE, Header, MAGIC};
use super::super::super::format::time_index::TimestampEntry;
use super::super::super::leader_epoch::EpochEntry;
use super::super::segment::{NO_TIMESTAMP, Segment};
use super::super::window::{FILE_CHUNK, HEADERS_CHUNK, ScanError, Window};

/// What a pass over all batches of a segment found.
#[derive(Debug)]
pub struct Pass {
    /// Where the good batches end.
    pub end_position: u64,
    /// Offset that follows them.
    pub next_offset: i64,
    /// The offset index as it should be.
    pub offsets: Vec<OffsetPosition>,
    /// The time index as it should be.
    pub timestamps: Vec<TimestampEntry>,
    /// Largest timestamp.
    pub largest_timestamp: TimestampEntry,
    /// Largest timestamp of the first batch that has one.
    pub first_timestamp_ms: Option<i64>,
    /// First offset of each leader epoch in it.
    pub epochs: Vec<EpochEntry>,
    /// Why the pass ended before the file did.
    pub damage: Option<Damage>,
}

/// What stands where a batch should.
#[derive(Debug)]
pub struct Damage {
    /// In words.
    pub reason: String,
    /// A whole batch with a right checksum in the wrong place: no torn write looks like that.
    pub whole_batch: bool,
    /// The file ends within the batch, as a write leaves it that was not done to its end.
    pub cut_off: bool,
}

/// Reads every batch and compares its checksum, up to the first bad one.
pub fn pass(segment: &Segment, index_interval_bytes: u32) -> Result<Pass, FileError> {
    let mut window = segment.window(u64::MAX, FILE_CHUNK);
    let mut pass = Pass {
        end_position: 0,
        next_offset: segment.base_offset(),
        offsets: Vec::new(),
        timestamps: Vec::new(),
        largest_timestamp: NO_TIMESTAMP,
        first_timestamp_ms: None,
        epochs: Vec::new(),
        damage: None,
    };
    let mut last_indexed = 0;
    loop {
        let header = match window.batch(pass.end_position) {
            Ok(None) => break,
            Ok(Some((header, _))) => header,
            Err(error) => {
                pass.damage = Some(into_damage(segment, error)?);
                return Ok(pass);
            }
        };
        if let Some(reason) = misplaced(segment, &pass, &header) {
            pass.damage = Some(Damage {
                reason,
                whole_batch: true,
                cut_off: false,
            });
            return Ok(pass);
        }
        pass.take(&header, &mut last_indexed, index_interval_bytes);
    }
    Ok(pass)
}

impl Pass {
    fn take(&mut self, header: &Header, last_indexed: &mut u64, index_interval_bytes: u32) {
        let timestamp_ms = header.max_timestamp_ms;
        if timestamp_ms > self.largest_timestamp.timestamp_ms {
            self.largest_timestamp = TimestampEntry {
                timestamp_ms,
                offset: header.last_offset(),
            };
        }
        if timestamp_ms >= 0 {
            self.first_timestamp_ms.get_or_insert(timestamp_ms);
        }
        if self.end_position - *last_indexed > u64::from(index_interval_bytes)
            && let Ok(position) = u32::try_from(self.end_position)
        {
            self.offsets.push(OffsetPosition {
                offset: header.last_offset(),
                position,
            });
            self.timestamps.push(self.largest_timestamp);
            *last_indexed = self.end_position;
        }
        let epoch = self.epochs.last().map(|last| last.leader_epoch);
        if epoch != Some(header.leader_epoch) {
            self.epochs.push(EpochEntry {
                leader_epoch: header.leader_epoch,
                start_offset: header.base_offset,
            });
        }
        self.end_position += header.size() as u64;
        self.next_offset = header.next_offset();
    }
}

fn misplaced(segment: &Segment, pass: &Pass, header: &Header) -> Option<String> {
    if header.base_offset < pass.next_offset {
        let (found, expected) = (header.base_offset, pass.next_offset);
        return Some(format!("batch at offset {found} where {expected} was due"));
    }
    let span = header.last_offset() - segment.base_offset();
    (span > i64::from(i32::MAX)).then(|| format!("offset {span} behind the segment's base"))
}

fn into_damage(segment: &Segment, error: ScanError) -> Result<Damage, FileError> {
    match error {
        ScanError::Batch {
            error: ref batch, ..
        } => Ok(Damage {
            reason: error.to_string(),
            whole_batch: false,
            cut_off: matches!(batch, BatchError::Cut { .. }),
        }),
        ScanError::Io(error) => Err(FileError::new(
            "read",
            names::segment_file(segment.base_offset(), names::LOG),
            error,
        )),
    }
}

/// Where a segment ends, if its indexes fit it and batches follow each other from the last index entry to
/// the file's end; `None` when it needs a pass. `next_base` is the next segment's base offset.
pub fn glance(segment: &Segment, next_base: Option<i64>) -> Result<Option<i64>, FileError> {
    let size = segment.size();
    if segment.lacked_index() || segment.offset_index().defect(size)?.is_some() {
        return Ok(None);
    }
    let mut window = segment.window(u64::MAX, HEADERS_CHUNK);
    let indexed = segment.offset_index().last()?;
    let mut position = indexed.map_or(0, |entry| u64::from(entry.position));
    let mut next_offset = segment.base_offset();
    if let Some(entry) = indexed {
        // The batch there holds the entry's offset, or an append of several began with it.
        match window.header(position) {
            Ok(Some(header)) if header.base_offset <= entry.offset => {
                next_offset = header.base_offset;
            }
            _ => return Ok(None),
        }
    }
    let mut largest = NO_TIMESTAMP;
    loop {
        match window.header(position) {
            Ok(None) => break,
            Ok(Some(header)) if header.base_offset >= next_offset => {
                if header.max_timestamp_ms > largest.timestamp_ms {
                    largest = TimestampEntry {
                        timestamp_ms: header.max_timestamp_ms,
                        offset: header.last_offset(),
                    };
                }
                position += header.size() as u64;
                next_offset = header.next_offset();
            }
            _ => return Ok(None),
        }
    }
    if next_base.is_some_and(|next_base| next_base < next_offset) {
        return Ok(None);
    }
    if segment.time_index().defect(next_offset)?.is_some() {
        return Ok(None);
    }
    if indexed.is_some() && segment.time_index().count() == 0 && largest.timestamp_ms >= 0 {
        // Both kinds of entry are written together.
        return Ok(None);
    }
    if let Some(last) = segment.time_index().last()?
        && !matches!(segment.has_time(last), Ok(true))
    {
        return Ok(None);
    }
    let first_ms = match window.header(0) {
        Ok(Some(header)) => Some(header.max_timestamp_ms).filter(|&first| first >= 0),
        Ok(None) => None,
        Err(_) => return Ok(None),
    };
    segment.set_timestamps(first_ms, largest);
    Ok(Some(next_offset))
}

/// True when the segment's first batch is good.
pub fn begins_well(segment: &Segment) -> Result<bool, FileError> {
    let mut window = segment.window(u64::MAX, HEADERS_CHUNK);
    match window.batch(0) {
        Ok(first) => Ok(first.is_some()),
        Err(error) => into_damage(segment, error).map(|_| false),
    }
}

/// True when somewhere behind the damage stands a batch with a right checksum whose offset could
/// follow. Every byte may be its first, as the damaged batch's length can't be trusted.
pub fn good_batch_behind(segment: &Segment, pass: &Pass) -> Result<bool, FileError> {
    let mut window = segment.window(u64::MAX, FILE_CHUNK);
    let mut bodies = segment.window(u64::MAX, FILE_CHUNK);
    let end = window.end();
    let mut position = pass.end_position + 1;
    while position + HEADER_SIZE as u64 <= end {
        let available = (end - position).min(FILE_CHUNK as u64) as usize;
        let bytes = window
            .bytes(position, available)
            .map_err(|error| FileError::new("read", "log segment", error))?;
        if bytes.len() < HEADER_SIZE {
            break;
        }
        let starts = bytes.len() - HEADER_SIZE + 1;
        for at in 0..starts {
            if bytes[at + 16] != MAGIC as u8 {
                continue;
            }
            let Ok(header) = Header::parse(&bytes[at..]) else {
                continue;
            };
            if plausible(&header, segment, pass) && good_at(&mut bodies, position + at as u64) {
                return Ok(true);
            }
        }
        position += starts as u64;
    }
    Ok(false)
}

fn plausible(header: &Header, segment: &Segment, pass: &Pass) -> bool {
    header.base_offset >= pass.next_offset
        && header.last_offset() - segment.base_offset() <= i64::from(i32::MAX)
        && header.record_count >= 0
}

fn good_at(window: &mut Window, position: u64) -> bool {
    matches!(window.batch(position), Ok(Some(_)))
}

/// The offset that follows the last batch of a file, by its headers alone.
pub fn next_offset(window: &mut Window) -> Option<i64> {
    let mut position = 0;
    let mut next = None;
    while let Some(header) = window.header(position).ok()? {
        position += header.size() as u64;
        next = Some(header.next_offset());
    }
    next
}
