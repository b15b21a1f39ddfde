//! Bytes of the raft log, all little-endian. Owner of the format; nothing else encodes or decodes it.
//!
//! Segment header, 64 bytes: magic `ZWRL`, version u16, flags u16 (1 = reset: everything before this
//! segment is void), generation u64, base index u64, base term u64, 28 zero bytes, CRC32C of the first 60.
//! The base is what stood last in the log when the segment was begun.
//!
//! Record, aligned to 8: magic u32, CRC32C u32 (over the segment's generation and everything after this
//! field), payload bytes u32, number of entries u32, number of the record in its segment u64, HardState
//! (term, vote, commit: 3 x u64), first index u64, term before the first index u64, then the entries: term
//! u64, kind u32, data bytes u32, context bytes u32, data, context.

use raft::eraftpb::{Entry, EntryType, HardState};

use super::Batch;
use crate::mutants::{self, Mutant};

/// Length of a segment's header; its first record stands right behind it.
pub const SEGMENT_HEADER_BYTES: u64 = 64;
/// This segment makes everything before it void.
pub const FLAG_RESET: u16 = 1;
/// Newest version of the format.
pub const VERSION: u16 = 1;

const SEGMENT_MAGIC: [u8; 4] = *b"ZWRL";
const RECORD_MAGIC: [u8; 4] = *b"ZREC";
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

/// A segment's header, checked.
#[derive(Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub version: u16,
    pub reset: bool,
    pub generation: u64,
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

pub fn encode_segment_header(out: &mut Vec<u8>, generation: u64, flags: u16, base: Position) {
    let start = out.len();
    out.extend_from_slice(&SEGMENT_MAGIC);
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&flags.to_le_bytes());
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&base.index.to_le_bytes());
    out.extend_from_slice(&base.term.to_le_bytes());
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
        generation: read_u64(header, 8)?,
        base: Position {
            index: read_u64(header, 16)?,
            term: read_u64(header, 24)?,
        },
    })
}

pub fn encode(out: &mut Vec<u8>, generation: u64, sequence: u64, batch: &Batch<'_>) {
    let start = out.len();
    let payload: usize = batch
        .entries
        .iter()
        .map(|e| ENTRY_HEADER + e.data.len() + e.context.len())
        .sum();
    out.reserve(RECORD_HEADER + payload + ALIGN);
    out.extend_from_slice(&RECORD_MAGIC);
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
    let crc = checksum(generation, &out[start + 8..]);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
    out.resize(start + (out.len() - start).next_multiple_of(ALIGN), 0);
}

/// The record at the start of `bytes`, or nothing when there is no good one of this generation.
pub fn decode(bytes: &[u8], generation: u64) -> Option<Record> {
    if bytes.get(..4)? != RECORD_MAGIC {
        return None;
    }
    let crc = read_u32(bytes, 4)?;
    let payload = read_u32(bytes, 8)? as usize;
    let end = RECORD_HEADER.checked_add(payload)?;
    if checksum(generation, bytes.get(8..end)?) != crc && !mutants::is(Mutant::ChecksumSkipped) {
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
            index: first_index + offset,
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

fn checksum(generation: u64, body: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&generation.to_le_bytes()), body)
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
