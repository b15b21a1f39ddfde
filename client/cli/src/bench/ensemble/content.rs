//! What stands in the nodes: bytes that say which node they belong to, and that were written whole.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes: the number of the node and of the writing. Shorter values cannot be told apart.
pub const SHORTEST: i64 = 16;

/// The content of node `index` by the writing `stamp`, `len` bytes, at least [`SHORTEST`].
pub fn write(index: u32, stamp: u64, len: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(len);
    out.put_u64(u64::from(index));
    out.put_u64(stamp);
    let filler = filler(index, stamp);
    while out.len() + 8 <= len {
        out.put_u64(filler);
    }
    while out.len() < len {
        out.put_u8(b'.');
    }
    out.freeze()
}

/// Whether `data` is a content of node `index`, of `len` bytes, by whatever writing.
pub fn check(index: u32, data: &[u8], len: usize) -> Result<(), String> {
    if data.len() != len {
        return Err(format!("{} bytes where {len} were written", data.len()));
    }
    let (words, rest) = data.as_chunks::<8>();
    let [of, stamp, fill @ ..] = words else {
        return Err("too short".to_owned());
    };
    let (of, stamp) = (u64::from_be_bytes(*of), u64::from_be_bytes(*stamp));
    if of != u64::from(index) {
        return Err(format!("the content of node {of}"));
    }
    let expected = filler(index, stamp).to_be_bytes();
    if fill.iter().any(|word| *word != expected) || rest.iter().any(|byte| *byte != b'.') {
        return Err(format!("a mixture of writings (one is {stamp:#x})"));
    }
    Ok(())
}

/// Another one for each node and writing (the finalizer of `SplitMix64`).
fn filler(index: u32, stamp: u64) -> u64 {
    let mut z = stamp ^ (u64::from(index) << 32);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_written_whole_there_is_right() {
        for len in [16, 17, 24, 100, 1021] {
            let written = write(7, 99, len);
            assert_eq!(written.len(), len);
            check(7, &written, len).expect("it was written there");
            check(8, &written, len).expect_err("another node's");
            check(7, &written[..len - 1], len).expect_err("not whole");
            let other = write(7, 100, len);
            if len > 24 {
                let mixed = [&written[..len - 9], &other[len - 9..]].concat();
                check(7, &mixed, len).expect_err("of two writings");
            }
        }
    }
}
