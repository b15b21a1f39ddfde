//! The state's numbers, under fixed keys.
//!
//! - `state`, version 2: u8 version, u32 schema, u64 index, term, i64 zxid, u64 digest, ConfState (u32 length
//!   or `u32::MAX` for none, bytes), u64 znodes, ephemerals, data_bytes, u32 max_data_bytes, i64 time_ms.
//!   Version 1 ends before time_ms, which reads as 0.
//! - `history floor`, version 1: u8 version, i64 zxid. Every later transaction is in the history.
//! - `history span ` and the i64 zxid it begins with, version 1: u8 version, i64 last zxid, i64 time_ms of
//!   the last one, u64 bytes. Spans tell what to cut without reading the history itself.
use bytes::{BufMut, Bytes};

use super::SCHEMA;
use crate::octets::{DecodeError, Reader, put_optional_bytes};
use crate::storage::{Applied, Counts, Meta, ReplicatedLimits};
use crate::tree::Zxid;
use crate::tree::digest::Digest;

const STATE_VERSION: u8 = 2;
const VERSION: u8 = 1;
/// The key of [`Meta`].
pub const STATE: &[u8] = b"state";
/// The key of the history's floor.
pub const HISTORY_FLOOR: &[u8] = b"history floor";
/// What the keys of spans begin with.
pub const HISTORY_SPAN: &[u8] = b"history span ";

/// A run of transactions in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// Its first transaction.
    pub first: Zxid,
    /// Its last one.
    pub last: Zxid,
    /// When that was, milliseconds since 1970.
    pub time_ms: i64,
    /// Bytes of images in it.
    pub bytes: u64,
}

/// The value of [`STATE`].
pub fn encode(meta: &Meta) -> Vec<u8> {
    let mut out = Vec::with_capacity(96);
    out.put_u8(STATE_VERSION);
    out.put_u32(SCHEMA);
    out.put_u64(meta.applied.index);
    out.put_u64(meta.applied.term);
    out.put_i64(meta.applied.zxid.0);
    out.put_u64(meta.applied.digest.0);
    put_optional_bytes(&mut out, meta.conf_state.as_deref());
    out.put_u64(meta.counts.znodes);
    out.put_u64(meta.counts.ephemerals);
    out.put_u64(meta.counts.data_bytes);
    out.put_u32(meta.limits.max_data_bytes);
    out.put_i64(meta.time_ms);
    out
}

/// Reads the value of [`STATE`].
pub fn decode(bytes: Bytes) -> Result<Meta, DecodeError> {
    let mut reader = Reader::new(bytes);
    let version = version(&mut reader, STATE_VERSION)?;
    match reader.u32("schema")? {
        SCHEMA => {}
        value => {
            return Err(DecodeError::Unknown {
                field: "schema",
                value: value.into(),
            });
        }
    }
    let applied = Applied {
        index: reader.u64("index")?,
        term: reader.u64("term")?,
        zxid: Zxid(reader.i64("zxid")?),
        digest: Digest(reader.u64("digest")?),
    };
    let conf_state = reader.optional_bytes("conf state")?;
    let counts = Counts {
        znodes: reader.u64("znodes")?,
        ephemerals: reader.u64("ephemerals")?,
        data_bytes: reader.u64("data bytes")?,
    };
    let limits = ReplicatedLimits {
        max_data_bytes: reader.u32("max data bytes")?,
    };
    let time_ms = match version {
        1 => 0,
        _ => reader.i64("time")?,
    };
    reader.end()?;
    Ok(Meta {
        applied,
        conf_state,
        counts,
        limits,
        time_ms,
    })
}

/// The value of [`HISTORY_FLOOR`].
pub fn encode_floor(floor: Zxid) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_i64(floor.0);
    out
}

/// Reads the value of [`HISTORY_FLOOR`].
pub fn decode_floor(bytes: Bytes) -> Result<Zxid, DecodeError> {
    let mut reader = Reader::new(bytes);
    version(&mut reader, VERSION)?;
    let floor = Zxid(reader.i64("history floor")?);
    reader.end()?;
    Ok(floor)
}

/// The key of the span that begins with this zxid.
pub fn span_key(first: Zxid) -> Vec<u8> {
    [HISTORY_SPAN, &first.0.to_be_bytes()].concat()
}

/// A span's value.
pub fn encode_span(span: &Span) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_i64(span.last.0);
    out.put_i64(span.time_ms);
    out.put_u64(span.bytes);
    out
}

/// Reads a span from its key and value.
pub fn decode_span(key: Bytes, value: Bytes) -> Result<Span, DecodeError> {
    let mut reader = Reader::new(key);
    reader.array::<{ HISTORY_SPAN.len() }>("span key")?;
    let first = Zxid(reader.i64("span key")?);
    reader.end()?;
    let mut reader = Reader::new(value);
    version(&mut reader, VERSION)?;
    let last = Zxid(reader.i64("span end")?);
    let time_ms = reader.i64("span time")?;
    let bytes = reader.u64("span bytes")?;
    reader.end()?;
    Ok(Span {
        first,
        last,
        time_ms,
        bytes,
    })
}

/// A version that is known, up to the newest.
fn version(reader: &mut Reader, newest: u8) -> Result<u8, DecodeError> {
    match reader.u8("meta version")? {
        known if (1..=newest).contains(&known) => Ok(known),
        value => Err(DecodeError::Unknown {
            field: "meta version",
            value: value.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    #[test]
    fn golden_bytes() {
        let meta = Meta {
            applied: Applied {
                index: 1,
                term: 2,
                zxid: Zxid(3),
                digest: Digest(4),
            },
            conf_state: Some(Bytes::from_static(b"c")),
            counts: Counts {
                znodes: 5,
                ephemerals: 6,
                data_bytes: 7,
            },
            limits: ReplicatedLimits { max_data_bytes: 8 },
            time_ms: 9,
        };
        let bytes = encode(&meta);
        let expected = concat!(
            "02",
            "00000001",
            "0000000000000001",
            "0000000000000002",
            "0000000000000003",
            "0000000000000004",
            "00000001",
            "63",
            "0000000000000005",
            "0000000000000006",
            "0000000000000007",
            "00000008",
            "0000000000000009"
        );
        assert_eq!(hex(&bytes), expected);
        assert_eq!(decode(bytes.clone().into()), Ok(meta.clone()));
        // As version 1 wrote it.
        let mut old = bytes[..bytes.len() - 8].to_vec();
        old[0] = 1;
        assert_eq!(decode(old.into()), Ok(Meta { time_ms: 0, ..meta }));
        let floor = encode_floor(Zxid(9));
        assert_eq!(hex(&floor), "010000000000000009");
        assert_eq!(decode_floor(floor.into()), Ok(Zxid(9)));
    }

    #[test]
    fn golden_bytes_of_a_span() {
        let span = Span {
            first: Zxid(1),
            last: Zxid(2),
            time_ms: 3,
            bytes: 4,
        };
        let (key, value) = (span_key(span.first), encode_span(&span));
        assert_eq!(hex(&key), "686973746f7279207370616e200000000000000001");
        assert_eq!(
            hex(&value),
            "01000000000000000200000000000000030000000000000004"
        );
        assert_eq!(decode_span(key.into(), value.into()), Ok(span));
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let mut bytes = encode(&Meta::default());
        bytes[4] = 9;
        assert_eq!(
            decode(bytes.into()),
            Err(DecodeError::Unknown {
                field: "schema",
                value: 9
            })
        );
    }
}
