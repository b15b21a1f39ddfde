//! Which partition a record goes to, when its sender does not say.
//!
//! With a key: Kafka's murmur2 of it, so that every client puts the same key into the same
//! partition. Without: one partition until its batch is full or sent, then the next one, which
//! makes for fewer and larger batches than going round record by record (KIP-480).

use std::collections::HashMap;

/// Kafka's murmur2, seed 0x9747b28c.
pub fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        hash = hash.wrapping_mul(M) ^ k.wrapping_mul(M);
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (i, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

/// The partition of a key among `count`.
pub fn partition_of_key(key: &[u8], count: usize) -> usize {
    (murmur2(key) & 0x7fff_ffff) as usize % count.max(1)
}

/// After this many bytes without a key the next partition takes over, whether the batch is full or not:
/// as many as Kafka's producers put into a batch.
const STICKY_BYTES: usize = 16 << 10;

/// The partition each topic's records without key go to at the moment.
#[derive(Debug, Default)]
pub struct Sticky {
    /// Where topics begin, so that many short-lived producers do not all choose the same partition.
    seed: usize,
    current: HashMap<String, Place>,
}

#[derive(Debug, Default)]
struct Place {
    /// The partition is this, modulo those available.
    counter: usize,
    bytes: usize,
}

impl Sticky {
    /// Begins with the partition that `seed` says.
    pub fn new(seed: usize) -> Self {
        Self {
            seed,
            current: HashMap::new(),
        }
    }

    /// The place of the current partition among `count` available ones.
    pub fn current(&self, topic: &str, count: usize) -> usize {
        self.current.get(topic).map_or(self.seed, |p| p.counter) % count.max(1)
    }

    fn place(&mut self, topic: &str) -> &mut Place {
        let seed = self.seed;
        self.current.entry(topic.to_owned()).or_insert(Place {
            counter: seed,
            bytes: 0,
        })
    }

    /// A batch of records without keys was closed: go on to the next partition.
    pub fn advance(&mut self, topic: &str) {
        let place = self.place(topic);
        place.counter = place.counter.wrapping_add(1);
        place.bytes = 0;
    }

    /// Whether anything went to the current partition since it became that.
    pub fn has_begun(&self, topic: &str) -> bool {
        self.current.get(topic).is_some_and(|p| p.bytes > 0)
    }

    /// So many bytes went to the current partition.
    pub fn sent(&mut self, topic: &str, bytes: usize) {
        let place = self.place(topic);
        place.bytes += bytes;
        if place.bytes >= STICKY_BYTES {
            self.advance(topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Kafka's own `UtilsTest.testMurmur2`.
    #[test]
    fn murmur2_is_kafkas() {
        let cases: [(&str, i32); 6] = [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ];
        for (text, expected) in cases {
            assert_eq!(murmur2(text.as_bytes()) as i32, expected, "{text}");
        }
    }

    #[test]
    fn records_without_keys_stay_until_the_batch_closes() {
        let mut sticky = Sticky::default();
        assert_eq!(sticky.current("t", 3), 0);
        assert_eq!(sticky.current("t", 3), 0);
        sticky.advance("t");
        assert_eq!(sticky.current("t", 3), 1);
        sticky.advance("t");
        sticky.advance("t");
        assert_eq!(sticky.current("t", 3), 0);
        assert_eq!(sticky.current("t", 0), 0);
        assert!(!sticky.has_begun("t"));
        sticky.sent("t", STICKY_BYTES - 1);
        assert!(sticky.has_begun("t"));
        assert_eq!(sticky.current("t", 3), 0);
        sticky.sent("t", 1);
        assert_eq!(sticky.current("t", 3), 1);
        assert_eq!(Sticky::new(5).current("t", 3), 2);
    }
}
