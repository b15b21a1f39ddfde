//! Record batch, version 2 (magic 2): the unit of a log file, and of Produce and Fetch.
//!
//! Big-endian, 61 bytes of header: base offset (i64 at 0), length of what follows (i32 at 8),
//! leader epoch (i32 at 12), magic (i8 at 16), CRC32C from the attributes to the end (u32 at 17),
//! attributes (i16 at 21: compression in bits 0-2, timestamp type 3, transactional 4, control 5),
//! last offset delta (i32 at 23), base and largest timestamp (i64 at 27 and 35), producer id
//! (i64 at 43), producer epoch (i16 at 51), base sequence (i32 at 53), number of records (i32 at
//! 57), then the records. Base offset and leader epoch lie outside of the checksum, so the leader
//! can set them in place.

use std::ops::Range;

/// Bytes of the header, and so of the smallest batch.
pub const HEADER_SIZE: usize = 61;
/// Bytes in front of what the length field counts.
pub const LENGTH_OVERHEAD: usize = 12;
/// Bytes that tell a batch's magic.
pub const MAGIC_END: usize = 17;
/// The only message format in use since Kafka 0.11.
pub const MAGIC: i8 = 2;
/// The codec's number of zstd.
pub const ZSTD: u8 = 4;
/// Stands for no producer id.
pub const NO_PRODUCER_ID: i64 = -1;
/// Stands for no sequence number.
pub const NO_SEQUENCE: i32 = -1;

const LEADER_EPOCH_AT: usize = 12;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;
const LOG_APPEND_TIME: i16 = 1 << 3;
const TRANSACTIONAL: i16 = 1 << 4;
const CONTROL: i16 = 1 << 5;

/// A batch's header, read from its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Offset of the first record (before compaction took any).
    pub base_offset: i64,
    /// Bytes behind the length field.
    pub length: i32,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// CRC32C of everything from the attributes on.
    pub crc: u32,
    /// Compression, timestamp type, transactional, control.
    pub attributes: i16,
    /// Last offset less the base offset.
    pub last_offset_delta: i32,
    /// Timestamp of the first record.
    pub base_timestamp_ms: i64,
    /// Largest timestamp of all records.
    pub max_timestamp_ms: i64,
    /// The producer, or -1.
    pub producer_id: i64,
    /// The producer's epoch, or -1.
    pub producer_epoch: i16,
    /// Sequence number of the first record, or -1.
    pub base_sequence: i32,
    /// Number of records.
    pub record_count: i32,
}

/// Why bytes are no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The buffer ends inside of the batch.
    #[error("batch of {needed} bytes in {found} bytes")]
    Cut {
        /// Bytes the batch claims.
        needed: usize,
        /// Bytes there are.
        found: usize,
    },
    /// A length that no batch has.
    #[error("batch length {0}")]
    Length(i32),
    /// Another message format.
    #[error("message format {0}, only 2 is supported")]
    Magic(i8),
    /// The checksum is of other bytes.
    #[error("stored checksum {stored:08x}, computed {computed:08x}")]
    Crc {
        /// In the header.
        stored: u32,
        /// Of the bytes.
        computed: u32,
    },
    /// A last offset before the first.
    #[error("last offset delta {0}")]
    LastOffsetDelta(i32),
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

impl Header {
    /// Reads the header of the batch that these bytes begin with; they need not hold all of it.
    pub fn parse(bytes: &[u8]) -> Result<Header, BatchError> {
        let found = bytes.len();
        if found < MAGIC_END {
            let needed = HEADER_SIZE;
            return Err(BatchError::Cut { needed, found });
        }
        let magic = i8::from_be_bytes(field(bytes, 16));
        let length = i32::from_be_bytes(field(bytes, 8));
        if magic != MAGIC {
            return Err(BatchError::Magic(magic));
        }
        if length < (HEADER_SIZE - LENGTH_OVERHEAD) as i32 {
            return Err(BatchError::Length(length));
        }
        if found < HEADER_SIZE {
            let needed = HEADER_SIZE;
            return Err(BatchError::Cut { needed, found });
        }
        let header = Header {
            base_offset: i64::from_be_bytes(field(bytes, 0)),
            length,
            leader_epoch: i32::from_be_bytes(field(bytes, LEADER_EPOCH_AT)),
            crc: u32::from_be_bytes(field(bytes, CRC_AT)),
            attributes: i16::from_be_bytes(field(bytes, ATTRIBUTES_AT)),
            last_offset_delta: i32::from_be_bytes(field(bytes, 23)),
            base_timestamp_ms: i64::from_be_bytes(field(bytes, 27)),
            max_timestamp_ms: i64::from_be_bytes(field(bytes, MAX_TIMESTAMP_AT)),
            producer_id: i64::from_be_bytes(field(bytes, 43)),
            producer_epoch: i16::from_be_bytes(field(bytes, 51)),
            base_sequence: i32::from_be_bytes(field(bytes, 53)),
            record_count: i32::from_be_bytes(field(bytes, 57)),
        };
        let delta = header.last_offset_delta;
        // The offset behind the last one must be an offset too.
        let next = header.base_offset.checked_add(i64::from(delta) + 1);
        if delta < 0 || next.is_none() {
            return Err(BatchError::LastOffsetDelta(delta));
        }
        Ok(header)
    }

    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        self.length as usize + LENGTH_OVERHEAD
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta)
    }

    /// Offset that follows the batch.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// Sequence number of the last record; they wrap from `i32::MAX` to 0. -1 without one.
    pub fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            return NO_SEQUENCE;
        }
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last % (i64::from(i32::MAX) + 1)) as i32
    }

    /// True when a producer id was given.
    pub fn has_producer_id(&self) -> bool {
        self.producer_id > NO_PRODUCER_ID
    }

    /// The codec's number: 0 none, 1 gzip, 2 snappy, 3 lz4, 4 zstd; others are unknown.
    pub fn compression(&self) -> u8 {
        (self.attributes & 7) as u8
    }

    /// True when the timestamp is the leader's clock at the append.
    pub fn is_log_append_time(&self) -> bool {
        self.attributes & LOG_APPEND_TIME != 0
    }

    /// True for a part of a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// True for a transaction's end marker and the like.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }
}

/// The CRC32C that the batch in exactly these bytes should carry.
pub fn compute_crc(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[ATTRIBUTES_AT..])
}

/// Reads the batch that these bytes begin with, whole and with the right checksum.
pub fn parse_whole(bytes: &[u8]) -> Result<Header, BatchError> {
    let header = Header::parse(bytes)?;
    let needed = header.size();
    let Some(batch) = bytes.get(..needed) else {
        let found = bytes.len();
        return Err(BatchError::Cut { needed, found });
    };
    let computed = compute_crc(batch);
    if computed != header.crc {
        let stored = header.crc;
        return Err(BatchError::Crc { stored, computed });
    }
    Ok(header)
}

/// Sets what the leader owns outside of the checksum.
pub fn set_offset_and_epoch(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[LEADER_EPOCH_AT..LEADER_EPOCH_AT + 4].copy_from_slice(&leader_epoch.to_be_bytes());
}

/// Stamps the leader's clock on all records of exactly this batch, and mends the checksum. The
/// records' own timestamps stay; readers pass over them once the attribute is set.
pub fn set_log_append_time(batch: &mut [u8], now_ms: i64) {
    let attributes = i16::from_be_bytes(field(batch, ATTRIBUTES_AT)) | LOG_APPEND_TIME;
    set_time(batch, attributes, now_ms);
}

/// Says that the records' own timestamps count, the largest of which is given.
pub fn set_create_time(batch: &mut [u8], max_timestamp_ms: i64) {
    let attributes = i16::from_be_bytes(field(batch, ATTRIBUTES_AT)) & !LOG_APPEND_TIME;
    set_time(batch, attributes, max_timestamp_ms);
}

fn set_time(batch: &mut [u8], attributes: i16, max_timestamp_ms: i64) {
    batch[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.to_be_bytes());
    batch[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp_ms.to_be_bytes());
    let crc = compute_crc(batch);
    batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
}

/// The batches in a buffer, each with its place in it. Ends at the first error, which is the last
/// item; checksums are not looked at.
pub fn headers(bytes: &[u8]) -> impl Iterator<Item = Result<(Header, Range<usize>), BatchError>> {
    let mut at = 0;
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || at >= bytes.len() {
            return None;
        }
        let rest = &bytes[at..];
        let header = Header::parse(rest).and_then(|header| {
            let (needed, found) = (header.size(), rest.len());
            if needed > found {
                return Err(BatchError::Cut { needed, found });
            }
            Ok(header)
        });
        Some(match header {
            Ok(header) => {
                let range = at..at + header.size();
                at = range.end;
                Ok((header, range))
            }
            Err(error) => {
                failed = true;
                Err(error)
            }
        })
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::super::record::tests::push_record;
    use super::*;

    /// What a test batch should look like.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Batch {
        pub base_offset: i64,
        pub leader_epoch: i32,
        pub attributes: i16,
        pub timestamp_ms: i64,
        pub producer_id: i64,
        pub producer_epoch: i16,
        pub base_sequence: i32,
        pub records: i32,
        pub value_size: usize,
    }

    impl Default for Batch {
        fn default() -> Batch {
            Batch {
                base_offset: 0,
                leader_epoch: -1,
                attributes: 0,
                timestamp_ms: 1_000,
                producer_id: NO_PRODUCER_ID,
                producer_epoch: -1,
                base_sequence: NO_SEQUENCE,
                records: 1,
                value_size: 10,
            }
        }
    }

    impl Batch {
        pub(crate) fn of(records: i32) -> Batch {
            Batch {
                records,
                ..Batch::default()
            }
        }

        /// The batch's bytes: records with keys, rising timestamps 1 ms apart.
        pub(crate) fn bytes(&self) -> Vec<u8> {
            let mut body = Vec::new();
            for delta in 0..self.records {
                let value = vec![b'v'; self.value_size];
                push_record(
                    &mut body,
                    delta,
                    i64::from(delta),
                    Some(b"key"),
                    Some(&value),
                );
            }
            let mut batch = Vec::new();
            batch.extend(self.base_offset.to_be_bytes());
            batch.extend(((HEADER_SIZE - LENGTH_OVERHEAD + body.len()) as i32).to_be_bytes());
            batch.extend(self.leader_epoch.to_be_bytes());
            batch.push(MAGIC as u8);
            batch.extend([0; 4]);
            batch.extend(self.attributes.to_be_bytes());
            batch.extend((self.records - 1).to_be_bytes());
            batch.extend(self.timestamp_ms.to_be_bytes());
            let last = self.timestamp_ms + i64::from(self.records) - 1;
            batch.extend(last.to_be_bytes());
            batch.extend(self.producer_id.to_be_bytes());
            batch.extend(self.producer_epoch.to_be_bytes());
            batch.extend(self.base_sequence.to_be_bytes());
            batch.extend(self.records.to_be_bytes());
            batch.extend(body);
            seal(&mut batch);
            batch
        }
    }

    /// Sets the checksum of a batch made by hand.
    pub(crate) fn seal(batch: &mut [u8]) {
        let crc = compute_crc(batch);
        batch[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
    }

    #[test]
    fn golden_header() {
        // As Kafka's producer writes one record "key" -> "v".
        let batch = Batch {
            value_size: 1,
            timestamp_ms: 0x0102,
            producer_id: 5,
            producer_epoch: 1,
            base_sequence: 7,
            ..Batch::default()
        };
        let bytes = batch.bytes();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(&hex[..34], "00000000000000000000003cffffffff02");
        assert_eq!(
            &hex[42..],
            "0000000000000000000000000102000000000000010200000000000000050001000000070000000114000000066b6579027600"
        );
        assert_eq!(hex[34..42], format!("{:08x}", crc32c::crc32c(&bytes[21..])));
        let header = parse_whole(&bytes).unwrap();
        assert_eq!((header.producer_id, header.base_sequence), (5, 7));
        assert_eq!(header.size(), bytes.len());
    }

    #[test]
    fn the_leader_patches_outside_of_the_checksum() {
        let mut bytes = Batch::of(3).bytes();
        set_offset_and_epoch(&mut bytes, 100, 9);
        let header = parse_whole(&bytes).unwrap();
        assert_eq!((header.base_offset, header.last_offset()), (100, 102));
        assert_eq!(header.leader_epoch, 9);
        set_log_append_time(&mut bytes, 77);
        let header = parse_whole(&bytes).unwrap();
        assert!(header.is_log_append_time());
        assert_eq!(header.max_timestamp_ms, 77);
        set_create_time(&mut bytes, 78);
        assert!(!parse_whole(&bytes).unwrap().is_log_append_time());
    }

    #[test]
    fn every_flipped_bit_behind_the_crc_is_found() {
        let bytes = Batch::of(2).bytes();
        for bit in CRC_AT * 8..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(parse_whole(&bad).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(parse_whole(&bytes[..length]).is_err(), "length {length}");
        }
    }

    #[test]
    fn there_is_an_offset_behind_every_batch() {
        let ending_at = |last: i64| {
            let base_offset = last - 2;
            Header::parse(
                &Batch {
                    base_offset,
                    ..Batch::of(3)
                }
                .bytes(),
            )
        };
        assert_eq!(ending_at(i64::MAX - 1).unwrap().next_offset(), i64::MAX);
        assert_eq!(ending_at(i64::MAX), Err(BatchError::LastOffsetDelta(2)));
    }

    #[test]
    fn sequences_wrap() {
        let header = |base_sequence| {
            Header::parse(
                &Batch {
                    base_sequence,
                    records: 3,
                    ..Batch::default()
                }
                .bytes(),
            )
            .unwrap()
        };
        assert_eq!(header(0).last_sequence(), 2);
        assert_eq!(header(i32::MAX - 1).last_sequence(), 0);
        assert_eq!(header(i32::MAX - 2).last_sequence(), i32::MAX);
        assert_eq!(header(-1).last_sequence(), -1);
    }
}
