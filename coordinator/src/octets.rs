//! Fields as bytes: big-endian integers, length-prefixed strings, and a reader that never panics.
//!
//! Used by every format this package owns: commands in raft entries, and the keys and values of the
//! state store. A format's layout stands beside its encode and decode functions; here are only the
//! fields. Lengths are checked against what is left before anything is allocated, so that arbitrary
//! bytes cost at most their own size.
use bytes::{Buf, BufMut, Bytes};

/// Why bytes could not be read as what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end inside a field.
    #[error("{field}: {needed} bytes needed, {left} left")]
    Truncated {
        /// The field that was being read.
        field: &'static str,
        /// Bytes the field needs.
        needed: usize,
        /// Bytes that were left.
        left: usize,
    },
    /// A string is not UTF-8.
    #[error("{field}: not UTF-8")]
    NotUtf8 {
        /// The field that was being read.
        field: &'static str,
    },
    /// A tag or version that this build does not know.
    #[error("{field}: unknown value {value}")]
    Unknown {
        /// The field that was being read.
        field: &'static str,
        /// What stood there.
        value: u64,
    },
    /// A value that is known but not allowed here.
    #[error("{field}: not allowed here")]
    Misplaced {
        /// The field that was being read.
        field: &'static str,
    },
    /// Bytes are left over behind the value.
    #[error("{left} bytes left over")]
    Trailing {
        /// How many.
        left: usize,
    },
}

/// Reads fields from the front of a byte string; slices share its memory.
#[derive(Debug)]
pub struct Reader {
    bytes: Bytes,
}

macro_rules! integers {
    ($($name:ident: $type:ty = $get:ident;)*) => {$(
        #[doc = concat!("A big-endian ", stringify!($type), ".")]
        pub fn $name(&mut self, field: &'static str) -> Result<$type, DecodeError> {
            self.need(field, size_of::<$type>())?;
            Ok(self.bytes.$get())
        }
    )*};
}

impl Reader {
    /// A reader over `bytes`.
    pub fn new(bytes: Bytes) -> Reader {
        Reader { bytes }
    }

    integers! {
        u8: u8 = get_u8;
        u16: u16 = get_u16;
        u32: u32 = get_u32;
        i32: i32 = get_i32;
        u64: u64 = get_u64;
        i64: i64 = get_i64;
    }

    /// A byte that must be 0 or 1.
    pub fn bool(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        match self.u8(field)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Unknown {
                field,
                value: value.into(),
            }),
        }
    }

    /// `N` bytes as they stand.
    pub fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], DecodeError> {
        self.need(field, N)?;
        let mut array = [0; N];
        self.bytes.copy_to_slice(&mut array);
        Ok(array)
    }

    /// A u32 length and that many bytes, sharing the reader's memory.
    pub fn bytes(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.u32(field)? as usize;
        self.need(field, length)?;
        Ok(self.bytes.split_to(length))
    }

    /// As [`Reader::bytes`], where the length `u32::MAX` means absent.
    pub fn optional_bytes(&mut self, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        let length = self.u32(field)?;
        if length == u32::MAX {
            return Ok(None);
        }
        self.need(field, length as usize)?;
        Ok(Some(self.bytes.split_to(length as usize)))
    }

    /// A u32 length and that many bytes of UTF-8.
    pub fn string(&mut self, field: &'static str) -> Result<String, DecodeError> {
        let bytes = self.bytes(field)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| DecodeError::NotUtf8 { field })?;
        Ok(text.to_owned())
    }

    /// A u32 count of items that take at least `item_bytes` each (more than 0).
    pub fn count(&mut self, field: &'static str, item_bytes: usize) -> Result<usize, DecodeError> {
        let count = self.u32(field)? as usize;
        self.need(field, count.saturating_mul(item_bytes))?;
        Ok(count)
    }

    /// Everything that is left.
    pub fn rest(&mut self) -> Bytes {
        self.bytes.split_off(0)
    }

    /// Bytes left to read.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Checks that nothing is left over.
    pub fn end(self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing { left }),
        }
    }

    fn need(&self, field: &'static str, needed: usize) -> Result<(), DecodeError> {
        let left = self.bytes.len();
        if left < needed {
            Err(DecodeError::Truncated {
                field,
                needed,
                left,
            })
        } else {
            Ok(())
        }
    }
}

/// Writes a u32 length and the bytes; the counterpart of [`Reader::bytes`].
pub fn put_bytes(out: &mut impl BufMut, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.put_slice(bytes);
}

/// The counterpart of [`Reader::optional_bytes`].
pub fn put_optional_bytes(out: &mut impl BufMut, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => put_bytes(out, bytes),
        None => out.put_u32(u32::MAX),
    }
}

/// The counterpart of [`Reader::count`]. Lengths are bounded far below by the limits on requests.
pub fn put_count(out: &mut impl BufMut, count: usize) {
    assert!(
        count < u32::MAX as usize,
        "a field of {count} bytes or items cannot be encoded"
    );
    out.put_u32(count as u32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_end_is_refused_before_allocation() {
        let mut reader = Reader::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xfe, 1]));
        let error = reader.bytes("data").unwrap_err();
        assert_eq!(
            error,
            DecodeError::Truncated {
                field: "data",
                needed: 0xffff_fffe,
                left: 1
            }
        );
        let mut reader = Reader::new(Bytes::from_static(&[0xff, 0xff, 0xff, 0xfe, 1]));
        assert!(reader.count("ops", 16).is_err());
    }

    #[test]
    fn absent_is_not_empty() {
        let mut out = Vec::new();
        put_optional_bytes(&mut out, None);
        put_optional_bytes(&mut out, Some(b""));
        assert_eq!(out, [255, 255, 255, 255, 0, 0, 0, 0]);
        let mut reader = Reader::new(out.into());
        assert_eq!(reader.optional_bytes("a"), Ok(None));
        assert_eq!(reader.optional_bytes("b"), Ok(Some(Bytes::new())));
        assert_eq!(reader.end(), Ok(()));
    }
}
