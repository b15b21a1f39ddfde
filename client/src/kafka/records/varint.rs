//! Zigzag variable-length integers, as in Protocol Buffers, and byte strings led by them.

use bytes::{Buf, BufMut, Bytes, BytesMut};

pub(super) fn put_i64(buf: &mut BytesMut, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        buf.put_u8(rest as u8 | 0x80);
        rest >>= 7;
    }
    buf.put_u8(rest as u8);
}

/// `None` is written as length -1.
pub(super) fn put_bytes(buf: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => put_i64(buf, -1),
        Some(bytes) => {
            put_i64(buf, bytes.len() as i64);
            buf.put_slice(bytes);
        }
    }
}

pub(super) fn get_i64(buf: &mut Bytes) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        if !buf.has_remaining() {
            return None;
        }
        let byte = buf.get_u8();
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    None
}

/// A length or count: never negative.
pub(super) fn get_len(buf: &mut Bytes) -> Option<usize> {
    usize::try_from(get_i64(buf)?).ok()
}

/// The outer `None` is malformed, the inner one length -1.
pub(super) fn get_bytes(buf: &mut Bytes) -> Option<Option<Bytes>> {
    match get_i64(buf)? {
        -1 => Some(None),
        length => {
            let length = usize::try_from(length).ok()?;
            (length <= buf.remaining()).then(|| Some(buf.split_to(length)))
        }
    }
}
