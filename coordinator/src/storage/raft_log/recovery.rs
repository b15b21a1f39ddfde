//! Opening the raft log: reads every segment in order and decides what of it is the log.

use std::collections::VecDeque;

use super::record::{self, Position, Record, SEGMENT_HEADER_BYTES, VERSION};
use super::{Disk, DiskFile, LogError, LogOptions, RaftLog, Recovered, Segment, segment_name};
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
    let mut generations: Vec<u64> = names
        .iter()
        .filter_map(|name| parse_generation(name))
        .collect();
    generations.sort_unstable();
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
        next_generation: generations.last().copied().unwrap_or(1),
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
    for (at, &generation) in generations.iter().enumerate() {
        let newest = at + 1 == generations.len();
        if let Some((segment, tail, bytes)) =
            read_segment(&log.disk, generation, newest, &mut replay)?
        {
            last_write = (tail.last_write, bytes);
            log.next_generation = generation + 1;
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
    generation: u64,
    newest: bool,
    replay: &mut Replay,
) -> Result<Opened<D::File>, LogError> {
    let name = segment_name(generation);
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
    let header =
        record::decode_segment_header(&bytes).filter(|header| header.generation == generation);
    let Some(header) = header else {
        if !newest || next_good(&bytes, SEGMENT_HEADER_BYTES as usize, generation).is_some() {
            return Err(corrupt(
                0,
                "its header is bad, but records of its generation follow".to_owned(),
            ));
        }
        // Begun, but nothing of it was ever synced: as if it had not been.
        disk.remove(&name)
            .map_err(|e| LogError::io("removal", &name, e))?;
        return Ok(None);
    };
    if header.version > VERSION {
        return Err(LogError::Version {
            file: name,
            found: header.version,
            known: VERSION,
        });
    }
    begin_segment(replay, &header).map_err(|reason| corrupt(0, reason))?;
    let highest = if header.reset { header.base.index } else { 0 };
    let (at, tail) = read_records(&bytes, generation, highest, &mut replay.recovered)
        .map_err(|(at, reason)| corrupt(at, reason))?;
    if let Some(good) = next_good(&bytes, at, generation) {
        return Err(corrupt(
            at,
            format!("a bad record stands before a good one at byte {good}"),
        ));
    }
    let segment = Segment {
        name,
        generation,
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
    generation: u64,
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
    while let Some(record) = bytes
        .get(at..)
        .and_then(|rest| record::decode(rest, generation))
    {
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
    let follows = replay
        .previous
        .is_some_and(|previous| previous + 1 == header.generation);
    replay.previous = Some(header.generation);
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

/// Where the next good record of this generation stands, at `from` or after it.
fn next_good(bytes: &[u8], from: usize, generation: u64) -> Option<usize> {
    (from..bytes.len())
        .step_by(8)
        .find(|&at| record::decode(&bytes[at..], generation).is_some())
}

fn parse_generation(name: &str) -> Option<u64> {
    let stem = name.strip_suffix(".raftlog")?;
    (stem.len() == 16).then(|| u64::from_str_radix(stem, 16).ok())?
}

fn parse_spare(name: &str) -> Option<u64> {
    u64::from_str_radix(name.strip_suffix(".raftlog")?.strip_prefix("spare-")?, 16).ok()
}
