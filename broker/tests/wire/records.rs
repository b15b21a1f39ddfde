//! Record batches, made and read by `kafka-protocol`.

use bytes::{Bytes, BytesMut};
use kafka_protocol::records::{
    Compression, NO_PARTITION_LEADER_EPOCH, NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, Record,
    RecordBatchDecoder, RecordBatchEncoder, RecordEncodeOptions, TimestampType,
};

/// Who produces, for idempotence.
#[derive(Clone, Copy)]
pub struct Producer {
    pub id: i64,
    pub epoch: i16,
    pub sequence: i32,
}

const NOBODY: Producer = Producer {
    id: NO_PRODUCER_ID,
    epoch: NO_PRODUCER_EPOCH,
    sequence: NO_SEQUENCE,
};

/// One batch of these values.
pub fn batch(values: &[&str]) -> Bytes {
    batch_of(NOBODY, 1_000, values)
}

/// One batch of a producer, with this timestamp.
pub fn batch_of(producer: Producer, timestamp: i64, values: &[&str]) -> Bytes {
    let records: Vec<Record> = values
        .iter()
        .enumerate()
        .map(|(i, value)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: NO_PARTITION_LEADER_EPOCH,
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            timestamp_type: TimestampType::Creation,
            offset: i as i64,
            sequence: producer.sequence + i as i32,
            timestamp,
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: Default::default(),
        })
        .collect();
    let mut bytes = BytesMut::new();
    let options = RecordEncodeOptions {
        version: 2,
        compression: Compression::None,
    };
    RecordBatchEncoder::encode(&mut bytes, &records, &options).expect("a batch");
    bytes.freeze()
}

/// Offsets and values of the records in some batches.
pub fn values(records: Option<Bytes>) -> Vec<(i64, String)> {
    let mut records = records.unwrap_or_default();
    let mut values = Vec::new();
    while !records.is_empty() {
        let set = RecordBatchDecoder::decode(&mut records).expect("batches");
        values.extend(set.records.into_iter().map(|record| {
            (
                record.offset,
                String::from_utf8(record.value.expect("a value").to_vec()).expect("text"),
            )
        }));
    }
    values
}
