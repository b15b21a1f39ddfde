//! What stands before the records of a batch, read where the bytes lie.

use bytes::Buf;

use super::{BATCH_HEADER_BYTES, LENGTH_PREFIX_BYTES, RecordsError};

/// The header of a batch whose checksum is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of its first record.
    pub base_offset: i64,
    /// Bytes of the whole batch, this header among them.
    pub size: usize,
    /// Epoch of the leader that appended it.
    pub leader_epoch: i32,
    /// CRC-32C of everything behind it.
    pub checksum: u32,
    /// Codec and kind.
    pub attributes: i16,
    /// Offset of its last record (of the last one it once had, after compaction).
    pub last_offset: i64,
    /// Time of its first record, in milliseconds since the epoch.
    pub base_timestamp: i64,
    /// Time of its newest record.
    pub max_timestamp: i64,
    /// Producer id, or [`super::NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Epoch of the producer id.
    pub producer_epoch: i16,
    /// Sequence of its first record, or -1.
    pub base_sequence: i32,
    /// Number of records in it.
    pub count: i32,
}

impl BatchHeader {
    /// Of the batch that `bytes` begin with; none if it is cut off.
    ///
    /// # Errors
    /// [`RecordsError`] if it is none, or its checksum is wrong.
    pub fn read(bytes: &[u8]) -> Result<Option<Self>, RecordsError> {
        let Some(mut header) = bytes.get(..BATCH_HEADER_BYTES) else {
            return Ok(None);
        };
        let base_offset = header.get_i64();
        let length = header.get_i32();
        let leader_epoch = header.get_i32();
        let magic = header.get_i8();
        if magic != 2 {
            return Err(RecordsError::Magic(magic));
        }
        let length = usize::try_from(length).unwrap_or(0);
        if length < BATCH_HEADER_BYTES - LENGTH_PREFIX_BYTES {
            return Err(RecordsError::Malformed("length"));
        }
        let size = length + LENGTH_PREFIX_BYTES;
        let Some(batch) = bytes.get(..size) else {
            return Ok(None);
        };
        let checksum = header.get_u32();
        let found = crc32c::crc32c(&batch[21..]);
        if checksum != found {
            return Err(RecordsError::Checksum {
                offset: base_offset,
                stored: checksum,
                found,
            });
        }
        let attributes = header.get_i16();
        let last_offset = base_offset.wrapping_add(i64::from(header.get_i32()));
        Ok(Some(Self {
            base_offset,
            size,
            leader_epoch,
            checksum,
            attributes,
            last_offset,
            base_timestamp: header.get_i64(),
            max_timestamp: header.get_i64(),
            producer_id: header.get_i64(),
            producer_epoch: header.get_i16(),
            base_sequence: header.get_i32(),
            count: header.get_i32(),
        }))
    }
}
