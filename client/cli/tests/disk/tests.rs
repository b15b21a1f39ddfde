//! The disk itself: what lasts lasts, what doesn't is lost, and as long as the power is on it is like any other.

#![allow(
    clippy::disallowed_methods,
    reason = "a real disk answers in real time"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use rustix::fs::FallocateFlags;

use super::disk::{Disk, Fate, allowed};

const BYTES: u64 = 16 << 20;

/// A disk, and the folder it is at. `None`, said aloud, where there can be none.
fn disk() -> Option<(Disk, tempfile::TempDir)> {
    if let Err(why) = allowed() {
        println!("SKIPPED: file systems can't be made here: {why}");
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Disk::mount(folder.path(), BYTES).expect("a disk");
    Some((disk, folder))
}

fn cut(disk: &mut Disk, fate: &Fate, seed: u64) {
    disk.cut(fate, &mut StdRng::seed_from_u64(seed));
    disk.release();
    disk.unmount();
    disk.power_on().expect("the power is back");
}

fn sync_folder(path: &Path) {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .expect("a folder synced");
}

#[test]
fn only_what_was_synced_outlives_a_cut() {
    let Some((mut disk, folder)) = disk() else {
        return;
    };
    let at = folder.path();
    let mut file = File::create(at.join("a")).expect("a file");
    file.write_all(b"synced").expect("written");
    file.sync_data().expect("synced");
    fs::write(at.join("without a name"), "x").expect("written");
    let unnamed = File::open(at.join("without a name")).expect("opened");
    sync_folder(at);
    file.write_all(b", not synced").expect("written");
    fs::write(at.join("b"), "never synced").expect("written");
    File::open(at.join("b"))
        .and_then(|b| b.sync_all())
        .expect("its bytes, not its name");
    fs::rename(at.join("without a name"), at.join("c")).expect("renamed");
    unnamed.sync_all().expect("synced");
    assert_eq!(fs::read(at.join("a")).expect("read"), b"synced, not synced");
    drop((file, unnamed));

    cut(&mut disk, &Fate::NOTHING, 1);
    assert_eq!(fs::read(at.join("a")).expect("read"), b"synced");
    assert!(!at.join("b").exists(), "its folder was not synced");
    assert!(!at.join("c").exists(), "a rename lasts with its folder");
    assert_eq!(fs::read(at.join("without a name")).expect("read"), b"x");
}

#[test]
fn files_opened_for_synchronous_writes_and_mappings_last() {
    let Some((mut disk, folder)) = disk() else {
        return;
    };
    let at = folder.path();
    let flags = i32::try_from(rustix::fs::OFlags::DSYNC.bits()).expect("a flag");
    let mut options = OpenOptions::new();
    options.create(true).write(true).custom_flags(flags);
    let mut file = options.open(at.join("dsync")).expect("opened");
    file.write_all(b"lasts").expect("written");
    drop(file);
    let script = "import mmap,os,sys\nfor name,last in (('flushed',True),('not',False)):\n  f=os.open(sys.argv[1]+'/'+name,os.O_RDWR|os.O_CREAT)\n  os.ftruncate(f,4096)\n  os.fsync(f)\n  m=mmap.mmap(f,4096)\n  m[:5]=b'lasts'\n  if last: m.flush()\n";
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(at)
        .status()
        .expect("python3");
    assert!(done.success());
    sync_folder(at);
    cut(&mut disk, &Fate::NOTHING, 1);
    assert_eq!(fs::read(at.join("dsync")).expect("read"), b"lasts");
    assert_eq!(&fs::read(at.join("flushed")).expect("read")[..5], b"lasts");
    assert_eq!(&fs::read(at.join("not")).expect("read")[..5], [0; 5]);
}

#[test]
fn a_failed_fsync_leaves_what_no_later_one_writes() {
    let Some((mut disk, folder)) = disk() else {
        return;
    };
    let at = folder.path().join("log");
    let mut file = File::create(&at).expect("a file");
    file.write_all(&[1; 5000]).expect("written");
    file.sync_all().expect("synced");
    sync_folder(folder.path());
    file.write_all(&[2; 5000]).expect("written");
    disk.fail_syncs("log", 1);
    file.sync_all().expect_err("it fails");
    file.sync_all().expect("and says later that all is well");
    assert_eq!(
        fs::read(&at).expect("read")[5000..],
        [2; 5000],
        "everybody sees it"
    );
    drop(file);
    assert_eq!(disk.syncs().1, 1);
    cut(&mut disk, &Fate::EVERYTHING, 1);
    let left = fs::read(&at).expect("read");
    assert_eq!(left[..5000], [1; 5000]);
    assert_eq!(left.len(), 10_000, "the size came with the second fsync");
    assert_eq!(
        left[5000..],
        [0; 5000],
        "what it should have written did not"
    );
}

#[test]
fn pages_are_torn_at_sectors_and_sizes_stay_between() {
    let Some((mut disk, folder)) = disk() else {
        return;
    };
    let at = folder.path().join("f");
    let (mut torn, mut cut_short) = (0, 0);
    for seed in 0..20 {
        let mut file = File::create(&at).expect("a file");
        file.write_all(&[1; 40_960]).expect("written");
        file.sync_all().expect("synced");
        sync_folder(folder.path());
        file.write_all_at(&[2; 40_960], 0).expect("written");
        file.seek(SeekFrom::End(0)).expect("the end");
        file.write_all(&[3; 20_000]).expect("written");
        drop(file);
        cut(&mut disk, &Fate::mixed(0.5), seed);
        let left = fs::read(&at).expect("read");
        assert!((40_960..=60_960).contains(&left.len()));
        cut_short += usize::from(left.len() < 60_960);
        for sector in left[..40_960].chunks(512) {
            assert!(sector.iter().all(|&byte| byte == sector[0]) && matches!(sector[0], 1 | 2));
        }
        for page in left[..40_960].chunks(4096) {
            torn += usize::from(page.iter().any(|&byte| byte != page[0]));
        }
        assert!(left[40_960..].iter().all(|byte| matches!(byte, 0 | 3)));
    }
    assert!(
        torn > 10 && cut_short > 2,
        "{torn} torn, {cut_short} cut short"
    );
}

#[test]
fn names_are_lost_in_their_order() {
    let Some((mut disk, folder)) = disk() else {
        return;
    };
    let at = folder.path();
    let mut numbers = Vec::new();
    for seed in 0..20 {
        let within = at.join(seed.to_string());
        fs::create_dir(&within).expect("a folder");
        sync_folder(at);
        for number in 0..10 {
            fs::write(within.join(number.to_string()), "").expect("a file");
        }
        cut(&mut disk, &Fate::mixed(0.8), seed);
        let left = fs::read_dir(&within).expect("listed").count();
        assert!((0..left).all(|number| within.join(number.to_string()).exists()));
        numbers.push(left);
    }
    assert!(numbers.iter().min() < numbers.iter().max(), "{numbers:?}");
}

#[test]
fn a_full_disk_refuses_and_takes_again() {
    let Some((disk, folder)) = disk() else {
        return;
    };
    let at = folder.path();
    let reserved = File::create(at.join("reserved")).expect("a file");
    rustix::fs::fallocate(&reserved, FallocateFlags::empty(), 0, 8 << 20).expect("reserved");
    let free = || rustix::fs::statvfs(at).expect("told").f_bavail * 4096;
    assert_eq!(free(), 8 << 20);
    let mut file = File::create(at.join("f")).expect("a file");
    let full = file.write_all(&vec![1; 9 << 20]).expect_err("too much");
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    reserved
        .write_all_at(&vec![1; 8 << 20], 0)
        .expect("what was reserved is there");
    drop(file);
    fs::remove_file(at.join("f")).expect("removed");
    // The kernel forgets the file in its own time.
    let deadline = Instant::now() + Duration::from_secs(10);
    while free() < 8 << 20 {
        assert!(Instant::now() < deadline, "{} are free", free());
        std::thread::yield_now();
    }
    disk.fill();
    fs::write(at.join("g"), "x").expect_err("full");
    disk.free();
    fs::write(at.join("g"), "x").expect("room again");
}

/// As long as the power is on it is a disk like any other: the same operations, here and on another file system,
/// show the same; and all that is synced is there after a cut.
#[test]
fn it_is_like_any_other_disk() {
    let Some((mut disk, folder)) = disk() else {
        return;
    };
    let other = tempfile::tempdir().expect("a folder");
    for seed in 0..8 {
        let mut chance = StdRng::seed_from_u64(seed);
        for _ in 0..300 {
            let choice: [u32; 4] = chance.random();
            let here = operation(folder.path(), choice);
            let there = operation(other.path(), choice);
            assert_eq!(here, there, "seed {seed}, {choice:?}");
        }
        disk.sync_all();
        cut(&mut disk, &Fate::mixed(0.5), seed);
        for name in 0..6 {
            assert_eq!(
                show(folder.path(), name),
                show(other.path(), name),
                "seed {seed}"
            );
        }
    }
}

fn show(folder: &Path, name: u32) -> Option<Vec<u8>> {
    fs::read(folder.join(name.to_string())).ok()
}

fn operation(folder: &Path, choice: [u32; 4]) -> Result<Vec<u8>, std::io::ErrorKind> {
    let [what, name, first, second] = choice;
    let path = folder.join((name % 6).to_string());
    let (offset, length) = (u64::from(first % 20_000), second % 9_000);
    let open = || OpenOptions::new().read(true).write(true).open(&path);
    let done = match what % 9 {
        0 => File::create(&path).map(drop),
        1 | 2 => open().and_then(|file| {
            file.write_all_at(&vec![(first % 255) as u8; length as usize], offset)
        }),
        3 => open().and_then(|file| file.set_len(offset)),
        4 => fs::remove_file(&path),
        5 => fs::rename(&path, folder.join((first % 6).to_string())),
        6 => fs::hard_link(&path, folder.join((first % 6).to_string())),
        7 => open().and_then(|file| {
            let flags = [
                FallocateFlags::empty(),
                FallocateFlags::KEEP_SIZE,
                FallocateFlags::KEEP_SIZE | FallocateFlags::PUNCH_HOLE,
            ][what as usize / 9 % 3];
            rustix::fs::fallocate(&file, flags, offset, u64::from(length) + 1)?;
            Ok(())
        }),
        _ => open().and_then(|file| file.sync_all()),
    };
    done.map_err(|error| error.kind())?;
    let mut bytes = Vec::new();
    if let Ok(mut file) = File::open(&path) {
        file.read_to_end(&mut bytes).map_err(|error| error.kind())?;
    }
    Ok(bytes)
}
