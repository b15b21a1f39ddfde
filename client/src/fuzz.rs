//! What the fuzzer feeds bytes to: what brokers and other members of a group send to a client.
//!
//! A target is a function that panics when bytes break a promise. A fuzzer looks for such bytes; `fuzz/NAME.hex`
//! keeps those worth keeping, one per line, and the tests run each of them. A new one is a function and a row here.

use std::io::Read;

use bytes::Bytes;

use crate::kafka::connection::fuzz as connection;
use crate::kafka::consumer::assignor;
use crate::kafka::records::{BatchSpec, Batches, Compression, Record, encode_batch, unpack};

/// Name, what to run, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// The targets of this package.
pub const TARGETS: &[Target] = &[
    ("client-answers", connection::answers, connection::seeds),
    ("client-batches", batches, batch_seeds),
    ("client-unpack", unpacked, packed_seeds),
    ("client-members", members, member_seeds),
];

const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// Gives batches the length and checksum that their bytes have, so that damage reaches what lies behind these.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let mut batch = bytes.to_vec();
    if batch.len() >= 61 {
        let length = (batch.len() - 12) as i32;
        batch[8..12].copy_from_slice(&length.to_be_bytes());
        batch[16] = 2;
        let crc = crc32c::crc32c(&batch[21..]);
        batch[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    batch
}

/// An odd first byte has the rest sealed as one batch.
fn batches(bytes: &[u8]) {
    let Some((&mode, bytes)) = bytes.split_first() else {
        return;
    };
    let bytes = match mode & 1 {
        0 => bytes.to_vec(),
        _ => sealed(bytes),
    };
    let sent = bytes.len();
    let mut batches = Batches::new(Bytes::from(bytes));
    let mut count = 0;
    for batch in batches.by_ref() {
        count += 1;
        let Ok(batch) = batch else { break };
        let Ok(records) = batch.records() else {
            continue;
        };
        assert_eq!(records.len(), usize::try_from(batch.count).unwrap_or(0));
        let records: Vec<Record> = records.into_iter().map(|(_, record)| record).collect();
        for compression in CODECS {
            again(&records, compression);
        }
    }
    assert!(count * 61 <= sent + 61, "each batch takes a header");
}

fn again(records: &[Record], compression: Compression) {
    let spec = BatchSpec {
        compression,
        ..BatchSpec::default()
    };
    let Ok(bytes) = encode_batch(&spec, records) else {
        assert!(records.is_empty(), "records that were read can be written");
        return;
    };
    let mut batches = Batches::new(bytes);
    let batch = batches.next().expect("one batch").expect("a whole one");
    let read = batch
        .records()
        .expect("records that were written can be read");
    let read: Vec<Record> = read.into_iter().map(|(_, record)| record).collect();
    assert_eq!(read, records, "records come back, {compression:?}");
    assert!(batches.next().is_none());
}

fn batch_seeds() -> Vec<Vec<u8>> {
    let record = Record {
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(&[b'v'; 50])),
        headers: vec![("h".to_owned(), None), ("h".to_owned(), Some(Bytes::new()))],
        timestamp_ms: 1_700_000_000_000,
    };
    let records = [record, Record::default()];
    CODECS
        .into_iter()
        .flat_map(|compression| {
            let spec = BatchSpec {
                compression,
                producer_id: 7,
                producer_epoch: 1,
                base_sequence: 5,
            };
            let bytes = encode_batch(&spec, &records).expect("records");
            let raw = [&[0][..], &bytes[..], &bytes[..]].concat();
            [raw, [&[1][..], &bytes[..]].concat()]
        })
        .collect()
}

/// The first byte chooses a codec, and whether the bytes are to be packed before they are unpacked.
fn unpacked(bytes: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    let Some((&mode, bytes)) = bytes.split_first() else {
        return;
    };
    let codec = CODECS[usize::from(mode & 0x7f) % CODECS.len()];
    let Ok(stream) = unpack(codec, bytes, LIMIT) else {
        return;
    };
    let mut stream = stream;
    let (mut total, mut buffer) = (0, [0; 8192]);
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        total += read as u64;
        assert!(total <= LIMIT, "no more is unpacked than allowed");
    }
}

fn packed_seeds() -> Vec<Vec<u8>> {
    let record = Record {
        value: Some(Bytes::from_static(&[b'v'; 300])),
        ..Record::default()
    };
    CODECS
        .into_iter()
        .enumerate()
        .map(|(number, compression)| {
            let spec = BatchSpec {
                compression,
                ..BatchSpec::default()
            };
            let batch = encode_batch(&spec, std::slice::from_ref(&record)).expect("records");
            [&[number as u8][..], &batch[61..]].concat()
        })
        .collect()
}

/// What members of a group say of themselves, and what their leader hands them.
fn members(bytes: &[u8]) {
    let topics = assignor::decode_subscription(Bytes::copy_from_slice(bytes));
    if !topics.is_empty() {
        let said = assignor::encode_subscription(&topics).expect("names that came can go");
        assert_eq!(assignor::decode_subscription(said), topics);
    }
    if let Ok(assignment) = assignor::read_assignment(Bytes::copy_from_slice(bytes)) {
        let given = assignor::encode_assignment(&assignment).expect("names that came can go");
        assert_eq!(
            assignor::read_assignment(given).as_ref().ok(),
            Some(&assignment)
        );
    }
}

fn member_seeds() -> Vec<Vec<u8>> {
    let topics = ["t".to_owned(), "topic".to_owned()];
    let said = assignor::encode_subscription(&topics).expect("encoded");
    let assignment = topics
        .into_iter()
        .map(|topic| (topic, vec![0, 3]))
        .collect();
    let given = assignor::encode_assignment(&assignment).expect("encoded");
    let versions =
        (1..4_u8).map(|version| [&[0, version][..], &said[2..], &[0xff; 8][..]].concat());
    versions.chain([said.to_vec(), given.to_vec()]).collect()
}

#[cfg(test)]
#[path = "../../proto/fuzz/replay.rs"]
mod replay;

#[test]
fn inputs_that_were_kept() {
    replay::all(TARGETS, env!("CARGO_MANIFEST_DIR"));
}
