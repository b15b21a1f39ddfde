//! Buffers that records are read into, used again: fresh pages cost more than the copy into them.
//!
//! Handed out as [`Bytes`], they come back when the last holder has dropped them. What is kept while nobody reads is bounded.

use bytes::Bytes;
use parking_lot::Mutex;

/// Smaller ones are the allocator's: it keeps those itself.
const SMALLEST: usize = 32 * 1024;

/// Larger ones are rare.
const LARGEST: usize = 1024 * 1024;

/// Of one size each, twice the one before.
const SIZES: usize = (LARGEST / SMALLEST).ilog2() as usize + 1;

/// Bytes of each size that are kept at most.
const KEPT: usize = 2 * LARGEST;

/// All of this process: whoever reads next takes them, whatever log it reads.
static KEPT_BUFFERS: [Mutex<Vec<Box<[u8]>>>; SIZES] = [const { Mutex::new(Vec::new()) }; SIZES];

/// A buffer of some length, with whatever was in it.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Box<[u8]>,
    length: usize,
}

impl Buffer {
    /// One of this length.
    pub(super) fn of(length: usize) -> Buffer {
        let kept = size_of(length).and_then(|size| KEPT_BUFFERS[size].lock().pop());
        let bytes = kept.unwrap_or_else(|| {
            let whole = size_of(length).map_or(length, |size| SMALLEST << size);
            vec![0; whole].into_boxed_slice()
        });
        Buffer { bytes, length }
    }

    /// To be read into.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.length]
    }

    /// Gives away the first `length` bytes: copied, if the buffer is much larger, as whoever reads them may be slow.
    pub(super) fn into_bytes(mut self, length: usize) -> Bytes {
        self.length = self.length.min(length);
        match self.length {
            length if length < self.bytes.len() / 2 => Bytes::copy_from_slice(self.as_ref()),
            _ => Bytes::from_owner(self),
        }
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let whole = self.bytes.len();
        let size = size_of(whole).filter(|size| SMALLEST << size == whole);
        if let Some(size) = size {
            let mut kept = KEPT_BUFFERS[size].lock();
            if kept.len() < KEPT / whole {
                kept.push(std::mem::take(&mut self.bytes));
            }
        }
    }
}

/// Which size holds so many bytes; `None` for lengths that are the allocator's.
fn size_of(length: usize) -> Option<usize> {
    let whole = length.checked_next_power_of_two()?;
    let pooled = (SMALLEST..=LARGEST).contains(&whole);
    pooled.then(|| (whole / SMALLEST).ilog2() as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_length_asked_for_whatever_was_in_it() {
        for length in [
            0,
            1,
            SMALLEST - 1,
            SMALLEST,
            SMALLEST + 1,
            LARGEST,
            LARGEST + 1,
        ] {
            for _ in 0..3 {
                let mut buffer = Buffer::of(length);
                assert_eq!(buffer.space().len(), length);
                buffer.space().fill(7);
                let bytes = buffer.into_bytes(length.min(10));
                assert_eq!(bytes, vec![7; length.min(10)]);
            }
        }
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let held: Vec<Bytes> = (0..3 * KEPT / LARGEST)
            .map(|_| Buffer::of(LARGEST).into_bytes(LARGEST))
            .collect();
        drop(held);
        assert!(KEPT_BUFFERS[SIZES - 1].lock().len() <= KEPT / LARGEST);
    }

    #[test]
    fn sizes_are_powers_of_two() {
        assert_eq!(size_of(SMALLEST / 2), None);
        assert_eq!(size_of(SMALLEST), Some(0));
        assert_eq!(size_of(SMALLEST + 1), Some(1));
        assert_eq!(size_of(LARGEST), Some(SIZES - 1));
        assert_eq!(size_of(LARGEST + 1), None);
    }
}
