//! One connection by ZooKeeper's protocol, with many requests under way: what is queued is written at once, what has come is
//! taken apart at once, and neither waits for the other.

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;
use zweig_proto::zk::frame::{BadFrame, put_frame, split_frame};
use zweig_proto::zk::op::SyncRequest;
use zweig_proto::zk::{
    ConnectRequest, ConnectResponse, ErrorCode, Jute, OpCode, Reader, ReplyHeader, RequestHeader,
};

/// No answer that this generator asks for is longer; ZooKeeper's clients have 4 MiB.
const LONGEST_ANSWER: usize = 64 << 20;
/// Bytes to have room for at a read, at first and at most.
const READ_AHEAD: Range<usize> = 4 << 10..128 << 10;

/// Why a connection cannot be used any more.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The network or the server ended it.
    #[error("the connection to {server} is lost: {error}")]
    Lost {
        /// `host:port`.
        server: String,
        /// Of the socket.
        error: io::Error,
    },
    /// What came is not ZooKeeper's protocol.
    #[error("{server} answers with what is not ZooKeeper's protocol: {error}")]
    Malformed {
        /// `host:port`.
        server: String,
        /// What is wrong with it.
        error: String,
    },
}

/// An answer or an event: its header, and what is behind it.
#[derive(Debug)]
pub struct Reply {
    /// The xid of the request, -1 for an event.
    pub header: ReplyHeader,
    /// The body.
    pub body: Reader,
}

/// A session of its own on a connection of its own.
#[derive(Debug)]
pub struct Connection {
    server: String,
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
    /// Bytes to have room for at the next read: few for a connection that hears little, as fresh pages are dear.
    ahead: usize,
    last_xid: i32,
}

impl Connection {
    /// Connects and opens a session with this timeout.
    ///
    /// # Errors
    /// [`Broken`], also if there is no answer within `patience`.
    pub async fn open(
        server: &str,
        session_timeout: Duration,
        patience: Duration,
    ) -> Result<Self, Broken> {
        let lost = |error| Broken::Lost {
            server: server.to_owned(),
            error,
        };
        timeout(patience, Self::handshake(server, session_timeout))
            .await
            .unwrap_or_else(|_| Err(lost(io::Error::from(io::ErrorKind::TimedOut))))
    }

    async fn handshake(server: &str, session_timeout: Duration) -> Result<Self, Broken> {
        let lost = |error| Broken::Lost {
            server: server.to_owned(),
            error,
        };
        let stream = TcpStream::connect(server).await.map_err(lost)?;
        stream.set_nodelay(true).map_err(lost)?;
        let mut connection = Self {
            server: server.to_owned(),
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            ahead: READ_AHEAD.start,
            last_xid: 0,
        };
        let request = ConnectRequest {
            protocol_version: 0,
            last_zxid_seen: 0,
            timeout_ms: i32::try_from(session_timeout.as_millis()).unwrap_or(i32::MAX),
            session: 0,
            password: Some(Bytes::from_static(&[0; 16])),
            read_only: Some(false),
        };
        put_frame(&mut connection.output, |out| request.write(out));
        let answer = loop {
            if let Some(frame) = connection.frame()? {
                break ConnectResponse::from_bytes(frame)
                    .map_err(|error| connection.malformed(&error))?;
            }
            connection.progress().await?;
        };
        if answer.timeout_ms <= 0 {
            return Err(connection.malformed(&"a new session is granted no time"));
        }
        Ok(connection)
    }

    /// `host:port`.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Queues a request and returns its xid; [`Self::progress`] sends it.
    pub fn queue(&mut self, op: OpCode, body: &impl Jute) -> i32 {
        // From 1 again behind the last one: negative xids have meanings of their own.
        self.last_xid = self.last_xid.checked_add(1).unwrap_or(1);
        let header = RequestHeader {
            xid: self.last_xid,
            op: op as i32,
        };
        put_frame(&mut self.output, |out| {
            header.write(out);
            body.write(out);
        });
        self.last_xid
    }

    /// Queues a request without a body, under a given xid.
    pub fn queue_bare(&mut self, op: OpCode, xid: i32) {
        let header = RequestHeader { xid, op: op as i32 };
        put_frame(&mut self.output, |out| header.write(out));
    }

    /// Writes what the socket takes now, without waiting.
    ///
    /// # Errors
    /// [`Broken::Lost`].
    pub fn push(&mut self) -> Result<(), Broken> {
        while !self.output.is_empty() {
            match self.stream.try_write(&self.output) {
                Ok(0) => return Err(self.lost(io::Error::from(io::ErrorKind::WriteZero))),
                Ok(written) => self.output.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(())
    }

    /// Waits until some bytes went or came. Nothing is lost if it is dropped while it waits.
    ///
    /// # Errors
    /// [`Broken::Lost`].
    pub async fn progress(&mut self) -> Result<(), Broken> {
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
            self.input.reserve(self.ahead);
            match self.stream.try_read_buf(&mut self.input) {
                Ok(0) => return Err(self.lost(io::Error::from(io::ErrorKind::UnexpectedEof))),
                Ok(read) if read >= self.ahead => {
                    self.ahead = (self.ahead * 2).min(READ_AHEAD.end);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(self.lost(error)),
            }
        }
        Ok(())
    }

    /// The next answer or event that has come whole.
    ///
    /// # Errors
    /// [`Broken::Malformed`].
    pub fn reply(&mut self) -> Result<Option<Reply>, Broken> {
        let Some(frame) = self.frame()? else {
            return Ok(None);
        };
        let mut body = Reader::new(frame);
        let header = ReplyHeader::read(&mut body).map_err(|error| self.malformed(&error))?;
        Ok(Some(Reply { header, body }))
    }

    /// Waits for the next answer or event.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn next(&mut self) -> Result<Reply, Broken> {
        loop {
            if let Some(reply) = self.reply()? {
                return Ok(reply);
            }
            self.progress().await?;
        }
    }

    /// Waits until this server has everything that was answered by whatever server before.
    ///
    /// # Errors
    /// [`Broken`].
    pub async fn catch_up(&mut self) -> Result<(), Broken> {
        let xid = self.queue(
            OpCode::Sync,
            &SyncRequest {
                path: "/".to_owned(),
            },
        );
        let reply = self.next().await?;
        if reply.header.xid == xid && reply.header.err == ErrorCode::OK {
            return Ok(());
        }
        Err(self.malformed(&format!(
            "{:?} where a sync is to be answered",
            reply.header
        )))
    }

    /// Something that is not the protocol has come.
    pub fn malformed(&self, error: &dyn std::fmt::Display) -> Broken {
        Broken::Malformed {
            server: self.server.clone(),
            error: error.to_string(),
        }
    }

    fn frame(&mut self) -> Result<Option<Bytes>, Broken> {
        split_frame(&mut self.input, LONGEST_ANSWER)
            .map_err(|error: BadFrame| self.malformed(&error))
    }

    fn lost(&self, error: io::Error) -> Broken {
        Broken::Lost {
            server: self.server.clone(),
            error,
        }
    }
}
