//! The smallest history for each thing that the tests of crashes found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::super::config::LogConfig;
use super::super::super::error::{AppendError, ManagerError, ReadError};
use super::super::super::format::names;
use super::super::super::format::record_batch::tests::Batch;
use super::super::super::{AppendOrigin, TopicId, TopicPartition};
use super::super::log::Log;
use super::super::log::tests::{NOW, small};
use super::super::manager::LogManager;
use crate::disk::memory::{Fault, Loss, Operation};
use crate::disk::{Disk, MemoryDisk};

/// A broker's log directory on a disk that loses, and one partition in it.
pub struct World {
    pub disk: MemoryDisk,
    manager: Option<LogManager>,
    /// Of the disk, when the manager was opened.
    boot: String,
}

impl World {
    /// An empty directory, opened; what a crash takes follows `seed`.
    pub fn new(seed: u64) -> World {
        let mut world = World {
            disk: MemoryDisk::new(seed),
            manager: None,
            boot: String::new(),
        };
        world.open();
        world
    }

    /// The same with a partition of `records` records in it, each a batch of its own.
    pub fn with_log(seed: u64, records: i64) -> (World, Arc<Log>) {
        let world = World::new(seed);
        let log = world.create(1);
        append(&log, records, 0);
        (world, log)
    }

    pub fn try_open(&mut self) -> Result<(), ManagerError> {
        let config = LogConfig {
            file_delete_delay_ms: 0,
            ..small()
        };
        let dirs = [PathBuf::from(DIR)];
        let former = std::mem::replace(&mut self.boot, self.disk.boot_id());
        self.manager = None;
        let opened = LogManager::open(self.disk.shared(), &dirs, config, &former, NOW)?;
        self.manager = Some(opened);
        Ok(())
    }

    pub fn open(&mut self) {
        self.try_open().unwrap();
    }

    pub fn create(&self, id: u128) -> Arc<Log> {
        let (id, none) = (TopicId::from_u128(id), BTreeMap::new());
        self.get_or_create(&partition(), id, &none, NOW).unwrap()
    }

    pub fn log(&self) -> Arc<Log> {
        self.get(&partition()).unwrap()
    }

    /// Ends the process, and by `loss` the power.
    pub fn crash(&mut self, loss: Loss) {
        self.manager = None;
        self.disk.crash(loss);
    }

    /// The same, and another start.
    pub fn restart(&mut self, loss: Loss) {
        self.crash(loss);
        self.open();
    }

    pub fn stop_cleanly(&mut self) {
        self.shutdown_clean(1).unwrap();
        self.crash(Loss::Nothing);
    }

    /// Start and end of the log after a crash, with nothing damaged or told as lost.
    pub fn after_crash(&mut self, loss: Loss) -> (i64, i64) {
        self.restart(loss);
        assert!(self.losses().is_empty(), "{:?}", self.losses());
        self.ends()
    }

    pub fn ends(&self) -> (i64, i64) {
        let log = self.log();
        (log.log_start_offset(), log.log_end_offset())
    }
}

impl std::ops::Deref for World {
    type Target = LogManager;
    fn deref(&self) -> &LogManager {
        self.manager.as_ref().expect("running")
    }
}

/// The log directory.
pub const DIR: &str = "/broker/a";

pub fn checkpoint(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A file in the partition's folder.
pub fn file(name: &str) -> PathBuf {
    Path::new(DIR).join("t-0").join(name)
}

/// A file of the segment that begins at `base`.
pub fn segment(base: i64, kind: &str) -> PathBuf {
    file(&names::segment_file(base, kind))
}

pub fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// Appends so many records, each a batch of its own.
pub fn append(log: &Log, count: i64, epoch: i32) {
    for _ in 0..count {
        let batch = Batch::of(1).bytes().into();
        log.append_as_leader(batch, epoch, AppendOrigin::Client, NOW)
            .unwrap();
    }
}

#[test]
fn a_log_is_not_measured_by_one_of_its_name_that_was_deleted() {
    let (mut world, log) = World::with_log(1, 20);
    log.advance_log_start(15).unwrap();
    log.flush().unwrap();
    world.checkpoint_offsets().unwrap();
    let marks = BTreeMap::from([(partition(), 18)]);
    world.write_high_watermarks(&marks).unwrap();
    world.delete(&partition(), NOW).unwrap();
    let log = world.create(2);
    append(&log, 4, 0);
    log.flush().unwrap();
    drop(log);
    assert_eq!(world.after_crash(Loss::Nothing), (0, 4));
    world.restart(Loss::Nothing);
    assert_eq!(world.high_watermarks().get(&partition()), None);
}

#[test]
fn what_was_deleted_and_removed_is_not_missed() {
    let (mut world, _) = World::with_log(1, 4);
    let marks = BTreeMap::from([(partition(), 4)]);
    world.write_high_watermarks(&marks).unwrap();
    world.delete(&partition(), NOW).unwrap();
    world.remove_due(NOW).unwrap();
    world.restart(Loss::Nothing);
    assert!(world.losses().is_empty());
}

#[test]
fn a_recovery_point_that_could_not_be_lowered_is_lowered_when_tried_again() {
    let (world, log) = World::with_log(1, 20);
    log.flush().unwrap();
    world.checkpoint_offsets().unwrap();
    world.disk.fill_after(0);
    assert!(log.truncate_to(5).unwrap_err().no_space().is_some());
    world.disk.set_capacity(u64::MAX);
    log.truncate_to(5).unwrap();
    let path = checkpoint(names::RECOVERY_POINT_CHECKPOINT);
    assert_eq!(world.disk.contents(&path).unwrap(), b"0\n1\nt 0 5\n");
}

#[test]
fn what_was_cut_does_not_come_back() {
    for seed in 0..50 {
        let (mut world, log) = World::with_log(seed, 20);
        log.flush().unwrap();
        assert!(log.segment_count() > 3);
        log.truncate_to(2).unwrap();
        append(&log, 1, 1);
        log.flush().unwrap();
        drop(log);
        assert_eq!(world.after_crash(Loss::Some), (0, 3), "seed {seed}");
    }
}

#[test]
fn a_log_that_was_cut_below_its_start_keeps_what_came_after() {
    let (mut world, log) = World::with_log(1, 20);
    log.advance_log_start(15).unwrap();
    world.flush_dirty(NOW).unwrap();
    world.checkpoint_offsets().unwrap();
    log.truncate_fully_and_start_at(5).unwrap();
    append(&log, 3, 1);
    log.flush().unwrap();
    drop(log);
    assert_eq!(world.after_crash(Loss::Nothing), (5, 8));
}

#[test]
fn a_start_that_moved_says_nothing_of_what_is_flushed() {
    let (mut world, log) = World::with_log(1, 3);
    log.flush().unwrap();
    append(&log, 1, 0);
    log.advance_log_start(4).unwrap();
    world.flush_dirty(NOW).unwrap();
    drop(log);
    let (start, end) = world.after_crash(Loss::Everything);
    assert!(start <= 4 && (end == 3 || end == 4), "{start}..{end}");
}

#[test]
fn a_new_log_directory_is_durable() {
    let (mut world, log) = World::with_log(1, 3);
    log.flush().unwrap();
    drop(log);
    assert_eq!(world.after_crash(Loss::Everything), (0, 3));
}

#[test]
fn a_clean_stop_leaves_everything_on_the_disk() {
    let (mut world, log) = World::with_log(1, 12);
    log.flush().unwrap();
    world.shutdown_clean(1).unwrap();
    drop(log);
    world.restart(Loss::Everything);
    assert_eq!(*world.log().recovered(), Default::default());
}

#[test]
fn a_clean_stop_leaves_nothing_of_an_append_that_was_taken_back() {
    for seed in 0..50 {
        let (mut world, log) = World::with_log(seed, 0);
        world.disk.fail(Fault {
            errno: rustix::io::Errno::NOSPC,
            ..Fault::broken(Operation::Write, ".log")
        });
        let batch = Batch::of(1).bytes().into();
        let full = log.append_as_leader(batch, 0, AppendOrigin::Client, NOW);
        assert!(matches!(full, Err(AppendError::Log(error)) if error.no_space().is_some()));
        world.shutdown_clean(1).unwrap();
        drop(log);
        assert_eq!(world.after_crash(Loss::Some), (0, 0), "seed {seed}");
    }
}

#[test]
fn a_topic_is_deleted_from_a_full_disk() {
    let (world, log) = World::with_log(1, 12);
    log.flush().unwrap();
    world.checkpoint_offsets().unwrap();
    world.disk.fill_after(0);
    let batch = Batch::of(1).bytes().into();
    let full = log.append_as_leader(batch, 0, AppendOrigin::Client, NOW);
    assert!(matches!(full, Err(AppendError::Log(error)) if error.no_space().is_some()));
    drop(log);
    assert!(world.delete(&partition(), NOW).unwrap());
    assert_eq!(world.remove_due(NOW).unwrap(), 1);
    world.create(2);
}

#[test]
fn a_leader_epoch_that_changed_on_the_disk_is_not_served() {
    let (mut world, log) = World::with_log(1, 2);
    drop(log);
    world.stop_cleanly();
    let path = segment(0, names::LOG);
    world.disk.flip_bit(&path, 15, 3).unwrap();
    world.open();
    let log = world.log();
    let answer = log.read(0, 1000, i64::MAX, true);
    assert!(matches!(answer, Err(ReadError::Corrupt(_))), "{answer:?}");
}

#[test]
fn segments_go_after_the_start_that_lets_them() {
    for seed in 0..50 {
        let (mut world, log) = World::with_log(seed, 20);
        log.flush().unwrap();
        world.checkpoint_offsets().unwrap();
        log.advance_log_start(15).unwrap();
        assert!(world.retention_pass(NOW, &|_| Some(20)).unwrap() > 1);
        drop(log);
        assert_eq!(world.after_crash(Loss::Some), (15, 20), "seed {seed}");
    }
}

#[test]
fn leader_epochs_that_are_not_the_batches_are_built_anew() {
    let (mut world, log) = World::with_log(1, 8);
    drop(log);
    world.stop_cleanly();
    let path = file(names::LEADER_EPOCH_CHECKPOINT);
    world.disk.put(&path, b"0\n1\n0 4\n").unwrap();
    world.open();
    let log = world.log();
    assert_eq!(log.epoch_at(0), Some(0));
}

#[test]
fn an_emptied_time_index_is_written_anew() {
    let mut world = World::new(1);
    let log = world.create(1);
    for timestamp_ms in [9_000, 1_000, 1_000, 1_000] {
        let batch = Batch {
            timestamp_ms,
            ..Batch::of(1)
        };
        let bytes = batch.bytes().into();
        log.append_as_leader(bytes, 0, AppendOrigin::Client, NOW)
            .unwrap();
    }
    drop(log);
    world.stop_cleanly();
    let path = segment(0, names::TIME_INDEX);
    world.disk.put(&path, &[]).unwrap();
    world.open();
    let log = world.log();
    let found = log.offset_for_timestamp(9_000, i64::MAX).unwrap();
    assert_eq!(found.map(|found| found.offset), Some(0));
}

#[test]
fn a_disk_that_fails_in_recovery_is_not_taken_for_a_damaged_log() {
    let (mut world, _) = World::with_log(1, 4);
    world.crash(Loss::Nothing);
    let path = segment(0, names::SNAPSHOT);
    world.disk.put(&path, b"garbage").unwrap();
    world
        .disk
        .fail(Fault::broken(Operation::Remove, "snapshot"));
    assert!(world.try_open().is_err_and(|error| error.is_fatal()));
}

#[test]
fn a_log_that_starts_over_is_whole_wherever_that_stops() {
    for operations in 0.. {
        let (mut world, log) = World::with_log(1, 20);
        log.flush().unwrap();
        log.advance_log_start(15).unwrap();
        world.retention_pass(NOW, &|_| Some(20)).unwrap();
        world.disk.freeze_after(operations);
        let done = log.truncate_fully_and_start_at(5);
        let frozen = world.disk.is_frozen();
        assert_eq!(done.is_err(), frozen);
        world.disk.freeze_after(u64::from(u32::MAX));
        drop(log);
        let (start, end) = world.after_crash(Loss::Nothing);
        assert!(start == 5 && end == 5 || frozen, "{start}..{end}");
        assert!(start <= end && end <= 20, "{start}..{end}");
        if !frozen {
            break;
        }
    }
}

#[test]
fn what_a_failed_sync_left_in_the_page_cache_is_written_again() {
    for seed in 0..20 {
        let (mut world, log) = World::with_log(seed, 2);
        log.flush().unwrap();
        world.checkpoint_offsets().unwrap();
        append(&log, 4, 0);
        world.disk.fail(Fault::broken(Operation::Sync, ".log"));
        assert!(log.flush().unwrap_err().is_fatal());
        drop(log);
        // The process ends and is started again: the cache shows all of it.
        world.restart(Loss::Nothing);
        let log = world.log();
        log.flush().unwrap();
        world.checkpoint_offsets().unwrap();
        let flushed = log.flushed_end_offset();
        assert_eq!(flushed, 6);
        drop(log);
        assert_eq!(world.after_crash(Loss::Everything), (0, 6), "seed {seed}");
    }
}

#[test]
fn what_was_recovered_is_on_the_disk_before_it_is_relied_on() {
    let (mut world, log) = World::with_log(1, 6);
    drop(log);
    world.restart(Loss::Nothing);
    assert_eq!(world.log().flushed_end_offset(), 6);
    assert_eq!(world.after_crash(Loss::Everything), (0, 6));
}

#[test]
fn a_sync_that_failed_is_not_tried_by_who_waited_for_it() {
    let (world, log) = World::with_log(1, 4);
    world.disk.fail(Fault::broken(Operation::Sync, ".log"));
    assert!(log.flush().unwrap_err().is_fatal());
    assert!(log.flush().unwrap_err().is_fatal(), "once told, always so");
    assert!(log.truncate_to(2).unwrap_err().is_fatal());
    assert_eq!(log.flushed_end_offset(), 0);
}
