use kafka_protocol::records::{RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions};
use proptest::prelude::*;

use super::*;

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn record() -> impl Strategy<Value = Record> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..64));
    let header = ("[a-c]{0,3}", bytes());
    (
        bytes(),
        bytes(),
        proptest::collection::vec(header, 0..4),
        0i64..1 << 44,
    )
        .prop_map(|(key, value, headers, timestamp_ms)| Record {
            key: key.map(Bytes::from),
            value: value.map(Bytes::from),
            headers: headers
                .into_iter()
                .map(|(k, v)| (k, v.map(Bytes::from)))
                .collect(),
            timestamp_ms,
        })
}

fn decode_all(bytes: Bytes) -> Vec<(i64, Record)> {
    Batches::new(bytes)
        .flat_map(|b| b.expect("batch").records().expect("records"))
        .collect()
}

proptest! {
    #[test]
    fn every_codec_gives_back_what_it_was_given(
        records in proptest::collection::vec(record(), 1..20),
        codec in 0usize..5,
    ) {
        let spec = BatchSpec { compression: CODECS[codec], ..BatchSpec::default() };
        let bytes = encode_batch(&spec, &records).expect("encode");
        let back: Vec<Record> = decode_all(bytes).into_iter().map(|(_, r)| r).collect();
        prop_assert_eq!(back, records);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        for batch in Batches::new(Bytes::from(bytes)).flatten() {
            let _ = batch.records();
        }
    }

    #[test]
    fn damaged_bodies_never_panic(
        records in proptest::collection::vec(record(), 1..5),
        codec in 0usize..5,
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let spec = BatchSpec { compression: CODECS[codec], ..BatchSpec::default() };
        let mut bytes = encode_batch(&spec, &records).expect("encode").to_vec();
        let at = 21 + at.index(bytes.len() - 21);
        bytes[at] = value;
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        for batch in Batches::new(Bytes::from(bytes)).flatten() {
            let _ = batch.records();
        }
    }
}

#[test]
fn a_batch_cut_off_at_the_end_is_left_for_the_next_fetch() {
    let record = Record {
        value: Some(Bytes::from_static(b"v")),
        ..Record::default()
    };
    let one = encode_batch(&BatchSpec::default(), std::slice::from_ref(&record)).expect("encode");
    let mut bytes = one.to_vec();
    bytes.extend_from_slice(&one[..one.len() - 1]);
    assert_eq!(decode_all(Bytes::from(bytes)), vec![(0, record)]);
}

#[test]
fn a_flipped_bit_is_told() {
    let record = Record {
        value: Some(Bytes::from_static(b"value")),
        ..Record::default()
    };
    let mut bytes = encode_batch(&BatchSpec::default(), &[record])
        .expect("encode")
        .to_vec();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    let error = Batches::new(Bytes::from(bytes))
        .next()
        .expect("one")
        .expect_err("damaged");
    assert!(
        matches!(error, RecordsError::Checksum { offset: 0, .. }),
        "{error}"
    );
}

/// Headers with repeated keys are legal in Kafka and must survive.
#[test]
fn repeated_header_keys_survive() {
    let headers = vec![
        ("k".to_owned(), Some(Bytes::from_static(b"1"))),
        ("k".to_owned(), None),
    ];
    let record = Record {
        headers,
        ..Record::default()
    };
    let bytes = encode_batch(&BatchSpec::default(), std::slice::from_ref(&record)).expect("encode");
    assert_eq!(decode_all(bytes), vec![(0, record)]);
}

#[test]
fn both_codecs_of_this_tree_agree() {
    let record = kafka_protocol::records::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: 7,
        producer_epoch: 1,
        timestamp_type: kafka_protocol::records::TimestampType::Creation,
        offset: 0,
        sequence: 40,
        timestamp: 1_700_000_000_000,
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(b"value")),
        headers: Default::default(),
    };
    let mut theirs = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: kafka_protocol::records::Compression::None,
    };
    RecordBatchEncoder::encode(&mut theirs, [&record], &options).expect("encode");

    let ours = Record {
        key: record.key.clone(),
        value: record.value.clone(),
        headers: Vec::new(),
        timestamp_ms: record.timestamp,
    };
    let spec = BatchSpec {
        compression: Compression::None,
        producer_id: 7,
        producer_epoch: 1,
        base_sequence: 40,
    };
    let mut bytes = encode_batch(&spec, &[ours]).expect("encode");
    assert_eq!(bytes, theirs);
    let decoded = RecordBatchDecoder::decode(&mut bytes).expect("decode");
    assert_eq!(decoded.records, vec![record]);
}

#[test]
fn timestamps_at_both_ends_of_time_come_back() {
    let at = |timestamp_ms| Record {
        timestamp_ms,
        ..Record::default()
    };
    let records = [at(i64::MIN), at(i64::MAX), at(0)];
    let bytes = encode_batch(&BatchSpec::default(), &records).expect("encoded");
    let batch = Batches::new(bytes).next().expect("one").expect("whole");
    let read = batch.records().expect("records");
    let read: Vec<Record> = read.into_iter().map(|(_, record)| record).collect();
    assert_eq!(read, records);
}
