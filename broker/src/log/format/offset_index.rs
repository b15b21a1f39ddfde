//! `.index`: where in the segment's log file an offset is to be looked for.
//!
//! Entries of 8 bytes, big-endian, rising: the offset less the segment's base offset (i32), then a
//! position in the log file (i32). An entry says: the records up to this offset, counted from the
//! batch at this position on, begin at this position. Looking an offset up takes the last entry
//! whose offset isn't larger, and scans on from its position.

/// Bytes of an entry.
pub const ENTRY_SIZE: u64 = 8;

/// One entry, its offset absolute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetPosition {
    /// Offset of a record.
    pub offset: i64,
    /// Byte in the log file where a batch begins.
    pub position: u32,
}

/// The entry's bytes; the offset must be within i32 of the base.
pub fn encode(entry: OffsetPosition, base_offset: i64) -> [u8; ENTRY_SIZE as usize] {
    let relative = i32::try_from(entry.offset - base_offset).expect("segment spans an i32");
    let mut bytes = [0; ENTRY_SIZE as usize];
    bytes[..4].copy_from_slice(&relative.to_be_bytes());
    bytes[4..].copy_from_slice(&entry.position.to_be_bytes());
    bytes
}

/// The entry in these bytes.
pub fn decode(bytes: [u8; ENTRY_SIZE as usize], base_offset: i64) -> OffsetPosition {
    let [a, b, c, d, e, f, g, h] = bytes;
    OffsetPosition {
        // Garbled ones are found by their order.
        offset: base_offset.saturating_add(i64::from(i32::from_be_bytes([a, b, c, d]))),
        position: u32::from_be_bytes([e, f, g, h]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_and_back() {
        let entry = OffsetPosition {
            offset: 1_000_258,
            position: 4660,
        };
        let bytes = encode(entry, 1_000_000);
        assert_eq!(bytes, [0, 0, 1, 2, 0, 0, 0x12, 0x34]);
        assert_eq!(decode(bytes, 1_000_000), entry);
        // Of a file whose name is garbled.
        assert_eq!(decode(bytes, i64::MAX - 1).offset, i64::MAX);
    }
}
