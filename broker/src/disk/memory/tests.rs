//! Each way in which the disk loses or refuses, shown once.

use std::collections::BTreeSet;

use super::*;

const SEEDS: u64 = 1000;

fn at(name: &str) -> PathBuf {
    Path::new("/data").join(name)
}

/// A disk with a durable folder and in it a durable file `f` of `size` ones.
fn disk(seed: u64, size: usize) -> MemoryDisk {
    let disk = MemoryDisk::new(seed);
    disk.create_dir_all(Path::new("/data")).unwrap();
    disk.sync_folder(Path::new("/")).unwrap();
    disk.put(&at("f"), &vec![1; size]).unwrap();
    disk
}

fn open(disk: &MemoryDisk, name: &str) -> Arc<dyn DiskFile> {
    disk.open(&at(name), Open::OrCreate).unwrap()
}

/// What a crash may leave of what `work` did, over many seeds.
fn outcomes<T: Ord>(
    size: usize,
    work: impl Fn(&MemoryDisk),
    see: impl Fn(&MemoryDisk) -> T,
) -> BTreeSet<T> {
    let run = |seed| {
        let disk = disk(seed, size);
        work(&disk);
        disk.crash(Loss::Some);
        see(&disk)
    };
    (0..SEEDS).map(run).collect()
}

#[test]
fn what_was_synced_stays_and_a_killed_process_loses_nothing() {
    for seed in 0..SEEDS {
        let disk = disk(seed, 3000);
        let file = open(&disk, "f");
        file.write_all_at(&[2; 5000], 1000).unwrap();
        file.sync().unwrap();
        disk.crash(Loss::Some);
        let whole = [vec![1; 1000], vec![2; 5000]].concat();
        assert_eq!(disk.contents(&at("f")).unwrap(), whole);
        let file = open(&disk, "f");
        file.set_size(10).unwrap();
        disk.rename(&at("f"), &at("g")).unwrap();
        disk.crash(Loss::Nothing);
        assert_eq!(disk.contents(&at("g")).unwrap(), [1; 10]);
        assert_eq!(disk.boot_id(), "memory-boot-1");
        disk.crash(Loss::Everything);
        assert_eq!(disk.contents(&at("f")).unwrap(), whole);
        assert_eq!(disk.boot_id(), "memory-boot-2");
    }
}

#[test]
fn an_overwritten_file_is_torn_at_sectors_and_in_any_order() {
    let found = outcomes(
        2048,
        |disk| open(disk, "f").write_all_at(&[2; 2048], 0).unwrap(),
        |disk| {
            let bytes = disk.contents(&at("f")).unwrap();
            let sectors = bytes.chunks(512).map(|sector| {
                assert!(
                    sector.iter().all(|byte| *byte == sector[0]),
                    "a sector is whole"
                );
                sector[0]
            });
            sectors.collect::<Vec<_>>()
        },
    );
    for torn in [[1, 1, 1, 1], [2, 2, 2, 2], [1, 2, 1, 1], [2, 2, 1, 2]] {
        assert!(found.contains(&torn[..]), "{torn:?} in {found:?}");
    }
}

#[test]
fn pages_are_torn_too() {
    let found = outcomes(
        16 << 10,
        |disk| open(disk, "f").write_all_at(&[2; 16 << 10], 0).unwrap(),
        |disk| {
            let bytes = disk.contents(&at("f")).unwrap();
            let whole = |page: &[u8]| page.iter().all(|byte| *byte == page[0]);
            let pages: Vec<_> = bytes.chunks(4096).collect();
            pages.iter().all(|page| whole(page)) && !whole(&bytes)
        },
    );
    assert!(found.contains(&true));
}

#[test]
fn an_append_leaves_any_length_with_holes_of_zeros() {
    let found = outcomes(
        600,
        |disk| {
            let file = open(disk, "f");
            file.write_all_at(&[2; 1000], 600).unwrap();
            file.write_all_at(&[3; 1000], 1600).unwrap();
        },
        |disk| disk.contents(&at("f")).unwrap(),
    );
    assert!(found.iter().all(|bytes| bytes[..600] == [1; 600]));
    for length in [600, 1600, 2600] {
        assert!(found.iter().any(|bytes| bytes.len() == length), "{length}");
    }
    assert!(
        found
            .iter()
            .any(|bytes| bytes.len() % 512 != 0 && ![600, 1600, 2600].contains(&bytes.len()))
    );
    let hole = |bytes: &Vec<u8>| bytes.get(1024) == Some(&0) && bytes.last() == Some(&3);
    assert!(found.iter().any(hole), "the end without its middle");
    // Written back on its own between the two writes.
    let early = |bytes: &Vec<u8>| bytes.len() >= 2048 && bytes[1599] == 2 && bytes[1600] == 0;
    assert!(found.iter().any(early));
}

#[test]
fn a_cut_comes_undone_and_may_leave_old_bytes_behind_new_ones() {
    let found = outcomes(
        2048,
        |disk| {
            let file = open(disk, "f");
            file.set_size(512).unwrap();
            file.write_all_at(&[2; 512], 512).unwrap();
        },
        |disk| disk.contents(&at("f")).unwrap(),
    );
    assert!(found.contains(&vec![1; 2048]), "nothing happened");
    assert!(
        found.contains(&[[1; 512], [2; 512]].concat()),
        "all happened"
    );
    let mixed = |bytes: &Vec<u8>| bytes.len() == 2048 && bytes[512] == 2 && bytes[1024] == 1;
    assert!(found.iter().any(mixed));
}

#[test]
fn names_come_and_go_in_any_order_until_their_folder_is_synced() {
    let found = outcomes(
        1,
        |disk| {
            for name in ["a", "b"] {
                open(disk, name).sync().unwrap();
            }
            disk.rename(&at("f"), &at("g")).unwrap();
        },
        |disk| disk.list(Path::new("/data")).unwrap().join(""),
    );
    for names in ["abf", "abg", "af", "bf", "bg", "f", "g"] {
        assert!(found.contains(names), "{names} in {found:?}");
    }
    for seed in 0..SEEDS {
        let disk = disk(seed, 1);
        open(&disk, "a");
        disk.remove(&at("f")).unwrap();
        disk.sync_folder(Path::new("/data")).unwrap();
        disk.crash(Loss::Some);
        assert_eq!(disk.list(Path::new("/data")).unwrap(), ["a"]);
    }
}

#[test]
fn a_name_is_durable_without_what_it_stands_for() {
    for seed in 0..SEEDS {
        let disk = disk(seed, 100);
        open(&disk, "new").write_all_at(&[2; 100], 0).unwrap();
        disk.rename(&at("new"), &at("f")).unwrap();
        disk.sync_folder(Path::new("/data")).unwrap();
        disk.crash(Loss::Everything);
        assert!(disk.contents(&at("f")).unwrap().is_empty());
    }
}

#[test]
fn a_folder_takes_with_it_what_is_in_it() {
    let disk = disk(1, 1);
    disk.create_dir_all(&at("sub/below")).unwrap();
    disk.put(&at("sub/below/x"), &[1]).unwrap();
    disk.sync_folder(&at("sub")).unwrap();
    let lost = disk.fork(2);
    lost.crash(Loss::Everything);
    assert!(!lost.exists(&at("sub")), "its own name was not synced");
    disk.rename(&at("sub"), &at("moved")).unwrap();
    disk.sync_folder(Path::new("/data")).unwrap();
    disk.crash(Loss::Everything);
    assert_eq!(disk.contents(&at("moved/below/x")).unwrap(), [1]);
    disk.remove_dir_all(&at("moved")).unwrap();
    assert!(!disk.exists(&at("moved")) && disk.is_folder(Path::new("/data")));
}

#[test]
fn a_frozen_disk_stops_between_operations_and_within_a_write() {
    let mut written = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = disk(seed, 0);
        let file = open(&disk, "f");
        disk.freeze_after(1);
        file.write_all_at(&[2; 4], 0).unwrap();
        assert!(!disk.is_frozen());
        assert!(file.write_all_at(&[3; 4], 4).is_err());
        assert!(disk.is_frozen());
        assert!(file.write_all_at(&[4; 4], 0).is_err());
        assert!(disk.remove(&at("f")).is_err() && disk.list(&at("")).is_err());
        disk.crash(Loss::Nothing);
        let bytes = disk.contents(&at("f")).unwrap();
        assert!([2, 2, 2, 2, 3, 3, 3, 3].starts_with(&bytes));
        written.insert(bytes.len());
        assert!(file.size().is_err(), "opened before the crash");
        open(&disk, "f").set_size(0).unwrap();
    }
    assert_eq!(written, (4..=8).collect());
}

#[test]
fn a_full_disk_takes_the_first_part_of_a_write() {
    let disk = disk(1, 100);
    disk.set_capacity(120);
    let file = open(&disk, "f");
    let answer = file.write_all_at(&[2; 50], 90).unwrap_err();
    assert_eq!(answer.kind(), ErrorKind::StorageFull);
    assert_eq!(file.size().unwrap(), 120);
    assert_eq!(disk.space(&at("")).unwrap().free, 0);
    file.write_all_at(&[3; 120], 0).unwrap();
    disk.remove(&at("f")).unwrap();
    assert_eq!(disk.space(&at("")).unwrap().free, 0, "still open");
    drop(file);
    assert_eq!(disk.space(&at("")).unwrap().free, 120);
    open(&disk, "g").write_all_at(&[1; 120], 0).unwrap();
    disk.fill_after(0);
    disk.set_capacity(u64::MAX);
    open(&disk, "g").write_all_at(&[1; 120], 120).unwrap();
}

#[test]
fn operations_fail_on_request() {
    let disk = disk(1, 100);
    let file = open(&disk, "f");
    disk.fail(Fault {
        after: 1,
        ..Fault::broken(Operation::Write, "/f")
    });
    open(&disk, "other").write_all_at(&[1], 0).unwrap();
    file.write_all_at(&[1], 0).unwrap();
    let answer = file.write_all_at(&[1], 0).unwrap_err();
    assert_eq!(answer.raw_os_error(), Some(5));
    file.write_all_at(&[1], 0).unwrap();
    for (operation, fails) in [
        (
            Operation::Read,
            &(|| file.read_at(&mut [0], 0).is_err()) as &dyn Fn() -> bool,
        ),
        (Operation::Rename, &|| {
            disk.rename(&at("f"), &at("g")).is_err()
        }),
        (Operation::Remove, &|| disk.remove(&at("f")).is_err()),
        (Operation::SetSize, &|| file.set_size(0).is_err()),
        (Operation::SyncFolder, &|| {
            disk.sync_folder(Path::new("/data")).is_err()
        }),
        (Operation::Create, &|| {
            disk.create_dir_all(&at("new")).is_err()
        }),
    ] {
        disk.fail(Fault::broken(operation, "data"));
        assert!(fails(), "{operation:?}");
    }
}

#[test]
fn what_a_failed_sync_gave_up_no_later_one_writes() {
    let mut found = BTreeSet::new();
    for seed in 0..SEEDS {
        let disk = disk(seed, 1024);
        let file = open(&disk, "f");
        file.write_all_at(&[2; 1024], 512).unwrap();
        disk.fail(Fault::broken(Operation::Sync, ""));
        assert!(file.sync().is_err());
        file.sync().unwrap();
        assert_eq!(disk.contents(&at("f")).unwrap()[512..], [2; 1024]);
        // Whoever writes it again has it written.
        file.write_all_at(&[3; 100], 1024).unwrap();
        file.sync().unwrap();
        disk.crash(Loss::Everything);
        let bytes = disk.contents(&at("f")).unwrap();
        assert_eq!((bytes.len(), bytes[1024]), (1536, 3));
        found.insert(bytes[512]);
    }
    assert_eq!(found, BTreeSet::from([1, 2]));
}

#[test]
fn a_flipped_bit_is_in_the_cache_and_on_the_platter() {
    let disk = disk(1, 100);
    disk.flip_bit(&at("f"), 7, 2).unwrap();
    assert_eq!(disk.contents(&at("f")).unwrap()[7], 5);
    disk.crash(Loss::Everything);
    assert_eq!(disk.contents(&at("f")).unwrap()[7], 5);
    assert!(disk.flip_bit(&at("g"), 0, 0).is_err());
}

#[test]
fn the_same_seed_does_the_same() {
    let run = |seed| {
        let disk = disk(seed, 1000);
        disk.trace();
        let file = open(&disk, "f");
        for at in 0..100 {
            file.write_all_at(&[at as u8; 300], at * 100).unwrap();
            open(&disk, &format!("n{at}"));
        }
        disk.crash(Loss::Some);
        let names = disk.list(Path::new("/data")).unwrap();
        (disk.contents(&at("f")).unwrap(), names, disk.traced())
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn one_lock_at_a_time() {
    let disk = disk(1, 1);
    let lock = disk.lock(&at(".lock")).unwrap();
    assert!(lock.is_some());
    assert!(disk.lock(&at(".lock")).unwrap().is_none());
    drop(lock);
    let lock = disk.lock(&at(".lock")).unwrap();
    assert!(lock.is_some());
    disk.crash(Loss::Nothing);
    let next = disk.lock(&at(".lock")).unwrap();
    drop(lock);
    assert!(disk.lock(&at(".lock")).unwrap().is_none());
    drop(next);
}

#[test]
fn removed_files_take_no_memory_for_ever() {
    let disk = disk(1, 1);
    for round in 0..2_000 {
        let name = format!("n{round}");
        open(&disk, &name).write_all_at(&[1; 1000], 0).unwrap();
        disk.remove(&at(&name)).unwrap();
        disk.sync_folder(Path::new("/data")).unwrap();
    }
    let state = disk.state.lock();
    assert_eq!(state.tree.used(), 1);
    assert!(state.tree.held() < 200, "{}", state.tree.held());
}
