//! What does a connection speak? The first four bytes tell.
//!
//! ```text
//!   00 ?? ?? ??   jute: the length of a handshake
//!   16 ?? ?? ??   TLS
//!   "PRI "        HTTP/2, that is gRPC
//!   else          a four-letter word
//! ```

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The protocol of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// ZooKeeper's.
    Jute,
    /// Not served yet.
    Tls,
    /// gRPC.
    Http2,
    /// A word, and the connection closes.
    FourLetterWord,
}

/// The first bytes of a connection.
pub const HEAD_BYTES: usize = 4;

/// Tells the protocol by the first four bytes.
pub fn protocol(head: [u8; HEAD_BYTES]) -> Protocol {
    match head {
        [0x00, ..] => Protocol::Jute,
        [0x16, ..] => Protocol::Tls,
        [b'P', b'R', b'I', b' '] => Protocol::Http2,
        _ => Protocol::FourLetterWord,
    }
}

/// Reads the first four bytes; the caller sets the deadline.
pub async fn read_head(stream: &mut TcpStream) -> io::Result<[u8; HEAD_BYTES]> {
    let mut head = [0; HEAD_BYTES];
    stream.read_exact(&mut head).await?;
    Ok(head)
}

/// Whether the other end of a connection has ended it: what a process that dies leaves behind, and silence does not.
#[derive(Clone, Debug, Default)]
pub struct PeerEnded(Arc<AtomicBool>);

impl PeerEnded {
    /// Whether its end, or its reset, has come in.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Its end has come in.
    pub fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Looks at what came of reading or writing.
    fn note<T>(&self, done: &Poll<io::Result<T>>) {
        if let Poll::Ready(Err(error)) = done
            && matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
            )
        {
            self.set();
        }
    }
}

/// A connection whose first four bytes have been read, and are read again.
#[derive(Debug)]
pub struct Rewound {
    head: [u8; HEAD_BYTES],
    /// How many of `head` have been read again.
    given: usize,
    stream: TcpStream,
    peer_ended: PeerEnded,
    /// Counts the connection while it lives.
    _counted: Box<dyn fmt::Debug + Send>,
}

impl Rewound {
    /// Puts `head` back in front of `stream`; `counted` is dropped with it.
    pub fn new(
        head: [u8; HEAD_BYTES],
        stream: TcpStream,
        counted: Box<dyn fmt::Debug + Send>,
    ) -> Self {
        Self {
            head,
            given: 0,
            stream,
            peer_ended: PeerEnded::default(),
            _counted: counted,
        }
    }

    /// Whether the other end has ended the connection.
    pub fn peer_ended(&self) -> PeerEnded {
        self.peer_ended.clone()
    }
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given < HEAD_BYTES {
            let rest = &self.head[self.given..];
            let count = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..count]);
            self.given += count;
            return Poll::Ready(Ok(()));
        }
        let before = (buf.filled().len(), buf.remaining());
        let read = Pin::new(&mut self.stream).poll_read(cx, buf);
        if matches!(read, Poll::Ready(Ok(()))) && before.1 > 0 && buf.filled().len() == before.0 {
            self.peer_ended.set();
        }
        self.peer_ended.note(&read);
        read
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.peer_ended.note(&written);
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.peer_ended.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bytes_tell_the_protocol() {
        assert_eq!(protocol([0, 0, 0, 44]), Protocol::Jute);
        assert_eq!(protocol([0x16, 3, 1, 2]), Protocol::Tls);
        assert_eq!(protocol(*b"PRI "), Protocol::Http2);
        assert_eq!(protocol(*b"ruok"), Protocol::FourLetterWord);
        assert_eq!(protocol(*b"PRIX"), Protocol::FourLetterWord);
    }
}
