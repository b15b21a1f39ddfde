//! Opening the raft log: reads every segment in order and decides what of it is the log.

use std::collections::VecDeque;

use super::record::{self, Position, Record, SEGMENT_HEADER_BYTES, SegmentId, VERSION};
use super::sums::Sums;
use super::{Disk, DiskFile, LogError, LogOptions, RaftLog, Recovered, Segment};
use crate::mutants::{self, Mutant};

/// The log as replayed so far.
#[derive(Default)]
struct Replay {
    recovered: Recovered,
    /// Generation of the segment before; the oldest one may begin anywhere.
    previous: Option<u64>,
}

/// Where reading one segment ended.
struct Tail {
    position: u64,
    sequence: u64,
    highest: u64,
    /// Where its last write began: that of its last record, or of the header together with the first one.
    last_write: u64,
}

pub fn recover<D: Disk>(disk: D, options: LogOptions) -> Result<(RaftLog<D>, Recovered), LogError> {
    let names = disk
        .list()
        .map_err(|e| LogError::io("listing", "the log folder", e))?;
    if let Some(name) = names.iter().find(|name| is_of_version_1(name)) {
        return Err(LogError::Version {
            file: name.clone(),
            found: 1,
            known: VERSION,
        });
    }
    let mut ids: Vec<SegmentId> = names
        .iter()
        .filter_map(|name| SegmentId::parse(name))
        .collect();
    ids.sort_unstable();
    let newest = ids.last().map(|id| id.generation);
    let mut spares: Vec<String> = Vec::new();
    for name in names
        .iter()
        .filter(|name| name.starts_with("spare-") && name.ends_with(".raftlog"))
    {
        reclaim(&disk, name, &options, &mut spares)?;
    }
    let next_spare = names
        .iter()
        .filter_map(|name| parse_spare(name))
        .max()
        .map_or(0, |highest| highest + 1);
    let mut log = RaftLog {
        next_generation: newest.unwrap_or(1),
        disk,
        options,
        segments: VecDeque::new(),
        spares,
        next_spare,
        position: 0,
        sequence: 0,
        last: Position::default(),
        poisoned: false,
        scratch: Vec::new(),
    };
    let mut replay = Replay::default();
    let mut last_write = (0, Vec::new());
    for id in ids {
        let newest = Some(id.generation) == newest;
        if let Some((segment, tail, bytes)) = read_segment(&log.disk, id, newest, &mut replay)? {
            last_write = (tail.last_write, bytes);
            log.next_generation = id.generation + 1;
            log.position = tail.position;
            log.sequence = tail.sequence;
            log.segments.push_back(segment);
        }
    }
    finish(&mut log, &replay.recovered, &last_write)?;
    Ok((log, replay.recovered))
}

/// Makes what was read durable. Reading and syncing is not enough: a sync that failed in a former life of this
/// process leaves bytes in the page cache that count as clean and are not on the disk. It can only be the last
/// write of all, since none follows on a failed one; so that is written again.
fn finish<D: Disk>(
    log: &mut RaftLog<D>,
    recovered: &Recovered,
    (last_write, bytes): &(u64, Vec<u8>),
) -> Result<(), LogError> {
    log.last = recovered
        .entries
        .last()
        .map_or(recovered.base, |last| Position {
            index: last.index,
            term: last.term,
        });
    let Some(active) = log.segments.back_mut() else {
        return Ok(());
    };
    if recovered.hard_state.commit > log.last.index {
        let reason = format!(
            "entries up to {} were committed, the log ends at {}",
            recovered.hard_state.commit, log.last.index
        );
        return Err(LogError::Corrupt {
            file: active.name.clone(),
            position: log.position,
            reason,
        });
    }
    // A process that died between write and sync leaves records only the page cache knows.
    if !mutants::is(Mutant::CacheTrusted) {
        active
            .file
            .write_at(*last_write, bytes)
            .map_err(|e| LogError::io("write", &active.name, e))?;
    }
    active
        .file
        .sync()
        .map_err(|e| LogError::io("fdatasync", &active.name, e))?;
    log.disk
        .sync_directory()
        .map_err(|e| LogError::io("sync", "the log folder", e))
}

fn reclaim<D: Disk>(
    disk: &D,
    name: &str,
    options: &LogOptions,
    spares: &mut Vec<String>,
) -> Result<(), LogError> {
    let file = disk.open(name).map_err(|e| LogError::io("open", name, e))?;
    let bytes = file.bytes().map_err(|e| LogError::io("stat", name, e))?;
    drop(file);
    if bytes == options.segment_bytes && spares.len() < options.spares {
        spares.push(name.to_owned());
        return Ok(());
    }
    disk.remove(name)
        .map_err(|e| LogError::io("removal", name, e))
}

/// With the bytes of the last write.
type Opened<F> = Option<(Segment<F>, Tail, Vec<u8>)>;

fn read_segment<D: Disk>(
    disk: &D,
    id: SegmentId,
    newest: bool,
    replay: &mut Replay,
) -> Result<Opened<D::File>, LogError> {
    let name = id.file_name();
    let file = disk
        .open(&name)
        .map_err(|e| LogError::io("open", &name, e))?;
    let bytes = file
        .read_all()
        .map_err(|e| LogError::io("read", &name, e))?;
    let corrupt = |position: usize, reason: String| LogError::Corrupt {
        file: name.clone(),
        position: position as u64,
        reason,
    };
    let header = record::decode_segment_header(&bytes);
    if let Some(header) = header.as_ref().filter(|header| header.version > VERSION) {
        return Err(LogError::Version {
            file: name,
            found: header.version,
            known: VERSION,
        });
    }
    // A recycled file still has the header of its former use.
    let header = header.filter(|header| header.version == VERSION && header.id == id);
    let Some(header) = header else {
        if !newest || next_good(&bytes, SEGMENT_HEADER_BYTES as usize, id).is_some() {
            return Err(corrupt(
                0,
                "its header is bad, but it should hold good records".to_owned(),
            ));
        }
        // Begun, but nothing of it was ever synced: as if it had not been.
        disk.remove(&name)
            .map_err(|e| LogError::io("removal", &name, e))?;
        return Ok(None);
    };
    begin_segment(replay, &header).map_err(|reason| corrupt(0, reason))?;
    let highest = if header.reset { header.base.index } else { 0 };
    let (at, tail) = read_records(&bytes, id, highest, &mut replay.recovered)
        .map_err(|(at, reason)| corrupt(at, reason))?;
    if let Some(good) = next_good(&bytes, at, id) {
        return Err(corrupt(
            at,
            format!("a bad record stands before a good one at byte {good}"),
        ));
    }
    let segment = Segment {
        name,
        id,
        file,
        bytes: bytes.len() as u64,
        highest: tail.highest,
    };
    let end = (tail.position as usize).min(bytes.len());
    let last_write = bytes.get(tail.last_write as usize..end);
    let last_write = last_write.map_or_else(Vec::new, <[u8]>::to_vec);
    Ok(Some((segment, tail, last_write)))
}

/// Replays the good records of a segment, up to the first that is none.
fn read_records(
    bytes: &[u8],
    id: SegmentId,
    highest: u64,
    log: &mut Recovered,
) -> Result<(usize, Tail), (usize, String)> {
    let mut at = SEGMENT_HEADER_BYTES as usize;
    let mut tail = Tail {
        position: 0,
        sequence: 0,
        highest,
        last_write: 0,
    };
    while let Some(record) = bytes.get(at..).and_then(|rest| record::decode(rest, id)) {
        if record.sequence != tail.sequence {
            let reason = format!(
                "record {} stands where record {} belongs",
                record.sequence, tail.sequence
            );
            return Err((at, reason));
        }
        let bytes = record.bytes;
        if tail.sequence > 0 {
            tail.last_write = at as u64;
        }
        tail.sequence += 1;
        tail.highest = tail
            .highest
            .max(record.entries.last().map_or(0, |e| e.index));
        apply(log, record).map_err(|reason| (at, reason))?;
        at += bytes;
    }
    tail.position = at as u64;
    Ok((at, tail))
}

fn begin_segment(replay: &mut Replay, header: &record::SegmentHeader) -> Result<(), String> {
    // A cut removes oldest segments first, but the removals may become durable in any order: what stands
    // before a missing generation was cut too. (That nothing needed is missing, the applied index tells.)
    let generation = header.id.generation;
    if replay.previous == Some(generation) {
        return Err(format!("generation {generation} has two segments"));
    }
    let follows = replay
        .previous
        .is_some_and(|previous| previous + 1 == generation);
    replay.previous = Some(generation);
    let log = &mut replay.recovered;
    if header.reset || !follows {
        log.entries.clear();
        log.base = header.base;
        return Ok(());
    }
    let last = log.entries.last().map_or(log.base, |e| Position {
        index: e.index,
        term: e.term,
    });
    if last == header.base {
        return Ok(());
    }
    Err(format!(
        "it continues index {} of term {}, the segments before it end at index {} of term {}",
        header.base.index, header.base.term, last.index, last.term
    ))
}

fn apply(log: &mut Recovered, record: Record) -> Result<(), String> {
    log.hard_state = record.hard_state;
    if record.entries.is_empty() {
        return Ok(());
    }
    let previous = record
        .first_index
        .checked_sub(1)
        .ok_or("an entry has index 0")?;
    let last = log.entries.last().map_or(log.base.index, |e| e.index);
    if previous > last {
        return Err(format!("entry {} follows entry {last}", record.first_index));
    }
    if previous < log.base.index {
        // It replaced entries of a segment that has been cut since.
        log.base = Position {
            index: previous,
            term: record.previous_term,
        };
        log.entries.clear();
    } else {
        log.entries
            .truncate(usize::try_from(previous - log.base.index).map_err(|e| e.to_string())?);
        let term = log.entries.last().map_or(log.base.term, |e| e.term);
        if term != record.previous_term {
            return Err(format!(
                "entry {previous} has term {term}, its follower expects {}",
                record.previous_term
            ));
        }
    }
    log.entries.extend(record.entries);
    Ok(())
}

/// Where the next record of this segment stands whose checksum is right, at `from` or after it.
fn next_good(bytes: &[u8], from: usize, id: SegmentId) -> Option<usize> {
    let before = id.checksum();
    let mut sums = None;
    (from..bytes.len()).step_by(8).find(|&at| {
        let Some((crc, end)) = record::claim(&bytes[at..], id) else {
            return false;
        };
        let sums = sums.get_or_insert_with(|| Sums::new(bytes));
        sums.behind(before, at + record::SUMMED_FROM, at + end) == crc
    })
}

/// Version 1 named a segment by its generation alone.
fn is_of_version_1(name: &str) -> bool {
    let stem = name.strip_suffix(".raftlog");
    stem.is_some_and(|stem| stem.len() == 16 && u64::from_str_radix(stem, 16).is_ok())
}

fn parse_spare(name: &str) -> Option<u64> {
    let number = name.strip_suffix(".raftlog")?.strip_prefix("spare-")?;
    let number = u64::from_str_radix(number, 16).ok();
    number.filter(|&number| number < u64::MAX)
}
