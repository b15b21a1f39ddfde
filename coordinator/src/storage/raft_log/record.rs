//! Bytes of the raft log, all little-endian. Owner of the format; nothing else encodes or decodes it.
//!
//! A segment is one use of a file. Its generation and a random salt name it, and its file (`GENERATION-SALT.raftlog`).
//!
//! Segment header, 64 bytes: magic `ZWRL`, version u16, flags u16 (1 = reset: everything before this
//! segment is void), generation u64, base index u64, base term u64, salt u64, 20 zero bytes, CRC32C of the
//! first 60. The base is what stood last in the log when the segment was begun.
//!
//! Record, aligned to 8: mark u32 (the salt's low half, its lowest bit set), CRC32C u32 (over the segment's generation and salt and
//! everything after this field), payload bytes u32, number of entries u32, number of the record in its segment u64, HardState
//! (term, vote, commit: 3 x u64), first index u64, term before the first index u64, then the entries: term
//! u64, kind u32, data bytes u32, context bytes u32, data, context.
//!
//! Version 1 had no salt: whoever guessed a generation could write what looked like a record of it. It is not read any more.

use raft::eraftpb::{Entry, EntryType, HardState};

use super::Batch;
use crate::mutants::{self, Mutant};

/// Length of a segment's header; its first record stands right behind it.
pub const SEGMENT_HEADER_BYTES: u64 = 64;
/// This segment makes everything before it void.
pub const FLAG_RESET: u16 = 1;
/// The version of the format.
pub const VERSION: u16 = 2;
/// Where in a record the bytes begin that its checksum covers.
pub const SUMMED_FROM: usize = 8;

const SEGMENT_MAGIC: [u8; 4] = *b"ZWRL";
const RECORD_HEADER: usize = 64;
const ENTRY_HEADER: usize = 20;
const ALIGN: usize = 8;

/// A place in the raft log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Raft index.
    pub index: u64,
    /// Term of the entry there.
    pub term: u64,
}

/// One use of a file: what tells its records from all other bytes that may stand there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentId {
    /// Grows with each use.
    pub generation: u64,
    /// Drawn for each use. Nobody outside learns it: a recycled file holds what clients wrote, and only with the salt could they
    /// have written what looks like a record.
    pub salt: u64,
}

impl SegmentId {
    /// The name of its file.
    pub fn file_name(self) -> String {
        format!("{:016x}-{:016x}.raftlog", self.generation, self.salt)
    }

    /// The segment whose file has that name.
    pub fn parse(name: &str) -> Option<Self> {
        let (generation, salt) = name.strip_suffix(".raftlog")?.split_once('-')?;
        let number = |digits| u64::from_str_radix(digits, 16).ok();
        let id = Self {
            generation: number(generation)?,
            salt: number(salt)?,
        };
        // There is one behind every generation.
        (id.generation < u64::MAX && id.file_name() == name).then_some(id)
    }

    /// What each of its records begins with; not zero, as fresh files are.
    pub fn mark(self) -> u32 {
        self.salt as u32 | 1
    }

    /// What the checksum of each of its records begins with.
    pub fn checksum(self) -> u32 {
        let generation = crc32c::crc32c(&self.generation.to_le_bytes());
        crc32c::crc32c_append(generation, &self.salt.to_le_bytes())
    }
}

/// A segment's header, checked.
#[derive(Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub version: u16,
    pub reset: bool,
    pub id: SegmentId,
    pub base: Position,
}

/// One record, checked.
#[derive(Debug)]
pub struct Record {
    pub sequence: u64,
    pub hard_state: HardState,
    pub previous_term: u64,
    pub first_index: u64,
    pub entries: Vec<Entry>,
    /// Bytes it takes in the file, padding included.
    pub bytes: usize,
}

/// Bytes that [`encode`] will add, padding included.
pub fn encoded_len(batch: &Batch<'_>) -> u64 {
    let payload: usize = batch
        .entries
        .iter()
        .map(|e| ENTRY_HEADER + e.data.len() + e.context.len())
        .sum();
    (RECORD_HEADER + payload).next_multiple_of(ALIGN) as u64
}

pub fn encode_segment_header(out: &mut Vec<u8>, id: SegmentId, flags: u16, base: Position) {
    let start = out.len();
    out.extend_from_slice(&SEGMENT_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    for word in [id.generation, base.index, base.term, id.salt] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.resize(start + 60, 0);
    let crc = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
}

pub fn decode_segment_header(bytes: &[u8]) -> Option<SegmentHeader> {
    let header = bytes.get(..SEGMENT_HEADER_BYTES as usize)?;
    if header[..4] != SEGMENT_MAGIC || crc32c::crc32c(&header[..60]) != read_u32(header, 60)? {
        return None;
    }
    let flags = u16::from_le_bytes([header[6], header[7]]);
    Some(SegmentHeader {
        version: u16::from_le_bytes([header[4], header[5]]),
        reset: flags & FLAG_RESET != 0,
        id: SegmentId {
            generation: read_u64(header, 8)?,
            salt: read_u64(header, 32)?,
        },
        base: Position {
            index: read_u64(header, 16)?,
            term: read_u64(header, 24)?,
        },
    })
}

pub fn encode(out: &mut Vec<u8>, id: SegmentId, sequence: u64, batch: &Batch<'_>) {
    let start = out.len();
    let payload: usize = batch
        .entries
        .iter()
        .map(|e| ENTRY_HEADER + e.data.len() + e.context.len())
        .sum();
    out.reserve(RECORD_HEADER + payload + ALIGN);
    out.extend_from_slice(&id.mark().to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(
        &u32::try_from(payload)
            .expect("a batch is far below 4 GiB")
            .to_le_bytes(),
    );
    out.extend_from_slice(&(batch.entries.len() as u32).to_le_bytes());
    for word in [
        sequence,
        batch.hard_state.term,
        batch.hard_state.vote,
        batch.hard_state.commit,
        batch.entries.first().map_or(0, |e| e.index),
        batch.previous_term,
    ] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    for entry in batch.entries {
        out.extend_from_slice(&entry.term.to_le_bytes());
        out.extend_from_slice(&entry.entry_type.to_le_bytes());
        out.extend_from_slice(&(entry.data.len() as u32).to_le_bytes());
        out.extend_from_slice(&(entry.context.len() as u32).to_le_bytes());
        out.extend_from_slice(&entry.data);
        out.extend_from_slice(&entry.context);
    }
    let crc = crc32c::crc32c_append(id.checksum(), &out[start + SUMMED_FROM..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + (out.len() - start).next_multiple_of(ALIGN), 0);
}

/// What a record that begins here claims, unless it can't be one of that segment: its checksum, and where it ends.
pub fn claim(bytes: &[u8], id: SegmentId) -> Option<(u32, usize)> {
    if read_u32(bytes, 0)? != id.mark() {
        return None;
    }
    let (crc, payload) = (read_u32(bytes, 4)?, read_u32(bytes, 8)? as usize);
    let end = RECORD_HEADER.checked_add(payload)?;
    (end <= bytes.len()).then_some((crc, end))
}

/// The record at the start of `bytes`, or nothing when there is no good one of that segment.
pub fn decode(bytes: &[u8], id: SegmentId) -> Option<Record> {
    let (crc, end) = claim(bytes, id)?;
    let payload = end - RECORD_HEADER;
    let sum = crc32c::crc32c_append(id.checksum(), &bytes[SUMMED_FROM..end]);
    if sum != crc && !mutants::is(Mutant::ChecksumSkipped) {
        return None;
    }
    let count = read_u32(bytes, 12)? as usize;
    let first_index = read_u64(bytes, 48)?;
    let hard_state = HardState {
        term: read_u64(bytes, 24)?,
        vote: read_u64(bytes, 32)?,
        commit: read_u64(bytes, 40)?,
    };
    let mut entries = Vec::with_capacity(count.min(payload / ENTRY_HEADER));
    let mut at = RECORD_HEADER;
    for offset in 0..count as u64 {
        let data = read_u32(bytes, at + 12)? as usize;
        let context = read_u32(bytes, at + 16)? as usize;
        let body = at + ENTRY_HEADER;
        let kind = EntryType::from_i32(read_u32(bytes, at + 8)? as i32)?;
        let entry = Entry {
            index: first_index.checked_add(offset)?,
            term: read_u64(bytes, at)?,
            entry_type: kind as i32,
            data: bytes.get(body..body + data)?.to_vec(),
            context: bytes.get(body + data..body + data + context)?.to_vec(),
            ..Entry::default()
        };
        at = body + data + context;
        entries.push(entry);
    }
    Some(Record {
        sequence: read_u64(bytes, 16)?,
        hard_state,
        previous_term: read_u64(bytes, 56)?,
        first_index,
        entries,
        bytes: end.next_multiple_of(ALIGN),
    })
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
