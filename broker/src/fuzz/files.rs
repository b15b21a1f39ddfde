//! The small files of a log directory.

use std::collections::BTreeMap;

use super::ROUND_TRIP;
use crate::log::TopicPartition;
use crate::log::format::offset_index::{self, OffsetPosition};
use crate::log::format::producer_snapshot;
use crate::log::format::time_index::{self, TimestampEntry};
use crate::log::format::{
    clean_shutdown, leader_epoch_checkpoint, meta_properties, names, offset_checkpoint,
    partition_metadata,
};
use crate::log::leader_epoch::{EpochEntry, LeaderEpochs};
use crate::log::producer_state::ProducerTable;

/// The first byte chooses the kind of file, the others are its text.
pub(super) fn texts(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    let text = String::from_utf8_lossy(bytes);
    match kind % 6 {
        0 => {
            let Ok(entries) = leader_epoch_checkpoint::decode(&text) else {
                return;
            };
            let again = leader_epoch_checkpoint::decode(&leader_epoch_checkpoint::encode(&entries));
            assert_eq!(again.as_ref(), Ok(&entries), "{ROUND_TRIP}");
            epochs(&entries);
        }
        1 => {
            if let Ok(offsets) = offset_checkpoint::decode(&text) {
                let again = offset_checkpoint::decode(&offset_checkpoint::encode(&offsets));
                assert_eq!(again, Ok(offsets), "{ROUND_TRIP}");
            }
        }
        2 => {
            if let Ok(properties) = meta_properties::decode(&text) {
                let again = meta_properties::decode(&meta_properties::encode(&properties));
                assert_eq!(again, Ok(properties), "{ROUND_TRIP}");
            }
        }
        3 => {
            if let Ok(id) = partition_metadata::decode(&text) {
                assert_eq!(
                    partition_metadata::decode(&partition_metadata::encode(id)),
                    Ok(id),
                    "{ROUND_TRIP}"
                );
            }
        }
        4 => {
            if let Some(epoch) = clean_shutdown::decode(&text) {
                assert_eq!(
                    clean_shutdown::decode(&clean_shutdown::encode(epoch)),
                    Some(epoch),
                    "{ROUND_TRIP}"
                );
            }
        }
        _ => name(&text),
    }
}

fn name(text: &str) {
    if let Some((base, kind)) = names::parse_segment_file(text) {
        assert_eq!(names::segment_file(base, kind), text);
    }
    if let Some(partition) = names::parse_partition_folder(text) {
        let folder = names::partition_folder(&partition);
        assert_eq!(
            names::parse_partition_folder(&folder),
            Some(partition.clone())
        );
        for end in [names::DELETE_FOLDER, names::STRAY_FOLDER] {
            let departed = names::departed_folder(&partition, u128::MAX, end);
            assert_eq!(
                names::parse_partition_folder(&departed),
                None,
                "a departed folder is no log"
            );
        }
    }
}

/// What a log asks of its epochs.
fn epochs(entries: &[EpochEntry]) {
    let mut epochs = LeaderEpochs::new(entries.iter().copied());
    let asked = entries
        .iter()
        .map(|entry| entry.leader_epoch)
        .chain([i32::MIN, -1, 0, i32::MAX]);
    for epoch in asked {
        epochs.end_offset(epoch, 100);
    }
    for offset in [i64::MIN, 0, 50, i64::MAX] {
        epochs.epoch_at(offset);
    }
    epochs.truncate_start(50);
    epochs.truncate_end(60);
    let rising = epochs
        .entries()
        .windows(2)
        .all(|pair| pair[0].precedes(&pair[1]));
    assert!(rising, "epochs rise: {epochs:?}");
}

pub(super) fn text_seeds() -> Vec<Vec<u8>> {
    let entries = [(0, 0), (3, 120)].map(|(leader_epoch, start_offset)| EpochEntry {
        leader_epoch,
        start_offset,
    });
    let offsets = BTreeMap::from([(TopicPartition::new("orders", 10), 17)]);
    let properties = "#\n#Thu\ndirectory.id=a\\=b\nbroker.id=3\ncluster.id=x\nversion=1\n";
    let texts = [
        leader_epoch_checkpoint::encode(&entries),
        offset_checkpoint::encode(&offsets),
        properties.to_owned(),
        "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAQ".to_owned(),
        clean_shutdown::encode(5),
        "00000000000000000042.log.deleted".to_owned(),
        "a-b.c-7".to_owned(),
    ];
    let numbered = texts.into_iter().enumerate();
    numbered
        .map(|(kind, text)| [&[kind.min(5) as u8][..], text.as_bytes()].concat())
        .collect()
}

/// A base offset, then entries as they lie in an index.
pub(super) fn indexes(bytes: &[u8]) {
    let Some((base, bytes)) = bytes.split_first_chunk() else {
        return;
    };
    // A segment's file is named by its base offset in decimal digits: it is never negative.
    let base = i64::from_be_bytes(*base) & i64::MAX;
    for entry in bytes.as_chunks().0 {
        let OffsetPosition { offset, position } = offset_index::decode(*entry, base);
        if (base..i64::MAX).contains(&offset) {
            assert_eq!(
                offset_index::encode(OffsetPosition { offset, position }, base),
                *entry
            );
        }
    }
    for entry in bytes.as_chunks().0 {
        let TimestampEntry {
            timestamp_ms,
            offset,
        } = time_index::decode(*entry, base);
        if (base..i64::MAX).contains(&offset) {
            assert_eq!(
                time_index::encode(
                    TimestampEntry {
                        timestamp_ms,
                        offset
                    },
                    base
                ),
                *entry
            );
        }
    }
}

pub(super) fn index_seeds() -> Vec<Vec<u8>> {
    vec![vec![0; 8 + 24], vec![0xff; 8 + 24]]
}

/// A producer snapshot, its checksum set right, and the table it makes.
pub(super) fn snapshots(bytes: &[u8]) {
    let mut bytes = bytes.to_vec();
    let _ = producer_snapshot::decode(&bytes);
    if bytes.len() >= 6 {
        let crc = crc32c::crc32c(&bytes[6..]);
        bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    }
    let Ok(entries) = producer_snapshot::decode(&bytes) else {
        return;
    };
    assert_eq!(
        producer_snapshot::decode(&producer_snapshot::encode(&entries)).as_ref(),
        Ok(&entries),
        "{ROUND_TRIP}"
    );
    let mut table = ProducerTable::from_snapshot(&entries);
    let again = ProducerTable::from_snapshot(&table.snapshot());
    assert_eq!(
        again.snapshot(),
        table.snapshot(),
        "a table survives its snapshot"
    );
    table.first_unstable_offset();
    table.expire(i64::MAX, 1);
    table.advance_start(i64::MAX);
}

pub(super) fn snapshot_seeds() -> Vec<Vec<u8>> {
    let entry = producer_snapshot::SnapshotEntry {
        producer_id: 1000,
        producer_epoch: 2,
        last_sequence: 9,
        last_offset: 41,
        offset_delta: 4,
        timestamp_ms: 1_700_000_000_000,
        coordinator_epoch: -1,
        txn_first_offset: None,
    };
    let other = producer_snapshot::SnapshotEntry {
        producer_id: 1001,
        txn_first_offset: Some(40),
        ..entry
    };
    vec![
        producer_snapshot::encode(&[entry, other]),
        producer_snapshot::encode(&[]),
    ]
}
