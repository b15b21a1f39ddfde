//! The records of any batch, compressed or not, one after the other and without their contents.
//!
//! What the leader checks of a producer's batch, and what a lookup by time needs. Compressed records are unpacked as
//! a stream up to a bound: nothing is held but the codec's window, and no count or length is
//! believed. A record that is whole in what is at hand (in a batch that isn't compressed: each) is read there by
//! `record`, where its layout stands too; one that isn't, or is wrong, goes byte by byte, and only so is an error told.

use std::cell::Cell;
use std::io::{self, BufRead, BufReader, Read};

use zweig_client::kafka::records::{Compression, UnpackedTooLarge, unpack};

use super::FormatError;
use super::record::{self, Record, VARINT_BYTES, VARLONG_BYTES};
use super::record_batch::{HEADER_SIZE, Header};
use crate::limits;

const BUFFER_BYTES: usize = 32 * 1024;

/// The longest value of a header that is looked for.
pub const WANTED_BYTES: u64 = 256;

/// What tells a record's place, and whether it has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Milliseconds behind the batch's base timestamp.
    pub timestamp_delta_ms: i64,
    /// Offset less the batch's base offset.
    pub offset_delta: i32,
    /// Its key isn't null.
    pub has_key: bool,
}

impl Place {
    fn of(record: &Record<'_>) -> Place {
        Place {
            timestamp_delta_ms: record.timestamp_delta_ms,
            offset_delta: record.offset_delta,
            has_key: record.key.is_some(),
        }
    }
}

/// Why a batch's records can't be passed.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// They are not in the format.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The codec refused the bytes, or they end inside of a record.
    #[error("cannot unpack the records: {0}")]
    Codec(io::Error),
    /// They unpack to more bytes than a broker reads.
    #[error(transparent)]
    TooLarge(UnpackedTooLarge),
}

impl From<io::Error> for StreamError {
    fn from(error: io::Error) -> StreamError {
        match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(too_large) => StreamError::TooLarge(*too_large),
            None => StreamError::Codec(error),
        }
    }
}

/// The places of a batch's records; ends behind the first error.
pub fn places<'a>(
    batch: &'a [u8],
    header: &Header,
) -> Result<impl Iterator<Item = Result<Place, StreamError>> + use<'a>, StreamError> {
    let mut source = open(batch, header)?;
    let mut failed = false;
    Ok(std::iter::from_fn(move || {
        if failed {
            return None;
        }
        let place = match &mut source {
            Source::Plain(stream) => stream.next(None, &mut |_| {}),
            Source::Packed(stream) => stream.next(None, &mut |_| {}),
        };
        failed = place.is_err();
        place.transpose()
    }))
}

/// A look through a batch for the headers of one name.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// The name.
    pub name: &'static str,
    /// How much of the records, unpacked, is looked through.
    pub bytes: u64,
}

impl Look {
    /// Shows `found` the values of these headers, one after the other, until it says that this is enough, or the records, or the
    /// bytes that are looked through, end. Those that are null, or longer than [`WANTED_BYTES`], are left out. How many
    /// bytes were looked through.
    pub fn through(self, batch: &[u8], header: &Header, found: impl FnMut(&[u8]) -> bool) -> u64 {
        match open(batch, header) {
            Ok(Source::Plain(stream)) => self.through_stream(stream, found),
            Ok(Source::Packed(stream)) => self.through_stream(stream, found),
            Err(_) => 0,
        }
    }

    fn through_stream<R: BufRead>(
        self,
        stream: Stream<R>,
        mut found: impl FnMut(&[u8]) -> bool,
    ) -> u64 {
        let goes_on = Cell::new(true);
        let mut show = |value: &[u8]| goes_on.set(goes_on.get() && found(value));
        let mut stream = Stream::new(stream.source.take(self.bytes));
        while goes_on.get() && matches!(stream.next(Some(self.name), &mut show), Ok(Some(_))) {}
        self.bytes - stream.source.limit()
    }
}

/// A batch's records before the first of them.
enum Source<'a> {
    Plain(Stream<&'a [u8]>),
    Packed(Stream<BufReader<Box<dyn Read + 'a>>>),
}

fn open<'a>(batch: &'a [u8], header: &Header) -> Result<Source<'a>, StreamError> {
    let codec = Compression::from_attributes(header.attributes)
        .map_err(|error| FormatError(error.to_string()))?;
    let packed = &batch[HEADER_SIZE..];
    Ok(match codec {
        Compression::None => Source::Plain(Stream::new(packed)),
        _ => {
            let stream = unpack(codec, packed, limits::unpacked_batch_bytes(packed.len()))?;
            let buffer = BufReader::with_capacity(BUFFER_BYTES, Box::new(stream) as Box<dyn Read>);
            Source::Packed(Stream::new(buffer))
        }
    })
}

struct Stream<R> {
    source: R,
    /// Bytes that may still be taken: those of the record, once its length is known.
    left: u64,
}

impl<R: BufRead> Stream<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            left: u64::MAX,
        }
    }

    /// The next record; the values of its headers of that name are shown to `found`.
    fn next(
        &mut self,
        name: Option<&str>,
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<Option<Place>, StreamError> {
        let at_hand = self.source.fill_buf()?;
        if at_hand.is_empty() {
            return Ok(None);
        }
        if name.is_none()
            && let Some((record, length)) = record::first_whole(at_hand)
        {
            let place = Place::of(&record);
            self.source.consume(length);
            return Ok(Some(place));
        }
        self.byte_by_byte(name, found).map(Some)
    }

    fn byte_by_byte(
        &mut self,
        name: Option<&str>,
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<Place, StreamError> {
        self.left = u64::MAX;
        let length = self.varint()?;
        self.left =
            u64::try_from(length).map_err(|_| FormatError(format!("record of {length} bytes")))?;
        self.skip(1)?;
        let timestamp_delta_ms = self.varlong()?;
        let offset_delta = self.varint()?;
        let has_key = self.skip_nullable()?;
        self.skip_nullable()?;
        let headers = self.varint()?;
        if headers < 0 {
            return Err(FormatError(format!("{headers} headers")).into());
        }
        // Each takes two bytes at least, so the record's end ends the loop.
        for _ in 0..headers {
            self.header(name, found)?;
        }
        if self.left > 0 {
            let left = self.left;
            return Err(FormatError(format!("{left} bytes left behind a record")).into());
        }
        Ok(Place {
            timestamp_delta_ms,
            offset_delta,
            has_key,
        })
    }

    fn header(
        &mut self,
        name: Option<&str>,
        found: &mut dyn FnMut(&[u8]),
    ) -> Result<(), StreamError> {
        let Some(length) = self.length()? else {
            return Err(FormatError::new("record header without a key").into());
        };
        let mut is_wanted = false;
        match name.filter(|name| name.len() as u64 == length) {
            None => self.skip(length)?,
            Some(name) => {
                is_wanted = true;
                for expected in name.bytes() {
                    is_wanted &= self.byte()? == expected;
                }
            }
        }
        match self.length()? {
            Some(length) if is_wanted && length <= WANTED_BYTES => {
                let mut value = [0; WANTED_BYTES as usize];
                let value = &mut value[..length as usize];
                for byte in &mut *value {
                    *byte = self.byte()?;
                }
                found(value);
            }
            Some(length) => self.skip(length)?,
            None => {}
        }
        Ok(())
    }

    /// The length of a byte string; `None` when it is null.
    fn length(&mut self) -> Result<Option<u64>, StreamError> {
        match self.varint()? {
            -1 => Ok(None),
            length => {
                let length = u64::try_from(length)
                    .map_err(|_| FormatError(format!("length {length} in a record")))?;
                Ok(Some(length))
            }
        }
    }

    /// Passes a byte string; false when it is null.
    fn skip_nullable(&mut self) -> Result<bool, StreamError> {
        let length = self.length()?;
        self.skip(length.unwrap_or(0))?;
        Ok(length.is_some())
    }

    fn take(&mut self, count: u64) -> Result<(), StreamError> {
        let left = self.left;
        self.left = left
            .checked_sub(count)
            .ok_or_else(|| FormatError(format!("length {count} with {left} bytes left")))?;
        Ok(())
    }

    fn skip(&mut self, count: u64) -> Result<(), StreamError> {
        self.take(count)?;
        let mut rest = count;
        while rest > 0 {
            let available = self.source.fill_buf()?.len();
            if available == 0 {
                return Err(StreamError::Codec(io::ErrorKind::UnexpectedEof.into()));
            }
            let step = available.min(usize::try_from(rest).unwrap_or(usize::MAX));
            self.source.consume(step);
            rest -= step as u64;
        }
        Ok(())
    }

    fn byte(&mut self) -> Result<u8, StreamError> {
        self.take(1)?;
        let Some(&byte) = self.source.fill_buf()?.first() else {
            return Err(StreamError::Codec(io::ErrorKind::UnexpectedEof.into()));
        };
        self.source.consume(1);
        Ok(byte)
    }

    fn varint(&mut self) -> Result<i32, StreamError> {
        let value = self.zigzag(VARINT_BYTES)?;
        let narrow = i32::try_from(value);
        Ok(narrow.map_err(|_| FormatError(format!("varint {value} is out of range")))?)
    }

    fn varlong(&mut self) -> Result<i64, StreamError> {
        self.zigzag(VARLONG_BYTES)
    }

    fn zigzag(&mut self, most: u32) -> Result<i64, StreamError> {
        let mut raw: u64 = 0;
        for at in 0..most {
            let byte = self.byte()?;
            raw |= u64::from(byte & 0x7f) << (7 * at);
            if byte & 0x80 == 0 {
                return Ok((raw >> 1) as i64 ^ -((raw & 1) as i64));
            }
        }
        Err(FormatError(format!("varint of more than {most} bytes")).into())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use bytes::Bytes;
    use zweig_client::kafka::records::{BatchSpec, Record, encode_batch};

    use super::super::record_batch::tests::{Batch, seal};
    use super::*;

    pub(crate) const CODECS: [Compression; 4] = [
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];

    /// A compressed batch of records with these keys and timestamps.
    pub(crate) fn packed(codec: Compression, records: &[(Option<&'static str>, i64)]) -> Vec<u8> {
        let records: Vec<Record> = records
            .iter()
            .map(|&(key, timestamp_ms)| Record {
                key: key.map(|key| Bytes::from_static(key.as_bytes())),
                value: Some(Bytes::from_static(&[b'v'; 300])),
                headers: vec![("h".to_owned(), None)],
                timestamp_ms,
            })
            .collect();
        let spec = BatchSpec {
            compression: codec,
            ..BatchSpec::default()
        };
        encode_batch(&spec, &records).unwrap().to_vec()
    }

    /// The same batch with the same records, in another codec's attributes or with another count.
    pub(crate) fn claiming(mut batch: Vec<u8>, records: i32) -> Vec<u8> {
        batch[23..27].copy_from_slice(&(records - 1).to_be_bytes());
        batch[57..61].copy_from_slice(&records.to_be_bytes());
        seal(&mut batch);
        batch
    }

    #[test]
    fn every_codec_yields_the_same_places() {
        let records = [(Some("k"), 1_000), (None, 900), (Some(""), 1_500)];
        let expected = [(0, 0, true), (-100, 1, false), (500, 2, true)];
        for codec in CODECS.into_iter().chain([Compression::None]) {
            let batch = packed(codec, &records);
            let header = Header::parse(&batch).unwrap();
            let places = places(&batch, &header).unwrap().map(Result::unwrap);
            let found: Vec<_> = places
                .map(|place| (place.timestamp_delta_ms, place.offset_delta, place.has_key))
                .collect();
            assert_eq!(found, expected, "{codec:?}");
        }
    }

    #[test]
    fn values_of_a_header_are_found_in_every_codec() {
        let long = Bytes::from(vec![b'x'; WANTED_BYTES as usize + 1]);
        let headers = |name: &str, value: Option<Bytes>| Record {
            key: None,
            value: Some(Bytes::from_static(b"v")),
            headers: vec![
                ("wantec".to_owned(), Some(Bytes::from_static(b"0"))),
                (name.to_owned(), value),
            ],
            timestamp_ms: 0,
        };
        let short = |text: &'static str| Some(Bytes::from_static(text.as_bytes()));
        let records = [
            headers("wanted", short("1")),
            headers("other", short("2")),
            headers("wanted", None),
            headers("wanted", Some(long)),
            headers("wanted", short("3")),
            headers("wanted", short("4")),
        ];
        for codec in CODECS.into_iter().chain([Compression::None]) {
            let spec = BatchSpec {
                compression: codec,
                ..BatchSpec::default()
            };
            let batch = encode_batch(&spec, &records).unwrap();
            let header = Header::parse(&batch).unwrap();
            let found = |bytes: u64, most: usize| {
                let look = Look {
                    name: "wanted",
                    bytes,
                };
                let mut values = Vec::new();
                let looked = look.through(&batch, &header, |value| {
                    values.push(String::from_utf8_lossy(value).into_owned());
                    values.len() < most
                });
                assert!(looked <= bytes && looked > 0);
                values.join(" ")
            };
            assert_eq!(found(u64::MAX, 10), "1 3 4", "{codec:?}");
            assert_eq!(found(u64::MAX, 2), "1 3", "{codec:?}");
            assert_eq!(found(70, 10), "1", "{codec:?}");
        }
    }

    /// One record may have any number of them: whoever looks holds none but the present one.
    #[test]
    fn headers_without_end_are_not_gathered() {
        let many = Record {
            key: None,
            value: None,
            headers: vec![("wanted".to_owned(), Some(Bytes::new())); 100_000],
            timestamp_ms: 0,
        };
        let batch = encode_batch(&BatchSpec::default(), &[many]).unwrap();
        let header = Header::parse(&batch).unwrap();
        let look = Look {
            name: "wanted",
            bytes: 900,
        };
        let mut count = 0;
        let looked = look.through(&batch, &header, |value| {
            assert!(value.is_empty());
            count += 1;
            true
        });
        assert!(
            looked == 900 && (90..120).contains(&count),
            "{looked} {count}"
        );
    }

    /// The stream and the reader of slices take the same bytes for records.
    #[test]
    fn both_readers_agree_on_damaged_records() {
        let good = Batch::of(3).bytes();
        for at in HEADER_SIZE..good.len() {
            for value in [0, 1, 2, 7, 0x7f, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] = value;
                let header = Header::parse(&bad).unwrap();
                let stream = places(&bad, &header).unwrap();
                let stream: Vec<_> = stream.map_while(Result::ok).collect();
                let slices = record::records(&bad[HEADER_SIZE..]).map_while(Result::ok);
                let slices: Vec<_> = slices.map(|record| Place::of(&record)).collect();
                let mut bytes = Stream::new(&bad[HEADER_SIZE..]);
                let bytes = std::iter::from_fn(|| match bytes.source {
                    [] => None,
                    _ => bytes.byte_by_byte(None, &mut |_| {}).ok(),
                });
                assert_eq!(bytes.collect::<Vec<_>>(), slices, "byte {at} = {value}");
                assert_eq!(stream, slices, "byte {at} = {value}");
            }
        }
    }
}
