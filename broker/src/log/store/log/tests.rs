//! One log on a real file system, opened and closed as a broker would.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::Ordering::SeqCst;

use bytes::Bytes;
use kafka_protocol::records::{
    Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType as RecordTime,
};
use tempfile::TempDir;

use super::super::super::config::TimestampType;
use super::super::super::error::{AppendError, OpenError, ReadError};
use super::super::super::format::record_batch::tests::Batch;
use super::super::super::format::record_batch::{self, Header};
use super::super::super::format::record_stream::tests::claiming;
use super::super::super::{AppendOrigin, Appended};
use super::super::recovery::{self, Hints};
use super::*;

mod crash;
mod model;

pub(crate) const NOW: i64 = 1_000_000;

/// Settings under which a few batches fill a segment.
pub(crate) fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 500,
        index_interval_bytes: 100,
        retention_ms: -1,
        ..LogConfig::default()
    }
}

/// A log in a directory of its own.
pub(crate) struct TestLog {
    pub folder: TempDir,
    pub config: LogConfig,
    log: Option<Log>,
}

impl std::ops::Deref for TestLog {
    type Target = Log;
    fn deref(&self) -> &Log {
        self.log.as_ref().expect("open")
    }
}

impl TestLog {
    pub fn new(config: LogConfig) -> TestLog {
        let mut log = TestLog {
            folder: tempfile::tempdir().unwrap(),
            config,
            log: None,
        };
        log.reopen(hints(false)).unwrap();
        log
    }

    pub fn partition_folder(&self) -> PathBuf {
        self.folder.path().join("t-0")
    }

    /// Drops the log without closing it.
    pub fn crash(&mut self) {
        self.log = None;
    }

    /// Opens the log again, after a crash or a clean stop.
    pub fn reopen(&mut self, hints: Hints) -> Result<(), OpenError> {
        self.log = None;
        let dir = Arc::new(LogDir::open(self.folder.path()).unwrap());
        fs::create_dir_all(self.partition_folder()).unwrap();
        let partition = TopicPartition::new("t", 0);
        let hints = Hints {
            recovery_point: hints.recovery_point.max(dir.recovery_point(&partition)),
            ..hints
        };
        let folder = self.partition_folder();
        let log = recovery::load(&folder, &partition, self.config.clone(), dir, hints, NOW)?;
        self.log = Some(log);
        Ok(())
    }

    pub fn append(&self, batch: &Batch) -> Result<Appended, AppendError> {
        self.append_as_leader(batch.bytes().into(), 0, AppendOrigin::Client, NOW)
    }

    pub fn file_names(&self) -> Vec<String> {
        file::list(&self.partition_folder()).unwrap()
    }
}

pub(crate) fn hints(clean: bool) -> Hints {
    Hints {
        clean,
        recovery_point: 0,
        log_start: 0,
        log_start_exact: false,
        high_watermark: None,
        cut_damage: false,
    }
}

/// Base offset, last offset and leader epoch of every batch that can be read.
pub(crate) fn batches(log: &Log) -> Vec<(i64, i64, i32)> {
    let mut all = Vec::new();
    let mut offset = log.log_start_offset();
    loop {
        let records = log.read(offset, 1, i64::MAX, true).unwrap();
        let Some(header) = record_batch::headers(&records.bytes).next() else {
            return all;
        };
        let header = header.unwrap().0;
        record_batch::parse_whole(&records.bytes).unwrap();
        all.push((
            header.base_offset,
            header.last_offset(),
            header.leader_epoch,
        ));
        offset = header.next_offset();
    }
}

#[test]
fn appends_and_reads_across_segments() {
    let log = TestLog::new(small());
    for at in 0..20 {
        let appended = log.append(&Batch::of(3)).unwrap();
        assert_eq!(
            (appended.first_offset, appended.last_offset),
            (at * 3, at * 3 + 2)
        );
    }
    assert!(log.segment_count() > 3);
    assert_eq!(log.log_end_offset(), 60);
    let expected: Vec<_> = (0..20).map(|at| (at * 3, at * 3 + 2, 0)).collect();
    assert_eq!(batches(&log), expected);
    let middle = log.read(31, 1, i64::MAX, true).unwrap();
    assert_eq!(middle.first_offset, 30);
    assert!(log.read(60, 100, i64::MAX, true).unwrap().bytes.is_empty());
    let beyond = log.read(61, 100, i64::MAX, true);
    assert!(matches!(
        beyond,
        Err(ReadError::OutOfRange {
            offset: 61,
            log_start: 0,
            log_end: 60
        })
    ));
}

#[test]
fn reads_keep_to_their_bounds() {
    let log = TestLog::new(LogConfig::default());
    let size = Batch::of(2).bytes().len();
    for _ in 0..10 {
        log.append(&Batch::of(2)).unwrap();
    }
    let length =
        |offset, max, upper, min_one| log.read(offset, max, upper, min_one).unwrap().bytes.len();
    assert_eq!(length(0, usize::MAX >> 1, i64::MAX, false), 10 * size);
    assert_eq!(length(0, 3 * size - 1, i64::MAX, false), 2 * size);
    assert_eq!(length(0, size - 1, i64::MAX, false), 0);
    assert_eq!(length(0, 0, i64::MAX, true), size);
    for upper in 0..=20 {
        let expected = usize::try_from(upper).unwrap() / 2 * size;
        assert_eq!(
            length(0, usize::MAX >> 1, upper, true),
            expected,
            "upper {upper}"
        );
    }
    let slice = log.slice(5, 3 * size, i64::MAX, false).unwrap().unwrap();
    assert_eq!(
        (slice.first_offset, slice.position, slice.length),
        (4, 2 * size as u64, 3 * size)
    );
}

#[test]
fn files_are_kafkas_to_the_byte() {
    let log = TestLog::new(LogConfig {
        index_interval_bytes: 150,
        ..LogConfig::default()
    });
    let size = Batch::of(2).bytes().len() as u32;
    for at in 0..4 {
        let batch = Batch {
            timestamp_ms: 1_000 + 10 * at,
            ..Batch::of(2)
        };
        log.append(&batch).unwrap();
    }
    assert_eq!(size, 101);
    let file = |name: &str| fs::read(log.partition_folder().join(name)).unwrap();
    // An entry goes in before the append that finds more than 150 bytes without one.
    let index: Vec<u8> = [&5i32.to_be_bytes()[..], &(2 * size).to_be_bytes()].concat();
    assert_eq!(file("00000000000000000000.index"), index);
    let time: Vec<u8> = [&1021i64.to_be_bytes()[..], &5i32.to_be_bytes()].concat();
    assert_eq!(file("00000000000000000000.timeindex"), time);
    log.flush().unwrap();
    assert_eq!(file("leader-epoch-checkpoint"), b"0\n1\n0 0\n");
    log.close().unwrap();
    let time: Vec<u8> = [&time[..], &1031i64.to_be_bytes(), &7i32.to_be_bytes()].concat();
    assert_eq!(file("00000000000000000000.timeindex"), time);
    let empty = [&[0, 1][..], &crc32c::crc32c(&[0; 4]).to_be_bytes(), &[0; 4]].concat();
    assert_eq!(file("00000000000000000008.snapshot"), empty);
}

#[test]
fn segments_roll_by_time_index_and_offset_span() {
    let config = LogConfig {
        segment_ms: 1_000,
        ..LogConfig::default()
    };
    let log = TestLog::new(config);
    for (timestamp_ms, segments) in [(5_000, 1), (6_000, 1), (6_001, 2), (7_000, 2)] {
        log.append(&Batch {
            timestamp_ms,
            ..Batch::of(1)
        })
        .unwrap();
        assert_eq!(log.segment_count(), segments, "{timestamp_ms}");
    }
    let config = LogConfig {
        segment_index_bytes: 36,
        index_interval_bytes: 0,
        ..LogConfig::default()
    };
    let log = TestLog::new(config);
    for _ in 0..20 {
        log.append(&Batch::of(1)).unwrap();
    }
    assert!(log.segment_count() >= 4, "{}", log.segment_count());
    assert_eq!(batches(&log).len(), 20);

    let log = TestLog::new(LogConfig::default());
    let far = i64::from(i32::MAX);
    for base_offset in [0, far, far + 1] {
        let batch = Batch {
            base_offset,
            leader_epoch: 1,
            ..Batch::of(1)
        };
        log.append_as_follower(batch.bytes().into(), NOW).unwrap();
    }
    assert_eq!(log.segment_count(), 2);
    assert_eq!(batches(&log).len(), 3);
}

#[test]
fn retries_are_answered_with_their_offsets_across_restarts() {
    let mut log = TestLog::new(small());
    let batch = |base_sequence| Batch {
        producer_id: 9,
        producer_epoch: 0,
        base_sequence,
        ..Batch::of(2)
    };
    for at in 0..10 {
        log.append(&batch(at * 2)).unwrap();
    }
    for clean in [false, true] {
        let retry = log.append(&batch(18)).unwrap();
        assert!(retry.duplicate);
        assert_eq!((retry.first_offset, retry.last_offset), (18, 19));
        let gap = log.append(&batch(30));
        assert!(matches!(
            gap,
            Err(AppendError::OutOfOrderSequence { expected: 20, .. })
        ));
        if clean {
            log.close().unwrap();
        }
        log.crash();
        log.reopen(hints(clean)).unwrap();
    }
    assert!(log.append(&batch(18)).unwrap().duplicate);
    assert!(!log.append(&batch(20)).unwrap().duplicate);
    assert_eq!(log.log_end_offset(), 22);
}

#[test]
fn log_append_time_is_stamped() {
    let config = LogConfig {
        timestamp_type: TimestampType::LogAppendTime,
        ..LogConfig::default()
    };
    let log = TestLog::new(config);
    assert_eq!(log.append(&Batch::of(2)).unwrap().log_append_time_ms, NOW);
    let records = log.read(0, 1, i64::MAX, true).unwrap();
    let header = record_batch::parse_whole(&records.bytes).unwrap();
    assert!(header.is_log_append_time());
    assert_eq!(header.max_timestamp_ms, NOW);
}

fn compressed(compression: Compression, timestamps: &[i64]) -> Bytes {
    let records: Vec<Record> = timestamps
        .iter()
        .enumerate()
        .map(|(at, &timestamp)| Record {
            transactional: false,
            control: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: RecordTime::Creation,
            offset: at as i64,
            sequence: at as i32,
            timestamp,
            key: None,
            value: Some(Bytes::from_static(b"value")),
            headers: Default::default(),
            delete_horizon: false,
        })
        .collect();
    let mut out = bytes::BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    RecordBatchEncoder::encode(&mut out, records.iter(), &options).unwrap();
    out.freeze()
}

#[test]
fn timestamps_lead_to_offsets_in_every_codec() {
    let log = TestLog::new(small());
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for (at, codec) in codecs.into_iter().enumerate() {
        let base = 1_000 * (at as i64 + 1);
        let batch = compressed(codec, &[base, base + 500, base + 200]);
        log.append_as_leader(batch, 3, AppendOrigin::Client, NOW)
            .unwrap();
    }
    let found = |timestamp_ms| log.offset_for_timestamp(timestamp_ms, i64::MAX).unwrap();
    for at in 0..5 {
        let base = 1_000 * (at + 1);
        for (wanted, timestamp_ms, offset) in [
            (base - 1, base, at * 3),
            (base + 1, base + 500, at * 3 + 1),
            (base + 500, base + 500, at * 3 + 1),
        ] {
            let leader_epoch = 3;
            let expected = TimestampOffset {
                timestamp_ms,
                offset,
                leader_epoch,
            };
            assert_eq!(found(wanted), Some(expected), "{wanted}");
        }
    }
    assert_eq!(found(5_501), None);
    assert_eq!(log.offset_for_timestamp(4_100, 10).unwrap(), None);
    assert_eq!(log.max_timestamp(i64::MAX).unwrap().unwrap().offset, 13);
}

/// A leader that checked less may have let it in.
#[test]
fn a_batch_that_lies_about_its_count_can_be_looked_up() {
    let log = TestLog::new(small());
    let batch = claiming(
        compressed(Compression::Gzip, &[1_000, 1_500]).into(),
        i32::MAX,
    );
    log.append_as_follower(batch.into(), NOW).unwrap();
    let found = |timestamp_ms| log.offset_for_timestamp(timestamp_ms, i64::MAX).unwrap();
    assert_eq!(found(1_200).unwrap().offset, 1);
    assert_eq!(found(1_501), None);
}

#[test]
fn followers_copy_the_leader_and_refuse_what_does_not_follow() {
    let leader = TestLog::new(small());
    for epoch in [1, 1, 4, 4, 4, 9] {
        let batch = Batch {
            value_size: 60,
            ..Batch::of(2)
        };
        leader
            .append_as_leader(batch.bytes().into(), epoch, AppendOrigin::Client, NOW)
            .unwrap();
    }
    let follower = TestLog::new(small());
    while follower.log_end_offset() < leader.log_end_offset() {
        let records = leader
            .read(follower.log_end_offset(), 400, i64::MAX, true)
            .unwrap();
        let cut = [&records.bytes[..], &records.bytes[..30]].concat();
        follower.append_as_follower(cut.into(), NOW).unwrap();
    }
    assert_eq!(batches(&follower), batches(&leader));
    assert_eq!(*follower.epochs.read(), *leader.epochs.read());
    let old = leader.read(4, 1, i64::MAX, true).unwrap();
    let refused = follower.append_as_follower(old.bytes, NOW);
    assert!(matches!(
        refused,
        Err(AppendError::UnexpectedOffset {
            found: 4,
            log_end: 12
        })
    ));
    let stale =
        follower.append_as_leader(Batch::of(1).bytes().into(), 8, AppendOrigin::Client, NOW);
    assert!(matches!(
        stale,
        Err(AppendError::StaleLeaderEpoch {
            found: 8,
            latest: 9
        })
    ));
    let end = follower.end_offset_for_epoch(4).unwrap();
    assert_eq!((end.leader_epoch, end.end_offset), (4, 10));
    follower.assign_epoch(11).unwrap();
    assert_eq!(follower.end_offset_for_epoch(9).unwrap().end_offset, 12);
    assert_eq!(follower.end_offset_for_epoch(11).unwrap().end_offset, 12);
    assert_eq!(follower.epoch_at(5), Some(4));
}

#[test]
fn retention_renames_then_removes() {
    let config = LogConfig {
        retention_bytes: 600,
        file_delete_delay_ms: 100,
        ..small()
    };
    let mut log = TestLog::new(config);
    for _ in 0..30 {
        log.append(&Batch::of(2)).unwrap();
    }
    let before = log.segment_count();
    let reader = log.slice(0, 10_000, i64::MAX, true).unwrap().unwrap();
    assert_eq!(
        log.apply_retention(NOW, 0).unwrap(),
        0,
        "nothing above the high watermark"
    );
    let gone = log.apply_retention(NOW, log.log_end_offset()).unwrap();
    assert!(gone > 0);
    assert_eq!(log.segment_count(), before - gone);
    let start = log.log_start_offset();
    assert!(start > 0 && log.size_bytes() >= 600);
    assert!(matches!(
        log.read(0, 1, i64::MAX, true),
        Err(ReadError::OutOfRange { .. })
    ));
    assert_eq!(batches(&log).first().unwrap().0, start);
    assert!(
        log.file_names()
            .iter()
            .any(|name| name.ends_with(".deleted"))
    );
    let mut held = vec![0; reader.length];
    super::super::window::read_full(&reader.file, &mut held, reader.position).unwrap();
    record_batch::parse_whole(&held).unwrap();
    log.remove_due(NOW + 99).unwrap();
    assert!(
        log.file_names()
            .iter()
            .any(|name| name.ends_with(".deleted"))
    );
    log.remove_due(NOW + 100).unwrap();
    assert!(
        !log.file_names()
            .iter()
            .any(|name| name.ends_with(".deleted"))
    );
    log.crash();
    log.reopen(hints(false)).unwrap();
    assert_eq!(log.log_start_offset(), start);
}

#[test]
fn retention_by_time_empties_the_log_but_keeps_its_end() {
    let config = LogConfig {
        retention_ms: 1_000,
        ..small()
    };
    let mut log = TestLog::new(config);
    for _ in 0..10 {
        log.append(&Batch::of(2)).unwrap();
    }
    assert!(log.apply_retention(NOW, 20).unwrap() > 0);
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (20, 20));
    assert_eq!(log.latest_epoch(), Some(0));
    log.close().unwrap();
    log.reopen(hints(true)).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (20, 20));
    assert_eq!(log.append(&Batch::of(1)).unwrap().first_offset, 20);
}

#[test]
fn the_start_moves_only_forward_and_within_the_log() {
    let log = TestLog::new(small());
    for _ in 0..10 {
        log.append(&Batch::of(2)).unwrap();
    }
    assert!(log.advance_log_start(7).unwrap());
    assert!(!log.advance_log_start(5).unwrap());
    assert!(log.advance_log_start(21).is_err());
    assert!(matches!(
        log.read(6, 1, i64::MAX, true),
        Err(ReadError::OutOfRange { .. })
    ));
    assert_eq!(log.read(7, 1, i64::MAX, true).unwrap().first_offset, 6);
    log.apply_retention(NOW, 20).unwrap();
    assert_eq!(log.log_start_offset(), 7);
}

#[test]
fn an_epoch_led_without_a_record_goes_although_no_record_does() {
    let log = TestLog::new(small());
    let batch = Batch::of(2).bytes();
    log.append_as_leader(batch.into(), 0, AppendOrigin::Client, NOW)
        .unwrap();
    log.assign_epoch(1).unwrap();
    assert_eq!(log.latest_epoch(), Some(1));
    // The next leader knows nothing of epoch 1 and says that epoch 0 ends where this log does.
    assert!(!log.truncate_to(2).unwrap(), "no record went");
    assert_eq!(log.latest_epoch(), Some(0));
    assert_eq!(log.log_end_offset(), 2);
}

#[test]
fn truncation_takes_whole_batches_and_what_was_known_of_them() {
    let log = TestLog::new(small());
    for (at, epoch) in [0, 0, 0, 2, 2, 5, 5, 5, 5, 5].into_iter().enumerate() {
        let batch = Batch {
            producer_id: 1,
            producer_epoch: 0,
            base_sequence: at as i32 * 2,
            ..Batch::of(2)
        };
        log.append_as_leader(batch.bytes().into(), epoch, AppendOrigin::Client, NOW)
            .unwrap();
    }
    assert!(!log.truncate_to(20).unwrap());
    assert!(log.truncate_to(9).unwrap());
    assert_eq!(log.log_end_offset(), 8, "offset 9 is inside of a batch");
    assert_eq!(log.latest_epoch(), Some(2));
    let next = Batch {
        producer_id: 1,
        producer_epoch: 0,
        base_sequence: 8,
        ..Batch::of(1)
    };
    let appended = log.append_as_leader(next.bytes().into(), 6, AppendOrigin::Client, NOW);
    assert_eq!(appended.unwrap().first_offset, 8);
    log.truncate_fully_and_start_at(100).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (100, 100));
    assert_eq!(
        (
            log.latest_epoch(),
            log.segment_count(),
            log.producer_count()
        ),
        (None, 1, 0)
    );
    assert_eq!(log.append(&Batch::of(1)).unwrap().first_offset, 100);
}

#[test]
fn a_full_disk_leaves_whole_batches_only() {
    let mut log = TestLog::new(small());
    let batch = |base_sequence| Batch {
        producer_id: 1,
        producer_epoch: 0,
        base_sequence,
        ..Batch::of(1)
    };
    for at in 0..3 {
        log.append(&batch(at)).unwrap();
    }
    let size = log.size_bytes();
    for space in [0, 1, 30, 70] {
        log.active().faults.space.store(space, SeqCst);
        let full = log.append(&batch(3));
        assert!(
            matches!(full, Err(AppendError::Log(LogError::NoSpace(_)))),
            "{full:?}"
        );
        assert!(!full.unwrap_err().is_fatal());
        assert_eq!((log.log_end_offset(), log.size_bytes()), (3, size));
        let path = log.partition_folder().join("00000000000000000000.log");
        assert_eq!(fs::metadata(path).unwrap().len(), size);
    }
    log.active().faults.space.store(u64::MAX, SeqCst);
    assert_eq!(log.append(&batch(3)).unwrap().first_offset, 3);
    log.crash();
    log.reopen(hints(false)).unwrap();
    assert_eq!(batches(&log).len(), 4);
}

#[test]
fn a_disk_too_full_for_the_epochs_file_flushes_later() {
    let log = TestLog::new(small());
    log.append(&Batch::of(1)).unwrap();
    let full = log.partition_folder().join("leader-epoch-checkpoint.tmp");
    let fill = || std::os::unix::fs::symlink("/dev/full", &full).unwrap();
    fill();
    let answer = log.flush();
    assert!(matches!(answer, Err(LogError::NoSpace(_))), "{answer:?}");
    assert_eq!(log.flushed_end_offset(), 0);
    log.flush().unwrap();
    assert_eq!(log.flushed_end_offset(), 1);
    log.assign_epoch(3).unwrap();
    fill();
    assert!(!log.truncate_to(1).unwrap());
    assert_eq!(log.latest_epoch(), Some(0));
    log.close().unwrap();
}

#[test]
fn a_failed_fsync_is_fatal_and_promises_nothing() {
    let log = TestLog::new(small());
    log.append(&Batch::of(1)).unwrap();
    log.active().faults.sync_fails.store(true, SeqCst);
    assert!(log.flush().unwrap_err().is_fatal());
    assert_eq!(log.flushed_end_offset(), 0);
}

#[test]
fn flushes_are_due_by_count_time_and_roll() {
    let config = LogConfig {
        flush_messages: 4,
        flush_ms: 100,
        ..small()
    };
    let log = TestLog::new(config);
    log.append(&Batch::of(3)).unwrap();
    assert!(!log.needs_flush());
    log.append(&Batch::of(1)).unwrap();
    assert!(log.needs_flush());
    log.flush().unwrap();
    assert_eq!((log.flushed_end_offset(), log.needs_flush()), (4, false));
    log.append(&Batch::of(1)).unwrap();
    assert!(!log.flush_if_due(NOW + 99).unwrap());
    assert!(log.flush_if_due(NOW + 100).unwrap());
    assert_eq!(log.flushed_end_offset(), 5);
    while log.segment_count() == 1 {
        log.append(&Batch::of(1)).unwrap();
    }
    assert!(
        log.flush_if_due(NOW + 101).unwrap(),
        "closed segments are flushed in any case"
    );
    assert_eq!(log.flushed_end_offset(), log.log_end_offset() - 1);
}

#[test]
fn readers_run_beside_an_appender() {
    let log = TestLog::new(LogConfig {
        segment_bytes: 4_000,
        ..small()
    });
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut offset = 0;
                while offset < 2_000 {
                    let upper = log.log_end_offset();
                    let records = log.read(offset, 1_000, upper, true).unwrap();
                    for item in record_batch::headers(&records.bytes) {
                        let (header, range): (Header, _) = item.unwrap();
                        record_batch::parse_whole(&records.bytes[range]).unwrap();
                        assert_eq!(header.base_offset, offset);
                        offset = header.next_offset();
                        assert!(offset <= upper);
                    }
                }
            });
        }
        for _ in 0..1_000 {
            log.append(&Batch::of(2)).unwrap();
        }
    });
}

#[test]
fn a_closed_log_takes_nothing() {
    let log = TestLog::new(small());
    log.append(&Batch::of(1)).unwrap();
    log.close().unwrap();
    let refused = log.append(&Batch::of(1));
    assert!(matches!(
        refused,
        Err(AppendError::Log(LogError::Closed(_)))
    ));
    assert!(log.truncate_to(0).is_err());
    assert_eq!(batches(&log).len(), 1);
}

/// Bytes of each log file, by base offset.
pub(crate) fn log_files(folder: &Path) -> BTreeMap<i64, Vec<u8>> {
    let names = file::list(folder).unwrap();
    let logs = names
        .iter()
        .filter_map(|name| match names::parse_segment_file(name) {
            Some((base, names::LOG)) => Some((base, fs::read(folder.join(name)).unwrap())),
            _ => None,
        });
    logs.collect()
}
