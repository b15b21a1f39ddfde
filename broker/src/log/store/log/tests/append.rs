//! Appending: segments, files, producers, timestamps, followers, closed logs.

use super::*;

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
    for clean in [false, true, true] {
        // Clients have up to five under way.
        for at in [10, 12, 14, 16, 18] {
            let retry = log.append(&batch(at)).unwrap();
            assert!(retry.duplicate, "{at}, clean: {clean}");
            let at = i64::from(at);
            assert_eq!((retry.first_offset, retry.last_offset), (at, at + 1));
        }
        let older = log.append(&batch(8));
        assert!(
            matches!(older, Err(AppendError::OutOfOrderSequence { .. })),
            "{older:?}"
        );
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
