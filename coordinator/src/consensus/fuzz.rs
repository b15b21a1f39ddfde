//! What other nodes send: frames, and whole checkpoints.

use std::collections::BTreeMap;
use std::fs;

use bytes::{BufMut, Bytes, BytesMut};

use super::frame::{self, Frame, HEADER_BYTES, Hello};
use super::node::PeerMessage;
use crate::fuzz::{Choices, ROUND_TRIP};
use crate::request::forward::Forward;
use crate::session::SessionId;
use crate::session::report::{Left, Report};

/// What follows a frame's header: kind and body.
pub(crate) fn frames(bytes: &[u8]) {
    const LIMIT: usize = 1 << 16;
    let body = Bytes::copy_from_slice(bytes);
    let _ = bytes
        .first_chunk()
        .map(|header| frame::decode_header(*header, LIMIT));
    if body.is_empty() {
        // The length of a frame is at least one.
        return;
    }
    let Ok(frame) = frame::decode(crc32c::crc32c(&body), body) else {
        return;
    };
    let again = frame::encode(&frame);
    let header = again.first_chunk::<HEADER_BYTES>().expect("a header");
    let (length, crc) = frame::decode_header(*header, LIMIT).expect("our own header");
    assert_eq!(length, again.len() - HEADER_BYTES);
    let read = frame::decode(crc, again.slice(HEADER_BYTES..));
    assert_eq!(read, Ok(frame), "{ROUND_TRIP}");
}

/// One of each kind.
fn peer_messages() -> Vec<PeerMessage> {
    let mut raft = raft::eraftpb::Message {
        from: 3,
        term: 9,
        ..Default::default()
    };
    raft.set_msg_type(raft::eraftpb::MessageType::MsgAppend);
    raft.entries.push(raft::eraftpb::Entry {
        index: 4,
        data: vec![1, 2],
        ..Default::default()
    });
    let forward = Forward {
        term: 1,
        base: 1,
        first: 2,
        commands: vec![Bytes::from_static(b"one"), Bytes::new()],
    };
    let report = Report {
        sequence: 1,
        sessions: vec![(SessionId(-2), 3)],
        left: Vec::new(),
    };
    let leaving = Report {
        left: vec![Left {
            session: SessionId(6),
            attach: 7,
            disconnect_timeout_ms: 8,
        }],
        ..report.clone()
    };
    let (boot, term) = (1, 2);
    vec![
        PeerMessage::Raft(Box::new(raft)),
        PeerMessage::Forward(forward),
        PeerMessage::Rewind {
            boot,
            term,
            next: 3,
        },
        PeerMessage::Refused {
            boot,
            term,
            numbers: vec![3, 4],
        },
        PeerMessage::Report(report),
        PeerMessage::Report(leaving),
        PeerMessage::Reported {
            boot,
            sequence: 2,
            index: 3,
        },
        PeerMessage::Standing {
            index: 1,
            digest: 5,
            space_low: true,
        },
        PeerMessage::Join,
        PeerMessage::Blank { life: 9 },
        PeerMessage::Formed {
            met: BTreeMap::from([(1, 10), (3, 11)]),
        },
        PeerMessage::Replaced { id: 7 << 16 | 3 },
    ]
}

fn all_frames() -> Vec<Frame> {
    let hello = Hello {
        from: 1,
        to: 2,
        boot: 1,
        cluster: "z".to_owned(),
    };
    let others = [
        Frame::Hello(hello),
        Frame::File {
            bytes: 3,
            path: "sub/a".to_owned(),
        },
        Frame::Chunk(Bytes::from_static(b"abc")),
        Frame::File {
            bytes: 0,
            path: "b".to_owned(),
        },
        Frame::End { files: 2, bytes: 3 },
        Frame::Done,
    ];
    peer_messages()
        .into_iter()
        .map(Frame::Peer)
        .chain(others)
        .collect()
}

pub(crate) fn frame_seeds() -> Vec<Vec<u8>> {
    all_frames()
        .iter()
        .map(|frame| frame::encode(frame)[HEADER_BYTES..].to_vec())
        .collect()
}

/// The frames of a checkpoint, each kind and body behind a length in one byte; their checksums are right.
pub(crate) fn transfer(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let mut stream = BytesMut::new();
    while !choices.is_empty() {
        let length = usize::from(choices.byte());
        let body = choices.take(length);
        stream.put_u32(body.len() as u32);
        stream.put_u32(crc32c::crc32c(body));
        stream.extend_from_slice(body);
    }
    let around = tempfile::tempdir().expect("a temporary folder");
    let folder = around.path().join("incoming");
    let mut reader = &stream[..];
    let received = super::bulk::receive_files(&mut reader, &folder);
    let beside: Vec<_> = fs::read_dir(around.path())
        .expect("a folder")
        .flatten()
        .collect();
    assert!(
        beside.iter().all(|item| item.path() == folder),
        "nothing lies beside its folder"
    );
    if received.is_ok() {
        assert!(folder.is_dir());
    }
}

pub(crate) fn transfer_seeds() -> Vec<Vec<u8>> {
    let bodies = frame_seeds();
    let last = bodies[bodies.len() - 5..bodies.len() - 1].iter();
    vec![
        last.flat_map(|body| [&[body.len() as u8][..], &body[..]].concat())
            .collect(),
    ]
}
