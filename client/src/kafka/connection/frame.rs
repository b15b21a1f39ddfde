//! Requests and answers as bytes: a length, a header, a body. Lengths from the wire are bounded.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncReadExt, BufReader};
use tokio::net::tcp::OwnedReadHalf;

use super::{Api, KafkaError};
use crate::kafka::guarded;

/// The longest answer accepted, in bytes.
const MAX_FRAME_BYTES: usize = 256 << 20;
/// UNSUPPORTED_VERSION, the one error ApiVersions answers in version 0.
pub(super) const UNSUPPORTED_VERSION: i16 = 35;

/// The next answer, without its length.
pub(super) async fn read_frame(socket: &mut BufReader<OwnedReadHalf>) -> Result<Bytes, String> {
    let length = socket.read_i32().await.map_err(|e| match e.kind() {
        std::io::ErrorKind::UnexpectedEof => "closed by the broker".to_owned(),
        _ => e.to_string(),
    })?;
    let length = usize::try_from(length)
        .ok()
        .filter(|&n| n <= MAX_FRAME_BYTES)
        .ok_or_else(|| format!("an answer of {length} bytes"))?;
    let mut frame = BytesMut::with_capacity(length.min(1 << 20));
    while frame.len() < length {
        let missing = (length - frame.len()) as u64;
        let mut part = (&mut *socket).take(missing);
        if part.read_buf(&mut frame).await.map_err(|e| e.to_string())? == 0 {
            return Err("closed by the broker".into());
        }
    }
    Ok(frame.freeze())
}

/// A request behind its length; the correlation id, at bytes 8 to 12, is still to be filled in.
pub(super) fn encode_request<R: Request>(
    request: &R,
    version: i16,
    client_id: &StrBytes,
) -> Result<BytesMut, KafkaError> {
    let malformed = |e: &dyn std::fmt::Display| {
        KafkaError::Malformed(format!("API {} version {version}: {e}", R::KEY))
    };
    let mut header = RequestHeader::default();
    header.request_api_key = R::KEY;
    header.request_api_version = version;
    header.client_id = Some(client_id.clone());
    let mut frame = BytesMut::new();
    frame.put_i32(0);
    header
        .encode(&mut frame, R::header_version(version))
        .map_err(|e| malformed(&e))?;
    request
        .encode(&mut frame, version)
        .map_err(|e| malformed(&e))?;
    let length = i32::try_from(frame.len() - 4).map_err(|e| malformed(&e))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

/// An answer's body, behind its header.
pub(super) fn decode_answer<R: Api>(
    mut frame: Bytes,
    version: i16,
) -> Result<R::Response, KafkaError> {
    let malformed = |reason: String| {
        KafkaError::Malformed(format!("answer to {} version {version}: {reason}", R::NAME))
    };
    let header = R::Response::header_version(version);
    guarded::decode::<ResponseHeader>(&mut frame, header).map_err(malformed)?;
    guarded::decode(&mut frame, version).map_err(malformed)
}

/// The answer to ApiVersions, which may be one of version 0 whatever was asked.
pub(super) fn decode_api_versions(
    frame: Bytes,
    version: i16,
) -> Result<ApiVersionsResponse, KafkaError> {
    // The correlation id, then the error code that tells the body's version.
    let unsupported = frame.len() >= 6 && frame.slice(4..6).get_i16() == UNSUPPORTED_VERSION;
    decode_answer::<ApiVersionsRequest>(frame, if unsupported { 0 } else { version })
}
