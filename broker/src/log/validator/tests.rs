use bytes::BytesMut;
use kafka_protocol::compression::{Compressor, Gzip};

use super::super::config::CleanupPolicy;
use super::super::format::record::tests::push_record;
use super::super::format::record_batch::LENGTH_OVERHEAD;
use super::super::format::record_batch::tests::{Batch, seal};
use super::super::format::record_stream::tests::{CODECS, claiming, packed};
use super::*;

const NOW: i64 = 5_000;

fn check(records: &[u8]) -> Result<Vec<CheckedBatch>, AppendError> {
    check_for_leader(records, &LogConfig::default(), AppendOrigin::Client, NOW)
}

/// A batch whose bytes from `at` on are replaced, with the right checksum again.
fn altered(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = Batch::of(2).bytes();
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    seal(&mut batch);
    batch
}

fn with_body(records: i32, body: &[u8]) -> Vec<u8> {
    let mut batch = Batch::of(records).bytes();
    batch.truncate(HEADER_SIZE);
    batch.extend(body);
    let length = (batch.len() - LENGTH_OVERHEAD) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    seal(&mut batch);
    batch
}

#[test]
fn a_good_batch_passes_and_gets_offsets() {
    let mut bytes = Batch::of(3).bytes();
    let mut batches = check(&bytes).unwrap();
    stamp(&mut bytes, &mut batches, None);
    assert_eq!(assign(&mut bytes, &mut batches, 40, 6), 43);
    let header = record_batch::parse_whole(&bytes).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (40, 6));
    assert_eq!(header, batches[0].header);
    stamp(&mut bytes, &mut batches, Some(99));
    assert_eq!(batches[0].header.max_timestamp_ms, 99);
    assert_eq!(
        record_batch::parse_whole(&bytes).unwrap().max_timestamp_ms,
        99
    );
}

#[test]
fn what_clients_may_not_send() {
    type Bad = (&'static str, Vec<u8>);
    let twice = [Batch::of(1).bytes(), Batch::of(1).bytes()].concat();
    let cases: Vec<Bad> = vec![
        ("empty", vec![]),
        ("count", altered(57, &3i32.to_be_bytes())),
        ("no records", altered(57, &0i32.to_be_bytes())),
        ("last offset delta", altered(23, &5i32.to_be_bytes())),
        (
            "negative last offset delta",
            altered(23, &(-1i32).to_be_bytes()),
        ),
        ("base offset", altered(0, &7i64.to_be_bytes())),
        ("control", altered(21, &0x20i16.to_be_bytes())),
        (
            "producer without sequence",
            altered(43, &9i64.to_be_bytes()),
        ),
        ("two batches", twice),
        ("garbage records", with_body(1, &[0xff; 20])),
        ("body of fewer records", with_body(2, &[])),
    ];
    for (name, bytes) in cases {
        let answer = check(&bytes);
        assert!(
            matches!(answer, Err(AppendError::InvalidRecord(_))),
            "{name}: {answer:?}"
        );
    }
    let transactional = check(&altered(21, &0x10i16.to_be_bytes()));
    assert!(matches!(transactional, Err(AppendError::Transactional)));
    let codec = check(&altered(21, &7i16.to_be_bytes()));
    assert!(matches!(codec, Err(AppendError::UnsupportedCompression(7))));
}

#[test]
fn formats_checksums_and_lengths() {
    for magic in [0i8, 1, 3, -1] {
        let mut bytes = Batch::of(1).bytes();
        bytes[16] = magic as u8;
        let answer = check(&bytes);
        assert!(
            matches!(answer, Err(AppendError::InvalidRecord(_))),
            "{answer:?}"
        );
    }
    let mut flipped = Batch::of(1).bytes();
    *flipped.last_mut().unwrap() ^= 1;
    assert!(matches!(check(&flipped), Err(AppendError::Corrupt(_))));
    let bytes = Batch::of(1).bytes();
    for length in 1..bytes.len() {
        assert!(
            matches!(check(&bytes[..length]), Err(AppendError::Corrupt(_))),
            "{length}"
        );
    }
    let longer = [&bytes[..], &[0; 5]].concat();
    assert!(check(&longer).is_err());
}

#[test]
fn sizes_are_bounded() {
    let bytes = Batch {
        value_size: 500,
        ..Batch::of(1)
    }
    .bytes();
    let small = LogConfig {
        max_message_bytes: 300,
        ..LogConfig::default()
    };
    let answer = check_for_leader(&bytes, &small, AppendOrigin::Client, NOW);
    assert!(matches!(
        answer,
        Err(AppendError::RecordTooLarge { max: 300, .. })
    ));
    let segment = LogConfig {
        segment_bytes: 300,
        ..LogConfig::default()
    };
    let answer = check_for_leader(&bytes, &segment, AppendOrigin::Client, NOW);
    assert!(matches!(
        answer,
        Err(AppendError::RecordBatchTooLarge { max: 300, .. })
    ));
}

#[test]
fn timestamps_are_bounded_and_the_largest_is_mended() {
    let config = LogConfig {
        timestamp_before_max_ms: 100,
        timestamp_after_max_ms: 100,
        ..LogConfig::default()
    };
    let at = |timestamp_ms| {
        let bytes = Batch {
            timestamp_ms,
            ..Batch::of(2)
        }
        .bytes();
        check_for_leader(&bytes, &config, AppendOrigin::Client, NOW)
    };
    assert!(at(4_900).is_ok() && at(5_099).is_ok());
    assert!(matches!(
        at(4_899),
        Err(AppendError::InvalidTimestamp { .. })
    ));
    assert!(matches!(
        at(5_100),
        Err(AppendError::InvalidTimestamp { .. })
    ));
    let stamped = altered(21, &0x8i16.to_be_bytes());
    assert!(matches!(
        check(&stamped),
        Err(AppendError::InvalidTimestamp { .. })
    ));

    let mut lying = altered(35, &4_000i64.to_be_bytes());
    let mut batches = check(&lying).unwrap();
    stamp(&mut lying, &mut batches, None);
    assert_eq!(
        record_batch::parse_whole(&lying).unwrap().max_timestamp_ms,
        1_001
    );
}

/// What stands in a compressed batch is looked at too, whatever its header says.
#[test]
fn compressed_batches_are_unpacked_and_checked() {
    let records = [(Some("a"), 1_000), (None, 1_400), (Some("c"), 1_200)];
    let strict = LogConfig {
        timestamp_after_max_ms: 0,
        ..LogConfig::default()
    };
    let compacted = LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: false,
            compact: true,
        },
        ..LogConfig::default()
    };
    let invalid = |answer: Result<_, AppendError>| {
        assert!(
            matches!(answer, Err(AppendError::InvalidRecord(_))),
            "{answer:?}"
        );
    };
    for codec in CODECS {
        let good = packed(codec, &records);
        check(&good).unwrap();
        for count in [1, 2, 4, i32::MAX] {
            invalid(check(&claiming(good.clone(), count)));
        }
        let mut junk = good.clone();
        junk[HEADER_SIZE..].fill(0xA5);
        seal(&mut junk);
        invalid(check(&junk));
        let as_compacted = check_for_leader(&good, &compacted, AppendOrigin::Client, NOW);
        invalid(as_compacted);
        let too_new = check_for_leader(&good, &strict, AppendOrigin::Client, 1_399);
        assert!(matches!(too_new, Err(AppendError::InvalidTimestamp { .. })));

        let mut lying = good.clone();
        lying[35..43].copy_from_slice(&(1i64 << 62).to_be_bytes());
        seal(&mut lying);
        let mut batches = check(&lying).unwrap();
        stamp(&mut lying, &mut batches, None);
        assert_eq!(lying, good, "{codec:?}");
    }
}

/// A producer that gets this code splits its batch.
#[test]
fn a_batch_that_unpacks_without_end_is_too_large() {
    let gzip = |plain: &[u8]| {
        let mut member = BytesMut::new();
        let fill = |buf: &mut BytesMut| {
            buf.extend_from_slice(plain);
            Ok(())
        };
        Gzip::compress(&mut member, fill).unwrap();
        member
    };
    // One record, its value a gibibyte of zeros: gzip is read on from one member to the next.
    let mut body = gzip(&[
        0xf0, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 1, 0x80, 0x80, 0x80, 0x80, 8,
    ]);
    body.extend(gzip(&vec![0; 16 << 20]).repeat(17));
    let mut bomb = with_body(1, &body);
    bomb[21..23].copy_from_slice(&1i16.to_be_bytes());
    seal(&mut bomb);
    let answer = check(&bomb);
    assert!(
        matches!(answer, Err(AppendError::RecordTooLarge { max, .. }) if max == 256 << 20),
        "{answer:?}"
    );
}

#[test]
fn compacted_topics_need_keys() {
    let mut body = Vec::new();
    push_record(&mut body, 0, 0, None, Some(b"v"));
    let bytes = with_body(1, &body);
    assert!(check(&bytes).is_ok());
    let config = LogConfig {
        cleanup_policy: CleanupPolicy {
            delete: false,
            compact: true,
        },
        ..LogConfig::default()
    };
    let answer = check_for_leader(&bytes, &config, AppendOrigin::Client, NOW);
    assert!(matches!(answer, Err(AppendError::InvalidRecord(_))));
}

#[test]
fn the_coordinator_may_write_markers_and_several_batches() {
    let mut body = Vec::new();
    push_record(
        &mut body,
        0,
        0,
        Some(&[0, 0, 0, 0]),
        Some(&[0, 0, 0, 0, 0, 3]),
    );
    let mut marker = with_body(1, &body);
    marker[21..23].copy_from_slice(&0x30i16.to_be_bytes());
    seal(&mut marker);
    let both = [Batch::of(2).bytes(), marker].concat();
    let config = LogConfig::default();
    let batches = check_for_leader(&both, &config, AppendOrigin::Coordinator, NOW).unwrap();
    assert_eq!(batches[0].end_marker, None);
    let expected = EndMarker {
        commit: false,
        coordinator_epoch: 3,
    };
    assert_eq!(batches[1].end_marker, Some(expected));
}

#[test]
fn followers_take_whole_batches_in_order() {
    let at = |base_offset| {
        Batch {
            base_offset,
            leader_epoch: 1,
            ..Batch::of(2)
        }
        .bytes()
    };
    let bytes = [at(10), at(12), at(20)].concat();
    let (batches, valid) = check_for_follower(&bytes[..bytes.len() - 1]).unwrap();
    assert_eq!((batches.len(), valid), (2, at(10).len() * 2));
    assert!(check_for_follower(&[at(10), at(11)].concat()).is_err());
    let mut flipped = bytes.clone();
    flipped[at(10).len() + 70] ^= 4;
    assert!(matches!(
        check_for_follower(&flipped),
        Err(AppendError::Corrupt(_))
    ));
    assert_eq!(check_for_follower(&[]).unwrap(), (vec![], 0));
}

/// A reader that isn't ours must understand all that was let in.
#[test]
fn mutated_batches_are_refused_or_readable() {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut chance = move |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    let mut accepted = 0;
    for round in 0..30_000 {
        let mut bytes = Batch::of(1 + chance(4) as i32).bytes();
        for _ in 0..chance(4) {
            let at = chance(bytes.len());
            bytes[at] = match chance(3) {
                0 => chance(256) as u8,
                1 => bytes[at].wrapping_add(1),
                _ => bytes[at] ^ 1 << chance(8),
            };
        }
        if chance(4) == 0 {
            bytes.truncate(chance(bytes.len()) + 1);
        }
        if chance(8) != 0 && bytes.len() > HEADER_SIZE {
            seal(&mut bytes);
        }
        let Ok(batches) = check(&bytes) else { continue };
        accepted += 1;
        let mut rest = &bytes[..];
        let read = kafka_protocol::records::RecordBatchDecoder::decode(&mut rest);
        let read = read.unwrap_or_else(|error| panic!("round {round}: {error}"));
        let count = batches[0].header.record_count as usize;
        assert_eq!(
            (read.records.len(), rest.len()),
            (count, 0),
            "round {round}"
        );
    }
    assert!(accepted > 5_000, "{accepted}");
}

#[test]
fn a_timestamp_beyond_the_end_of_time_is_none() {
    // As far as the settings go any will do.
    let config = LogConfig {
        timestamp_after_max_ms: i64::MAX,
        ..LogConfig::default()
    };
    let check = |batch: &[u8]| check_for_leader(batch, &config, AppendOrigin::Client, NOW);
    let at = |base_ms: i64| altered(27, &base_ms.to_be_bytes());
    assert!(check(&at(i64::MAX - 1)).is_ok());
    let beyond = check(&at(i64::MAX));
    assert!(
        matches!(beyond, Err(AppendError::InvalidRecord(_))),
        "{beyond:?}"
    );
}
