//! What a crash, a bad disk or a clumsy hand leaves behind, byte by byte.

use super::*;

const RECORDS: i32 = 2;

/// A crashed log of `count` batches in segments of `segment_bytes`.
fn crashed(count: i64, segment_bytes: u32) -> (TestLog, Vec<(i64, i64, i32)>) {
    let mut log = TestLog::new(LogConfig {
        segment_bytes,
        ..small()
    });
    for at in 0..count {
        let batch = Batch {
            producer_id: 5,
            producer_epoch: 0,
            base_sequence: at as i32 * RECORDS,
            ..Batch::of(RECORDS)
        };
        log.append(&batch).unwrap();
    }
    let all = batches(&log);
    log.crash();
    (log, all)
}

fn log_file(log: &TestLog, base: i64) -> PathBuf {
    log.partition_folder()
        .join(names::segment_file(base, names::LOG))
}

/// Puts the folder back as it was.
struct Image(Vec<(PathBuf, Vec<u8>)>);

impl Image {
    fn of(folder: &Path) -> Image {
        let names = file::list(&FileDisk, folder).unwrap();
        let files = names.into_iter().map(|name| {
            let path = folder.join(name);
            let bytes = fs::read(&path).unwrap();
            (path, bytes)
        });
        Image(files.collect())
    }

    fn restore(&self, folder: &Path) {
        fs::remove_dir_all(folder).unwrap();
        fs::create_dir_all(folder).unwrap();
        for (path, bytes) in &self.0 {
            fs::write(path, bytes).unwrap();
        }
    }
}

#[test]
fn a_write_torn_at_any_byte_is_cut_to_whole_batches() {
    let (mut log, all) = crashed(5, 10_000);
    let image = Image::of(&log.partition_folder());
    let path = log_file(&log, 0);
    let whole = fs::read(&path).unwrap();
    let size = whole.len() / 5;
    for length in 0..whole.len() {
        for tail in [&[][..], &[0; 40], &[0xff; 40]] {
            image.restore(&log.partition_folder());
            fs::write(&path, [&whole[..length], tail].concat()).unwrap();
            log.reopen(hints(false)).unwrap();
            // The last byte of a batch is a zero.
            let mended = tail.first() == Some(&0) && length % size == size - 1;
            let kept = length / size + usize::from(mended);
            assert_eq!(batches(&log), all[..kept], "cut at {length}, then {tail:?}");
            assert_eq!(log.size_bytes(), (kept * size) as u64);
            assert_eq!(log.producer_count(), usize::from(kept > 0));
            log.crash();
        }
    }
}

#[test]
fn a_flipped_bit_is_cut_at_the_end_and_reported_elsewhere() {
    let (mut log, all) = crashed(4, 10_000);
    let image = Image::of(&log.partition_folder());
    let path = log_file(&log, 0);
    let whole = fs::read(&path).unwrap();
    let size = whole.len() / 4;
    for byte in 0..whole.len() {
        let within = byte % size;
        if within < 8 || (12..16).contains(&within) {
            continue; // Base offset and leader epoch are not under the checksum; see below.
        }
        image.restore(&log.partition_folder());
        let mut bytes = whole.clone();
        bytes[byte] ^= 1 << (byte % 8);
        fs::write(&path, &bytes).unwrap();
        let last = byte / size == 3;
        match log.reopen(hints(false)) {
            Ok(()) => {
                assert!(last, "byte {byte} was passed over");
                assert_eq!(batches(&log), all[..3], "byte {byte}");
            }
            Err(OpenError::Damaged { offset, .. }) => {
                assert!(!last, "byte {byte}");
                assert_eq!(offset, (byte / size * 2) as i64, "byte {byte}");
                assert_eq!(fs::read(&path).unwrap(), bytes, "nothing was changed");
            }
            Err(other) => panic!("byte {byte}: {other}"),
        }
        log.crash();
    }
}

#[test]
fn offsets_that_go_back_are_damage() {
    let (mut log, _) = crashed(4, 10_000);
    let path = log_file(&log, 0);
    let mut bytes = fs::read(&path).unwrap();
    let second = bytes.len() / 4;
    bytes[second + 6] = 1; // Base offset 2 becomes 258, the next batch says 4.
    fs::write(&path, &bytes).unwrap();
    let answer = log.reopen(hints(false));
    assert!(
        matches!(answer, Err(OpenError::Damaged { .. })),
        "{answer:?}"
    );
}

#[test]
fn below_the_recovery_point_even_the_end_is_damage() {
    let (mut log, all) = crashed(4, 10_000);
    let path = log_file(&log, 0);
    let whole = fs::read(&path).unwrap();
    let flushed = Hints {
        recovery_point: 8,
        ..hints(false)
    };
    for length in [whole.len() - 1, whole.len() / 4 * 3] {
        fs::write(&path, &whole[..length]).unwrap();
        let answer = log.reopen(flushed);
        assert!(
            matches!(answer, Err(OpenError::Damaged { offset: 6, .. })),
            "{answer:?}"
        );
        let answer = log.reopen(Hints {
            clean: true,
            ..flushed
        });
        assert!(
            matches!(answer, Err(OpenError::Damaged { offset: 6, .. })),
            "{answer:?}"
        );
    }
    log.reopen(Hints {
        cut_damage: true,
        ..flushed
    })
    .unwrap();
    assert_eq!(batches(&log), all[..3]);
}

#[test]
fn damage_in_a_closed_segment_with_good_ones_behind() {
    let (mut log, all) = crashed(20, 400);
    let files = log_files(&log.partition_folder());
    let bases: Vec<i64> = files.keys().copied().collect();
    assert!(bases.len() >= 4);
    let path = log_file(&log, bases[1]);
    let mut bytes = files[&bases[1]].clone();
    let end = bytes.len() - 1;
    bytes[end] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let answer = log.reopen(hints(false));
    assert!(
        matches!(answer, Err(OpenError::Damaged { .. })),
        "{answer:?}"
    );
    assert_eq!(log_files(&log.partition_folder()).len(), bases.len());
    log.reopen(Hints {
        cut_damage: true,
        ..hints(false)
    })
    .unwrap();
    assert_eq!(log.segment_count(), 2);
    let kept = batches(&log);
    assert_eq!(kept, all[..kept.len()]);
    assert_eq!(
        log.append(&Batch::of(1)).unwrap().first_offset,
        kept.len() as i64 * 2
    );
}

#[test]
fn a_lost_segment_is_told_and_the_log_is_cut_there_on_demand() {
    let (mut log, all) = crashed(20, 400);
    log.reopen(hints(false)).unwrap();
    log.close().unwrap();
    log.crash();
    let image = Image::of(&log.partition_folder());
    let bases: Vec<i64> = log_files(&log.partition_folder()).into_keys().collect();
    assert!(bases.len() >= 4);
    let hole = Some((bases[1], bases[2]));
    for clean in [true, false] {
        image.restore(&log.partition_folder());
        fs::remove_file(log_file(&log, bases[1])).unwrap();
        log.reopen(hints(clean)).unwrap();
        assert_eq!(log.recovered().hole, hole, "clean stop: {clean}");
        assert!(log.recovered().loss(false).is_some());
        log.crash();
    }
    log.reopen(Hints {
        cut_damage: true,
        ..hints(false)
    })
    .unwrap();
    assert_eq!(
        (log.recovered().hole, log.log_end_offset()),
        (None, bases[1])
    );
    assert_eq!(batches(&log), all[..bases[1] as usize / 2]);
    log.crash();
    // The first one is missed where it is known that nothing was deleted.
    image.restore(&log.partition_folder());
    fs::remove_file(log_file(&log, 0)).unwrap();
    log.reopen(hints(true)).unwrap();
    assert_eq!(log.recovered().hole, None);
    log.reopen(Hints {
        log_start_exact: true,
        ..hints(true)
    })
    .unwrap();
    assert_eq!(log.recovered().hole, Some((0, bases[1])));
}

#[test]
fn a_garbled_end_is_no_killed_write() {
    let (mut log, all) = crashed(4, 10_000);
    let path = log_file(&log, 0);
    let whole = fs::read(&path).unwrap();
    let mut garbled = whole.clone();
    *garbled.last_mut().unwrap() ^= 1;
    for (bytes, same_boot, lost) in [
        (&garbled[..], true, true),
        (&garbled[..], false, false),
        (&whole[..whole.len() - 1], true, false),
    ] {
        fs::write(&path, bytes).unwrap();
        log.reopen(hints(false)).unwrap();
        assert_eq!(batches(&log), all[..3]);
        assert_eq!(log.recovered().loss(same_boot).is_some(), lost);
        log.crash();
    }
}

#[test]
fn what_rotted_since_a_clean_stop_is_not_read() {
    let (mut log, all) = crashed(6, 10_000);
    log.reopen(hints(false)).unwrap();
    log.close().unwrap();
    log.crash();
    let path = log_file(&log, 0);
    let mut bytes = fs::read(&path).unwrap();
    let fourth = bytes.len() / 6 * 3;
    bytes[fourth + 70] ^= 4;
    fs::write(&path, &bytes).unwrap();
    log.reopen(hints(true)).unwrap();
    log.append(&Batch::of(2)).unwrap();
    let before = log.read(0, 10_000, i64::MAX, true).unwrap();
    assert_eq!(before.bytes, bytes[..fourth], "the good ones before it");
    for offset in [6, 7] {
        let answer = log.read(offset, 10_000, i64::MAX, true);
        assert!(matches!(answer, Err(ReadError::Corrupt(_))), "{answer:?}");
    }
    let behind = log.read(8, 10_000, i64::MAX, true).unwrap();
    assert_eq!((behind.first_offset, all[4].0), (8, 8));
}

#[test]
fn missing_short_and_garbage_indexes_are_written_anew() {
    let (mut log, all) = crashed(30, 600);
    log.reopen(hints(false)).unwrap();
    log.close().unwrap();
    log.crash();
    let image = Image::of(&log.partition_folder());
    let good: Vec<_> = image.0.iter().filter(|(path, _)| is_index(path)).collect();
    assert!(good.len() >= 6);
    for clean in [true, false] {
        for (path, bytes) in &good {
            for kind in 0..5 {
                image.restore(&log.partition_folder());
                match kind {
                    0 => fs::remove_file(path).unwrap(),
                    1 => fs::write(path, vec![0xa5; 64 * 12]).unwrap(),
                    2 => fs::write(path, [&bytes[..], &[0; 48]].concat()).unwrap(),
                    3 => fs::write(path, [&bytes[..], &[1; 3]].concat()).unwrap(),
                    _ => fs::write(path, vec![0x7f; 8 * 12]).unwrap(),
                }
                log.reopen(hints(clean)).unwrap();
                assert_eq!(batches(&log), all, "{} {kind} {clean}", path.display());
                let found = log.offset_for_timestamp(1_000, i64::MAX).unwrap();
                assert_eq!(found.unwrap().offset, 0);
                log.crash();
                let now = fs::read(path).unwrap();
                assert_eq!(now.len() % if is_time(path) { 12 } else { 8 }, 0);
                assert!(now.len() <= bytes.len() + 12, "{} {kind}", path.display());
            }
        }
    }
}

fn is_index(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "index") || is_time(path)
}

fn is_time(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "timeindex")
}

#[test]
fn a_clean_stop_is_opened_without_reading_it_all() {
    let (mut log, all) = crashed(30, 600);
    log.reopen(hints(false)).unwrap();
    assert!(log.recovered().segments_checked > 3);
    log.close().unwrap();
    log.reopen(hints(true)).unwrap();
    assert_eq!(*log.recovered(), Default::default());
    assert_eq!(batches(&log), all);
    assert_eq!(log.flushed_end_offset(), 60);
    log.crash();
    log.reopen(Hints {
        recovery_point: 60,
        ..hints(false)
    })
    .unwrap();
    assert_eq!(
        log.recovered().segments_checked,
        1,
        "from the recovery point on only"
    );
}

#[test]
fn lost_or_garbage_side_files_are_rebuilt_from_the_batches() {
    let (mut log, all) = crashed(30, 600);
    log.reopen(hints(false)).unwrap();
    log.flush().unwrap();
    let epochs = log.epochs.read().clone();
    for contents in [None, Some(&b"garbage"[..]), Some(b"")] {
        log.crash();
        let folder = log.partition_folder();
        for name in file::list(&FileDisk, &folder).unwrap() {
            if name.ends_with("snapshot") || name == names::LEADER_EPOCH_CHECKPOINT {
                match contents {
                    None => fs::remove_file(folder.join(name)).unwrap(),
                    Some(bytes) => fs::write(folder.join(name), bytes).unwrap(),
                }
            }
        }
        log.reopen(Hints {
            recovery_point: 50,
            ..hints(false)
        })
        .unwrap();
        assert_eq!(batches(&log), all);
        assert_eq!(*log.epochs.read(), epochs);
        let retry = Batch {
            producer_id: 5,
            producer_epoch: 0,
            base_sequence: 58,
            ..Batch::of(RECORDS)
        };
        assert!(log.append(&retry).unwrap().duplicate);
    }
}

#[test]
fn leftovers_go_and_finished_swaps_take_their_place() {
    let (mut log, all) = crashed(20, 400);
    let folder = log.partition_folder();
    let bases: Vec<i64> = log_files(&folder).keys().copied().collect();
    let name = |base, kind: &str| folder.join(names::segment_file(base, kind));
    fs::write(name(7_000, "log.deleted"), b"x").unwrap();
    fs::write(name(7_000, "log.cleaned"), b"x").unwrap();
    fs::write(name(8_000, "index.swap"), b"x").unwrap();
    fs::write(name(9_000, "index"), b"x").unwrap();
    fs::write(name(1, "snapshot"), b"x").unwrap();
    fs::write(folder.join("leader-epoch-checkpoint.tmp"), b"x").unwrap();
    // The first two segments, compacted into one whose rename was interrupted.
    let merged = [
        fs::read(name(bases[0], "log")).unwrap(),
        fs::read(name(bases[1], "log")).unwrap(),
    ];
    fs::write(name(bases[0], "log.swap"), merged.concat()).unwrap();
    log.reopen(hints(false)).unwrap();
    assert_eq!(batches(&log), all);
    assert_eq!(log.segment_count(), bases.len() - 1);
    for gone in log.file_names() {
        assert!(!gone.contains("000000000000007000") && !gone.contains("000000000000008000"));
        assert!(
            !gone.contains("9000.index") && !gone.contains("00001.snapshot"),
            "{gone}"
        );
        assert!(!gone.ends_with("tmp") && !gone.ends_with("swap"), "{gone}");
    }
}

#[test]
fn an_end_below_the_high_watermark_is_told() {
    let (mut log, _) = crashed(4, 10_000);
    let path = log_file(&log, 0);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() - 1]).unwrap();
    log.reopen(Hints {
        high_watermark: Some(8),
        ..hints(false)
    })
    .unwrap();
    assert!(log.recovered().below_high_watermark);
    assert_eq!(log.recovered().bytes_cut, whole.len() as u64 / 4 - 1);
    log.reopen(Hints {
        high_watermark: Some(6),
        ..hints(false)
    })
    .unwrap();
    assert!(!log.recovered().below_high_watermark);
}

#[test]
fn a_start_behind_the_end_begins_anew_there() {
    let (mut log, _) = crashed(4, 10_000);
    log.reopen(Hints {
        log_start: 50,
        ..hints(false)
    })
    .unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (50, 50));
    assert_eq!(log.append(&Batch::of(1)).unwrap().first_offset, 50);
}

#[test]
fn truncation_lowers_the_recovery_point_before_it_cuts() {
    let (mut log, _) = crashed(20, 400);
    log.reopen(hints(false)).unwrap();
    log.flush().unwrap();
    let partition = TopicPartition::new("t", 0);
    let points = BTreeMap::from([(partition.clone(), log.flushed_end_offset())]);
    log.dir
        .write(Checkpoint::RecoveryPoints, |_| points)
        .unwrap();
    log.truncate_to(10).unwrap();
    assert_eq!(log.dir.recovery_point(&partition), 10);
    for _ in 0..3 {
        log.append(&Batch::of(1)).unwrap();
    }
    log.crash();
    log.reopen(hints(false)).unwrap();
    assert_eq!(log.log_end_offset(), 13);
}
