//! Frames: a four-byte big-endian length, then that many bytes.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// A frame whose length is not acceptable; the connection cannot go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("frame length {length} is not between 0 and {max}")]
pub struct BadFrame {
    /// The length as it was read.
    pub length: i32,
    /// The largest length allowed, in bytes.
    pub max: usize,
}

/// Takes the first whole frame off `buffer`, without its length; `None` if more bytes are needed.
/// A length above `max` is refused before its bytes have arrived.
pub fn split_frame(buffer: &mut BytesMut, max: usize) -> Result<Option<Bytes>, BadFrame> {
    let Some(head) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = i32::from_be_bytes(*head);
    let len = match usize::try_from(length) {
        Ok(len) if len <= max => len,
        _ => return Err(BadFrame { length, max }),
    };
    if buffer.len() < 4 + len {
        buffer.reserve(4 + len - buffer.len());
        return Ok(None);
    }
    buffer.advance(4);
    Ok(Some(buffer.split_to(len).freeze()))
}

/// Appends one frame to `out`; its body is what `body` appends.
pub fn put_frame(out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let start = out.len();
    out.put_i32(0);
    body(out);
    let len = out.len() - start - 4;
    let length = i32::try_from(len).expect("a frame is smaller than 2 GiB");
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}
