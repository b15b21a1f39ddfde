//! What the fuzzer feeds bytes to: every decoder of this package, with what must hold of it.
//!
//! A target is a function that panics when bytes break a promise. A fuzzer looks for such bytes; `fuzz/NAME.hex`
//! keeps those worth keeping, one per line, and the tests run each of them. A new one is a function and a row here.

use bytes::{Bytes, BytesMut};
use prost::Message;

use crate::grpc;
use crate::zk::frame::{put_frame, split_frame};
use crate::zk::op::*;
use crate::zk::*;

/// Name, what to run, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// The targets of this package.
pub const TARGETS: &[Target] = &[
    ("proto-zk-messages", zk_messages, zk_message_seeds),
    ("proto-zk-frames", zk_frames, zk_frame_seeds),
    ("proto-grpc-messages", grpc_messages, grpc_message_seeds),
];

/// What most of them hold.
const ROUND_TRIP: &str = "what was decoded and encoded decodes to itself";

fn zk<T: Jute + PartialEq + std::fmt::Debug>(bytes: Bytes) {
    if let Ok(value) = T::from_bytes(bytes) {
        assert_eq!(
            T::from_bytes(value.to_bytes()).as_ref(),
            Ok(&value),
            "{ROUND_TRIP}"
        );
    }
}

macro_rules! zk_messages {
    ($($message:ident)*) => {
        const ZK_MESSAGES: &[fn(Bytes)] = &[$(zk::<$message>,)*];
    };
}

zk_messages! {
    ConnectRequest ConnectResponse RequestHeader ReplyHeader WatcherEvent Stat Acl
    AddWatchRequest AddWatchResponse AuthRequest CheckRequest CreateRequest CreateResponse CreateTtlRequest Create2Response
    DeleteRequest ExistsRequest ExistsResponse GetAclRequest GetAclResponse GetAllChildrenNumberRequest
    GetAllChildrenNumberResponse GetChildrenRequest GetChildrenResponse GetChildren2Request GetChildren2Response
    GetDataRequest GetDataResponse GetEphemeralsRequest GetEphemeralsResponse MultiRequest MultiResponse
    CheckWatchesRequest RemoveWatchesRequest SetAclRequest SetAclResponse SetDataRequest SetDataResponse
    SetWatchesRequest SetWatches2Request SyncRequest SyncResponse WhoAmIResponse ClientInfo
}

/// The first byte chooses a message, the others are its bytes.
fn zk_messages(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else {
        return;
    };
    ZK_MESSAGES[usize::from(which) % ZK_MESSAGES.len()](Bytes::copy_from_slice(bytes));
}

fn zk_message_seeds() -> Vec<Vec<u8>> {
    let create = CreateRequest {
        path: "/a".to_owned(),
        data: Some(Bytes::from_static(b"data")),
        acl: vec![Acl::open()],
        flags: 3,
    };
    let multi = MultiRequest {
        ops: vec![
            MultiOp::Create(create.clone()),
            MultiOp::Create2(create.clone()),
            MultiOp::Delete(DeleteRequest {
                path: "/b".to_owned(),
                version: -1,
            }),
            MultiOp::GetData(GetDataRequest {
                path: "/".to_owned(),
                watch: false,
            }),
        ],
    };
    let results = MultiResponse {
        results: vec![
            MultiResult::Create("/a".to_owned()),
            MultiResult::SetData(Stat::default()),
            MultiResult::Error(ErrorCode::NO_NODE),
        ],
    };
    let bodies = [
        create.to_bytes(),
        multi.to_bytes(),
        results.to_bytes(),
        ConnectResponse::expired(Some(true)).to_bytes(),
    ];
    (0..ZK_MESSAGES.len())
        .flat_map(|which| {
            let zeros = Bytes::from_static(&[0; 80]);
            let bodies = bodies.iter().cloned().chain([zeros]);
            bodies.map(move |body| [&[which as u8][..], &body[..]].concat())
        })
        .collect()
}

/// The first two bytes say how large a frame may be and in which steps the others arrive.
fn zk_frames(bytes: &[u8]) {
    let Some((&[max, step], stream)) = bytes.split_first_chunk() else {
        return;
    };
    let (max, step) = (usize::from(max) * 16, usize::from(step) + 1);
    let mut whole = BytesMut::from(stream);
    let mut at_once = Vec::new();
    let error = loop {
        match split_frame(&mut whole, max) {
            Ok(Some(frame)) => at_once.push(frame),
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    let (mut buffer, mut in_steps, mut failed) = (BytesMut::new(), Vec::new(), None);
    'arriving: for piece in stream.chunks(step) {
        buffer.extend_from_slice(piece);
        loop {
            match split_frame(&mut buffer, max) {
                Ok(Some(frame)) => in_steps.push(frame),
                Ok(None) => break,
                Err(error) => {
                    failed = Some(error);
                    break 'arriving;
                }
            }
        }
        assert!(
            buffer.capacity() <= 4 * (max + step + 64),
            "no more is held than a frame"
        );
    }
    assert_eq!(
        (&at_once, &error),
        (&in_steps, &failed),
        "frames do not depend on how they arrive"
    );
    let mut again = BytesMut::new();
    for frame in &at_once {
        assert!(frame.len() <= max);
        put_frame(&mut again, |out| out.extend_from_slice(frame));
    }
    assert!(stream.starts_with(&again), "frames are what was sent");
}

fn zk_frame_seeds() -> Vec<Vec<u8>> {
    let mut frames = BytesMut::from(&[16, 2][..]);
    put_frame(&mut frames, |out| {
        RequestHeader { xid: 1, op: 11 }.write(out)
    });
    put_frame(&mut frames, |_| ());
    put_frame(&mut frames, |out| ConnectResponse::expired(None).write(out));
    vec![frames.to_vec()]
}

fn message<M: Message + Default + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(value) = M::decode(bytes) {
        let again = value.encode_to_vec();
        assert_eq!(again.len(), value.encoded_len());
        assert_eq!(M::decode(&again[..]).as_ref(), Ok(&value), "{ROUND_TRIP}");
    }
}

const GRPC_MESSAGES: &[fn(&[u8])] = &[
    message::<grpc::SessionRequest>,
    message::<grpc::SessionResponse>,
    message::<grpc::WatchRequest>,
    message::<grpc::WatchResponse>,
    message::<grpc::StatusRequest>,
    message::<grpc::StatusResponse>,
];

/// The first byte chooses a message, the others are its bytes.
fn grpc_messages(bytes: &[u8]) {
    let Some((&which, bytes)) = bytes.split_first() else {
        return;
    };
    GRPC_MESSAGES[usize::from(which) % GRPC_MESSAGES.len()](bytes);
}

fn grpc_message_seeds() -> Vec<Vec<u8>> {
    let stat = Some(grpc::Stat {
        czxid: 1,
        version: -1,
        ..grpc::Stat::default()
    });
    let result = grpc::WriteResult {
        result: Some(grpc::write_result::Result::Path("/a".to_owned())),
        stat,
    };
    let bodies = [
        result.encode_to_vec(),
        grpc::WriteResults {
            results: vec![result],
        }
        .encode_to_vec(),
        grpc::Create {
            path: "/a".to_owned(),
            data: Some(Bytes::from_static(b"x")),
            ..grpc::Create::default()
        }
        .encode_to_vec(),
    ];
    // Whatever the field of a oneof that holds it: the fuzzer finds the others.
    (0..GRPC_MESSAGES.len() as u8)
        .flat_map(|which| {
            bodies.iter().flat_map(move |body| {
                (1..14_u8).map(move |field| {
                    [&[which, field << 3 | 2, body.len() as u8][..], &body[..]].concat()
                })
            })
        })
        .collect()
}

#[cfg(test)]
#[path = "../fuzz/replay.rs"]
mod replay;

#[test]
fn inputs_that_were_kept() {
    replay::all(TARGETS, env!("CARGO_MANIFEST_DIR"));
}
