//! Frames, request headers and messages, as connections and followers take them in.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{BufMut, Bytes, BytesMut};
use futures::FutureExt;
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request};
use tokio::io::{AsyncRead, ReadBuf};

use super::ROUND_TRIP;
use crate::handlers;
use crate::wire::codec::{self, FixedHeader};
use crate::wire::frame::{FrameError, FrameReader};
use crate::wire::skim;

/// A socket whose bytes arrive in steps.
struct Steps<'a> {
    rest: &'a [u8],
    step: usize,
}

impl AsyncRead for Steps<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let count = self.step.min(self.rest.len()).min(buf.remaining());
        let (now, later) = self.rest.split_at(count);
        buf.put_slice(now);
        self.rest = later;
        Poll::Ready(Ok(()))
    }
}

fn read(bytes: &[u8], max: usize, step: usize) -> (Vec<Bytes>, Option<String>) {
    let (mut reader, mut socket) = (FrameReader::new(max), Steps { rest: bytes, step });
    let mut frames = Vec::new();
    loop {
        let next = reader
            .next(&mut socket)
            .now_or_never()
            .expect("it never waits");
        match next {
            Ok(Some(frame)) => frames.push(frame),
            Ok(None) => return (frames, None),
            Err(FrameError::Io(error)) => panic!("this socket does not fail: {error}"),
            Err(error) => return (frames, Some(error.to_string())),
        }
    }
}

/// The first two bytes say how large a frame may be and in which steps the others arrive.
pub(super) fn frames(bytes: &[u8]) {
    let Some((&[max, step], stream)) = bytes.split_first_chunk() else {
        return;
    };
    let max = usize::from(max) * 16;
    let (frames, error) = read(stream, max, usize::from(step) + 1);
    let whole = read(stream, max, usize::MAX);
    assert_eq!(
        (&frames, &error),
        (&whole.0, &whole.1),
        "frames do not depend on how they arrive"
    );
    let mut again = BytesMut::new();
    for frame in &frames {
        assert!(frame.len() <= max);
        again.put_i32(frame.len() as i32);
        again.extend_from_slice(frame);
    }
    assert!(stream.starts_with(&again), "frames are what was sent");
    assert!(
        error.is_some() || stream.len() == again.len(),
        "nothing is left out"
    );
}

pub(super) fn frame_seeds() -> Vec<Vec<u8>> {
    vec![
        b"\x10\x02\0\0\0\x03abc\0\0\0\0\0\0\0\x01x".to_vec(),
        vec![1, 1, 0, 0, 1, 1],
    ]
}

/// What every message of Kafka's is.
trait Wire: Decodable + Encodable + PartialEq + std::fmt::Debug + Default {}

impl<T: Decodable + Encodable + PartialEq + std::fmt::Debug + Default> Wire for T {}

/// What the decoder of a message promises.
fn message<T: Wire>(version: i16, body: &Bytes) -> Option<T> {
    let mut rest = body.clone();
    let message: T = codec::decode(&mut rest, version).ok()?;
    let mut again = BytesMut::new();
    let encoded = message.encode(&mut again, version);
    encoded.expect("what was decoded fits its version");
    let mut again = again.freeze();
    // Without the guard, which may refuse a high tag that has little behind it.
    let read = T::decode(&mut again, version).expect("bytes of our own encode");
    assert_eq!(read, message, "{ROUND_TRIP}");
    assert!(again.is_empty(), "the decoder takes what the encoder gave");
    Some(message)
}

fn request<Q: Request + Wire>(version: i16, body: &Bytes) -> bool {
    message::<Q>(version, body).is_some()
}

type Row = (ApiKey, fn(i16, &Bytes) -> bool, fn(i16) -> Bytes);

fn default_body<Q: Request + Wire>(version: i16) -> Bytes {
    let mut body = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(Q::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(codec::text("client")));
    let encoded = header.encode(&mut body, Q::header_version(version));
    encoded.expect("a plain header");
    let encoded = Q::default().encode(&mut body, version);
    encoded.expect("a message of defaults");
    body.freeze()
}

macro_rules! rows {
    ($($key:ident $request:ident)*) => {
        const ROWS: &[Row] = &[$((ApiKey::$key, request::<$request>, default_body::<$request>),)*];
    };
}

rows! {
    Produce ProduceRequest Fetch FetchRequest ListOffsets ListOffsetsRequest Metadata MetadataRequest
    OffsetCommit OffsetCommitRequest OffsetFetch OffsetFetchRequest FindCoordinator FindCoordinatorRequest
    JoinGroup JoinGroupRequest Heartbeat HeartbeatRequest LeaveGroup LeaveGroupRequest SyncGroup SyncGroupRequest
    DescribeGroups DescribeGroupsRequest ListGroups ListGroupsRequest ApiVersions ApiVersionsRequest
    CreateTopics CreateTopicsRequest DeleteTopics DeleteTopicsRequest InitProducerId InitProducerIdRequest
    OffsetForLeaderEpoch OffsetForLeaderEpochRequest DescribeConfigs DescribeConfigsRequest
    DescribeLogDirs DescribeLogDirsRequest DeleteGroups DeleteGroupsRequest
    ElectLeaders ElectLeadersRequest DescribeCluster DescribeClusterRequest
}

/// A request frame. As `handlers::answer` goes about it, up to the handler.
pub(super) fn requests(bytes: &[u8]) {
    let mut frame = Bytes::copy_from_slice(bytes);
    let Ok(FixedHeader { key, version, .. }) = FixedHeader::peek(&frame) else {
        assert!(bytes.len() < 8);
        return;
    };
    let Some(api) = handlers::find(key) else {
        return;
    };
    if !(api.min..=api.max).contains(&version) {
        return;
    }
    let header = api.key.request_header_version(version);
    if codec::decode::<RequestHeader>(&mut frame, header).is_err() {
        return;
    }
    let (_, decode, _) = ROWS
        .iter()
        .find(|row| row.0 == api.key)
        .expect("a row for each API");
    let decoded = decode(version, &frame);
    if api.key == ApiKey::Produce {
        let shape = skim::produce(version, &frame);
        assert!(
            !decoded || shape.is_ok(),
            "what decodes has the shape: {shape:?}"
        );
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let rows = ROWS.iter().flat_map(|(key, _, body)| {
        let api = handlers::find(*key as i16).expect("served");
        (api.min..=api.max).map(|version| body(version).to_vec())
    });
    rows.collect()
}

/// A follower's answer to its fetch, in the one version it asks in. Nobody encodes again what was decoded here; the library's
/// encoder does not always bring tagged fields back that it does not know.
pub(super) fn fetched(bytes: &[u8]) {
    const VERSION: i16 = 17;
    let mut frame = Bytes::copy_from_slice(bytes);
    if codec::decode::<ResponseHeader>(&mut frame, FetchResponse::header_version(VERSION)).is_ok() {
        let _ = codec::decode::<FetchResponse>(&mut frame, VERSION);
    }
}

pub(super) fn fetched_seeds() -> Vec<Vec<u8>> {
    let partition = PartitionData::default().with_records(Some(Bytes::from_static(b"records")));
    let topic = FetchableTopicResponse::default().with_partitions(vec![partition]);
    let response = FetchResponse::default().with_responses(vec![topic]);
    let frame = codec::encode(&response, 17, 1).expect("a plain answer");
    vec![frame[4..].to_vec()]
}

#[test]
fn each_api_has_a_row() {
    let keys: Vec<ApiKey> = ROWS.iter().map(|row| row.0).collect();
    let served: Vec<ApiKey> = handlers::REGISTRY.iter().map(|api| api.key).collect();
    assert_eq!(keys, served);
}
