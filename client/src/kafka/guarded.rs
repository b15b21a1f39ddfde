//! Lets generated decoders run on bytes from anyone: requests at a broker, answers and what other members of a
//! group say at a client.
//!
//! The decoders of `kafka-protocol` reserve memory for as many array elements as the bytes *claim*; a
//! failed reservation aborts the process, and nothing can catch that. So each message is decoded through
//! a buffer first that looks at what is read. Every element of an array, and every byte of a string, takes at
//! least one byte, so a length above the bytes left can't be right:
//! - a compact length (unsigned varint) above that by more than [`HIGHEST_TAG`] is refused on sight; tags and sizes of tagged
//!   fields are varints too, and a tag may be the last but one byte of a message. Each byte is looked at as if a varint began
//!   there, since nothing tells a flag from one: what is left of a length from its second byte on is smaller still;
//! - a four-byte integer above that may be a plain field (a timeout, an id). While *probing* it is
//!   replaced by [`IMPLAUSIBLE`], which every length refuses as negative and which no plain field
//!   minds, since the probed message is thrown away whenever anything was replaced.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bytes::buf::Buf;
use bytes::{Bytes, TryGetError};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

/// Stands for a four-byte integer that can't be a length; -1 would mean null.
const IMPLAUSIBLE: i32 = -2;

/// Tags up to this one are read wherever they stand. Kafka has none above 10; so many elements too many cost next to nothing.
const HIGHEST_TAG: u64 = 32;

/// Bytes of the longest varint of 32 bits.
const MAX_VARINT_BYTES: usize = 5;

/// Decodes one message; bytes behind it are left in `bytes`. Never panics, and reserves no more than `bytes` could need.
///
/// # Errors
/// What the decoder said.
pub fn decode<T: Decodable>(bytes: &mut Bytes, version: i16) -> Result<T, String> {
    let attempt = catch_unwind(AssertUnwindSafe(|| -> Result<(T, usize), String> {
        let mut guarded = Guarded::new(bytes.clone());
        let probed = T::decode(&mut guarded, version).map_err(|e| e.to_string())?;
        if !guarded.replaced {
            return Ok((probed, guarded.remaining()));
        }
        drop(probed);
        let mut plain = bytes.clone();
        let message = T::decode(&mut plain, version).map_err(|e| e.to_string())?;
        Ok((message, plain.len()))
    }));
    let (message, left) = attempt.map_err(|_| "the decoder panicked".to_owned())??;
    bytes.advance(bytes.len() - left);
    Ok(message)
}

/// Bytes that answer implausible lengths with an error instead of the truth.
#[derive(Debug)]
struct Guarded {
    inner: Bytes,
    /// Whether a plain value may have been replaced, so that what was decoded is not the message.
    replaced: bool,
}

impl Guarded {
    fn new(inner: Bytes) -> Self {
        Self {
            inner,
            replaced: false,
        }
    }

    /// Looks ahead at the varint that begins here, if one does.
    fn peek_varint(&self) -> u64 {
        let mut value = 0u64;
        for (i, byte) in self.inner.iter().take(MAX_VARINT_BYTES).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
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
        let value = self.peek_varint();
        // A compact length is one more than what it counts.
        if value > self.inner.len() as u64 + 1 + HIGHEST_TAG {
            return Err(TryGetError {
                requested: usize::try_from(value).unwrap_or(usize::MAX),
                available: self.inner.len(),
            });
        }
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    use kafka_protocol::messages::{HeartbeatResponse, MetadataResponse, TopicName};
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    #[test]
    fn a_length_behind_a_flag_that_looks_like_one_is_looked_at_too() {
        // Throttle time, no broker, no cluster id, controller; one topic: error, name, id, then whether it is
        // internal (0x80 is true as well) and how many partitions it has: two thousand million.
        let mut claims = BytesMut::from(&[0; 4][..]);
        claims.extend_from_slice(&[1, 0, 0, 0, 0, 1, 2, 0, 0, 2, b't']);
        claims.extend_from_slice(&[7; 16]);
        claims.extend_from_slice(&[0x80, 0xff, 0xff, 0xff, 0xff, 0x07]);
        let refused = decode::<MetadataResponse>(&mut claims.freeze(), 12);
        assert!(refused.is_err());
    }

    #[test]
    fn a_tag_is_read_though_little_follows_it() {
        // Throttle time, no error, one tagged field: tag 6 without a byte.
        let mut bytes = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 1, 6, 0]);
        let read: HeartbeatResponse = decode(&mut bytes, 4).expect("decoded");
        assert_eq!(read.unknown_tagged_fields.get(&6), Some(&Bytes::new()));
    }

    #[test]
    fn long_lists_behind_flags_are_read() {
        let partition = MetadataResponsePartition::default().with_isr_nodes(vec![1.into(); 300]);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(TopicName(StrBytes::from_static_str("t"))))
            .with_is_internal(true)
            .with_partitions(vec![partition; 20_000]);
        let broker = MetadataResponseBroker::default().with_port(i32::MAX);
        let answer = MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_topics(vec![topic]);
        for version in 0..=12 {
            let mut bytes = BytesMut::new();
            answer.encode(&mut bytes, version).expect("encoded");
            let read: MetadataResponse = decode(&mut bytes.freeze(), version).expect("decoded");
            assert_eq!(read.topics[0].partitions.len(), 20_000, "version {version}");
            assert_eq!(read.brokers, answer.brokers, "version {version}");
        }
    }
}
