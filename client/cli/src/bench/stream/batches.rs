//! What is sent: batches that were encoded once, and are sealed anew each time they go.
//!
//! Records are random capital letters, as those of Kafka's own perf tools: a codec halves them at best. Each lane has some
//! batches of its own and takes them in turn, so that one in another's place, lost or twice there is noticed by its checksum.

use std::collections::HashMap;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};
use zweig_client::kafka::records::{
    BatchSpec, Compression, Record, RecordsError, encode_batch, record_ends,
};

/// Batches that a lane takes in turn.
const VARIANTS: u64 = 4;
/// Compressed batches of other than the usual number of records that are kept.
const KEPT: usize = 256;
/// Bytes of a key.
const KEY_SIZE: usize = 16;

/// What batches are like.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Bytes of a record's value.
    pub record_size: usize,
    /// Most bytes of a batch before it is compressed; one record is in it at least.
    pub batch_size: usize,
    /// Whether records have keys.
    pub keys: bool,
    /// Codec.
    pub compression: Compression,
}

/// The batches of one lane.
#[derive(Debug, Clone)]
pub struct Batches {
    variants: Vec<Variant>,
    compression: Compression,
    most: usize,
    turn: usize,
}

#[derive(Debug, Clone)]
struct Variant {
    records: Vec<Record>,
    /// Uncompressed, and where each record of it ends.
    plain: Bytes,
    ends: Vec<usize>,
    /// Compressed, by the number of records.
    packed: HashMap<usize, Bytes>,
}

impl Batches {
    /// Of lane `number` in the run of this seed.
    ///
    /// # Errors
    /// If a record is larger than a batch can be.
    pub fn new(shape: Shape, seed: u64, number: usize) -> Result<Self, RecordsError> {
        let mut chance = SmallRng::seed_from_u64(seed.wrapping_add(number as u64));
        let mut variants = Vec::new();
        for _ in 0..VARIANTS {
            variants.push(Variant::new(shape, &mut chance)?);
        }
        let most = variants.iter().map(|variant| variant.ends.len()).min();
        Ok(Self {
            variants,
            compression: shape.compression,
            most: most.unwrap_or(1),
            turn: 0,
        })
    }

    /// Records of a full batch.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The next batch of `count` records, from 1 to [`Self::most`].
    ///
    /// # Errors
    /// Of the codec.
    pub fn next(&mut self, count: usize) -> Result<Bytes, RecordsError> {
        let count = count.clamp(1, self.most);
        let turn = self.turn;
        self.turn = (turn + 1) % self.variants.len();
        self.variants[turn].batch(count, self.compression)
    }
}

impl Variant {
    fn new(shape: Shape, chance: &mut SmallRng) -> Result<Self, RecordsError> {
        let mut letters = |length: usize| -> Bytes {
            let letters: Vec<u8> = (0..length)
                .map(|_| chance.random_range(b'A'..=b'Z'))
                .collect();
            letters.into()
        };
        let roughly = shape.batch_size / shape.record_size.max(1);
        let mut records = Vec::new();
        for _ in 0..roughly.max(1) {
            records.push(Record {
                key: shape.keys.then(|| letters(KEY_SIZE)),
                value: Some(letters(shape.record_size)),
                ..Record::default()
            });
        }
        let plain = encode_batch(&BatchSpec::default(), &records)?;
        let mut ends = record_ends(&plain);
        let fitting = ends.iter().filter(|end| **end <= shape.batch_size).count();
        ends.truncate(fitting.max(1));
        records.truncate(ends.len());
        Ok(Self {
            records,
            plain,
            ends,
            packed: HashMap::new(),
        })
    }

    fn batch(&mut self, count: usize, compression: Compression) -> Result<Bytes, RecordsError> {
        if compression == Compression::None {
            return Ok(self.plain.slice(..self.ends[count - 1]));
        }
        if let Some(batch) = self.packed.get(&count) {
            return Ok(batch.clone());
        }
        let spec = BatchSpec {
            compression,
            ..BatchSpec::default()
        };
        let batch = encode_batch(&spec, &self.records[..count])?;
        if self.packed.len() < KEPT {
            self.packed.insert(count, batch.clone());
        }
        Ok(batch)
    }
}

#[cfg(test)]
mod tests {
    use zweig_client::kafka::records::{Batches as Reader, Seal, seal};

    use super::*;

    #[test]
    fn batches_of_any_count_are_whole_and_fit() {
        for compression in [Compression::None, Compression::Lz4, Compression::Gzip] {
            let shape = Shape {
                record_size: 100,
                batch_size: 4096,
                keys: compression == Compression::None,
                compression,
            };
            let mut batches = Batches::new(shape, 1, 0).expect("batches");
            let most = batches.most();
            assert!((30..=40).contains(&most), "{most}");
            for count in [1, 2, most] {
                let mut bytes = batches.next(count).expect("encoded").to_vec();
                assert!(bytes.len() <= 4096);
                let count = i32::try_from(count).expect("few");
                seal(&mut bytes, &Seal::plain(count, 5));
                let batch = Reader::new(bytes.into())
                    .next()
                    .expect("one")
                    .expect("good");
                assert_eq!(batch.count, count);
                assert_eq!(batch.records().expect("records").len(), count as usize);
            }
        }
    }

    #[test]
    fn a_record_larger_than_a_batch_goes_alone() {
        let shape = Shape {
            record_size: 10_000,
            batch_size: 1000,
            keys: false,
            compression: Compression::None,
        };
        let batches = Batches::new(shape, 1, 0).expect("batches");
        assert_eq!(batches.most(), 1);
    }
}
