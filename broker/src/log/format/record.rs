//! The records inside of an uncompressed batch, and what a transaction marker says.
//!
//! Each record: length (zigzag varint), attributes (i8, 0), timestamp less the batch's base
//! (varlong), offset less the batch's base (varint), key and value (varint length, -1 null), number
//! of headers (varint) and these (key length and key, value length and value).
//! A marker's key holds a version (i16) and its type (i16: 0 abort, 1 commit), its value a version
//! (i16) and the transaction coordinator's epoch (i32).

use super::FormatError;

/// Bytes of the longest varint: consumers refuse a longer one, or read what follows it wrongly.
pub(super) const VARINT_BYTES: u32 = 5;
/// Bytes of the longest varlong.
pub(super) const VARLONG_BYTES: u32 = 10;

/// One record of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Milliseconds behind the batch's base timestamp.
    pub timestamp_delta_ms: i64,
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// The key; `None` is null.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is null.
    pub value: Option<&'a [u8]>,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndMarker {
    /// True for a commit.
    pub commit: bool,
    /// The transaction coordinator's epoch.
    pub coordinator_epoch: i32,
}

/// The records of an uncompressed batch's body (what follows its header).
pub fn records(body: &[u8]) -> impl Iterator<Item = Result<Record<'_>, FormatError>> {
    let mut rest = Cursor(body);
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || rest.0.is_empty() {
            return None;
        }
        let record = rest.record();
        failed = record.is_err();
        Some(record)
    })
}

/// The first record of bytes that may end anywhere, and its length; `None` where that isn't a whole, good one.
pub(super) fn first_whole(body: &[u8]) -> Option<(Record<'_>, usize)> {
    let mut rest = Cursor(body);
    let record = rest.record().ok()?;
    Some((record, body.len() - rest.0.len()))
}

/// What the first record of an end marker's batch says; `None` for other control records.
pub fn end_marker(body: &[u8]) -> Result<Option<EndMarker>, FormatError> {
    let Some(record) = records(body).next().transpose()? else {
        return Ok(None);
    };
    let commit = match record.key {
        Some([_, _, 0, 0, ..]) => false,
        Some([_, _, 0, 1, ..]) => true,
        _ => return Ok(None),
    };
    match record.value {
        Some([_, _, a, b, c, d, ..]) => Ok(Some(EndMarker {
            commit,
            coordinator_epoch: i32::from_be_bytes([*a, *b, *c, *d]),
        })),
        _ => Err(FormatError::new("end marker without a coordinator epoch")),
    }
}

struct Cursor<'a>(&'a [u8]);

// Small records are dear to check. What a record has several of is told to be inlined: that halves the time.
impl<'a> Cursor<'a> {
    fn record(&mut self) -> Result<Record<'a>, FormatError> {
        let length = self.varint()?;
        let mut inner = Cursor(self.bytes(length)?);
        inner.bytes(1)?;
        let timestamp_delta_ms = inner.varlong()?;
        let offset_delta = inner.varint()?;
        let key = inner.nullable()?;
        let value = inner.nullable()?;
        let headers = inner.varint()?;
        if headers < 0 {
            return Err(FormatError(format!("{headers} headers")));
        }
        for _ in 0..headers {
            let length = inner.varint()?;
            inner.bytes(length)?;
            inner.nullable()?;
        }
        if !inner.0.is_empty() {
            let left = inner.0.len();
            return Err(FormatError(format!("{left} bytes left behind a record")));
        }
        Ok(Record {
            timestamp_delta_ms,
            offset_delta,
            key,
            value,
        })
    }

    fn nullable(&mut self) -> Result<Option<&'a [u8]>, FormatError> {
        match self.varint()? {
            -1 => Ok(None),
            length => self.bytes(length).map(Some),
        }
    }

    #[inline]
    fn bytes(&mut self, length: i32) -> Result<&'a [u8], FormatError> {
        let split = usize::try_from(length)
            .ok()
            .and_then(|length| self.0.split_at_checked(length));
        let Some((bytes, rest)) = split else {
            let left = self.0.len();
            return Err(FormatError(format!(
                "length {length} with {left} bytes left"
            )));
        };
        self.0 = rest;
        Ok(bytes)
    }

    #[inline]
    fn varint(&mut self) -> Result<i32, FormatError> {
        let value = self.zigzag(VARINT_BYTES)?;
        i32::try_from(value).map_err(|_| FormatError(format!("varint {value} is out of range")))
    }

    fn varlong(&mut self) -> Result<i64, FormatError> {
        self.zigzag(VARLONG_BYTES)
    }

    #[inline]
    fn zigzag(&mut self, most: u32) -> Result<i64, FormatError> {
        let mut raw: u64 = 0;
        for at in 0..most {
            let Some((&byte, rest)) = self.0.split_first() else {
                return Err(FormatError::new("varint runs out of the record"));
            };
            self.0 = rest;
            raw |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err(FormatError(format!("varint of more than {most} bytes")))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn push_varlong(out: &mut Vec<u8>, value: i64) {
        let mut raw = ((value << 1) ^ (value >> 63)) as u64;
        while raw >= 0x80 {
            out.push(raw as u8 | 0x80);
            raw >>= 7;
        }
        out.push(raw as u8);
    }

    fn push_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
        match bytes {
            None => push_varlong(out, -1),
            Some(bytes) => {
                push_varlong(out, bytes.len() as i64);
                out.extend(bytes);
            }
        }
    }

    pub(crate) fn push_record(
        out: &mut Vec<u8>,
        offset_delta: i32,
        timestamp_delta_ms: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) {
        let mut record = vec![0];
        push_varlong(&mut record, timestamp_delta_ms);
        push_varlong(&mut record, i64::from(offset_delta));
        push_nullable(&mut record, key);
        push_nullable(&mut record, value);
        push_varlong(&mut record, 0);
        push_varlong(out, record.len() as i64);
        out.extend(record);
    }

    #[test]
    fn round_trip() {
        let mut body = Vec::new();
        push_record(&mut body, 0, 0, None, Some(b"v"));
        let first = body.len();
        push_record(&mut body, 1, -300, Some(b"k"), None);
        let read: Vec<Record> = records(&body).map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].key, read[0].value), (None, Some(&b"v"[..])));
        assert_eq!(
            (read[1].offset_delta, read[1].timestamp_delta_ms),
            (1, -300)
        );
        for length in 1..body.len() {
            let whole = records(&body[..length]).all(|record| record.is_ok());
            assert_eq!(whole, length == first, "length {length}");
        }
    }

    #[test]
    fn varints_are_no_longer_than_consumers_read() {
        // Attributes, timestamp, an offset of more bytes than it takes, no key, no value, no headers.
        for (padding, good) in [(3, true), (4, true), (5, false)] {
            let mut record = vec![0, 0];
            record.extend(vec![0x80; padding]);
            record.extend([0, 1, 1, 0]);
            let mut body = vec![record.len() as u8 * 2];
            body.extend(record);
            assert_eq!(
                records(&body).all(|record| record.is_ok()),
                good,
                "{padding}"
            );
        }
    }

    #[test]
    fn nonsense_never_panics() {
        for seed in 0..2_000u32 {
            let body: Vec<u8> = (0..40)
                .map(|at| (seed.wrapping_mul(2_654_435_761).wrapping_add(at * 40_503) >> 13) as u8)
                .collect();
            let _ = records(&body).count();
            let _ = end_marker(&body);
        }
    }

    #[test]
    fn markers() {
        let mut body = Vec::new();
        push_record(
            &mut body,
            0,
            0,
            Some(&[0, 0, 0, 1]),
            Some(&[0, 0, 0, 0, 0, 9]),
        );
        let marker = end_marker(&body).unwrap().unwrap();
        assert!(marker.commit);
        assert_eq!(marker.coordinator_epoch, 9);
    }
}
