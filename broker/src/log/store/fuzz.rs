//! Folders of logs: good, damaged, and made of anything.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use zweig_client::kafka::records::{BatchSpec, Record, encode_batch};

use super::dir::LogDir;
use super::log::Log;
use super::recovery::{self, Hints};
use crate::disk::{Disk, MemoryDisk, Open};
use crate::log::config::LogConfig;
use crate::log::format::producer_snapshot::{self, SnapshotEntry};
use crate::log::format::{names, record_batch};
use crate::log::{AppendOrigin, TopicPartition};

const NOW_MS: i64 = 1_000_000;
const ROOT: &str = "/logs";
const FOLDER: &str = "/logs/t-0";
const BASES: [i64; 6] = [0, 3, 6, 1000, i64::MAX - 5, i64::MAX];

/// Decisions read from the front of bytes; zeros when they run out.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        first
    }

    fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(most.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn base(&mut self) -> i64 {
        BASES[usize::from(self.byte()) % BASES.len()]
    }
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: 500,
        index_interval_bytes: 100,
        segment_index_bytes: 64,
        retention_ms: -1,
        ..LogConfig::default()
    }
}

fn batch(records: usize, timestamp_ms: i64, producer: Option<i32>) -> Vec<u8> {
    let record = Record {
        value: Some(Bytes::from_static(b"value")),
        timestamp_ms,
        ..Record::default()
    };
    let spec = producer.map_or(BatchSpec::default(), |base_sequence| BatchSpec {
        producer_id: 7,
        producer_epoch: 0,
        base_sequence,
        ..BatchSpec::default()
    });
    encode_batch(&spec, &vec![record; records])
        .expect("records")
        .to_vec()
}

/// Batches behind each other, as a log has them or nearly so, and whatever else.
fn any_log(choices: &mut Choices<'_>, base: i64) -> Vec<u8> {
    let (mut bytes, mut next) = (Vec::new(), base);
    for _ in 0..choices.byte() % 8 {
        let (what, count) = (choices.byte(), usize::from(choices.byte() % 3) + 1);
        if what == 0xff {
            let length = usize::from(choices.byte());
            bytes.extend_from_slice(choices.take(length));
            continue;
        }
        let producer = (what & 1 != 0).then_some(i32::from(what >> 4));
        let mut one = batch(count, i64::from(what) * 10, producer);
        if what & 2 != 0 {
            next = next.saturating_add(i64::from(choices.byte().cast_signed()));
        }
        record_batch::set_offset_and_epoch(&mut one, next, i32::from(what & 12));
        next = next.saturating_add(count as i64);
        bytes.extend(one);
    }
    for _ in 0..choices.byte() % 3 {
        let at = usize::from(choices.byte()) << 8 | usize::from(choices.byte());
        let damage = choices.byte();
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= damage;
        }
    }
    let cut = usize::from(choices.byte() % 16);
    bytes.truncate(bytes.len().saturating_sub(cut));
    bytes
}

fn write(disk: &dyn Disk, name: &str, bytes: &[u8]) {
    let path = Path::new(FOLDER).join(name);
    let file = disk.open(&path, Open::Fresh).expect("memory");
    file.write_all_at(bytes, 0).expect("memory");
}

fn any_file(choices: &mut Choices<'_>, disk: &dyn Disk) {
    let (kind, base) = (choices.byte() % 12, choices.base());
    let length = usize::from(choices.byte());
    let raw = |choices: &mut Choices<'_>| choices.take(length).to_vec();
    let (name, bytes) = match kind {
        0..=3 => (
            names::segment_file(base, names::LOG),
            any_log(choices, base),
        ),
        4 => (names::segment_file(base, names::OFFSET_INDEX), raw(choices)),
        5 => (names::segment_file(base, names::TIME_INDEX), raw(choices)),
        6 => (names::LEADER_EPOCH_CHECKPOINT.to_owned(), raw(choices)),
        7 => (names::PARTITION_METADATA.to_owned(), raw(choices)),
        8 => {
            let entry = SnapshotEntry {
                producer_id: 7,
                producer_epoch: 0,
                last_sequence: i32::from(choices.byte()),
                last_offset: choices.base(),
                offset_delta: i32::from(choices.byte().cast_signed()),
                timestamp_ms: 5,
                coordinator_epoch: -1,
                txn_first_offset: (choices.byte() & 1 == 1).then_some(2),
            };
            (
                names::segment_file(base, names::SNAPSHOT),
                producer_snapshot::encode(&[entry]),
            )
        }
        9 => (names::segment_file(base, names::SNAPSHOT), raw(choices)),
        10 => (names::segment_file(base, "log.deleted"), raw(choices)),
        _ => {
            let kinds = [names::CLEANED, names::SWAP, names::TXN_INDEX, "", "tmp"];
            let kind = kinds[usize::from(choices.byte()) % kinds.len()];
            (names::segment_file(base, kind), raw(choices))
        }
    };
    write(disk, &name, &bytes);
}

fn open(disk: &MemoryDisk, hints: Hints) -> Option<Log> {
    let dir = LogDir::open(disk.shared(), Path::new(ROOT)).expect("memory");
    let partition = TopicPartition::new("t", 0);
    recovery::load(
        Path::new(FOLDER),
        &partition,
        config(),
        Arc::new(dir),
        hints,
        NOW_MS,
    )
    .ok()
}

/// What a folder may hold, opened, read, written on, and opened again.
pub(crate) fn folder(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let disk = MemoryDisk::new(1);
    disk.create_dir_all(Path::new(FOLDER)).expect("memory");
    let flags = choices.byte();
    let hints = Hints {
        clean: flags & 1 != 0,
        recovery_point: if flags & 2 != 0 { choices.base() } else { 0 },
        unsynced_lost: flags & 128 != 0,
        log_start: if flags & 4 != 0 { choices.base() } else { 0 },
        log_start_exact: flags & 8 != 0,
        high_watermark: (flags & 16 != 0).then(|| choices.base()),
        cut_damage: flags & 32 != 0,
    };
    for _ in 0..=choices.byte() % 6 {
        any_file(&mut choices, &disk);
    }
    let Some(log) = open(&disk, hints) else {
        return;
    };
    let found = read_all(&log);
    for offset in [log.log_start_offset(), log.log_end_offset()] {
        log.epoch_at(offset);
    }
    for timestamp_ms in [-1, 0, 100, i64::MAX] {
        let _ = log.offset_for_timestamp(timestamp_ms, i64::MAX);
    }
    if flags & 64 != 0 {
        let _ = log.truncate_to(choices.base());
    }
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    assert!(start <= end);
    let Ok(appended) =
        log.append_as_leader(batch(2, 5, None).into(), 100, AppendOrigin::Client, NOW_MS)
    else {
        return;
    };
    assert_eq!(appended.first_offset, end);
    assert_eq!(log.log_end_offset(), end + 2);
    drop(log);
    let hints = Hints {
        clean: false,
        recovery_point: 0,
        unsynced_lost: false,
        log_start: start,
        log_start_exact: false,
        high_watermark: None,
        cut_damage: false,
    };
    // Damage below what was flushed is found only by this opening.
    let Some(log) = open(&disk, hints) else {
        return;
    };
    let again = read_all(&log);
    if found.is_some() && again.is_some() {
        assert_eq!(log.log_end_offset(), end + 2, "what was appended is there");
    }
}

/// Offsets of all batches, unless one of them is corrupt.
fn read_all(log: &Log) -> Option<Vec<i64>> {
    let (mut offset, mut all) = (log.log_start_offset(), Vec::new());
    let end = log.log_end_offset();
    while offset < end {
        let records = log.read(offset, 1, i64::MAX, true).ok()?;
        let (header, range) = record_batch::headers(&records.bytes).next()?.ok()?;
        assert!(
            header.last_offset() >= offset && header.next_offset() <= end,
            "{header:?} in {offset}..{end}"
        );
        record_batch::parse_whole(&records.bytes[range]).expect("no corrupt batch is served");
        all.push(header.base_offset);
        offset = header.next_offset();
    }
    Some(all)
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    // A clean log of two segments, one that was torn, and anything.
    let log = |base: u8| [0, base, 0, 3, 0x10, 1, 0x21, 0, 0x32, 2, 0, 0, 0];
    let clean = [&[1, 1][..], &log(0), &log(2)].concat();
    let torn = [&[0, 1][..], &log(0), &[0, 2, 0, 1, 0x10, 1, 0, 7]].concat();
    let scattered = (0..500_u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 9) as u8)
        .collect();
    vec![clean, torn, scattered]
}
