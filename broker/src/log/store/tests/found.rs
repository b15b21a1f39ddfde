//! The smallest history for each thing that the tests of crashes found.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::super::config::LogConfig;
use super::super::super::error::{AppendError, ManagerError, OpenError, ReadError};
use super::super::super::format::names;
use super::super::super::format::record_batch::tests::Batch;
use super::super::super::{AppendOrigin, TopicId, TopicPartition};
use super::super::log::Log;
use super::super::log::tests::{NOW, small};
use super::super::manager::LogManager;
use crate::disk::memory::{Fault, Loss, Operation};
use crate::disk::{Disk, MemoryDisk};

/// A broker's log directory on a disk that loses, and one partition in it.
struct World {
    disk: MemoryDisk,
    manager: Option<LogManager>,
    /// Of the disk, when the manager was opened.
    boot: String,
}

impl World {
    /// An empty directory, opened; what a crash takes follows `seed`.
    fn new(seed: u64) -> World {
        let mut world = World {
            disk: MemoryDisk::new(seed),
            manager: None,
            boot: String::new(),
        };
        world.open();
        world
    }

    /// The same with a partition of `records` records in it, each a batch of its own.
    fn with_log(seed: u64, records: i64) -> (World, Arc<Log>) {
        let world = World::new(seed);
        let log = world.create(1);
        append(&log, records, 0);
        (world, log)
    }

    fn try_open(&mut self) -> Result<(), ManagerError> {
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

    fn open(&mut self) {
        self.try_open().unwrap();
    }

    fn create(&self, id: u128) -> Arc<Log> {
        let (id, none) = (TopicId::from_u128(id), BTreeMap::new());
        self.get_or_create(&partition(), id, &none, NOW).unwrap()
    }

    fn log(&self) -> Arc<Log> {
        self.get(&partition()).unwrap()
    }

    /// Ends the process, and by `loss` the power.
    fn crash(&mut self, loss: Loss) {
        self.manager = None;
        self.disk.crash(loss);
    }

    /// The same, and another start.
    fn restart(&mut self, loss: Loss) {
        self.crash(loss);
        self.open();
    }

    fn stop_cleanly(&mut self) {
        self.shutdown_clean(1).unwrap();
        self.crash(Loss::Nothing);
    }

    /// Start and end of the log after a crash, with nothing damaged or told as lost.
    fn after_crash(&mut self, loss: Loss) -> (i64, i64) {
        self.restart(loss);
        assert!(self.losses().is_empty(), "{:?}", self.losses());
        self.ends()
    }

    fn ends(&self) -> (i64, i64) {
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

const DIR: &str = "/broker/a";

fn checkpoint(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

/// A file in the partition's folder.
fn file(name: &str) -> PathBuf {
    Path::new(DIR).join("t-0").join(name)
}

/// A file of the segment that begins at `base`.
fn segment(base: i64, kind: &str) -> PathBuf {
    file(&names::segment_file(base, kind))
}

fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// Appends so many records, each a batch of its own.
fn append(log: &Log, count: i64, epoch: i32) {
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

/// Ends the power, and leaves of one segment file what `change` makes of all that was written to it.
fn leave(world: &mut World, loss: Loss, base: i64, change: impl FnOnce(&mut Vec<u8>)) {
    let path = segment(base, names::LOG);
    let mut bytes = world.disk.contents(&path).unwrap();
    world.crash(loss);
    change(&mut bytes);
    world.disk.put(&path, &bytes).unwrap();
}

/// One segment of eight records, all on the disk but for the sixth, in whose place are zeros.
fn with_hole(checkpointed: i64, loss: Loss) -> World {
    let config = BTreeMap::from([("segment.bytes".to_owned(), "10000".to_owned())]);
    let world = World::new(1);
    let id = TopicId::from_u128(1);
    let log = world.get_or_create(&partition(), id, &config, NOW);
    let (mut world, log) = (world, log.unwrap());
    append(&log, checkpointed, 0);
    log.flush().unwrap();
    world.checkpoint_offsets().unwrap();
    append(&log, 8 - checkpointed, 0);
    drop(log);
    leave(&mut world, loss, 0, |bytes| {
        let size = bytes.len() / 8;
        bytes[5 * size..6 * size].fill(0);
    });
    world
}

fn damaged_at(world: &World) -> Option<i64> {
    let (_, error) = world.damaged().pop()?;
    let OpenError::Damaged { offset, .. } = error else {
        panic!("{error}");
    };
    Some(offset)
}

#[test]
fn a_hole_above_the_recovery_point_is_cut_after_a_loss_of_power() {
    for checkpointed in [0, 3, 5] {
        let mut world = with_hole(checkpointed, Loss::Everything);
        world.open();
        assert_eq!(damaged_at(&world), None);
        assert_eq!(world.ends(), (0, 5));
        let losses = world.losses();
        assert!(losses[0].1.contains("5..8"), "{losses:?}");
        // And it goes on there, for good.
        append(&world.log(), 2, 1);
        world.log().flush().unwrap();
        assert_eq!(world.after_crash(Loss::Everything), (0, 7));
    }
}

#[test]
fn a_hole_is_damage_where_it_was_flushed_or_no_power_was_lost() {
    let mut flushed = with_hole(8, Loss::Everything);
    flushed.open();
    assert_eq!(damaged_at(&flushed), Some(5));
    let mut same_boot = with_hole(3, Loss::Nothing);
    same_boot.open();
    assert_eq!(damaged_at(&same_boot), Some(5));
}

#[test]
fn a_hole_is_damage_where_the_recovery_points_are_lost() {
    let path = checkpoint(names::RECOVERY_POINT_CHECKPOINT);
    let mut rotten = with_hole(8, Loss::Everything);
    rotten.disk.put(&path, b"0\nx").unwrap();
    rotten.open();
    assert_eq!(damaged_at(&rotten), Some(5));
    let mut gone = with_hole(8, Loss::Everything);
    gone.disk.remove(&path).unwrap();
    gone.open();
    assert_eq!(damaged_at(&gone), Some(5));
}

/// Base offsets of the log's segments.
fn bases(world: &World) -> Vec<i64> {
    let names = world.disk.list(&file("")).unwrap();
    let mut bases: Vec<i64> = names
        .iter()
        .filter_map(|name| names::parse_segment_file(name))
        .filter_map(|(base, kind)| (kind == names::LOG).then_some(base))
        .collect();
    bases.sort_unstable();
    bases
}

/// After a loss of power that took only the files of a segment that was never flushed.
fn without_segment(which: usize, flushed: bool) -> (World, Vec<i64>) {
    let (mut world, log) = World::with_log(1, 20);
    if flushed {
        log.flush().unwrap();
        world.checkpoint_offsets().unwrap();
    }
    world.disk.sync_folder(&file("")).unwrap();
    drop(log);
    let bases = bases(&world);
    assert!(bases.len() > 3);
    for &base in &bases {
        let file = world
            .disk
            .open(&segment(base, names::LOG), crate::disk::Open::Existing);
        file.unwrap().sync().unwrap();
    }
    world.disk.sync_folder(Path::new(DIR)).unwrap();
    world.crash(Loss::Everything);
    let gone = bases[which];
    for kind in [names::LOG, names::OFFSET_INDEX, names::TIME_INDEX] {
        world.disk.remove(&segment(gone, kind)).unwrap();
    }
    (world, bases)
}

#[test]
fn behind_a_segment_that_never_reached_the_disk_the_log_is_cut() {
    for which in [0, 1, 2] {
        let (mut world, bases) = without_segment(which, false);
        world.open();
        assert_eq!(world.ends(), (0, bases[which]), "without segment {which}");
        let lost = format!("{}..20", bases[which]);
        let losses = world.losses();
        assert!(losses[0].1.contains(&lost), "{losses:?}");
        append(&world.log(), 1, 1);
        world.log().flush().unwrap();
        assert_eq!(world.after_crash(Loss::Some), (0, bases[which] + 1));
    }
}

#[test]
fn behind_a_segment_that_ends_early_the_log_is_cut() {
    let (mut world, log) = World::with_log(1, 20);
    drop(log);
    world.disk.sync_folder(&file("")).unwrap();
    let second = bases(&world)[1];
    let all: Vec<_> = bases(&world)
        .into_iter()
        .map(|base| segment(base, names::LOG))
        .map(|path| (world.disk.contents(&path).unwrap(), path))
        .collect();
    world.crash(Loss::Everything);
    world.disk.create_dir_all(&file("")).unwrap();
    for (at, (bytes, path)) in all.iter().enumerate() {
        let keep = if at == 0 {
            bytes.len() / 2
        } else {
            bytes.len()
        };
        world.disk.put(path, &bytes[..keep]).unwrap();
    }
    world.open();
    let (start, end) = world.ends();
    assert!(start == 0 && end > 0 && end < second, "{start}..{end}");
    assert!(world.losses()[0].1.contains(&format!("{end}..20")));
}

#[test]
fn a_segment_that_was_flushed_and_is_missing_is_told() {
    let (mut world, bases) = without_segment(1, true);
    world.open();
    let (from, to) = (bases[1], bases[2]);
    assert_eq!(world.log().recovered().hole, Some((from, to)));
    let (mut world, bases) = without_segment(0, true);
    world.open();
    assert_eq!(world.ends(), (bases[1], 20));
    assert_eq!(world.losses().len(), 1);
}

#[test]
fn on_a_full_disk_segments_go_up_to_what_is_known_to_be_flushed() {
    let (mut world, log) = World::with_log(1, 20);
    log.flush().unwrap();
    let before = log.segment_count();
    log.advance_log_start(15).unwrap();
    world.disk.fill_after(0);
    world.retention_pass(NOW, &|_| Some(20)).unwrap();
    assert_eq!(log.segment_count(), before, "neither is on the disk yet");
    drop(log);
    world.disk.set_capacity(u64::MAX);
    assert_eq!(world.after_crash(Loss::Everything), (0, 20));
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
