//! Answers of brokers as the fuzzer makes them up.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use super::frame::{decode_answer, decode_api_versions};
use crate::kafka::api::Api;

fn answer<R: Api>(version: i16, frame: Bytes)
where
    R::Response: PartialEq + std::fmt::Debug + Encodable,
{
    let Ok(answer) = decode_answer::<R>(frame, version) else {
        return;
    };
    let mut again = BytesMut::new();
    put::<R>(&answer, version, &mut again);
    // Without the guard, which may refuse a high tag that has little behind it.
    let mut again = again.freeze();
    let header = ResponseHeader::decode(&mut again, R::Response::header_version(version));
    header.expect("bytes of our own encode");
    let read = R::Response::decode(&mut again, version);
    assert_eq!(
        read.ok(),
        Some(answer),
        "what was decoded and encoded decodes to itself"
    );
}

fn put<R: Api>(answer: &R::Response, version: i16, out: &mut BytesMut)
where
    R::Response: Encodable,
{
    let header = R::Response::header_version(version);
    let encoded = ResponseHeader::default().encode(out, header);
    encoded.expect("a plain header");
    let encoded = answer.encode(out, version);
    encoded.expect("what was decoded fits its version");
}

fn seeds_of<R: Api>(number: u8) -> Vec<Vec<u8>>
where
    R::Response: Encodable + Default,
{
    let range = R::SPOKEN;
    (range.min..=range.max)
        .map(|version| {
            let mut out = BytesMut::from(&[number, (version - range.min) as u8][..]);
            put::<R>(&R::Response::default(), version, &mut out);
            out.to_vec()
        })
        .collect()
}

type Row = (i16, i16, fn(i16, Bytes), fn(u8) -> Vec<Vec<u8>>);

macro_rules! rows {
    ($($request:ident)*) => {
        const ROWS: &[Row] = &[
            $(($request::SPOKEN.min, $request::SPOKEN.max, answer::<$request>, seeds_of::<$request>),)*
        ];
    };
}

rows! {
    ProduceRequest FetchRequest ListOffsetsRequest MetadataRequest OffsetCommitRequest OffsetFetchRequest
    FindCoordinatorRequest JoinGroupRequest HeartbeatRequest LeaveGroupRequest SyncGroupRequest DescribeGroupsRequest
    ListGroupsRequest ApiVersionsRequest CreateTopicsRequest DeleteTopicsRequest InitProducerIdRequest
    DescribeConfigsRequest CreatePartitionsRequest DeleteGroupsRequest IncrementalAlterConfigsRequest
    DescribeClusterRequest DescribeLogDirsRequest ElectLeadersRequest
}

/// The first two bytes choose an API and its version, the others are the answer's frame.
pub fn answers(bytes: &[u8]) {
    let Some((&[which, version], frame)) = bytes.split_first_chunk() else {
        return;
    };
    let (min, max, run, _) = ROWS[usize::from(which) % ROWS.len()];
    let version = min + i16::from(version) % (max - min + 1);
    let frame = Bytes::copy_from_slice(frame);
    run(version, frame.clone());
    let _ = decode_api_versions(frame, version);
}

pub fn seeds() -> Vec<Vec<u8>> {
    let rows = ROWS.iter().enumerate();
    rows.flat_map(|(number, row)| (row.3)(number as u8))
        .collect()
}
