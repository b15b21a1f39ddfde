//! Requests from bytes and answers to bytes, the same way for every API.
//!
//! Decoding never panics and never reserves much more than the bytes at hand could need ([`guarded`]).
//! An answer that can't be encoded is our own bug (a field set that its version lacks): it closes the
//! connection with an error in the log, and the process goes on.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use thiserror::Error;
use zweig_client::kafka::guarded;

/// Bytes before the client id in every request header: key, version, correlation id.
const FIXED_HEADER_BYTES: usize = 8;

/// Room for size and header of a frame, so that the message behind them seldom has to move.
const HEADER_ROOM_BYTES: usize = 64;

/// Why a request gets no answer but a closed connection.
#[derive(Debug, Error)]
pub enum RequestError {
    /// Shorter than the fixed part of a request header.
    #[error("request of {0} bytes is shorter than its header")]
    Short(usize),
    /// No row of the registry has this key.
    #[error("unknown api key {key}, version {version}")]
    UnknownApi {
        /// Key on the wire.
        key: i16,
        /// Version on the wire.
        version: i16,
    },
    /// The row of this key does not serve this version.
    #[error("{api:?} version {version} is not served")]
    UnsupportedVersion {
        /// The API.
        api: ApiKey,
        /// Version on the wire.
        version: i16,
    },
    /// Over `MAX_PLAIN_REQUEST_BYTES`.
    #[error("{api:?} request of {size} bytes")]
    TooLarge {
        /// The API.
        api: ApiKey,
        /// Its size.
        size: usize,
    },
    /// The bytes are not a message of this API and version.
    #[error("{what} version {version} is malformed: {reason}")]
    Malformed {
        /// Type of the message.
        what: &'static str,
        /// Its version.
        version: i16,
        /// What the decoder said.
        reason: String,
    },
    /// Our answer does not fit its own version.
    #[error("{what} version {version} can't be encoded: {reason}")]
    Encode {
        /// Type of the message.
        what: &'static str,
        /// Its version.
        version: i16,
        /// What the encoder said.
        reason: String,
    },
}

/// The part of a request's header that has stood still since Kafka's first release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FixedHeader {
    /// API key.
    pub key: i16,
    /// API version.
    pub version: i16,
    /// Names the request in its answer.
    pub correlation_id: i32,
}

impl FixedHeader {
    /// Reads without consuming: the full header is decoded again once its version is known.
    pub fn peek(frame: &Bytes) -> Result<Self, RequestError> {
        if frame.len() < FIXED_HEADER_BYTES {
            return Err(RequestError::Short(frame.len()));
        }
        let mut bytes = &frame[..FIXED_HEADER_BYTES];
        Ok(Self {
            key: bytes.get_i16(),
            version: bytes.get_i16(),
            correlation_id: bytes.get_i32(),
        })
    }
}

/// Decodes one message; bytes behind it are left in `bytes`.
pub fn decode<T: Decodable>(bytes: &mut Bytes, version: i16) -> Result<T, RequestError> {
    let malformed = |reason: String| RequestError::Malformed {
        what: std::any::type_name::<T>(),
        version,
        reason,
    };
    guarded::decode(bytes, version).map_err(malformed)
}

/// One answer frame: size, response header in the version the message asks for, message.
pub fn encode<T: Encodable + HeaderVersion>(
    message: &T,
    version: i16,
    correlation_id: i32,
) -> Result<Bytes, RequestError> {
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    frame(&header, T::header_version(version), message, version)
}

/// One request frame, as a client sends it; the header names key and version.
pub fn encode_request<T: Encodable + HeaderVersion>(
    header: &RequestHeader,
    message: &T,
) -> Result<Bytes, RequestError> {
    let version = header.request_api_version;
    frame(header, T::header_version(version), message, version)
}

fn frame<H: Encodable, T: Encodable>(
    header: &H,
    header_version: i16,
    message: &T,
    version: i16,
) -> Result<Bytes, RequestError> {
    let encode = || -> Result<Bytes, String> {
        let size = message.compute_size(version).map_err(|e| e.to_string())?;
        let mut frame = BytesMut::with_capacity(size + HEADER_ROOM_BYTES);
        frame.put_i32(0);
        header
            .encode(&mut frame, header_version)
            .map_err(|e| e.to_string())?;
        message
            .encode(&mut frame, version)
            .map_err(|e| e.to_string())?;
        let size = i32::try_from(frame.len() - 4).map_err(|_| "over 2 GiB".to_owned())?;
        frame[..4].copy_from_slice(&size.to_be_bytes());
        Ok(frame.freeze())
    };
    encode().map_err(|reason| RequestError::Encode {
        what: std::any::type_name::<T>(),
        version,
        reason,
    })
}

/// A protocol string of `text`.
#[must_use]
pub fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
    use kafka_protocol::messages::produce_request::{
        PartitionProduceData, ProduceRequest, TopicProduceData,
    };
    use kafka_protocol::messages::{MetadataRequest, TopicName};
    use proptest::prelude::*;

    fn produce(records: usize) -> ProduceRequest {
        let partition =
            PartitionProduceData::default().with_records(Some(Bytes::from(vec![7; records])));
        let topic = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_static_str("t")))
            .with_partition_data(vec![partition]);
        ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(i32::MAX)
            .with_topic_data(vec![topic])
    }

    #[test]
    fn plain_integers_above_the_bytes_left_survive() {
        for version in 3..=12 {
            let mut bytes = BytesMut::new();
            produce(100).encode(&mut bytes, version).unwrap();
            bytes.put_slice(b"rest");
            let mut bytes = bytes.freeze();
            let decoded: ProduceRequest = decode(&mut bytes, version).unwrap();
            assert_eq!(decoded, produce(100), "version {version}");
            assert_eq!(&bytes[..], b"rest");
        }
    }

    #[test]
    fn claimed_lengths_cost_nothing() {
        // Version 1: the count of topics as four bytes. Version 9: as a varint.
        for (version, bytes) in [
            (1, &[0x7f, 0xff, 0xff, 0xff][..]),
            (9, &[0xff, 0xff, 0xff, 0xff, 0x0f]),
        ] {
            let mut bytes = Bytes::copy_from_slice(bytes);
            let refused = decode::<MetadataRequest>(&mut bytes, version);
            assert!(
                matches!(refused, Err(RequestError::Malformed { .. })),
                "{refused:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0i16..14) {
            let _ = decode::<MetadataRequest>(&mut Bytes::from(bytes.clone()), version);
            let _ = decode::<ProduceRequest>(&mut Bytes::from(bytes.clone()), version);
            let _ = decode::<kafka_protocol::messages::FetchRequest>(&mut Bytes::from(bytes), version);
        }

        #[test]
        fn spoiled_messages_do_not_panic(at in 0usize..60, with in any::<u8>(), version in 0i16..=12) {
            let topics = ["a", "bb"].map(|name| {
                MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_static_str(name))))
            });
            let mut bytes = BytesMut::new();
            MetadataRequest::default().with_topics(Some(topics.to_vec())).encode(&mut bytes, version).unwrap();
            let at = at % bytes.len();
            bytes[at] = with;
            let _ = decode::<MetadataRequest>(&mut bytes.freeze(), version);
        }
    }
}
