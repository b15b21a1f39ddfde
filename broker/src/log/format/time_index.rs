//! `.timeindex`: from which offset on a timestamp can occur.
//!
//! Entries of 12 bytes, big-endian, rising: a timestamp in milliseconds (i64), then an offset less
//! the segment's base offset (i32). An entry says: no record before this offset has a larger
//! timestamp. Kafka names the last offset of the batch that first had the timestamp.

/// Bytes of an entry.
pub const ENTRY_SIZE: u64 = 12;

/// One entry, its offset absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimestampEntry {
    /// Milliseconds since 1970; -1 is no timestamp.
    pub timestamp_ms: i64,
    /// Offset of a record.
    pub offset: i64,
}

/// The entry's bytes; the offset must be within i32 of the base.
pub fn encode(entry: TimestampEntry, base_offset: i64) -> [u8; ENTRY_SIZE as usize] {
    let relative = i32::try_from(entry.offset - base_offset).expect("segment spans an i32");
    let mut bytes = [0; ENTRY_SIZE as usize];
    bytes[..8].copy_from_slice(&entry.timestamp_ms.to_be_bytes());
    bytes[8..].copy_from_slice(&relative.to_be_bytes());
    bytes
}

/// The entry in these bytes.
pub fn decode(bytes: [u8; ENTRY_SIZE as usize], base_offset: i64) -> TimestampEntry {
    let [timestamp @ .., a, b, c, d] = bytes;
    TimestampEntry {
        timestamp_ms: i64::from_be_bytes(timestamp),
        // Garbled ones are found by their order.
        offset: base_offset.saturating_add(i64::from(i32::from_be_bytes([a, b, c, d]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_and_back() {
        let entry = TimestampEntry {
            timestamp_ms: 0x0102_0304_0506_0708,
            offset: 77,
        };
        let bytes = encode(entry, 70);
        assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 7]);
        assert_eq!(decode(bytes, 70), entry);
        // Of a file whose name is garbled.
        assert_eq!(decode(bytes, i64::MAX - 1).offset, i64::MAX);
    }
}
