//! Encoded batches used again: the same records, sent once more under another time and sequence.

use bytes::Bytes;

use super::{BATCH_HEADER_BYTES, LENGTH_PREFIX_BYTES, NO_PRODUCER_ID, varint};

/// What a batch gets that is sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seal {
    /// Records in it.
    pub count: i32,
    /// Time of all of them, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Producer id, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Epoch of the producer id, or -1.
    pub producer_epoch: i16,
    /// Sequence of the first record, or -1.
    pub base_sequence: i32,
}

impl Seal {
    /// Of a batch that is not idempotent.
    pub fn plain(count: i32, timestamp_ms: i64) -> Self {
        Self {
            count,
            timestamp_ms,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: -1,
            base_sequence: -1,
        }
    }
}

/// Fills in the header of `batch`, which was encoded from records of one time (or cut behind one of these, see
/// [`record_ends`]), and returns its checksum.
///
/// # Panics
/// If `batch` is shorter than a header, or of 2 GiB.
pub fn seal(batch: &mut [u8], seal: &Seal) -> u32 {
    assert!(batch.len() >= BATCH_HEADER_BYTES, "a batch has a header");
    let length =
        i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).expect("no batch is as long as 2 GiB");
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[23..27].copy_from_slice(&(seal.count - 1).to_be_bytes());
    batch[27..35].copy_from_slice(&seal.timestamp_ms.to_be_bytes());
    batch[35..43].copy_from_slice(&seal.timestamp_ms.to_be_bytes());
    batch[43..51].copy_from_slice(&seal.producer_id.to_be_bytes());
    batch[51..53].copy_from_slice(&seal.producer_epoch.to_be_bytes());
    batch[53..57].copy_from_slice(&seal.base_sequence.to_be_bytes());
    batch[57..61].copy_from_slice(&seal.count.to_be_bytes());
    let checksum = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    checksum
}

/// Where each record of an uncompressed batch ends; cut there, what is before is a batch once it is sealed.
pub fn record_ends(batch: &Bytes) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut rest = batch.slice(BATCH_HEADER_BYTES.min(batch.len())..);
    while let Some(length) = varint::get_len(&mut rest) {
        if length > rest.len() {
            break;
        }
        let _ = rest.split_to(length);
        ends.push(batch.len() - rest.len());
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::records::{BatchHeader, BatchSpec, Batches, Record, encode_batch};

    #[test]
    fn a_batch_that_was_cut_and_sealed_is_one() {
        let records: Vec<Record> = (0..5u8)
            .map(|nth| Record {
                value: Some(vec![nth; 100].into()),
                ..Record::default()
            })
            .collect();
        let whole = encode_batch(&BatchSpec::default(), &records).expect("encoded");
        let ends = record_ends(&whole);
        assert_eq!(ends.len(), 5);
        assert_eq!(ends[4], whole.len());
        let mut cut = whole[..ends[2]].to_vec();
        let checksum = seal(&mut cut, &Seal::plain(3, 77));
        let header = BatchHeader::read(&cut).expect("a batch").expect("whole");
        assert_eq!((header.checksum, header.count), (checksum, 3));
        assert_eq!((header.size, header.last_offset), (cut.len(), 2));
        let batch = Batches::new(cut.into()).next().expect("one").expect("good");
        let read = batch.records().expect("records");
        assert_eq!(read.len(), 3);
        for ((offset, record), expected) in read.iter().zip(&records) {
            assert_eq!(record.value, expected.value, "{offset}");
            assert_eq!(record.timestamp_ms, 77);
        }
    }
}
