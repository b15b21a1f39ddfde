//! A number for a whole state: the sum of one hash for each of its parts.
//!
//! A change takes the old part's hash away and adds the new one's, so the digest costs no more than
//! the change. It tells nodes that differ by mistake from each other; it withstands no forger. Every
//! node must compute the same for ever: the constants below are part of the replicated format.
use super::node::{ChildNumbers, Node};

const SEED: u64 = 0x243f_6a88_85a3_08d3;
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The sum, modulo 2^64.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest(pub u64);

impl Digest {
    /// A part is there now.
    pub fn add(&mut self, part: u64) {
        self.0 = self.0.wrapping_add(part);
    }

    /// A part is no longer there.
    pub fn remove(&mut self, part: u64) {
        self.0 = self.0.wrapping_sub(part);
    }
}

/// A hash over a row of fields.
#[derive(Debug)]
pub struct Part(u64);

impl Part {
    /// Parts of different kinds never cancel out: each kind has a number of its own.
    pub fn new(kind: u64) -> Part {
        Part(SEED).number(kind)
    }

    /// Takes in a number.
    pub fn number(mut self, number: u64) -> Part {
        let mixed = (self.0 ^ number).wrapping_mul(MULTIPLIER);
        self.0 = mixed ^ (mixed >> 29);
        self
    }

    /// Takes in bytes and their length.
    pub fn bytes(mut self, bytes: &[u8]) -> Part {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self = self.number(u64::from_le_bytes(*word));
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.number(u64::from_le_bytes(last))
            .number(bytes.len() as u64)
    }

    /// The hash.
    pub fn end(self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 32)).wrapping_mul(MULTIPLIER);
        mixed ^ (mixed >> 32)
    }
}

/// The part of a znode that its own operations change.
pub fn content(path: &str, node: &Node) -> u64 {
    let mut part = Part::new(1).bytes(path.as_bytes());
    part = match &node.data {
        Some(data) => part.number(1).bytes(data),
        None => part.number(0),
    };
    for entry in node.acl.iter() {
        let id = &entry.id;
        part = part
            .number(entry.permissions.into())
            .bytes(id.scheme.as_bytes())
            .bytes(id.id.as_bytes());
    }
    part.number(node.czxid.0 as u64)
        .number(node.mzxid.0 as u64)
        .number(node.ctime_ms as u64)
        .number(node.mtime_ms as u64)
        .number(node.version as u64)
        .number(node.aversion as u64)
        .number(node.ephemeral_owner.0 as u64)
        .end()
}

/// The part of a znode that its children change; apart, since they change often and data may be long.
pub fn children(path: &str, numbers: ChildNumbers) -> u64 {
    Part::new(2)
        .bytes(path.as_bytes())
        .number(numbers.pzxid.0 as u64)
        .number(numbers.creates as u64)
        .number(numbers.count as u64)
        .end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_part_of_the_format() {
        assert_eq!(
            Part::new(1).bytes(b"/brokers/ids/1").number(7).end(),
            0x8ca9_97cc_ad0a_bbc2
        );
    }

    #[test]
    fn lengths_and_places_count() {
        let hash = |a: &[u8], b: &[u8]| Part::new(1).bytes(a).bytes(b).end();
        assert_ne!(hash(b"ab", b"c"), hash(b"a", b"bc"));
        assert_ne!(hash(b"", b"\0"), hash(b"\0", b""));
        assert_ne!(Part::new(1).end(), Part::new(2).end());
    }

    #[test]
    fn what_is_taken_away_leaves_no_trace() {
        let mut digest = Digest::default();
        digest.add(u64::MAX - 3);
        digest.add(17);
        digest.remove(u64::MAX - 3);
        digest.remove(17);
        assert_eq!(digest, Digest::default());
    }
}
