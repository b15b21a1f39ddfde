//! Jute's primitives: big-endian integers, length-prefixed buffers, strings and vectors.
//!
//! A length of -1 is null: a null buffer is `None` (ZooKeeper tells it from an empty one), a null
//! vector or string reads as an empty one (kazoo sends empty strings as null).

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Why bytes from outside are not the record they claim to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The record ends before its fields do.
    #[error("record is {missing} bytes short")]
    Short {
        /// How many bytes more the field needs.
        missing: usize,
    },
    /// A length below -1, or one that cannot fit in what is left.
    #[error("length {length} does not fit in the {left} bytes left")]
    BadLength {
        /// The length as it was read.
        length: i32,
        /// Bytes left in the record.
        left: usize,
    },
    /// A string that is not UTF-8.
    #[error("string is not utf-8")]
    NotUtf8,
    /// An operation inside a multi that has no place there.
    #[error("operation type {0} has no place in a multi")]
    BadMultiOp(i32),
}

/// Reads records from the bytes of one frame; buffers share its memory.
#[derive(Debug, Clone)]
pub struct Reader {
    rest: Bytes,
}

impl Reader {
    /// A reader at the first byte of `frame`.
    pub fn new(frame: Bytes) -> Self {
        Self { rest: frame }
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes, without a copy.
    pub fn take(&mut self, len: usize) -> Result<Bytes, DecodeError> {
        self.need(len)?;
        Ok(self.rest.split_to(len))
    }

    fn need(&self, len: usize) -> Result<(), DecodeError> {
        match len.checked_sub(self.rest.len()) {
            None | Some(0) => Ok(()),
            Some(missing) => Err(DecodeError::Short { missing }),
        }
    }

    /// A length: `None` for null.
    fn length(&mut self) -> Result<Option<usize>, DecodeError> {
        let length = i32::read(self)?;
        if length == -1 {
            return Ok(None);
        }
        let left = self.rest.len();
        match usize::try_from(length) {
            Ok(len) if len <= left => Ok(Some(len)),
            _ => Err(DecodeError::BadLength { length, left }),
        }
    }
}

/// A value with a jute form.
pub trait Jute: Sized {
    /// Reads the value from the front of `from`.
    fn read(from: &mut Reader) -> Result<Self, DecodeError>;
    /// Appends the value to `out`.
    fn write(&self, out: &mut BytesMut);

    /// Reads the value from the front of `bytes`; bytes behind it are ignored, as Java does.
    fn from_bytes(bytes: Bytes) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(bytes))
    }

    /// The value's bytes alone, without a frame.
    fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.write(&mut out);
        out.freeze()
    }
}

impl Jute for bool {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        from.need(1)?;
        Ok(from.rest.get_u8() != 0)
    }
    fn write(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }
}

impl Jute for i32 {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        from.need(4)?;
        Ok(from.rest.get_i32())
    }
    fn write(&self, out: &mut BytesMut) {
        out.put_i32(*self);
    }
}

impl Jute for i64 {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        from.need(8)?;
        Ok(from.rest.get_i64())
    }
    fn write(&self, out: &mut BytesMut) {
        out.put_i64(*self);
    }
}

/// A length as jute writes it. Nothing we encode comes near 2 GiB: frames are bounded far below.
fn put_length(len: usize, out: &mut BytesMut) {
    out.put_i32(i32::try_from(len).expect("a jute length fits in 31 bits"));
}

/// A buffer; `None` is null.
impl Jute for Option<Bytes> {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        match from.length()? {
            None => Ok(None),
            Some(len) => from.take(len).map(Some),
        }
    }
    fn write(&self, out: &mut BytesMut) {
        match self {
            None => out.put_i32(-1),
            Some(bytes) => {
                put_length(bytes.len(), out);
                out.extend_from_slice(bytes);
            }
        }
    }
}

impl Jute for String {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        let len = from.length()?.unwrap_or(0);
        let bytes = from.take(len)?;
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(DecodeError::NotUtf8),
        }
    }
    fn write(&self, out: &mut BytesMut) {
        put_length(self.len(), out);
        out.extend_from_slice(self.as_bytes());
    }
}

impl<T: Jute> Jute for Vec<T> {
    fn read(from: &mut Reader) -> Result<Self, DecodeError> {
        // Every element has at least one byte, so `length` has bounded the count already; the
        // vector still grows as it is read, since an element's memory is larger than its bytes.
        let count = from.length()?.unwrap_or(0);
        let mut items = Vec::with_capacity(count.min(from.left() / 8));
        for _ in 0..count {
            items.push(T::read(from)?);
        }
        Ok(items)
    }
    fn write(&self, out: &mut BytesMut) {
        put_length(self.len(), out);
        for item in self {
            item.write(out);
        }
    }
}

/// Declares a record: a struct whose jute form is its fields in order.
macro_rules! record {
    (
        $(#[$meta:meta])*
        pub struct $name:ident { $($(#[$field_meta:meta])* pub $field:ident: $ty:ty,)* }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub struct $name { $($(#[$field_meta])* pub $field: $ty,)* }

        impl $crate::zk::jute::Jute for $name {
            fn read(
                from: &mut $crate::zk::jute::Reader,
            ) -> Result<Self, $crate::zk::jute::DecodeError> {
                Ok(Self { $($field: $crate::zk::jute::Jute::read(from)?,)* })
            }
            fn write(&self, out: &mut bytes::BytesMut) {
                $($crate::zk::jute::Jute::write(&self.$field, out);)*
            }
        }
    };
}
pub(crate) use record;
