//! Checksums of any range of some bytes, in a time that hardly depends on its length.
//!
//! Behind a log's last record may stand any number of what looks like beginnings of records, each claiming all the bytes
//! behind it: summing each up from its first byte to its last would take the square of the segment's length.

/// Bytes between two sums that are kept.
const STRIDE: usize = 1024;

/// CRC32C's polynomial; like all of them here with its highest power in the lowest bit.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// See the module.
pub struct Sums<'a> {
    bytes: &'a [u8],
    /// Of the first 0, `STRIDE`, 2 x `STRIDE`, … bytes.
    kept: Vec<u32>,
    /// What 1, 2, 4, 8, … bytes behind some multiply its sum by.
    powers: [u32; usize::BITS as usize],
}

impl<'a> Sums<'a> {
    /// Reads `bytes` once.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut sum = 0;
        let mut kept = vec![0];
        for piece in bytes.chunks(STRIDE) {
            sum = crc32c::crc32c_append(sum, piece);
            kept.push(sum);
        }
        let mut powers = [1 << 23; usize::BITS as usize];
        for at in 1..powers.len() {
            powers[at] = multiply(powers[at - 1], powers[at - 1]);
        }
        Self {
            bytes,
            kept,
            powers,
        }
    }

    /// CRC32C of `bytes[start..end]` behind bytes whose CRC32C is `before`.
    pub fn behind(&self, before: u32, start: usize, end: usize) -> u32 {
        // Sums are linear: what stood before a range is multiplied by a power that depends on the range's length alone.
        // So the other beginning can be taken out, and `before` put in its place.
        let (mut moved, mut length) = (self.first(start) ^ before, end - start);
        while length > 0 {
            moved = multiply(self.powers[length.trailing_zeros() as usize], moved);
            length &= length - 1;
        }
        self.first(end) ^ moved
    }

    fn first(&self, count: usize) -> u32 {
        let stride = count / STRIDE;
        crc32c::crc32c_append(self.kept[stride], &self.bytes[stride * STRIDE..count])
    }
}

/// The product of two sums, as polynomials.
fn multiply(one: u32, mut other: u32) -> u32 {
    let mut product = 0;
    for bit in (0..u32::BITS).rev() {
        if one >> bit & 1 == 1 {
            product ^= other;
        }
        let carry = if other & 1 == 1 { POLYNOMIAL } else { 0 };
        other = other >> 1 ^ carry;
    }
    product
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_the_sum_of_its_bytes() {
        let bytes: Vec<u8> = (0..20_000_u32)
            .map(|at| (at.wrapping_mul(2_654_435_761) >> 11) as u8)
            .collect();
        let sums = Sums::new(&bytes);
        let places = [0, 1, 8, 1023, 1024, 1025, 8192, 12_345, 19_999, 20_000];
        for start in places {
            for end in places.into_iter().filter(|&end| end >= start) {
                let before = crc32c::crc32c(b"before");
                let expected = crc32c::crc32c_append(before, &bytes[start..end]);
                assert_eq!(sums.behind(before, start, end), expected, "{start}..{end}");
            }
        }
    }
}
