//! Retention and truncation: what goes, at the front and at the end.

use super::*;

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
    assert_eq!(log.delete_passed(NOW).unwrap(), gone);
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
    reader
        .file
        .read_full_at(&mut held, reader.position)
        .unwrap();
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
    assert!(log.delete_passed(NOW).unwrap() > 0);
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
    log.delete_passed(NOW).unwrap();
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
