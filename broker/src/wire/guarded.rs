//! A buffer that lets generated decoders run on bytes from anyone.
//!
//! The decoders of `kafka-protocol` reserve memory for as many array elements as the bytes *claim*; a
//! failed reservation aborts the process, and nothing can catch that. So each request is decoded through
//! this buffer first. Every element of an array, and every byte of a string, takes at least one byte, so
//! a length above the bytes left can't be right:
//! - a compact length (unsigned varint) above that is refused on sight; tags and sizes of tagged fields
//!   are varints too and never that large in messages anyone sends;
//! - a four-byte integer above that may be a plain field (a timeout, an id). While *probing* it is
//!   replaced by [`IMPLAUSIBLE`], which every length refuses as negative and which no plain field
//!   minds, since the probed message is thrown away whenever anything was replaced.

use bytes::buf::Buf;
use bytes::{Bytes, TryGetError};
use kafka_protocol::protocol::buf::ByteBuf;
use std::ops::Range;

/// Stands for a four-byte integer that can't be a length; -1 would mean null.
const IMPLAUSIBLE: i32 = -2;

/// Bytes of the longest varint of 32 bits.
const MAX_VARINT_BYTES: usize = 5;

/// Request bytes that answer implausible lengths with an error instead of the truth.
#[derive(Debug)]
pub(super) struct Guarded {
    inner: Bytes,
    replaced: bool,
    /// Bytes of the varint begun by the last [`Buf::try_get_u8`] that are still to be handed out.
    varint_left: usize,
}

impl Guarded {
    pub(super) fn new(inner: Bytes) -> Self {
        Self {
            inner,
            replaced: false,
            varint_left: 0,
        }
    }

    /// Whether a plain value may have been replaced, so that what was decoded is not the message.
    pub(super) fn replaced(&self) -> bool {
        self.replaced
    }

    /// Looks ahead at the varint that begins here: its value and its length in bytes.
    fn peek_varint(&self) -> (u64, usize) {
        let mut value = 0u64;
        for (i, byte) in self.inner.iter().take(MAX_VARINT_BYTES).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                return (value, i + 1);
            }
        }
        (value, self.inner.len().min(MAX_VARINT_BYTES))
    }
}

impl Buf for Guarded {
    fn remaining(&self) -> usize {
        self.inner.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.inner
    }

    fn advance(&mut self, count: usize) {
        self.inner.advance(count);
    }

    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        if self.varint_left == 0 {
            let (value, length) = self.peek_varint();
            // A compact length is one more than what it counts.
            if value > self.inner.len() as u64 + 1 {
                let requested = usize::try_from(value).unwrap_or(usize::MAX);
                return Err(TryGetError {
                    requested,
                    available: self.inner.len(),
                });
            }
            self.varint_left = length;
        }
        self.varint_left = self.varint_left.saturating_sub(1);
        self.inner.try_get_u8()
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let value = self.inner.try_get_i32()?;
        match usize::try_from(value) {
            Ok(length) if length > self.inner.len() => {
                self.replaced = true;
                Ok(IMPLAUSIBLE)
            }
            _ => Ok(value),
        }
    }
}

impl ByteBuf for Guarded {
    fn peek_bytes(&mut self, range: Range<usize>) -> Bytes {
        self.inner.slice(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.inner.split_to(size)
    }
}
