//! A look at the shape of a produce request before it is decoded.
//!
//! Produce alone may be as large as `socket.request.max.bytes`. The generated decoder reserves memory for as many
//! elements as are claimed, each many times larger than the smallest one on the wire, so counts that
//! merely fit the bytes could still ask for more memory than there is. This walks over the bytes, allocates
//! nothing, and counts what is really there.
//!
//! ```text
//! transactional id, acks i16, timeout i32, [topic: name, [partition: index i32, records bytes]]
//! ```
//! From version 9 on lengths are unsigned varints plus one, and each structure ends with tagged fields.

use crate::limits::MAX_PRODUCE_ELEMENTS;

/// First version with compact lengths and tagged fields.
const FLEXIBLE_SINCE: i16 = 9;
/// First version with a transactional id.
const TRANSACTIONAL_ID_SINCE: i16 = 3;

/// What is wrong with the shape of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// It claims more than its bytes hold.
    #[error("ends before what it claims to hold")]
    Truncated,
    /// More topics, partitions and tagged fields than are allowed.
    #[error("more than {MAX_PRODUCE_ELEMENTS} topics, partitions and tagged fields")]
    TooMany,
}

/// Checks the body of a produce request of this version.
pub fn produce(version: i16, body: &[u8]) -> Result<(), ShapeError> {
    let mut skim = Skim {
        rest: body,
        flexible: version >= FLEXIBLE_SINCE,
        elements: 0,
    };
    if version >= TRANSACTIONAL_ID_SINCE {
        skim.string()?;
    }
    skim.skip(2 + 4)?;
    for _ in 0..skim.count()? {
        skim.element()?;
        skim.string()?;
        for _ in 0..skim.count()? {
            skim.element()?;
            skim.skip(4)?;
            let records = skim.count()?;
            skim.skip(records)?;
            skim.tags()?;
        }
        skim.tags()?;
    }
    skim.tags()
}

struct Skim<'a> {
    rest: &'a [u8],
    flexible: bool,
    elements: usize,
}

impl Skim<'_> {
    fn skip(&mut self, bytes: usize) -> Result<(), ShapeError> {
        self.rest = self.rest.get(bytes..).ok_or(ShapeError::Truncated)?;
        Ok(())
    }

    fn element(&mut self) -> Result<(), ShapeError> {
        self.elements += 1;
        if self.elements > MAX_PRODUCE_ELEMENTS {
            return Err(ShapeError::TooMany);
        }
        Ok(())
    }

    fn varint(&mut self) -> Result<usize, ShapeError> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let (first, rest) = self.rest.split_first().ok_or(ShapeError::Truncated)?;
            self.rest = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return usize::try_from(value).map_err(|_| ShapeError::Truncated);
            }
        }
        Err(ShapeError::Truncated)
    }

    /// How many elements of an array, or bytes of records, follow; null counts as none.
    fn count(&mut self) -> Result<usize, ShapeError> {
        if self.flexible {
            return Ok(self.varint()?.saturating_sub(1));
        }
        let (first, rest) = self.rest.split_first_chunk().ok_or(ShapeError::Truncated)?;
        self.rest = rest;
        Ok(usize::try_from(i32::from_be_bytes(*first)).unwrap_or(0))
    }

    fn string(&mut self) -> Result<(), ShapeError> {
        if self.flexible {
            let length = self.count()?;
            return self.skip(length);
        }
        let (first, rest) = self.rest.split_first_chunk().ok_or(ShapeError::Truncated)?;
        self.rest = rest;
        self.skip(usize::try_from(i16::from_be_bytes(*first)).unwrap_or(0))
    }

    fn tags(&mut self) -> Result<(), ShapeError> {
        if !self.flexible {
            return Ok(());
        }
        for _ in 0..self.varint()? {
            self.element()?;
            self.varint()?;
            let length = self.varint()?;
            self.skip(length)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::{BufMut, Bytes, BytesMut};
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{ProduceRequest, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};

    fn request(partitions: usize) -> ProduceRequest {
        let data = PartitionProduceData::default().with_records(Some(Bytes::from_static(b"abc")));
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partition_data(vec![data; partitions]);
        ProduceRequest::default().with_topic_data(vec![topic.clone(), topic])
    }

    #[test]
    fn whole_requests_pass_and_each_shorter_one_does_not() {
        for version in 3..=12 {
            let mut bytes = BytesMut::new();
            request(3).encode(&mut bytes, version).expect("encoded");
            assert_eq!(produce(version, &bytes), Ok(()), "version {version}");
            for end in 0..bytes.len() {
                let cut = produce(version, &bytes[..end]);
                assert_eq!(cut, Err(ShapeError::Truncated), "{version}, {end} bytes");
            }
        }
    }

    #[test]
    fn what_is_claimed_must_be_there_and_not_be_too_much() {
        // No id, acks, timeout; one topic of an empty name; as many partitions as there are bytes left.
        let mut claims = BytesMut::new();
        claims.put_slice(b"\xff\xff\0\x01\0\0\0\0\0\0\0\x01\0\0");
        claims.put_i32(1000);
        claims.put_bytes(0xff, 1000);
        assert_eq!(produce(3, &claims), Err(ShapeError::Truncated));
        let mut bytes = BytesMut::new();
        let many = MAX_PRODUCE_ELEMENTS / 2;
        request(many).encode(&mut bytes, 9).expect("encoded");
        assert_eq!(produce(9, &bytes), Err(ShapeError::TooMany));
    }
}
