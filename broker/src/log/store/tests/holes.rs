//! What a loss of power leaves of segments: holes, and segments that never reached the disk.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::super::TopicId;
use super::super::super::error::OpenError;
use super::super::super::format::names;
use super::super::log::tests::NOW;
use super::found::{DIR, World, append, checkpoint, file, partition, segment};
use crate::disk::Disk;
use crate::disk::memory::Loss;
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
