//! `.snapshot`: what the log knew of its producers at the offset in the file's name.
//!
//! Big-endian: version (i16, 1), CRC32C of everything behind it (u32), number of entries (i32), then
//! 46 bytes per producer: id (i64), epoch (i16), last sequence (i32), last offset (i64), records in
//! the last batch less one (i32), its timestamp (i64), epoch of the transaction coordinator (i32,
//! -1 none), first offset of the open transaction (i64, -1 none).

use super::FormatError;

const VERSION: i16 = 1;
const HEADER_SIZE: usize = 10;
const ENTRY_SIZE: usize = 46;

/// A producer as the file knows it: its last batch only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SnapshotEntry {
    /// The producer.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Sequence of its last record; -1 none.
    pub last_sequence: i32,
    /// Offset of its last record; -1 none.
    pub last_offset: i64,
    /// Records in its last batch, less one.
    pub offset_delta: i32,
    /// Largest timestamp of its last batch.
    pub timestamp_ms: i64,
    /// Epoch of the transaction coordinator that wrote its last marker; -1 none.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction, if one is open.
    pub txn_first_offset: Option<i64>,
}

/// The file's bytes.
pub fn encode(entries: &[SnapshotEntry]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_SIZE + entries.len() * ENTRY_SIZE);
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend([0; 4]);
    let count = i32::try_from(entries.len()).expect("fewer producers than i32::MAX");
    bytes.extend(count.to_be_bytes());
    for entry in entries {
        bytes.extend(entry.producer_id.to_be_bytes());
        bytes.extend(entry.producer_epoch.to_be_bytes());
        bytes.extend(entry.last_sequence.to_be_bytes());
        bytes.extend(entry.last_offset.to_be_bytes());
        bytes.extend(entry.offset_delta.to_be_bytes());
        bytes.extend(entry.timestamp_ms.to_be_bytes());
        bytes.extend(entry.coordinator_epoch.to_be_bytes());
        bytes.extend(entry.txn_first_offset.unwrap_or(-1).to_be_bytes());
    }
    let crc = crc32c::crc32c(&bytes[6..]);
    bytes[2..6].copy_from_slice(&crc.to_be_bytes());
    bytes
}

/// The producers in a file's bytes.
pub fn decode(bytes: &[u8]) -> Result<Vec<SnapshotEntry>, FormatError> {
    let mut fields = Fields(bytes);
    let version = i16::from_be_bytes(fields.take()?);
    if version != VERSION {
        return Err(FormatError(format!("unknown version {version}")));
    }
    let crc = u32::from_be_bytes(fields.take()?);
    if crc != crc32c::crc32c(fields.0) {
        return Err(FormatError::new("checksum does not match"));
    }
    let count = i32::from_be_bytes(fields.take()?);
    if usize::try_from(count).ok() != Some(fields.0.len() / ENTRY_SIZE)
        || fields.0.len() % ENTRY_SIZE != 0
    {
        return Err(FormatError(format!("length does not fit {count} entries")));
    }
    let mut entries = Vec::with_capacity(fields.0.len() / ENTRY_SIZE);
    while !fields.0.is_empty() {
        entries.push(SnapshotEntry {
            producer_id: i64::from_be_bytes(fields.take()?),
            producer_epoch: i16::from_be_bytes(fields.take()?),
            last_sequence: i32::from_be_bytes(fields.take()?),
            last_offset: i64::from_be_bytes(fields.take()?),
            offset_delta: i32::from_be_bytes(fields.take()?),
            timestamp_ms: i64::from_be_bytes(fields.take()?),
            coordinator_epoch: i32::from_be_bytes(fields.take()?),
            txn_first_offset: Some(i64::from_be_bytes(fields.take()?))
                .filter(|&offset| offset >= 0),
        });
    }
    Ok(entries)
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (field, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or_else(|| FormatError::new("file is too short"))?;
        self.0 = rest;
        Ok(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: SnapshotEntry = SnapshotEntry {
        producer_id: 1000,
        producer_epoch: 2,
        last_sequence: 9,
        last_offset: 41,
        offset_delta: 4,
        timestamp_ms: 1_700_000_000_000,
        coordinator_epoch: -1,
        txn_first_offset: None,
    };

    #[test]
    fn golden_and_back() {
        let bytes = encode(&[ENTRY]);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        let body = "00000001\
            00000000000003e8000200000009000000000000002900000004\
            0000018bcfe56800ffffffffffffffffffffffff";
        assert_eq!(&hex[..4], "0001");
        assert_eq!(&hex[12..], body);
        assert_eq!(decode(&bytes).unwrap(), [ENTRY]);
        assert_eq!(decode(&encode(&[])).unwrap(), []);
    }

    #[test]
    fn any_flipped_bit_or_cut_is_refused() {
        let bytes = encode(&[ENTRY, ENTRY]);
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "length {length}");
        }
    }
}
