//! The smallest history for each thing that the tests of crashes found.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::super::config::LogConfig;
use super::super::super::error::{AppendError, ReadError};
use super::super::super::format::names;
use super::super::super::format::record_batch::tests::Batch;
use super::super::super::{AppendOrigin, TopicId, TopicPartition};
use super::super::log::Log;
use super::super::log::tests::{NOW, small};
use super::super::manager::LogManager;
use crate::disk::MemoryDisk;
use crate::disk::memory::{Fault, Loss, Operation};

fn dirs() -> Vec<PathBuf> {
    vec![PathBuf::from("/broker/a")]
}

fn partition(at: i32) -> TopicPartition {
    TopicPartition::new("t", at)
}

fn open(disk: &MemoryDisk) -> LogManager {
    let config = LogConfig {
        file_delete_delay_ms: 0,
        ..small()
    };
    LogManager::open(disk.shared(), &dirs(), config, NOW).unwrap()
}

fn create(manager: &LogManager, id: u128) -> Arc<Log> {
    let id = TopicId::from_u128(id);
    let none = BTreeMap::new();
    manager
        .get_or_create(&partition(0), id, &none, NOW)
        .unwrap()
}

/// Appends so many records, each a batch of its own.
fn append(log: &Log, count: i64, epoch: i32) {
    for _ in 0..count {
        let batch = Batch::of(1).bytes().into();
        log.append_as_leader(batch, epoch, AppendOrigin::Client, NOW)
            .unwrap();
    }
}

/// Start and end of the log after a crash, with nothing damaged or told as lost.
fn after_crash(disk: &MemoryDisk, loss: Loss) -> (i64, i64) {
    disk.crash(loss);
    let manager = open(disk);
    assert!(
        manager.losses(false).is_empty(),
        "{:?}",
        manager.losses(false)
    );
    let log = manager.get(&partition(0)).unwrap();
    (log.log_start_offset(), log.log_end_offset())
}

#[test]
fn a_log_is_not_measured_by_one_of_its_name_that_was_deleted() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    append(&log, 20, 0);
    log.advance_log_start(15).unwrap();
    log.flush().unwrap();
    manager.checkpoint_offsets().unwrap();
    let marks = BTreeMap::from([(partition(0), 18)]);
    manager.write_high_watermarks(&marks).unwrap();
    manager.delete(&partition(0), NOW).unwrap();
    let log = create(&manager, 2);
    append(&log, 4, 0);
    log.flush().unwrap();
    drop((log, manager));
    assert_eq!(after_crash(&disk, Loss::Nothing), (0, 4));
    disk.crash(Loss::Nothing);
    assert_eq!(open(&disk).high_watermarks().get(&partition(0)), None);
}

#[test]
fn what_was_deleted_and_removed_is_not_missed() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    append(&create(&manager, 1), 4, 0);
    let marks = BTreeMap::from([(partition(0), 4)]);
    manager.write_high_watermarks(&marks).unwrap();
    manager.delete(&partition(0), NOW).unwrap();
    manager.remove_due(NOW).unwrap();
    drop(manager);
    disk.crash(Loss::Nothing);
    assert!(open(&disk).losses(true).is_empty());
}

#[test]
fn a_recovery_point_that_could_not_be_lowered_is_lowered_when_tried_again() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    append(&log, 20, 0);
    log.flush().unwrap();
    manager.checkpoint_offsets().unwrap();
    disk.fill_after(0);
    assert!(log.truncate_to(5).unwrap_err().no_space().is_some());
    disk.set_capacity(u64::MAX);
    log.truncate_to(5).unwrap();
    let path = dirs()[0].join(names::RECOVERY_POINT_CHECKPOINT);
    assert_eq!(disk.contents(&path).unwrap(), b"0\n1\nt 0 5\n");
}

#[test]
fn what_was_cut_does_not_come_back() {
    for seed in 0..50 {
        let disk = MemoryDisk::new(seed);
        let manager = open(&disk);
        let log = create(&manager, 1);
        append(&log, 20, 0);
        log.flush().unwrap();
        assert!(log.segment_count() > 3);
        log.truncate_to(2).unwrap();
        append(&log, 1, 1);
        log.flush().unwrap();
        drop((log, manager));
        assert_eq!(after_crash(&disk, Loss::Some), (0, 3), "seed {seed}");
    }
}

#[test]
fn a_log_that_was_cut_below_its_start_keeps_what_came_after() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    append(&log, 20, 0);
    log.advance_log_start(15).unwrap();
    manager.flush_dirty(NOW).unwrap();
    manager.checkpoint_offsets().unwrap();
    log.truncate_fully_and_start_at(5).unwrap();
    append(&log, 3, 1);
    log.flush().unwrap();
    drop((log, manager));
    assert_eq!(after_crash(&disk, Loss::Nothing), (5, 8));
}

#[test]
fn a_start_that_moved_says_nothing_of_what_is_flushed() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    append(&log, 3, 0);
    log.flush().unwrap();
    append(&log, 1, 0);
    log.advance_log_start(4).unwrap();
    manager.flush_dirty(NOW).unwrap();
    drop((log, manager));
    let (start, end) = after_crash(&disk, Loss::Everything);
    assert!(start <= 4 && (end == 3 || end == 4), "{start}..{end}");
}

#[test]
fn a_new_log_directory_is_durable() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    append(&log, 3, 0);
    log.flush().unwrap();
    drop((log, manager));
    assert_eq!(after_crash(&disk, Loss::Everything), (0, 3));
}

#[test]
fn a_clean_stop_leaves_everything_on_the_disk() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    append(&log, 12, 0);
    log.flush().unwrap();
    manager.shutdown_clean(1).unwrap();
    drop((log, manager));
    disk.crash(Loss::Everything);
    let manager = open(&disk);
    let log = manager.get(&partition(0)).unwrap();
    assert_eq!(*log.recovered(), Default::default());
}

#[test]
fn a_topic_is_deleted_from_a_full_disk() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    append(&log, 12, 0);
    log.flush().unwrap();
    manager.checkpoint_offsets().unwrap();
    disk.fill_after(0);
    let batch = Batch::of(1).bytes().into();
    let full = log.append_as_leader(batch, 0, AppendOrigin::Client, NOW);
    assert!(matches!(full, Err(AppendError::Log(error)) if error.no_space().is_some()));
    drop(log);
    assert!(manager.delete(&partition(0), NOW).unwrap());
    assert_eq!(manager.remove_due(NOW).unwrap(), 1);
    create(&manager, 2);
}

#[test]
fn a_leader_epoch_that_changed_on_the_disk_is_not_served() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    append(&log, 2, 0);
    manager.shutdown_clean(1).unwrap();
    drop((log, manager));
    disk.crash(Loss::Nothing);
    let path = dirs()[0]
        .join("t-0")
        .join(names::segment_file(0, names::LOG));
    disk.flip_bit(&path, 15, 3).unwrap();
    let log = open(&disk).get(&partition(0)).unwrap();
    let answer = log.read(0, 1000, i64::MAX, true);
    assert!(matches!(answer, Err(ReadError::Corrupt(_))), "{answer:?}");
}

#[test]
fn segments_go_after_the_start_that_lets_them() {
    for seed in 0..50 {
        let disk = MemoryDisk::new(seed);
        let manager = open(&disk);
        let log = create(&manager, 1);
        append(&log, 20, 0);
        log.flush().unwrap();
        manager.checkpoint_offsets().unwrap();
        log.advance_log_start(15).unwrap();
        assert!(manager.retention_pass(NOW, &|_| Some(20)).unwrap() > 1);
        drop((log, manager));
        assert_eq!(after_crash(&disk, Loss::Some), (15, 20), "seed {seed}");
    }
}

#[test]
fn leader_epochs_that_are_not_the_batches_are_built_anew() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    append(&log, 8, 0);
    manager.shutdown_clean(1).unwrap();
    drop((log, manager));
    disk.crash(Loss::Nothing);
    let path = dirs()[0].join("t-0").join(names::LEADER_EPOCH_CHECKPOINT);
    disk.put(&path, b"0\n1\n0 4\n").unwrap();
    let log = open(&disk).get(&partition(0)).unwrap();
    assert_eq!(log.epoch_at(0), Some(0));
}

#[test]
fn an_emptied_time_index_is_written_anew() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    let log = create(&manager, 1);
    for timestamp_ms in [9_000, 1_000, 1_000, 1_000] {
        let batch = Batch {
            timestamp_ms,
            ..Batch::of(1)
        };
        let bytes = batch.bytes().into();
        log.append_as_leader(bytes, 0, AppendOrigin::Client, NOW)
            .unwrap();
    }
    manager.shutdown_clean(1).unwrap();
    drop((log, manager));
    disk.crash(Loss::Nothing);
    let path = dirs()[0]
        .join("t-0")
        .join(names::segment_file(0, names::TIME_INDEX));
    disk.put(&path, &[]).unwrap();
    let log = open(&disk).get(&partition(0)).unwrap();
    let found = log.offset_for_timestamp(9_000, i64::MAX).unwrap();
    assert_eq!(found.map(|found| found.offset), Some(0));
}

#[test]
fn a_disk_that_fails_in_recovery_is_not_taken_for_a_damaged_log() {
    let disk = MemoryDisk::new(1);
    let manager = open(&disk);
    append(&create(&manager, 1), 4, 0);
    drop(manager);
    disk.crash(Loss::Nothing);
    let path = dirs()[0]
        .join("t-0")
        .join(names::segment_file(0, names::SNAPSHOT));
    disk.put(&path, b"garbage").unwrap();
    disk.fail(Fault::broken(Operation::Remove, "snapshot"));
    let answer = LogManager::open(disk.shared(), &dirs(), small(), NOW);
    assert!(answer.is_err_and(|error| error.is_fatal()));
}
