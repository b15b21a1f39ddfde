//! The records of a compressed batch as a stream that never yields more than it was allowed to.
//!
//! Used by consumers, and by brokers to look into what producers send. Memory is the codec's own window, and for
//! snappy one block; no length that stands in the packed bytes is believed without bytes to back it.

use std::io::{self, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use snap::raw::{Decoder, decompress_len};

use super::Compression;

/// snappy-java's framing: this, two version numbers, then blocks led by their length.
const XERIAL_MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
const XERIAL_HEADER_BYTES: usize = 16;
/// Snappy's best: a copy of 64 bytes out of 3.
const SNAPPY_MAX_RATIO: usize = 22;

/// The records of a batch unpack to more bytes than allowed. Comes as the source of an [`io::Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("records unpack to more than {0} bytes")]
pub struct UnpackedTooLarge(pub u64);

/// A reader of what `packed` holds, `limit` bytes at most.
///
/// # Errors
/// Those of the codec, here or when reading; [`UnpackedTooLarge`] when reading beyond the limit.
pub fn unpack(codec: Compression, packed: &[u8], limit: u64) -> io::Result<impl Read + use<'_>> {
    let source: Box<dyn Read + '_> = match codec {
        Compression::None => Box::new(packed),
        Compression::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Compression::Snappy => Box::new(Snappy::new(packed, limit)),
        Compression::Lz4 => Box::new(lz4::Decoder::new(packed)?),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
    };
    let left = limit;
    Ok(Bounded {
        source,
        limit,
        left,
    })
}

struct Bounded<R> {
    source: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buf)?;
        match self.left.checked_sub(read as u64) {
            Some(left) => self.left = left,
            None => return Err(too_large(self.limit)),
        }
        Ok(read)
    }
}

fn too_large(limit: u64) -> io::Error {
    io::Error::new(io::ErrorKind::FileTooLarge, UnpackedTooLarge(limit))
}

/// Blocks in snappy-java's framing, or one block without any.
struct Snappy<'a> {
    packed: &'a [u8],
    framed: bool,
    limit: u64,
    block: Cursor<Vec<u8>>,
}

impl<'a> Snappy<'a> {
    fn new(packed: &'a [u8], limit: u64) -> Self {
        let framed = packed.len() >= XERIAL_HEADER_BYTES && packed.starts_with(&XERIAL_MAGIC);
        Self {
            packed: &packed[if framed { XERIAL_HEADER_BYTES } else { 0 }..],
            framed,
            limit,
            block: Cursor::default(),
        }
    }

    fn next_block(&mut self) -> io::Result<()> {
        let block = if self.framed {
            let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
            let (length, rest) = self.packed.split_first_chunk().ok_or_else(cut)?;
            let length = u32::from_be_bytes(*length) as usize;
            let (block, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
            self.packed = rest;
            block
        } else {
            std::mem::take(&mut self.packed)
        };
        let size = decompress_len(block)?;
        if size as u64 > self.limit {
            return Err(too_large(self.limit));
        }
        if size > block.len().saturating_mul(SNAPPY_MAX_RATIO) {
            let found = block.len();
            let lie = format!("a snappy block of {found} bytes says it holds {size}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, lie));
        }
        let mut plain = std::mem::take(&mut self.block).into_inner();
        plain.clear();
        plain.resize(size, 0);
        Decoder::new().decompress(block, &mut plain)?;
        self.block = Cursor::new(plain);
        Ok(())
    }
}

impl Read for Snappy<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.block.read(buf)?;
            if read > 0 || buf.is_empty() || self.packed.is_empty() {
                return Ok(read);
            }
            self.next_block()?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(codec: Compression, packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        unpack(codec, packed, limit)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    /// 64 MiB of zeros.
    fn bomb() -> Vec<u8> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let zeros = vec![0; 1 << 20];
        for _ in 0..64 {
            gzip.write_all(&zeros).unwrap();
        }
        gzip.finish().unwrap()
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let packed = bomb();
        let mut stream = unpack(Compression::Gzip, &packed, 1 << 20).unwrap();
        let mut buf = [0; 4096];
        let mut total = 0;
        let error = loop {
            match stream.read(&mut buf) {
                Ok(0) => panic!("it ended by itself"),
                Ok(read) => total += read,
                Err(error) => break error,
            }
        };
        assert!(total <= 1 << 20, "{total}");
        let source = error.get_ref().and_then(|error| error.downcast_ref());
        assert_eq!(source, Some(&UnpackedTooLarge(1 << 20)));
        assert_eq!(
            read(Compression::Gzip, &packed, 64 << 20).unwrap().len(),
            64 << 20
        );
    }

    #[test]
    fn snappy_with_and_without_framing_and_lies() {
        let plain = vec![7u8; 100_000];
        let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert_eq!(read(Compression::Snappy, &raw, 1 << 20).unwrap(), plain);
        let mut framed = XERIAL_MAGIC.to_vec();
        framed.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        for _ in 0..2 {
            framed.extend((raw.len() as u32).to_be_bytes());
            framed.extend(&raw);
        }
        let twice = read(Compression::Snappy, &framed, 1 << 20).unwrap();
        assert_eq!(twice, [&plain[..], &plain[..]].concat());
        assert!(read(Compression::Snappy, &framed, 150_000).is_err());
        assert!(read(Compression::Snappy, &framed[..framed.len() - 1], 1 << 20).is_err());
        // A few bytes that claim two gibibytes are refused before anything is reserved.
        let lie = [0xff, 0xff, 0xff, 0xff, 0x07, 0x00];
        assert!(read(Compression::Snappy, &lie, u64::MAX).is_err());
    }

    #[test]
    fn junk_is_an_error_in_every_codec() {
        let codecs = [
            Compression::Gzip,
            Compression::Snappy,
            Compression::Lz4,
            Compression::Zstd,
        ];
        for codec in codecs {
            assert!(read(codec, &[0xA5; 100], 1 << 20).is_err(), "{codec:?}");
        }
    }
}
