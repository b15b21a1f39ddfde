//! Reading, by offset and by time, and beside an appender.

use super::*;

#[test]
fn reads_keep_to_their_bounds() {
    let log = TestLog::new(LogConfig::default());
    let size = Batch::of(2).bytes().len();
    for _ in 0..10 {
        log.append(&Batch::of(2)).unwrap();
    }
    let length =
        |offset, max, upper, min_one| log.read(offset, max, upper, min_one).unwrap().bytes.len();
    assert_eq!(length(0, usize::MAX >> 1, i64::MAX, false), 10 * size);
    assert_eq!(length(0, 3 * size - 1, i64::MAX, false), 2 * size);
    assert_eq!(length(0, size - 1, i64::MAX, false), 0);
    assert_eq!(length(0, 0, i64::MAX, true), size);
    for upper in 0..=20 {
        let expected = usize::try_from(upper).unwrap() / 2 * size;
        assert_eq!(
            length(0, usize::MAX >> 1, upper, true),
            expected,
            "upper {upper}"
        );
    }
    let slice = log.slice(5, 3 * size, i64::MAX, false).unwrap().unwrap();
    assert_eq!(
        (slice.first_offset, slice.position, slice.length),
        (4, 2 * size as u64, 3 * size)
    );
}

fn compressed(compression: Compression, timestamps: &[i64]) -> Bytes {
    let records: Vec<Record> = timestamps
        .iter()
        .enumerate()
        .map(|(at, &timestamp)| Record {
            transactional: false,
            control: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: RecordTime::Creation,
            offset: at as i64,
            sequence: at as i32,
            timestamp,
            key: None,
            value: Some(Bytes::from_static(b"value")),
            headers: Default::default(),
            delete_horizon: false,
        })
        .collect();
    let mut out = bytes::BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression,
    };
    RecordBatchEncoder::encode(&mut out, records.iter(), &options).unwrap();
    out.freeze()
}

#[test]
fn timestamps_lead_to_offsets_in_every_codec() {
    let log = TestLog::new(small());
    let codecs = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for (at, codec) in codecs.into_iter().enumerate() {
        let base = 1_000 * (at as i64 + 1);
        let batch = compressed(codec, &[base, base + 500, base + 200]);
        log.append_as_leader(batch, 3, AppendOrigin::Client, NOW)
            .unwrap();
    }
    let found = |timestamp_ms| log.offset_for_timestamp(timestamp_ms, i64::MAX).unwrap();
    for at in 0..5 {
        let base = 1_000 * (at + 1);
        for (wanted, timestamp_ms, offset) in [
            (base - 1, base, at * 3),
            (base + 1, base + 500, at * 3 + 1),
            (base + 500, base + 500, at * 3 + 1),
        ] {
            let leader_epoch = 3;
            let expected = TimestampOffset {
                timestamp_ms,
                offset,
                leader_epoch,
            };
            assert_eq!(found(wanted), Some(expected), "{wanted}");
        }
    }
    assert_eq!(found(5_501), None);
    assert_eq!(log.offset_for_timestamp(4_100, 10).unwrap(), None);
    assert_eq!(log.max_timestamp(i64::MAX).unwrap().unwrap().offset, 13);
}

/// Each of these batches, a millisecond apart, is found by its time.
fn check_lookups(log: &Log, count: i64) {
    for at in 0..count {
        let found = log.offset_for_timestamp(1_000 + at, i64::MAX).unwrap();
        assert_eq!(found.map(|found| found.offset), Some(at), "at {at}");
    }
    let last = log.max_timestamp(i64::MAX).unwrap().unwrap();
    assert_eq!(last.offset, count - 1);
}

fn append_a_millisecond_apart(log: &TestLog, count: i64) {
    for at in 0..count {
        let batch = Batch {
            timestamp_ms: 1_000 + at,
            ..Batch::of(1)
        };
        log.append(&batch).unwrap();
    }
}

#[test]
fn lookups_by_time_survive_a_crash_and_then_a_clean_stop() {
    let mut log = TestLog::new(small());
    append_a_millisecond_apart(&log, 40);
    assert!(log.segment_count() > 3);
    check_lookups(&log, 40);
    log.crash();
    log.reopen(hints(false)).unwrap();
    check_lookups(&log, 40);
    let segments: Vec<_> = log.segments.read().values().cloned().collect();
    for segment in segments {
        let last = segment.time_index().last().unwrap();
        assert_eq!(last, Some(segment.largest_timestamp()));
    }
    log.close().unwrap();
    log.crash();
    log.reopen(hints(true)).unwrap();
    check_lookups(&log, 40);
}

/// The index says nothing of what lies behind its last entry; the batches do.
#[test]
fn truncation_keeps_the_largest_timestamp_of_what_stays() {
    let log = TestLog::new(LogConfig {
        index_interval_bytes: 250,
        ..LogConfig::default()
    });
    append_a_millisecond_apart(&log, 30);
    for end in [29, 17, 16, 15, 3, 1] {
        log.truncate_to(end).unwrap();
        check_lookups(&log, end);
    }
}

/// A leader that checked less may have let it in.
#[test]
fn a_batch_that_lies_about_its_count_can_be_looked_up() {
    let log = TestLog::new(small());
    let batch = claiming(
        compressed(Compression::Gzip, &[1_000, 1_500]).into(),
        i32::MAX,
    );
    log.append_as_follower(batch.into(), NOW).unwrap();
    let found = |timestamp_ms| log.offset_for_timestamp(timestamp_ms, i64::MAX).unwrap();
    assert_eq!(found(1_200).unwrap().offset, 1);
    assert_eq!(found(1_501), None);
}

#[test]
fn readers_run_beside_an_appender() {
    let log = TestLog::new(LogConfig {
        segment_bytes: 4_000,
        ..small()
    });
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut offset = 0;
                while offset < 2_000 {
                    let upper = log.log_end_offset();
                    let records = log.read(offset, 1_000, upper, true).unwrap();
                    for item in record_batch::headers(&records.bytes) {
                        let (header, range): (Header, _) = item.unwrap();
                        record_batch::parse_whole(&records.bytes[range]).unwrap();
                        assert_eq!(header.base_offset, offset);
                        offset = header.next_offset();
                        assert!(offset <= upper);
                    }
                }
            });
        }
        for _ in 0..1_000 {
            log.append(&Batch::of(2)).unwrap();
        }
    });
}
