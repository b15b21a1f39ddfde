//! What producers send, followers fetch and disks hold: record batches, and what is read of those that were let in.

use bytes::{Bytes, BytesMut};
use kafka_protocol::compression::{self, Compressor};
use kafka_protocol::records::RecordBatchDecoder;
use zweig_client::kafka::records::{BatchSpec, Batches, Compression, Record, encode_batch};

use crate::log::AppendOrigin;
use crate::log::config::{CleanupPolicy, LogConfig, TimestampType};
use crate::log::format::record::{self, EndMarker};
use crate::log::format::record_batch::{self, HEADER_SIZE, Header, LENGTH_OVERHEAD};
use crate::log::format::record_stream::{self, Place};
use crate::log::producer_state::{Prepared, ProducerTable, Source};
use crate::log::validator;

const NOW_MS: i64 = 1_700_000_000_000;
const CODECS: [Compression; 5] = [
    Compression::None,
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

/// Gives a batch the length and checksum that its bytes have, so that damage reaches what lies behind these.
fn seal(batch: &mut [u8]) {
    if batch.len() < HEADER_SIZE {
        return;
    }
    let length = (batch.len() - LENGTH_OVERHEAD) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    let crc = record_batch::compute_crc(batch);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// Packs the records of a batch.
fn pack(batch: &[u8], codec: Compression) -> Vec<u8> {
    let Some((head, body)) = batch.split_first_chunk::<HEADER_SIZE>() else {
        return batch.to_vec();
    };
    let mut packed = BytesMut::from(&head[..]);
    packed[22] = packed[22] & !7 | codec as u8;
    let fill = |out: &mut BytesMut| {
        out.extend_from_slice(body);
        Ok(())
    };
    let done = match codec {
        Compression::None => compression::None::compress(&mut packed, fill),
        Compression::Gzip => compression::Gzip::compress(&mut packed, fill),
        Compression::Snappy => compression::Snappy::compress(&mut packed, fill),
        Compression::Lz4 => compression::Lz4::compress(&mut packed, fill),
        Compression::Zstd => compression::Zstd::compress(&mut packed, fill),
    };
    done.expect("any bytes can be packed");
    packed.to_vec()
}

fn config(choice: u8) -> LogConfig {
    LogConfig {
        timestamp_type: match choice & 1 {
            0 => TimestampType::CreateTime,
            _ => TimestampType::LogAppendTime,
        },
        cleanup_policy: CleanupPolicy {
            delete: true,
            compact: choice & 2 != 0,
        },
        timestamp_after_max_ms: if choice & 4 == 0 { 3_600_000 } else { i64::MAX },
        ..LogConfig::default()
    }
}

/// The first two bytes say what is done to the others first: sealed, packed; and the settings of the topic.
pub(super) fn batches(bytes: &[u8]) {
    let Some((&[how, choice], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let mut bytes = match how & 2 {
        0 => bytes.to_vec(),
        _ => pack(bytes, CODECS[usize::from(how >> 2) % CODECS.len()]),
    };
    if how & 1 != 0 {
        seal(&mut bytes);
    }
    for header in record_batch::headers(&bytes) {
        let Ok((header, range)) = header else { break };
        both_readers(&bytes[range], &header);
    }
    if let Ok((checked, valid)) = validator::check_for_follower(&bytes) {
        assert!(checked.iter().all(|batch| batch.range.end <= valid) && valid <= bytes.len());
    }
    let (config, origin) = (
        config(choice),
        match choice & 8 {
            0 => AppendOrigin::Client,
            _ => AppendOrigin::Coordinator,
        },
    );
    let Ok(mut checked) = validator::check_for_leader(&bytes, &config, origin, NOW_MS) else {
        return;
    };
    let append_time = (config.timestamp_type == TimestampType::LogAppendTime).then_some(NOW_MS);
    validator::stamp(&mut bytes, &mut checked, append_time);
    validator::assign(&mut bytes, &mut checked, 1000, 5);
    let (followed, valid) =
        validator::check_for_follower(&bytes).expect("a follower takes what its leader has");
    assert_eq!((&followed, valid), (&checked, bytes.len()));
    for batch in checked.iter().filter(|batch| !batch.header.is_control()) {
        let bytes = Bytes::copy_from_slice(&bytes[batch.range.clone()]);
        consumer(bytes, &batch.header, append_time);
    }
}

/// What was let in can be read, by our own consumer and by another's.
fn consumer(bytes: Bytes, header: &Header, append_time: Option<i64>) {
    let mut batches = Batches::new(bytes.clone());
    let batch = batches.next().expect("a batch").expect("a whole one");
    assert!(batches.next().is_none() && batches.rest().is_empty());
    let records = batch.records().expect("a consumer reads what was let in");
    let offsets: Vec<i64> = records.iter().map(|(offset, _)| *offset).collect();
    let expected: Vec<i64> = (header.base_offset..header.next_offset()).collect();
    assert_eq!(offsets, expected, "offsets of records have no gap");
    // -1 is none, and so is what lies below.
    let largest = records
        .iter()
        .map(|(_, record)| record.timestamp_ms.max(-1))
        .max();
    assert_eq!(
        largest,
        Some(append_time.unwrap_or(header.max_timestamp_ms)),
        "the largest timestamp is that of a record"
    );
    // That one refuses the names of headers that are not UTF-8.
    let odd = |record: &Record| {
        record
            .headers
            .iter()
            .any(|(key, _)| key.contains('\u{fffd}'))
    };
    if !records.iter().any(|(_, record)| odd(record)) {
        let mut bytes = bytes;
        let read =
            RecordBatchDecoder::decode(&mut bytes).expect("any consumer reads what was let in");
        assert_eq!(read.records.len(), records.len());
    }
}

/// The reader for checks, which holds nothing, and the one for what is at hand see the same records.
fn both_readers(batch: &[u8], header: &Header) {
    let Ok(stream) = record_stream::places(batch, header) else {
        return;
    };
    let stream: Vec<Place> = stream.map_while(Result::ok).collect();
    if header.compression() == 0 {
        let slices = record::records(&batch[HEADER_SIZE..]).map_while(Result::ok);
        let slices: Vec<Place> = slices
            .map(|record| Place {
                timestamp_delta_ms: record.timestamp_delta_ms,
                offset_delta: record.offset_delta,
                has_key: record.key.is_some(),
            })
            .collect();
        assert_eq!(stream, slices);
        let _ = record::end_marker(&batch[HEADER_SIZE..]);
    }
}

/// Headers of batches one after the other, as a leader's disk or a leader may hold them, and a producer's on top.
pub(super) fn producers(bytes: &[u8]) {
    let mut table = ProducerTable::default();
    for chunk in bytes.chunks_exact(HEADER_SIZE) {
        let mut header = chunk.to_vec();
        header[16] = 2;
        header[8..12].copy_from_slice(&49_i32.to_be_bytes());
        let Ok(header) = Header::parse(&header) else {
            continue;
        };
        if header.base_offset < 0 {
            // In no log: the first offset is 0.
            continue;
        }
        let marker = header.is_control().then_some(EndMarker {
            commit: chunk[8] & 1 == 0,
            coordinator_epoch: i32::from(chunk[16]),
        });
        let asked = table.prepare([(&header, marker)], Source::Client);
        if chunk[8] & 2 == 0 {
            table.replay(&header, marker);
        } else if let Ok(Prepared::Fresh(update)) = asked {
            table.commit(update);
        }
        table.first_unstable_offset();
    }
    let again = ProducerTable::from_snapshot(&table.snapshot());
    assert_eq!(
        again.snapshot(),
        table.snapshot(),
        "a table survives its snapshot"
    );
    assert_eq!(again.first_unstable_offset(), table.first_unstable_offset());
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let record = Record {
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from_static(b"value")),
        headers: vec![("h".to_owned(), None)],
        timestamp_ms: NOW_MS,
    };
    let spec = |compression| BatchSpec {
        compression,
        producer_id: 7,
        producer_epoch: 1,
        base_sequence: 5,
    };
    let batch = |compression| {
        encode_batch(&spec(compression), &[record.clone(), record.clone()]).expect("records")
    };
    let as_sent = CODECS
        .into_iter()
        .map(|codec| [&[0, 0][..], &batch(codec)[..]].concat());
    let plain = batch(Compression::None);
    let packed_here = (0..5_u8).map(|codec| [&[3 | codec << 2, codec][..], &plain[..]].concat());
    let sealed = [
        [&[1, 1][..], &plain[..]].concat(),
        [&[1, 8][..], &plain[..], &plain[..]].concat(),
    ];
    as_sent.chain(packed_here).chain(sealed).collect()
}
