//! What lies behind the last record of a recycled segment: bytes that clients once wrote.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use super::*;

/// Puts `stale` behind what `log`, which has one segment, has written.
fn leave(disk: &MemoryDisk, log: &RaftLog<MemoryDisk>, stale: &[u8]) {
    let mut file = disk.open(&only_segment(disk)).unwrap();
    file.write_at(log.position, stale).unwrap();
    file.sync().unwrap();
}

/// A vote and an entry of a term to come.
fn forged(id: SegmentId, sequence: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    let entries = entries(3, 1, 9, 8);
    let batch = Batch {
        hard_state: &hard_state(9, 9, 0),
        previous_term: 1,
        entries: &entries,
    };
    record::encode(&mut bytes, id, sequence, &batch);
    bytes
}

#[test]
fn what_a_client_wrote_is_no_record_of_a_later_use() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    for index in 1..=40 {
        // Who knows the format, and no salt, writes records of the generations to come, at each place in a word.
        let mut list = entries(index, 1, 1, usize::try_from(index % 8).unwrap());
        for generation in 2..12 {
            let guess = SegmentId {
                generation,
                salt: 0,
            };
            list[0].data.extend(forged(guess, 1));
        }
        append(&mut log, 1, &list);
        log.cut(index.saturating_sub(1)).unwrap();
    }
    append(&mut log, 1, &entries(41, 1, 1, 10));
    let expected = log.last();
    drop(log);
    let (log, found) = open(&disk);
    assert_eq!((log.last(), found.hard_state.term), (expected, 1));
}

#[test]
fn beginnings_of_records_cost_no_more_than_their_own_bytes() {
    // Half a million, each claims four mebibytes behind itself; summed one by one that would be two tebibytes.
    let options = LogOptions {
        segment_bytes: 13 << 20,
        spares: 0,
    };
    let disk = MemoryDisk::new(1);
    let (mut log, _) = RaftLog::open(disk.clone(), options.clone()).unwrap();
    append(&mut log, 1, &entries(1, 1, 1, 10));
    let mark = log.segments.back().unwrap().id.mark().to_le_bytes();
    let beginning = [mark, [7; 4], (1_u32 << 22).to_le_bytes(), [0; 4]].concat();
    leave(&disk, &log, &beginning.repeat(1 << 19));
    drop(log);
    let (done, opened) = mpsc::channel();
    thread::spawn(move || done.send(RaftLog::open(disk, options).map(|(_, found)| found)));
    let found = opened.recv_timeout(Duration::from_secs(60));
    let found = found.expect("opened within a minute").unwrap();
    assert_eq!(found.entries, entries(1, 1, 1, 10));
}

#[test]
fn a_good_record_behind_a_bad_one_is_found_among_beginnings() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 1, &entries(1, 1, 1, 10));
    let id = log.segments.back().unwrap().id;
    let beginning = [id.mark().to_le_bytes(), [7; 4], [64, 0, 0, 0], [0; 4]].concat();
    let stale = [&beginning[..], &beginning, &forged(id, 1)].concat();
    leave(&disk, &log, &stale);
    drop(log);
    let refused = RaftLog::open(disk, options()).err();
    assert!(
        matches!(refused, Some(LogError::Corrupt { .. })),
        "{refused:?}"
    );
}

#[test]
fn each_use_of_a_file_has_a_salt_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for disk in [
        FileDisk::new(folder.path()).unwrap(),
        FileDisk::new(folder.path()).unwrap(),
    ] {
        let (mut log, found) = RaftLog::open(disk, options()).unwrap();
        let from = found.entries.len() as u64 + 1;
        append(&mut log, 1, &entries(from, 1, 1, 15_000));
        append(&mut log, 1, &entries(from + 1, 1, 1, 15_000));
    }
    let names = FileDisk::new(folder.path()).unwrap().list().unwrap();
    let ids = names.iter().filter_map(|name| SegmentId::parse(name));
    let salts: std::collections::BTreeSet<u64> = ids.map(|id| id.salt).collect();
    assert_eq!(salts.len(), 4, "{names:?}");
}

/// Its removal may be undone by a loss of power, as long as nothing stands in the next one.
#[test]
fn a_generation_that_was_begun_twice_is_one() {
    let disk = MemoryDisk::new(1);
    let (mut log, _) = open(&disk);
    append(&mut log, 1, &entries(1, 1, 1, 10));
    drop(log);
    let begun = |salt| SegmentId {
        generation: 2,
        salt,
    };
    for salt in [1, u64::MAX] {
        disk.create(&begun(salt).file_name(), SEGMENT).unwrap();
    }
    let (log, found) = open(&disk);
    assert_eq!((found.entries.len(), log.next_generation), (1, 2));
    let left = disk.list().unwrap();
    assert!(
        left.iter()
            .all(|name| !name.starts_with("0000000000000002"))
    );
    drop(log);
    // Two that hold something can't be.
    for salt in [1, u64::MAX] {
        let mut bytes = Vec::new();
        let last = Position { index: 1, term: 1 };
        record::encode_segment_header(&mut bytes, begun(salt), 0, last);
        let mut file = disk.create(&begun(salt).file_name(), SEGMENT).unwrap();
        file.write_at(0, &bytes).unwrap();
    }
    let refused = RaftLog::open(disk, options()).err().unwrap();
    assert!(refused.to_string().contains("two segments"), "{refused}");
}

#[test]
fn a_log_without_salts_is_refused_by_name() {
    let disk = MemoryDisk::new(1);
    disk.create("0000000000000007.raftlog", SEGMENT).unwrap();
    let refused = RaftLog::open(disk, options()).err().unwrap();
    let expected = "raft log segment 0000000000000007.raftlog has format version 1, this release reads version 2 alone";
    assert_eq!(refused.to_string(), expected);
}
