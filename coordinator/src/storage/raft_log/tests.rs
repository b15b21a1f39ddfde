use raft::eraftpb::{Entry, HardState};

use super::*;

mod stale;

const SEGMENT: u64 = 16 << 10;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: SEGMENT,
        spares: 1,
    }
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    let mut hard_state = HardState::default();
    hard_state.term = term;
    hard_state.vote = vote;
    hard_state.commit = commit;
    hard_state
}

fn entries(from: u64, count: u64, term: u64, bytes: usize) -> Vec<Entry> {
    (from..from + count)
        .map(|index| {
            let mut entry = Entry::default();
            entry.index = index;
            entry.term = term;
            entry.data = vec![(index % 251) as u8; bytes];
            entry
        })
        .collect()
}

fn append<D: Disk>(log: &mut RaftLog<D>, term: u64, list: &[Entry]) {
    let previous_term = log.last().term;
    let batch = Batch {
        hard_state: &hard_state(term, 1, 0),
        previous_term,
        entries: list,
    };
    log.append(&batch).unwrap();
}

fn open(disk: &MemoryDisk) -> (RaftLog<MemoryDisk>, Recovered) {
    RaftLog::open(disk.clone(), options()).unwrap()
}

fn only_segment(disk: &MemoryDisk) -> String {
    disk.list()
        .unwrap()
        .into_iter()
        .find(|name| !name.starts_with("spare"))
        .unwrap()
}

#[test]
fn what_was_appended_is_recovered() {
    let disk = MemoryDisk::new(1);
    let (mut log, first) = open(&disk);
    assert!(first.entries.is_empty());
    append(&mut log, 2, &entries(1, 3, 2, 100));
    append(&mut log, 3, &entries(4, 2, 3, 100));
    drop(log);
    let (log, found) = open(&disk);
    assert_eq!(log.last(), Position { index: 5, term: 3 });
    assert_eq!(
        found.entries,
        [entries(1, 3, 2, 100), entries(4, 2, 3, 100)].concat()
    );
    assert_eq!((found.hard_state.term, found.hard_state.vote), (3, 1));
}

#[test]
fn one_append_is_one_sync() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 1, &entries(1, 1, 1, 10));
    let before = disk.syncs();
    append(&mut log, 1, &entries(2, 50, 1, 10));
    assert_eq!(disk.syncs(), before + 1);
}

#[test]
fn a_conflicting_suffix_is_replaced_even_across_segments() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    for at in 0..4 {
        append(&mut log, 1, &entries(1 + at * 10, 10, 1, 1_000));
    }
    let replaced = entries(5, 2, 2, 10);
    log.append(&Batch {
        hard_state: &hard_state(2, 3, 4),
        previous_term: 1,
        entries: &replaced,
    })
    .unwrap();
    drop(log);
    let (_, found) = open(&disk);
    assert_eq!(found.entries, [entries(1, 4, 1, 1_000), replaced].concat());
    assert_eq!(found.hard_state.commit, 4);
}

#[test]
fn a_torn_tail_is_cut_and_written_over() {
    for seed in 1..200 {
        let disk = MemoryDisk::new(seed);
        let (mut log, _) = open(&disk);
        append(&mut log, 1, &entries(1, 5, 1, 300));
        disk.fail_sync_in(1);
        let unsynced = entries(6, 5, 1, 700);
        let batch = Batch {
            hard_state: &hard_state(1, 1, 0),
            previous_term: 1,
            entries: &unsynced,
        };
        assert!(log.append(&batch).is_err());
        disk.crash();
        let (mut log, found) = open(&disk);
        assert!(
            found.entries.len() == 5 || found.entries.len() == 10,
            "seed {seed}: {} entries",
            found.entries.len()
        );
        let next = found.entries.len() as u64 + 1;
        append(&mut log, 2, &entries(next, 1, 2, 1));
        disk.crash();
        assert_eq!(open(&disk).1.entries.len() as u64, next, "seed {seed}");
    }
}

#[test]
fn crashes_at_any_sync_never_lose_what_was_synced() {
    for seed in 1..300_u64 {
        let disk = MemoryDisk::new(seed);
        let mut synced = Vec::new();
        for round in 0..4_u64 {
            let (mut log, found) = open(&disk);
            assert!(
                found.entries.len() >= synced.len(),
                "seed {seed}, round {round}"
            );
            assert_eq!(
                found.entries[..synced.len()],
                synced[..],
                "seed {seed}, round {round}"
            );
            synced = found.entries;
            disk.fail_sync_in((seed * 7 + round * 13) as u32 % 9 + 1);
            loop {
                let next = entries(synced.len() as u64 + 1, 1 + seed % 3, round + 1, 1_500);
                let previous_term = log.last().term;
                let batch = Batch {
                    hard_state: &hard_state(round + 1, 1, 0),
                    previous_term,
                    entries: &next,
                };
                if log.append(&batch).is_err() {
                    break;
                }
                synced.extend(next);
            }
            disk.crash();
        }
    }
}

#[test]
fn a_failed_sync_is_never_retried() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 1, &entries(1, 1, 1, 10));
    disk.fail_sync_in(1);
    let more = entries(2, 1, 1, 10);
    let hard_state = hard_state(1, 1, 0);
    let batch = Batch {
        hard_state: &hard_state,
        previous_term: 1,
        entries: &more,
    };
    assert!(matches!(
        log.append(&batch),
        Err(LogError::Io {
            operation: "fdatasync",
            ..
        })
    ));
    assert!(matches!(log.append(&batch), Err(LogError::Poisoned)));
}

/// As after `kill -9` of a process whose disk failed: the page cache shows what is not on the disk.
#[test]
fn what_a_failed_sync_left_in_the_cache_is_written_again() {
    for seed in 0..200 {
        let disk = MemoryDisk::new(seed);
        let (mut log, _) = open(&disk);
        append(&mut log, 1, &entries(1, 1, 1, 700));
        disk.fail_sync_in(1);
        let batch = Batch {
            hard_state: &hard_state(1, 1, 0),
            previous_term: 1,
            entries: &entries(2, 1, 1, 2_000),
        };
        assert!(log.append(&batch).is_err());
        drop(log);
        disk.kill();
        let (mut log, found) = open(&disk);
        assert_eq!(found.entries.len(), 2, "seed {seed}");
        append(&mut log, 1, &entries(3, 1, 1, 100));
        disk.crash();
        assert_eq!(open(&disk).1.entries.len(), 3, "seed {seed}");
    }
}

#[test]
fn damage_before_good_records_stops_the_replica() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    for at in 0..4 {
        append(&mut log, 1, &entries(1 + at, 1, 1, 500));
    }
    drop(log);
    let name = only_segment(&disk);
    disk.flip_bit(&name, 900);
    assert!(matches!(
        RaftLog::open(disk.clone(), options()),
        Err(LogError::Corrupt { .. })
    ));
    disk.flip_bit(&name, 900);
    disk.flip_bit(&name, 10);
    let error = RaftLog::open(disk, options()).err().unwrap();
    assert!(error.to_string().contains("rejoin"), "{error}");
}

#[test]
fn recycled_segments_hide_their_former_records() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    for at in 0..40 {
        append(&mut log, 1, &entries(1 + at, 1, 1, 2_000));
        log.cut((1 + at).saturating_sub(8)).unwrap();
    }
    let segments = disk.list().unwrap().len();
    assert!(segments <= 4, "{segments} files");
    drop(log);
    let (_, found) = open(&disk);
    assert_eq!(found.entries.last().unwrap().index, 40);
    assert!(
        found.base.index <= 32 && found.base.index > 10,
        "base {}",
        found.base.index
    );
    assert_eq!(found.entries.first().unwrap().index, found.base.index + 1);
}

#[test]
fn a_reset_keeps_term_and_vote_alone() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 7, &entries(1, 20, 7, 2_000));
    log.reset(
        Position {
            index: 500,
            term: 9,
        },
        &hard_state(7, 1, 3),
    )
    .unwrap();
    drop(log);
    disk.crash();
    let (mut log, found) = open(&disk);
    assert_eq!(
        found.base,
        Position {
            index: 500,
            term: 9
        }
    );
    assert!(found.entries.is_empty());
    assert_eq!(
        (
            found.hard_state.term,
            found.hard_state.vote,
            found.hard_state.commit
        ),
        (7, 1, 500)
    );
    append(&mut log, 9, &entries(501, 1, 9, 10));
    assert_eq!(open(&disk).1.entries.len(), 1);
}

#[test]
fn a_batch_larger_than_a_segment_gets_a_larger_file() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 1, &entries(1, 2, 1, 40_000));
    append(&mut log, 1, &entries(3, 1, 1, 10));
    assert_eq!(open(&disk).1.entries.len(), 3);
}

#[test]
fn a_full_disk_leaves_the_preallocated_segments_usable() {
    let disk = MemoryDisk::new(1);
    disk.set_capacity(2 * SEGMENT);
    let (mut log, _) = open(&disk);
    append(&mut log, 1, &entries(1, 1, 1, 100));
    assert!(
        !log.prepare_spares()
            .is_ok_and(|made| !made && log.spares.len() > 1)
    );
    append(&mut log, 1, &entries(2, 5, 1, 100));
    assert_eq!(open(&disk).1.entries.len(), 6);
}

#[test]
fn golden_bytes() {
    let id = SegmentId {
        generation: 3,
        salt: 0xa1b2_c3d4_e5f6_0718,
    };
    let name = "0000000000000003-a1b2c3d4e5f60718.raftlog";
    assert_eq!(id.file_name(), name);
    assert_eq!(SegmentId::parse(name), Some(id));
    let mut bytes = Vec::new();
    let base = Position { index: 9, term: 2 };
    record::encode_segment_header(&mut bytes, id, record::FLAG_RESET, base);
    let one = entries(10, 1, 4, 3);
    let batch = Batch {
        hard_state: &hard_state(4, 2, 9),
        previous_term: 2,
        entries: &one,
    };
    record::encode(&mut bytes, id, 0, &batch);
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex.len(), 2 * (64 + 88));
    let header = "5a57524c0200010003000000000000000900000000000000020000000000000018\
        07f6e5d4c3b2a10000000000000000000000000000000000000000";
    assert_eq!(hex[..120], *header);
    assert_eq!(hex[128..136], *"1907f6e5", "the mark");
    let again = record::decode(&bytes[64..], id).unwrap();
    assert_eq!(again.entries, one);
    assert_eq!(
        (again.first_index, again.previous_term, again.bytes),
        (10, 2, 88)
    );
    let others = [
        SegmentId {
            generation: 4,
            ..id
        },
        // The mark is the same.
        SegmentId {
            salt: id.salt ^ 1 << 63,
            ..id
        },
        SegmentId {
            salt: id.salt ^ 2,
            ..id
        },
    ];
    for other in others {
        let read = record::decode(&bytes[64..], other);
        assert!(read.is_none(), "another segment's record");
    }
}

#[test]
fn works_on_real_files() {
    let folder = tempfile::tempdir().unwrap();
    let open = || RaftLog::open(FileDisk::new(folder.path()).unwrap(), options()).unwrap();
    let (mut log, _) = open();
    append(&mut log, 1, &entries(1, 30, 1, 2_000));
    log.cut(10).unwrap();
    drop(log);
    let (mut log, found) = open();
    assert_eq!(found.entries.len(), 30);
    log.reset(Position { index: 40, term: 1 }, &hard_state(1, 1, 0))
        .unwrap();
    drop(log);
    assert_eq!(open().1.base.index, 40);
}

#[test]
fn a_log_that_lacks_the_applied_index_begins_anew_behind_it() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 7, &entries(1, 5, 7, 10));
    let (mut log, found) = open(&disk);
    let at = |index, term| Position { index, term };
    assert_eq!(
        log.reconcile(found, at(3, 7)).unwrap().entries.len(),
        5,
        "it has it"
    );
    let (mut log, found) = open(&disk);
    let anew = log.reconcile(found, at(4, 8)).unwrap();
    assert_eq!(
        (anew.base, anew.entries.len()),
        (at(4, 8), 0),
        "a tail that was never committed"
    );
    assert_eq!((anew.hard_state.term, anew.hard_state.commit), (8, 4));
    let (mut log, found) = open(&disk);
    assert_eq!(log.reconcile(found, at(90, 8)).unwrap().base, at(90, 8));
    let (mut log, found) = open(&disk);
    assert!(matches!(
        log.reconcile(found, at(80, 8)),
        Err(LogError::Gap {
            applied: 80,
            first: 91
        })
    ));
    let (mut log, found) = open(&disk);
    assert!(matches!(
        log.reconcile(found, at(90, 9)),
        Err(LogError::Contradiction { term: 8, .. })
    ));
}
