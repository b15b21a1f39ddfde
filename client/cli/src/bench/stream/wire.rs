//! One connection by Kafka's protocol, with many requests under way, out of and into buffers that are used again.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zweig_client::kafka::ErrorCode;
use zweig_client::kafka::raw::Malformed;

/// No answer that this generator asks for is longer.
const LONGEST_ANSWER: usize = 512 << 20;
const READ_AHEAD: usize = 256 << 10;

/// Why a run ends without figures.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
    /// The network or the broker ended a connection.
    #[error("the connection to {server} is lost: {error}")]
    Lost {
        /// `host:port`.
        server: Arc<str>,
        /// Of the socket.
        error: io::Error,
    },
    /// An answer is not what a right broker says.
    #[error("{server}: a wrong answer to {kind}: {why}")]
    Wrong {
        /// `host:port`.
        server: Arc<str>,
        /// Of the request.
        kind: &'static str,
        /// What was expected and what came.
        why: String,
    },
    /// A broker answered with an error.
    #[error("{server}: {kind} of {of}: {code}")]
    Refused {
        /// `host:port`.
        server: Arc<str>,
        /// Of the request.
        kind: &'static str,
        /// Topic and partition, or group.
        of: String,
        /// Kafka's error code.
        code: ErrorCode,
    },
    /// What a lane needs before it goes on does not come about.
    #[error("{server}: {why}")]
    Unready {
        /// `host:port` of the last broker.
        server: Arc<str>,
        /// What is missing.
        why: String,
    },
    /// The system refused this generator something.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// A connection of its own.
#[derive(Debug)]
pub struct Connection {
    server: Arc<str>,
    stream: TcpStream,
    input: BytesMut,
    /// Bytes of the answer that was handed out last, still at the front.
    taken: usize,
    output: BytesMut,
    last_correlation: i32,
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// [`Failed::Lost`], also if that takes longer than `patience`.
    pub async fn open(server: &Arc<str>, patience: Duration) -> Result<Self, Failed> {
        let lost = |error| Failed::Lost {
            server: Arc::clone(server),
            error,
        };
        let stream = timeout(patience, TcpStream::connect(&**server))
            .await
            .unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
            .map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        Ok(Self {
            server: Arc::clone(server),
            stream,
            input: BytesMut::new(),
            taken: 0,
            output: BytesMut::new(),
            last_correlation: 0,
        })
    }

    /// `host:port`.
    pub fn server(&self) -> &Arc<str> {
        &self.server
    }

    /// The number of the next request, and the buffer to write it into; [`Self::progress`] sends it.
    pub fn queue(&mut self) -> (i32, &mut BytesMut) {
        self.last_correlation = self.last_correlation.wrapping_add(1);
        (self.last_correlation, &mut self.output)
    }

    /// Bytes that the socket has not taken yet.
    pub fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Writes what the socket takes now, without waiting.
    ///
    /// # Errors
    /// [`Failed::Lost`].
    pub fn push(&mut self) -> Result<(), Failed> {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output) {
                Ok(0) => return Err(self.lost(io::Error::from(io::ErrorKind::WriteZero))),
                Ok(written) => self.output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(self.lost(error)),
            }
        }
        self.output.clear();
        Ok(())
    }

    /// Waits until some bytes went or came. Nothing is lost if it is dropped while it waits.
    ///
    /// # Errors
    /// [`Failed::Lost`].
    pub async fn progress(&mut self) -> Result<(), Failed> {
        self.push()?;
        let interest = if self.output.is_empty() {
            Interest::READABLE
        } else {
            Interest::READABLE | Interest::WRITABLE
        };
        let ready = self
            .stream
            .ready(interest)
            .await
            .map_err(|error| self.lost(error))?;
        if ready.is_readable() {
            self.input.advance(std::mem::take(&mut self.taken));
            let missing = self.next_size().unwrap_or(0);
            let missing = missing.saturating_sub(self.input.len());
            self.input
                .reserve(missing.clamp(READ_AHEAD, LONGEST_ANSWER));
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Err(self.lost(io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(())
    }

    /// Of the answer at the front, its length with it, once that has come.
    fn next_size(&self) -> Option<usize> {
        let length = self.input.first_chunk().copied().map(u32::from_be_bytes)?;
        Some((length as usize).saturating_add(4))
    }

    /// The next answer that has come whole, behind its correlation id; it may be looked at until the next call.
    ///
    /// # Errors
    /// [`Failed::Wrong`] if it is not the answer to request `expected`.
    pub fn answer(&mut self, expected: i32) -> Result<Option<&[u8]>, Failed> {
        self.input.advance(std::mem::take(&mut self.taken));
        let Some(size) = self.next_size() else {
            return Ok(None);
        };
        if size > LONGEST_ANSWER {
            return Err(self.wrong("a request", format!("an answer of {size} bytes")));
        }
        if self.input.len() < size {
            return Ok(None);
        }
        let correlation = self.input[4..size].first_chunk().copied();
        let correlation = correlation.map(i32::from_be_bytes);
        if correlation != Some(expected) {
            let why = format!("number {correlation:?} where {expected} is next");
            return Err(self.wrong("a request", why));
        }
        self.taken = size;
        Ok(Some(&self.input[8..size]))
    }

    /// Waits for the answer to the only request under way.
    ///
    /// # Errors
    /// [`Failed`].
    pub async fn wait(&mut self, expected: i32) -> Result<&[u8], Failed> {
        while self.answer(expected)?.is_none() {
            self.progress().await?;
        }
        Ok(&self.input[8..self.taken])
    }

    /// A wrong answer of this connection's broker.
    pub fn wrong(&self, kind: &'static str, why: String) -> Failed {
        Failed::Wrong {
            server: Arc::clone(&self.server),
            kind,
            why,
        }
    }

    /// An answer did not come in time.
    pub fn late(&self) -> Failed {
        self.lost(io::Error::from(io::ErrorKind::TimedOut))
    }

    fn lost(&self, error: io::Error) -> Failed {
        Failed::Lost {
            server: Arc::clone(&self.server),
            error,
        }
    }
}

/// What goes wrong while an answer is read, before it is known whose it was.
#[derive(Debug)]
pub enum Misread {
    /// It is not what a right broker says.
    Wrong(String),
    /// It tells of an error, of this topic and partition.
    Refused(String, ErrorCode),
}

impl From<Malformed> for Misread {
    fn from(malformed: Malformed) -> Self {
        Self::Wrong(malformed.to_string())
    }
}

impl Misread {
    /// With the broker that said it.
    pub fn by(self, server: &Arc<str>, kind: &'static str) -> Failed {
        let server = Arc::clone(server);
        match self {
            Self::Wrong(why) => Failed::Wrong { server, kind, why },
            Self::Refused(of, code) => Failed::Refused {
                server,
                kind,
                of,
                code,
            },
        }
    }
}
