//! Frames between nodes, all integers big-endian. Owner of the format.
//!
//! ```text
//! frame    u32 length of kind and body, u32 CRC32C of them, u8 kind, body
//! hello    `ZWPQ`, u16 format (1), u64 raft id, u64 to (N), u64 boot, str cluster  first on each connection
//! raft     a raft message (protobuf)
//! forward  u64 term, u64 base (at least 1), u64 first, (u32 length, command)*                          until the end
//! rewind   u64 boot, u64 term, u64 next
//! refused  u64 boot, u64 term, u64 number*
//! report   u64 sequence, (i64 session, u64 attach)*
//! leaving  u64 sequence, u32 n, n × (i64 session, u64 attach, u32 ms), (i64 session, u64 attach)*     a report in which clients left
//! reported u64 boot, u64 sequence, u64 index
//! standing u64 applied index, u64 digest there, u8 flags (1: the disk is nearly full)
//! join     (empty)
//! replaced u64 raft id
//! blank    u64 life                           from a node that is new, to all
//! formed   (u64 N, u64 life)*                 its answer, from one that is not: who began with it
//! file     u64 size, path                     bulk port only, then chunks of it
//! chunk    bytes
//! end      u64 files, u64 bytes
//! done     (empty)                            the receiver's answer to `end`
//! ```

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost011::Message as _;
use raft::eraftpb::Message;

use super::node::{COMMAND_BYTES, PeerMessage};
use crate::request::forward::Forward;
use crate::session::SessionId;
use crate::session::report::{Left, Report};

/// The newest format of the frames.
pub const FORMAT: u16 = 1;
/// Length and checksum.
pub const HEADER_BYTES: usize = 8;
/// A frame holds one command of the largest size, and what is around it.
pub const FRAME_BYTES: usize = COMMAND_BYTES + (4 << 20);
/// The first frame, before anything is known of the sender.
pub const HELLO_FRAME_BYTES: usize = 1024;

const MAGIC: u32 = u32::from_be_bytes(*b"ZWPQ");

mod kind {
    pub const HELLO: u8 = 1;
    pub const RAFT: u8 = 2;
    pub const FORWARD: u8 = 3;
    pub const REWIND: u8 = 4;
    pub const REFUSED: u8 = 5;
    pub const REPORT: u8 = 6;
    pub const REPORTED: u8 = 7;
    pub const FILE: u8 = 8;
    pub const CHUNK: u8 = 9;
    pub const END: u8 = 10;
    pub const DONE: u8 = 11;
    pub const STANDING: u8 = 12;
    pub const LEAVING: u8 = 13;
    pub const JOIN: u8 = 20;
    pub const REPLACED: u8 = 21;
    pub const BLANK: u8 = 22;
    pub const FORMED: u8 = 23;
}

/// Who is calling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The caller's raft id.
    pub from: u64,
    /// The N of the server that it means: an address has no incarnation.
    pub to: u64,
    pub boot: u64,
    pub cluster: String,
}

/// One frame's content.
#[derive(Clone, Debug, PartialEq)]
pub enum Frame {
    Hello(Hello),
    Peer(PeerMessage),
    File { bytes: u64, path: String },
    Chunk(Bytes),
    End { files: u64, bytes: u64 },
    Done,
}

/// Why a frame was not understood; the connection closes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Its checksum does not hold.
    #[error("a frame between nodes is damaged")]
    Checksum,
    /// Longer than allowed here.
    #[error("a frame between nodes has {bytes} bytes")]
    TooLong {
        /// As announced.
        bytes: usize,
    },
    /// Not a node of this ensemble's software, or of a newer one.
    #[error("the caller does not speak format {FORMAT} of the nodes' protocol")]
    Format,
    /// A body that is too short, or a kind that does not exist.
    #[error("a frame of kind {kind} makes no sense")]
    Malformed {
        /// Its kind.
        kind: u8,
    },
}

/// The bytes of a frame.
pub fn encode(frame: &Frame) -> Bytes {
    let mut out = BytesMut::with_capacity(256);
    put(frame, &mut out);
    out.freeze()
}

/// Adds a frame's bytes.
pub fn put(frame: &Frame, out: &mut BytesMut) {
    let begin = out.len();
    let body = begin + HEADER_BYTES;
    out.put_bytes(0, HEADER_BYTES);
    match frame {
        Frame::Hello(hello) => {
            out.put_u8(kind::HELLO);
            out.put_u32(MAGIC);
            out.put_u16(FORMAT);
            out.put_u64(hello.from);
            out.put_u64(hello.to);
            out.put_u64(hello.boot);
            out.put_slice(hello.cluster.as_bytes());
        }
        Frame::Peer(message) => encode_peer(out, message),
        Frame::File { bytes, path } => {
            out.put_u8(kind::FILE);
            out.put_u64(*bytes);
            out.put_slice(path.as_bytes());
        }
        Frame::Chunk(bytes) => {
            out.put_u8(kind::CHUNK);
            out.put_slice(bytes);
        }
        Frame::End { files, bytes } => {
            out.put_u8(kind::END);
            out.put_u64(*files);
            out.put_u64(*bytes);
        }
        Frame::Done => out.put_u8(kind::DONE),
    }
    let length = (out.len() - body) as u32;
    let crc = crc32c::crc32c(&out[body..]);
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
    out[begin + 4..body].copy_from_slice(&crc.to_be_bytes());
}

fn encode_peer(out: &mut BytesMut, message: &PeerMessage) {
    match message {
        PeerMessage::Raft(message) => {
            out.put_u8(kind::RAFT);
            out.reserve(message.encoded_len());
            message
                .encode(out)
                .expect("a growing buffer takes every message");
        }
        PeerMessage::Forward(run) => {
            out.put_u8(kind::FORWARD);
            out.put_u64(run.term);
            out.put_u64(run.base);
            out.put_u64(run.first);
            for command in &run.commands {
                out.put_u32(command.len() as u32);
                out.put_slice(command);
            }
        }
        PeerMessage::Rewind { boot, term, next } => {
            out.put_u8(kind::REWIND);
            out.put_u64(*boot);
            out.put_u64(*term);
            out.put_u64(*next);
        }
        PeerMessage::Refused {
            boot,
            term,
            numbers,
        } => {
            out.put_u8(kind::REFUSED);
            out.put_u64(*boot);
            out.put_u64(*term);
            numbers.iter().for_each(|&number| out.put_u64(number));
        }
        PeerMessage::Report(report) => encode_report(out, report),
        PeerMessage::Join
        | PeerMessage::Blank { .. }
        | PeerMessage::Formed { .. }
        | PeerMessage::Replaced { .. } => encode_joining(out, message),
        PeerMessage::Reported {
            boot,
            sequence,
            index,
        } => {
            out.put_u8(kind::REPORTED);
            out.put_u64(*boot);
            out.put_u64(*sequence);
            out.put_u64(*index);
        }
        PeerMessage::Standing {
            index,
            digest,
            space_low,
        } => {
            out.put_u8(kind::STANDING);
            out.put_u64(*index);
            out.put_u64(*digest);
            out.put_u8(u8::from(*space_low));
        }
    }
}

fn encode_report(out: &mut BytesMut, report: &Report) {
    if report.left.is_empty() {
        out.put_u8(kind::REPORT);
        out.put_u64(report.sequence);
    } else {
        out.put_u8(kind::LEAVING);
        out.put_u64(report.sequence);
        out.put_u32(report.left.len() as u32);
        for left in &report.left {
            out.put_i64(left.session.0);
            out.put_u64(left.attach);
            out.put_u32(left.disconnect_timeout_ms);
        }
    }
    for &(session, attach) in &report.sessions {
        out.put_i64(session.0);
        out.put_u64(attach);
    }
}

/// What `founding` and `membership` say.
fn encode_joining(out: &mut BytesMut, message: &PeerMessage) {
    match message {
        PeerMessage::Join => out.put_u8(kind::JOIN),
        PeerMessage::Blank { life } => {
            out.put_u8(kind::BLANK);
            out.put_u64(*life);
        }
        PeerMessage::Formed { met } => {
            out.put_u8(kind::FORMED);
            for (&server, &life) in met {
                out.put_u64(server);
                out.put_u64(life);
            }
        }
        PeerMessage::Replaced { id } => {
            out.put_u8(kind::REPLACED);
            out.put_u64(*id);
        }
        _ => unreachable!("it is encoded elsewhere"),
    }
}

/// Length of what follows a frame's header, checked against `limit`, and its checksum.
///
/// # Errors
/// When it is longer.
pub fn decode_header(header: [u8; HEADER_BYTES], limit: usize) -> Result<(usize, u32), FrameError> {
    let mut header = &header[..];
    let bytes = header.get_u32() as usize;
    if bytes > limit || bytes == 0 {
        return Err(FrameError::TooLong { bytes });
    }
    Ok((bytes, header.get_u32()))
}

/// Reads what followed the header.
///
/// # Errors
/// When it is damaged or makes no sense.
pub fn decode(crc: u32, mut body: Bytes) -> Result<Frame, FrameError> {
    if crc32c::crc32c(&body) != crc {
        return Err(FrameError::Checksum);
    }
    let kind = body.get_u8();
    if kind == kind::HELLO {
        return decode_hello(body);
    }
    decode_body(kind, body).ok_or(FrameError::Malformed { kind })
}

fn decode_hello(mut body: Bytes) -> Result<Frame, FrameError> {
    let fits =
        body.len() >= 6 && body.get_u32() == MAGIC && body.get_u16() == FORMAT && body.len() >= 24;
    if !fits {
        return Err(FrameError::Format);
    }
    let (from, to, boot) = (body.get_u64(), body.get_u64(), body.get_u64());
    let cluster = String::from_utf8(body.to_vec())
        .map_err(|_| FrameError::Malformed { kind: kind::HELLO })?;
    Ok(Frame::Hello(Hello {
        from,
        to,
        boot,
        cluster,
    }))
}

fn decode_body(kind: u8, mut body: Bytes) -> Option<Frame> {
    let message = match kind {
        kind::RAFT => PeerMessage::Raft(Box::new(Message::decode(body).ok()?)),
        kind::FORWARD => {
            let term = body.try_get_u64().ok()?;
            let base = body.try_get_u64().ok().filter(|&base| base > 0)?;
            let first = body.try_get_u64().ok()?;
            let mut commands = Vec::new();
            while body.has_remaining() {
                let bytes = body.try_get_u32().ok()? as usize;
                if bytes > body.len() {
                    return None;
                }
                commands.push(body.split_to(bytes));
            }
            PeerMessage::Forward(Forward {
                term,
                base,
                first,
                commands,
            })
        }
        kind::REWIND => PeerMessage::Rewind {
            boot: body.try_get_u64().ok()?,
            term: body.try_get_u64().ok()?,
            next: body.try_get_u64().ok()?,
        },
        kind::REFUSED => {
            let (boot, term) = (body.try_get_u64().ok()?, body.try_get_u64().ok()?);
            let numbers = body
                .chunks_exact(8)
                .map(|mut number| number.get_u64())
                .collect();
            PeerMessage::Refused {
                boot,
                term,
                numbers,
            }
        }
        kind::REPORT | kind::LEAVING => decode_report(kind, body)?,
        kind::JOIN..=kind::FORMED => decode_joining(kind, body)?,
        kind::REPORTED => PeerMessage::Reported {
            boot: body.try_get_u64().ok()?,
            sequence: body.try_get_u64().ok()?,
            index: body.try_get_u64().ok()?,
        },
        kind::STANDING => PeerMessage::Standing {
            index: body.try_get_u64().ok()?,
            digest: body.try_get_u64().ok()?,
            // Flags of later versions are not ours to refuse.
            space_low: body.try_get_u8().ok()? & 1 == 1,
        },
        _ => return decode_bulk(kind, body),
    };
    Some(Frame::Peer(message))
}

fn decode_report(kind: u8, mut body: Bytes) -> Option<PeerMessage> {
    let sequence = body.try_get_u64().ok()?;
    let mut left = Vec::new();
    if kind == kind::LEAVING {
        let count = body.try_get_u32().ok()?;
        for _ in 0..count {
            left.push(Left {
                session: SessionId(body.try_get_i64().ok()?),
                attach: body.try_get_u64().ok()?,
                disconnect_timeout_ms: body.try_get_u32().ok()?,
            });
        }
    }
    let sessions = body
        .chunks_exact(16)
        .map(|mut pair| (SessionId(pair.get_i64()), pair.get_u64()));
    Some(PeerMessage::Report(Report {
        sequence,
        sessions: sessions.collect(),
        left,
    }))
}

fn decode_joining(kind: u8, mut body: Bytes) -> Option<PeerMessage> {
    Some(match kind {
        kind::JOIN => PeerMessage::Join,
        kind::BLANK => PeerMessage::Blank {
            life: body.try_get_u64().ok()?,
        },
        kind::FORMED => PeerMessage::Formed {
            met: body
                .chunks_exact(16)
                .map(|mut pair| (pair.get_u64(), pair.get_u64()))
                .collect(),
        },
        kind::REPLACED => PeerMessage::Replaced {
            id: body.try_get_u64().ok()?,
        },
        _ => return None,
    })
}

fn decode_bulk(kind: u8, mut body: Bytes) -> Option<Frame> {
    match kind {
        kind::FILE => {
            let bytes = body.try_get_u64().ok()?;
            Some(Frame::File {
                bytes,
                path: String::from_utf8(body.to_vec()).ok()?,
            })
        }
        kind::CHUNK => Some(Frame::Chunk(body)),
        kind::END => Some(Frame::End {
            files: body.try_get_u64().ok()?,
            bytes: body.try_get_u64().ok()?,
        }),
        kind::DONE => Some(Frame::Done),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::field_reassign_with_default)] // raft's messages have too many fields to spell out
mod tests {
    use super::*;

    fn round_trip(frame: &Frame) -> Frame {
        let bytes = encode(frame);
        let header = bytes[..HEADER_BYTES].try_into().unwrap();
        let (length, crc) = decode_header(header, FRAME_BYTES).unwrap();
        assert_eq!(length, bytes.len() - HEADER_BYTES);
        decode(crc, bytes.slice(HEADER_BYTES..)).unwrap()
    }

    fn all() -> Vec<Frame> {
        let mut raft = Message::default();
        raft.from = 3;
        raft.term = 9;
        let commands = vec![
            Bytes::from_static(b"one"),
            Bytes::new(),
            Bytes::from_static(b"three"),
        ];
        vec![
            Frame::Hello(Hello {
                from: 1,
                to: 2,
                boot: 3,
                cluster: "z".to_owned(),
            }),
            Frame::Peer(PeerMessage::Raft(Box::new(raft))),
            Frame::Peer(PeerMessage::Forward(Forward {
                term: 1,
                base: 1,
                first: 2,
                commands,
            })),
            Frame::Peer(PeerMessage::Rewind {
                boot: 1,
                term: 2,
                next: 3,
            }),
            Frame::Peer(PeerMessage::Refused {
                boot: 1,
                term: 2,
                numbers: vec![3, 4],
            }),
            Frame::Peer(PeerMessage::Report(Report {
                sequence: 1,
                sessions: vec![(SessionId(-2), 3)],
                left: Vec::new(),
            })),
            Frame::Peer(PeerMessage::Report(Report {
                sequence: 2,
                sessions: vec![(SessionId(4), 5)],
                left: vec![Left {
                    session: SessionId(6),
                    attach: 7,
                    disconnect_timeout_ms: 8,
                }],
            })),
            Frame::Peer(PeerMessage::Reported {
                boot: 1,
                sequence: 2,
                index: 3,
            }),
            Frame::Peer(PeerMessage::Standing {
                index: 1,
                digest: u64::MAX,
                space_low: true,
            }),
            Frame::Peer(PeerMessage::Join),
            Frame::Peer(PeerMessage::Blank { life: u64::MAX }),
            Frame::Peer(PeerMessage::Formed {
                met: [(1, 10), (3, u64::MAX)].into(),
            }),
            Frame::Peer(PeerMessage::Replaced { id: 7 << 16 | 3 }),
            Frame::File {
                bytes: 5,
                path: "a/b".to_owned(),
            },
            Frame::Chunk(Bytes::from_static(b"chunk")),
            Frame::End { files: 1, bytes: 5 },
            Frame::Done,
        ]
    }

    #[test]
    fn frames_come_back_equal() {
        for frame in all() {
            assert_eq!(round_trip(&frame), frame);
        }
    }

    #[test]
    fn damaged_and_cut_frames_are_refused_without_panic() {
        for frame in all() {
            let bytes = encode(&frame);
            for at in HEADER_BYTES..bytes.len() {
                let mut damaged = bytes.to_vec();
                damaged[at] ^= 0x40;
                let crc = u32::from_be_bytes(damaged[4..8].try_into().unwrap());
                assert_eq!(
                    decode(crc, Bytes::from(damaged).slice(HEADER_BYTES..)),
                    Err(FrameError::Checksum)
                );
            }
            for end in HEADER_BYTES + 1..bytes.len() {
                let cut = bytes.slice(HEADER_BYTES..end);
                let _ = decode(crc32c::crc32c(&cut), cut);
            }
        }
    }

    #[test]
    fn golden_bytes() {
        let frame = Frame::Peer(PeerMessage::Rewind {
            boot: 1,
            term: 2,
            next: 3,
        });
        let hex: String = encode(&frame)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(hex.starts_with("00000019"), "{hex}");
        assert!(
            hex.ends_with("04000000000000000100000000000000020000000000000003"),
            "{hex}"
        );
        let frame = Frame::Peer(PeerMessage::Standing {
            index: 1,
            digest: 0xd1,
            space_low: true,
        });
        let bytes = encode(&frame);
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(hex.starts_with("00000012"), "{hex}");
        assert!(
            hex.ends_with("0c000000000000000100000000000000d101"),
            "{hex}"
        );
    }

    #[test]
    fn lengths_are_bounded() {
        let header = [0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        assert_eq!(
            decode_header(header, 1024),
            Err(FrameError::TooLong { bytes: 0x7fff_ffff })
        );
        assert_eq!(
            decode_header([0; 8], 1024),
            Err(FrameError::TooLong { bytes: 0 })
        );
    }
}
