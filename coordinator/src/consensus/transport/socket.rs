//! Sockets between nodes as the raft thread holds them: what waits to be written, what was read of a frame.

use std::io::{self, ErrorKind, Read, Write};

use bytes::{Buf, Bytes, BytesMut};
use mio::net::TcpStream;

use super::waiting::Waiting;
use crate::consensus::frame::{self, Frame, FrameError, HEADER_BYTES, Hello};
use crate::consensus::node::PeerMessage;

/// A buffer that once was larger than this is not kept.
const KEPT_BYTES: usize = 1 << 20;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub enum Ended {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it sent a frame that does not belong here")]
    Misplaced,
    #[error("it answered where it must not")]
    Answered,
    #[error("this node has another name now")]
    Renamed,
}

/// A connection that this node dialled: it only writes.
#[derive(Debug)]
pub struct Outgoing {
    pub stream: TcpStream,
    pub token: usize,
    /// The system may take more.
    pub writable: bool,
}

impl Outgoing {
    /// Writes as much as the system takes; what is left stays in `frames`.
    pub fn write(&mut self, frames: &mut Waiting) -> Result<(), Ended> {
        while self.writable && !frames.is_empty() {
            match frames.write(|slices| self.stream.write_vectored(slices)) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.writable = false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// The peer says nothing here: whatever can be read is the end.
    pub fn check(&mut self) -> Result<(), Ended> {
        match self.stream.read(&mut [0]) {
            Ok(0) => Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(_) => Err(Ended::Answered),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A connection that a peer dialled: this node only reads.
#[derive(Debug)]
pub struct Incoming {
    pub stream: TcpStream,
    pub hello: Hello,
    /// There may be more to read.
    pub readable: bool,
    /// The peer has ended it: behind what is left to read comes its end, of which nobody is told again.
    closing: bool,
    /// The beginning of a frame.
    buffer: BytesMut,
}

impl Incoming {
    pub fn new(stream: TcpStream, hello: Hello) -> Self {
        Self {
            stream,
            hello,
            readable: true,
            closing: false,
            buffer: BytesMut::new(),
        }
    }

    /// The system tells of it.
    pub fn ready(&mut self, event: &mio::event::Event) {
        self.closing |= event.is_error() || event.is_read_closed();
        self.readable |= event.is_readable() || self.closing;
    }

    /// Reads once, at most as much as `room` holds, and gives out the frames that are whole.
    pub fn read(
        &mut self,
        room: &mut [u8],
        mut give: impl FnMut(&Hello, PeerMessage),
    ) -> Result<usize, Ended> {
        let bytes = match self.stream.read(room) {
            Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                return Ok(0);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        // Whoever takes less than there was room for has emptied the socket: the next bytes are told of anew.
        self.readable = bytes == room.len() || self.closing;
        self.buffer.extend_from_slice(&room[..bytes]);
        while let Some(frame) = split(&mut self.buffer)? {
            let Frame::Peer(message) = frame else {
                return Err(Ended::Misplaced);
            };
            give(&self.hello, message);
        }
        forget_large(&mut self.buffer);
        Ok(bytes)
    }
}

pub fn forget_large(buffer: &mut BytesMut) {
    if buffer.is_empty() && buffer.capacity() > KEPT_BYTES {
        *buffer = BytesMut::new();
    }
}

/// Takes the first frame, if it is whole.
fn split(buffer: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some(header) = buffer.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let (length, crc) = frame::decode_header(*header, frame::FRAME_BYTES)?;
    let Some(body) = buffer.get(HEADER_BYTES..HEADER_BYTES + length) else {
        return Ok(None);
    };
    // A copy of its own: what is kept of it must not keep the whole buffer.
    let frame = frame::decode(crc, Bytes::copy_from_slice(body))?;
    buffer.advance(HEADER_BYTES + length);
    Ok(Some(frame))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_whole_whatever_pieces_they_arrive_in() {
        let messages = [
            PeerMessage::Join,
            PeerMessage::Blank { life: 7 },
            PeerMessage::Replaced { id: 9 },
        ];
        let mut bytes = BytesMut::new();
        for message in &messages {
            bytes.extend_from_slice(&frame::encode(&Frame::Peer(message.clone())));
        }
        for size in 1..bytes.len() {
            let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
            for piece in bytes.chunks(size) {
                buffer.extend_from_slice(piece);
                while let Some(frame) = split(&mut buffer).expect("a frame") {
                    found.push(frame);
                }
            }
            let expected = messages.iter().cloned().map(Frame::Peer);
            assert!(found.into_iter().eq(expected), "in pieces of {size}");
            assert!(buffer.is_empty());
        }
    }

    /// The system tells once that there is something to read and that it is the last: the end must not be waited for
    /// behind a read that took less than it could.
    #[test]
    fn the_end_behind_a_last_message_is_seen() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let mut peer = std::net::TcpStream::connect(address).expect("a connection");
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_nonblocking(true).expect("a socket");
        let mut poll = mio::Poll::new().expect("a poll");
        let mut stream = TcpStream::from_std(stream);
        let registry = poll.registry();
        let registered = registry.register(&mut stream, mio::Token(1), mio::Interest::READABLE);
        registered.expect("a token");
        let hello = Hello {
            from: 2,
            to: 1,
            boot: 3,
            cluster: String::new(),
        };
        let mut incoming = Incoming::new(stream, hello);
        let frame = frame::encode(&Frame::Peer(PeerMessage::Join));
        peer.write_all(&frame).expect("a write");
        drop(peer);
        let mut events = mio::Events::with_capacity(8);
        while !incoming.closing {
            let wait = Some(std::time::Duration::from_secs(10));
            poll.poll(&mut events, wait).expect("a poll");
            assert!(!events.is_empty(), "nothing is told of the end");
            events.iter().for_each(|event| incoming.ready(event));
        }
        let (mut room, mut heard) = (vec![0; 1_000], Vec::new());
        let ended = loop {
            assert!(incoming.readable, "the end is waited for in vain");
            match incoming.read(&mut room, |_, message| heard.push(message)) {
                Ok(_) => {}
                Err(ended) => break ended,
            }
        };
        assert_eq!(heard, [PeerMessage::Join]);
        let Ended::Io(error) = ended else {
            panic!("it ended otherwise: {ended}")
        };
        assert_eq!(error.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn what_is_no_frame_ends_it_at_once() {
        let mut long = BytesMut::from(&[0xff; HEADER_BYTES][..]);
        assert!(matches!(split(&mut long), Err(FrameError::TooLong { .. })));
        let mut damaged = BytesMut::from(&frame::encode(&Frame::Peer(PeerMessage::Join))[..]);
        *damaged.last_mut().expect("a byte") ^= 1;
        assert_eq!(split(&mut damaged), Err(FrameError::Checksum));
    }
}
