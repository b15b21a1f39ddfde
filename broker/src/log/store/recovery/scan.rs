//! Passing over a segment: every batch, or just enough to trust it.

use std::sync::Arc;

use super::super::super::error::FileError;
use super::super::super::format::names;
use super::super::super::format::offset_index::OffsetPosition;
use super::super::super::format::record_batch::{
    BatchError, HEADER_SIZE, Header, MAGIC, MAGIC_END,
};
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

/// Good batches behind a place where the log breaks off.
#[derive(Debug, Default)]
pub struct Behind {
    /// The offset that follows the last one that was found; `None` when there is none.
    pub end: Option<i64>,
    /// Bytes of which checksums were computed to find out.
    pub checked: u64,
}

impl Behind {
    /// Looks at the segments that follow, too.
    pub fn and_segments(mut self, behind: &[Arc<Segment>]) -> Result<Behind, FileError> {
        for segment in behind {
            if begins_well(segment)? {
                let mut window = segment.window(u64::MAX, HEADERS_CHUNK);
                self.end = self.end.max(next_offset(&mut window));
            }
        }
        Ok(self)
    }
}

/// Bytes whose checksums `behind` computes at most, for each byte that it looks at. Batches that follow each other
/// take one; what takes more was made to.
const CHECKED_PER_BYTE: u64 = 4;

/// Looks for batches with right checksums behind the damage whose offsets could follow. Every byte may be the first of
/// one, as the damaged batch's length can't be trusted. Bytes that look like very many large batches, none of which is
/// one, count as a good batch that begins with the damage: nobody has to read them all.
pub fn behind(segment: &Segment, pass: &Pass) -> Result<Behind, FileError> {
    if pass.damage.as_ref().is_some_and(|one| one.whole_batch) {
        return Ok(Behind {
            end: Some(pass.next_offset),
            checked: 0,
        });
    }
    let mut window = segment.window(u64::MAX, FILE_CHUNK);
    let mut bodies = segment.window(u64::MAX, FILE_CHUNK);
    let end = window.end();
    let mut position = pass.end_position + 1;
    let most = (end - pass.end_position).saturating_mul(CHECKED_PER_BYTE);
    let mut found = Behind::default();
    while position + HEADER_SIZE as u64 <= end {
        let bytes = window
            .bytes(position, FILE_CHUNK)
            .map_err(|error| FileError::new("read", "log segment", error))?;
        if bytes.len() < HEADER_SIZE {
            break;
        }
        let starts = bytes.len() - HEADER_SIZE + 1;
        let mut at = 0;
        while at < starts {
            let here = position + at as u64;
            let header = candidate(&bytes[at..])
                .filter(|header| plausible(header, segment, pass))
                .filter(|header| here + header.size() as u64 <= end);
            at += 1;
            let Some(header) = header else {
                continue;
            };
            let size = header.size();
            if found.checked + size as u64 > most {
                found.end = found.end.max(Some(pass.next_offset));
                return Ok(found);
            }
            found.checked += size as u64;
            if good_at(&mut bodies, here)? {
                found.end = found.end.max(Some(header.next_offset()));
                at += size - 1;
            }
        }
        position += at as u64;
    }
    Ok(found)
}

fn candidate(bytes: &[u8]) -> Option<Header> {
    let magic = bytes[MAGIC_END - 1] == MAGIC as u8;
    magic.then(|| Header::parse(bytes).ok()).flatten()
}

fn plausible(header: &Header, segment: &Segment, pass: &Pass) -> bool {
    header.base_offset >= pass.next_offset
        && header.last_offset() - segment.base_offset() <= i64::from(i32::MAX)
        && header.record_count >= 0
}

fn good_at(window: &mut Window, position: u64) -> Result<bool, FileError> {
    match window.batch(position) {
        Ok(batch) => Ok(batch.is_some()),
        Err(ScanError::Batch { .. }) => Ok(false),
        Err(ScanError::Io(error)) => Err(FileError::new("read", "log segment", error)),
    }
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

#[cfg(test)]
mod tests {
    use super::super::super::super::format::record_batch::tests::Batch;
    use super::*;
    use crate::disk::MemoryDisk;
    use std::path::Path;

    /// A segment that begins with a batch whose checksum is wrong, and goes on with these bytes.
    fn damaged(behind: &[u8]) -> (Segment, Pass) {
        let disk = MemoryDisk::new(1).shared();
        disk.create_dir_all(Path::new("/t")).unwrap();
        let segment = Segment::open(&disk, Path::new("/t"), 0, 0).unwrap();
        let mut bytes = Batch::of(1).bytes();
        *bytes.last_mut().unwrap() ^= 1;
        bytes.extend(behind);
        segment.file().write_all_at(&bytes, 0).unwrap();
        let segment = Segment::open(&disk, Path::new("/t"), 0, 0).unwrap();
        let pass = pass(&segment, 4096).unwrap();
        assert!(pass.damage.is_some());
        (segment, pass)
    }

    fn at(base_offset: i64) -> Vec<u8> {
        let batch = Batch {
            base_offset,
            ..Batch::of(2)
        };
        batch.bytes()
    }

    #[test]
    fn good_batches_behind_damage_are_found_at_any_byte() {
        for garbage in [0, 1, 300] {
            let behind = [vec![2; garbage], at(5), vec![9; 70], at(7), vec![0; 100]].concat();
            let (segment, pass) = damaged(&behind);
            let found = super::behind(&segment, &pass).unwrap();
            assert_eq!(found.end, Some(9), "behind {garbage} bytes");
        }
        for nothing in [vec![], vec![0; 500], vec![2; 500], at(5)[..80].to_vec()] {
            let (segment, pass) = damaged(&nothing);
            assert_eq!(behind(&segment, &pass).unwrap().end, None);
        }
    }

    #[test]
    fn bytes_made_to_look_like_batches_are_not_read_over_and_over() {
        // Heads of batches each of which would reach to the end of the file: a quarter of 2 MiB, squared, if all were read.
        let (head, total) = (Batch::of(1).bytes(), 2 << 20);
        let count = total / HEADER_SIZE;
        let mut behind = Vec::new();
        for left in (1..=count).rev() {
            let mut header = head[..HEADER_SIZE].to_vec();
            let length = (left * HEADER_SIZE - 12) as i32;
            header[8..12].copy_from_slice(&length.to_be_bytes());
            behind.extend(header);
        }
        let (segment, pass) = damaged(&behind);
        let found = super::behind(&segment, &pass).unwrap();
        assert_eq!(found.end, Some(pass.next_offset), "given up, and told so");
        assert!(found.checked <= segment.size() * CHECKED_PER_BYTE);
    }
}
