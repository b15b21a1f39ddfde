//! Folders of segment files: good, damaged, and made of anything.

use raft::eraftpb::{Entry, HardState};

use super::*;
use crate::fuzz::Choices;

const SEGMENT: u64 = 4096;
const SALT: u64 = 0x5a17;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT,
        spares: 1,
    }
}

/// A number that is small, or at an end of what numbers can be.
fn number(choices: &mut Choices<'_>) -> u64 {
    match choices.byte() {
        0xff => choices.number(),
        0xfe => u64::MAX,
        0xfd => i64::MAX as u64,
        small => u64::from(small % 16),
    }
}

/// A record whose checksum is right; its fields are anything.
fn any_record(choices: &mut Choices<'_>, id: SegmentId, out: &mut Vec<u8>) {
    let sequence = number(choices);
    let hard_state = HardState {
        term: number(choices),
        vote: number(choices),
        commit: number(choices),
    };
    let (first, previous_term, count) = (
        number(choices),
        number(choices),
        u64::from(choices.byte() % 5),
    );
    let entries: Vec<Entry> = (0..count)
        .map(|offset| Entry {
            index: first.wrapping_add(offset),
            term: number(choices),
            entry_type: i32::from(choices.byte() % 5),
            data: choices.take(3).to_vec(),
            ..Entry::default()
        })
        .collect();
    let batch = Batch {
        hard_state: &hard_state,
        previous_term,
        entries: &entries,
    };
    record::encode(out, id, sequence, &batch);
}

fn any_segment(choices: &mut Choices<'_>, id: SegmentId) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (flags, written) = (u16::from(choices.byte() & 1), choices.byte());
    let base = Position {
        index: number(choices),
        term: number(choices),
    };
    let said = match written & 1 {
        0 => id,
        _ => SegmentId {
            generation: number(choices),
            salt: id.salt ^ u64::from(written & 8),
        },
    };
    if written & 6 != 6 {
        record::encode_segment_header(&mut bytes, said, flags, base);
    }
    for _ in 0..choices.byte() % 4 {
        match choices.byte() % 4 {
            0 => {
                let length = usize::from(choices.byte());
                bytes.extend_from_slice(choices.take(length));
            }
            1 => bytes.resize(bytes.len() + usize::from(choices.byte()), 0),
            _ => any_record(choices, id, &mut bytes),
        }
    }
    for _ in 0..choices.byte() % 3 {
        let at = usize::from(choices.byte()) << 8 | usize::from(choices.byte());
        let damage = choices.byte();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= damage;
        }
    }
    bytes
}

/// What a folder may hold, opened, written on, and opened again.
pub(crate) fn folder(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let disk = MemoryDisk::new(1);
    for _ in 0..=choices.byte() % 4 {
        // A log ends long before generations do; only what comes behind them all is tried too.
        let generation = match number(&mut choices) {
            generation if generation > u64::MAX - 8 => u64::MAX,
            generation => generation,
        };
        let kind = choices.byte();
        let id = SegmentId {
            generation,
            salt: SALT ^ u64::from(kind & 1),
        };
        let (name, bytes) = match kind {
            0xff => (format!("spare-{generation:016x}.raftlog"), Vec::new()),
            0xfe => (
                String::from_utf8_lossy(choices.take(40)).into_owned(),
                Vec::new(),
            ),
            0xfd => (id.file_name(), choices.take(200).to_vec()),
            _ => (id.file_name(), any_segment(&mut choices, id)),
        };
        let room = bytes.len() as u64 + u64::from(choices.byte());
        let mut file = disk.create(&name, room).expect("memory");
        file.write_at(0, &bytes).expect("memory");
        file.sync().expect("memory");
    }
    let Ok((mut log, found)) = RaftLog::open(disk.clone(), options()) else {
        return;
    };
    let last = check(&found);
    assert_eq!(log.last(), last);
    let Some(index) = last.index.checked_add(1) else {
        return;
    };
    let entry = Entry {
        index,
        term: last.term,
        ..Entry::default()
    };
    let batch = Batch {
        hard_state: &found.hard_state,
        previous_term: last.term,
        entries: std::slice::from_ref(&entry),
    };
    log.append(&batch).expect("memory");
    drop(log);
    let (_, again) = RaftLog::open(disk, options()).expect("what was opened and written on opens");
    assert_eq!(again.entries, [&found.entries[..], &[entry]].concat());
    assert_eq!(
        (again.base, again.hard_state),
        (found.base, found.hard_state)
    );
}

fn check(found: &Recovered) -> Position {
    let mut last = found.base;
    for entry in &found.entries {
        assert_eq!(entry.index, last.index + 1, "entries follow each other");
        last = Position {
            index: entry.index,
            term: entry.term,
        };
    }
    assert!(
        found.hard_state.commit <= last.index,
        "what was committed is there"
    );
    last
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // One segment; generation 1, header as it should be, two records of two entries each.
    let record = |sequence, first| {
        [
            2,
            sequence,
            1,
            1,
            0,
            first,
            u8::from(first > 1),
            2,
            1,
            0,
            7,
            7,
            7,
            1,
            0,
            8,
            8,
            8,
        ]
    };
    let segment = [
        &[0, 1, 0, 0, 0, 0, 0, 2][..],
        &record(0, 1),
        &record(1, 3),
        &[0, 0],
    ]
    .concat();
    let scattered = (0..400_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 9) as u8)
        .collect();
    vec![segment, scattered]
}
