//! Record batches, format v2 (magic 2): bytes to values and back.
//!
//! Called by the producer and consumer, and by brokers for the records of `__consumer_offsets`.
//! The `kafka-protocol` crate decodes batches too, but merges headers of the same key, reserves
//! memory by a count from the wire and fails on the cut-off batch that ends most fetches; its
//! compressors are used here, and `unpack` takes apart what they, or anyone, packed.
//!
//! Layout of a batch, big-endian; the CRC (CRC-32C) covers everything after itself:
//! ```text
//!  0 base offset i64   8 length of what follows i32   12 leader epoch i32   16 magic i8 = 2
//! 17 crc u32          21 attributes i16 (0-2 codec, 3 log append time, 4 transactional, 5 control)
//! 23 last offset delta i32   27 base timestamp i64   35 max timestamp i64   43 producer id i64
//! 51 producer epoch i16      53 base sequence i32    57 record count i32    61 records
//! ```

use std::io::Read;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::compression::{self, Compressor};

mod header;
mod seal;
mod unpack;
mod varint;

pub use header::BatchHeader;
pub use seal::{Seal, record_ends, seal};
pub use unpack::{UnpackedTooLarge, unpack};

/// Bytes of a batch before its records.
pub const BATCH_HEADER_BYTES: usize = 61;
/// Bytes of a batch that its length field does not count.
const LENGTH_PREFIX_BYTES: usize = 12;
/// Bytes a fetched batch may unpack to: no producer makes nearly as much, a bomb would make more.
const MAX_UNPACKED_BYTES: u64 = 128 << 20;
/// "No producer id": the batch is not idempotent.
pub const NO_PRODUCER_ID: i64 = -1;

/// How the records of a batch are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Compression {
    /// As they are.
    #[default]
    None = 0,
    /// gzip.
    Gzip = 1,
    /// snappy, in the framing of snappy-java.
    Snappy = 2,
    /// lz4 frames.
    Lz4 = 3,
    /// zstd.
    Zstd = 4,
}

impl Compression {
    /// The codec that a batch's attributes name.
    ///
    /// # Errors
    /// [`RecordsError::UnknownCodec`].
    pub fn from_attributes(attributes: i16) -> Result<Self, RecordsError> {
        Ok(match attributes & 7 {
            0 => Self::None,
            1 => Self::Gzip,
            2 => Self::Snappy,
            3 => Self::Lz4,
            4 => Self::Zstd,
            other => return Err(RecordsError::UnknownCodec(other)),
        })
    }
}

/// Bytes that are not a record batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordsError {
    /// Another format than v2.
    #[error("record format {0} is not supported, only 2")]
    Magic(i8),
    /// The checksum does not match.
    #[error("checksum of the batch at offset {offset} is {found:#010x}, not {stored:#010x}")]
    Checksum {
        /// Base offset of the batch.
        offset: i64,
        /// What the batch says.
        stored: u32,
        /// What its bytes give.
        found: u32,
    },
    /// A codec number outside 0 to 4.
    #[error("unknown compression codec {0}")]
    UnknownCodec(i16),
    /// The codec refused the bytes.
    #[error("cannot {0} the records: {1}")]
    Codec(&'static str, String),
    /// A length or count that cannot be.
    #[error("malformed {0} in a record batch")]
    Malformed(&'static str),
}

/// A record, without its place in the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// Key; decides the partition.
    pub key: Option<Bytes>,
    /// Value; `None` is a tombstone.
    pub value: Option<Bytes>,
    /// Headers in order; keys may repeat.
    pub headers: Vec<(String, Option<Bytes>)>,
    /// Milliseconds since the epoch.
    pub timestamp_ms: i64,
}

impl Record {
    /// An upper bound of the bytes this record takes uncompressed.
    pub fn size_bound(&self) -> usize {
        let headers: usize = self
            .headers
            .iter()
            .map(|(k, v)| 10 + k.len() + v.as_ref().map_or(0, Bytes::len))
            .sum();
        36 + self.key.as_ref().map_or(0, Bytes::len)
            + self.value.as_ref().map_or(0, Bytes::len)
            + headers
    }
}

/// What stands in a batch besides its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSpec {
    /// Codec.
    pub compression: Compression,
    /// Producer id, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Epoch of the producer id, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
}

impl Default for BatchSpec {
    fn default() -> Self {
        Self {
            compression: Compression::None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }
}

/// A batch of `records`, with base offset 0 and no leader epoch: the broker fills these in.
///
/// # Errors
/// [`RecordsError::Malformed`] without records or with more than 2 GiB,
/// [`RecordsError::Codec`] when compression fails.
pub fn encode_batch(spec: &BatchSpec, records: &[Record]) -> Result<Bytes, RecordsError> {
    let Some(first) = records.first() else {
        return Err(RecordsError::Malformed("record count"));
    };
    let count = i32::try_from(records.len()).map_err(|_| RecordsError::Malformed("count"))?;
    let base_timestamp = first.timestamp_ms;
    let max_timestamp = records
        .iter()
        .map(|r| r.timestamp_ms)
        .max()
        .unwrap_or(base_timestamp);
    let bound: usize = records.iter().map(Record::size_bound).sum();

    let mut buf = BytesMut::with_capacity(BATCH_HEADER_BYTES + bound);
    buf.put_i64(0);
    buf.put_i32(0); // length, filled below
    buf.put_i32(-1);
    buf.put_i8(2);
    buf.put_u32(0); // crc, filled below
    buf.put_i16(spec.compression as i16);
    buf.put_i32(count - 1);
    buf.put_i64(base_timestamp);
    buf.put_i64(max_timestamp);
    buf.put_i64(spec.producer_id);
    buf.put_i16(spec.producer_epoch);
    buf.put_i32(spec.base_sequence);
    buf.put_i32(count);
    if spec.compression == Compression::None {
        put_records(&mut buf, records, base_timestamp);
    } else {
        let mut plain = BytesMut::with_capacity(bound);
        put_records(&mut plain, records, base_timestamp);
        compress(spec.compression, plain, &mut buf)?;
    }

    let length = i32::try_from(buf.len() - LENGTH_PREFIX_BYTES)
        .map_err(|_| RecordsError::Malformed("length"))?;
    buf[8..12].copy_from_slice(&length.to_be_bytes());
    let crc = crc32c::crc32c(&buf[21..]);
    buf[17..21].copy_from_slice(&crc.to_be_bytes());
    Ok(buf.freeze())
}

fn put_records(buf: &mut BytesMut, records: &[Record], base_timestamp: i64) {
    let mut body = BytesMut::new();
    for (delta, record) in records.iter().enumerate() {
        body.clear();
        body.put_i8(0);
        // Readers add it again, wrapping as well.
        let delta_ms = record.timestamp_ms.wrapping_sub(base_timestamp);
        varint::put_i64(&mut body, delta_ms);
        varint::put_i64(&mut body, delta as i64);
        varint::put_bytes(&mut body, record.key.as_deref());
        varint::put_bytes(&mut body, record.value.as_deref());
        varint::put_i64(&mut body, record.headers.len() as i64);
        for (key, value) in &record.headers {
            varint::put_bytes(&mut body, Some(key.as_bytes()));
            varint::put_bytes(&mut body, value.as_deref());
        }
        varint::put_i64(buf, body.len() as i64);
        buf.put_slice(&body);
    }
}

fn compress(codec: Compression, plain: BytesMut, out: &mut BytesMut) -> Result<(), RecordsError> {
    let fill = |buf: &mut BytesMut| {
        *buf = plain;
        Ok(())
    };
    match codec {
        Compression::None => compression::None::compress(out, fill),
        Compression::Gzip => compression::Gzip::compress(out, fill),
        Compression::Snappy => compression::Snappy::compress(out, fill),
        Compression::Lz4 => compression::Lz4::compress(out, fill),
        Compression::Zstd => compression::Zstd::compress(out, fill),
    }
    .map_err(|e| RecordsError::Codec("compress", format!("{e:#}")))
}

fn decompress(codec: Compression, packed: Bytes) -> Result<Bytes, RecordsError> {
    if codec == Compression::None {
        return Ok(packed);
    }
    let failed = |error: std::io::Error| RecordsError::Codec("decompress", error.to_string());
    let mut plain = Vec::new();
    let mut stream = unpack(codec, &packed, MAX_UNPACKED_BYTES).map_err(failed)?;
    stream.read_to_end(&mut plain).map_err(failed)?;
    Ok(Bytes::from(plain))
}

/// One batch as it came, its header decoded and its checksum verified.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Offset of its last record (of the last one it once had, after compaction).
    pub last_offset: i64,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// Producer id, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Epoch of the producer id.
    pub producer_epoch: i16,
    /// Sequence of its first record, or -1.
    pub base_sequence: i32,
    /// Number of records in it.
    pub count: i32,
    attributes: i16,
    base_timestamp: i64,
    max_timestamp: i64,
    body: Bytes,
}

impl Batch {
    /// Whether it holds markers rather than data.
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Its records with their offsets.
    ///
    /// # Errors
    /// [`RecordsError`] when the codec or a record is malformed.
    pub fn records(&self) -> Result<Vec<(i64, Record)>, RecordsError> {
        let codec = Compression::from_attributes(self.attributes)?;
        let mut body = decompress(codec, self.body.clone())?;
        let append_time = (self.attributes & 8 != 0).then_some(self.max_timestamp);
        // A record takes at least 7 bytes: the count cannot ask for more memory than there is data.
        let mut records = Vec::with_capacity((self.count.max(0) as usize).min(body.len() / 7 + 1));
        for _ in 0..self.count {
            let length = varint::get_len(&mut body).ok_or(RecordsError::Malformed("record"))?;
            if length > body.remaining() {
                return Err(RecordsError::Malformed("record length"));
            }
            let (delta, mut record) = get_record(body.split_to(length), self.base_timestamp)
                .ok_or(RecordsError::Malformed("record"))?;
            if let Some(time) = append_time {
                record.timestamp_ms = time;
            }
            records.push((self.base_offset.wrapping_add(delta), record));
        }
        Ok(records)
    }
}

fn get_record(mut body: Bytes, base_timestamp: i64) -> Option<(i64, Record)> {
    if !body.has_remaining() {
        return None;
    }
    body.advance(1);
    let timestamp_ms = base_timestamp.wrapping_add(varint::get_i64(&mut body)?);
    let delta = varint::get_i64(&mut body)?;
    let key = varint::get_bytes(&mut body)?;
    let value = varint::get_bytes(&mut body)?;
    let count = varint::get_len(&mut body)?;
    let mut headers = Vec::new();
    for _ in 0..count {
        let key = varint::get_bytes(&mut body)??;
        let key = String::from_utf8_lossy(&key).into_owned();
        headers.push((key, varint::get_bytes(&mut body)?));
    }
    Some((
        delta,
        Record {
            key,
            value,
            headers,
            timestamp_ms,
        },
    ))
}

/// The batches in the bytes of a fetch or of a log, in order. A batch cut off at the end ends the
/// iteration without an error: the broker sends byte ranges, not whole batches.
#[derive(Debug, Clone)]
pub struct Batches {
    bytes: Bytes,
}

impl Batches {
    /// Batches in `bytes`.
    pub fn new(bytes: Bytes) -> Self {
        Self { bytes }
    }

    /// Bytes not yet taken: a cut-off batch, after the iteration ended.
    pub fn rest(&self) -> &Bytes {
        &self.bytes
    }

    fn decode(&mut self) -> Result<Option<Batch>, RecordsError> {
        let Some(header) = BatchHeader::read(&self.bytes)? else {
            return Ok(None);
        };
        let batch = self.bytes.split_to(header.size);
        Ok(Some(Batch {
            base_offset: header.base_offset,
            last_offset: header.last_offset,
            leader_epoch: header.leader_epoch,
            attributes: header.attributes,
            base_timestamp: header.base_timestamp,
            max_timestamp: header.max_timestamp,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            count: header.count,
            body: batch.slice(BATCH_HEADER_BYTES..),
        }))
    }
}

impl Iterator for Batches {
    type Item = Result<Batch, RecordsError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.decode() {
            Ok(batch) => batch.map(Ok),
            Err(error) => {
                self.bytes = Bytes::new();
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests;
