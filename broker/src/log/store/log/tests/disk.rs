//! Flushes, full disks and disks that fail.

use super::*;

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
