//! A client that speaks bytes: it sends what it is told, right or wrong, and shows what comes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zweig_coordinator::Config;
use zweig_coordinator::server::Server;
use zweig_proto::zk::frame::{put_frame, split_frame};
use zweig_proto::zk::op::CreateRequest;
use zweig_proto::zk::{
    Acl, ConnectRequest, ConnectResponse, ErrorCode, Jute, OpCode, Reader, ReplyHeader,
    RequestHeader, WatcherEvent, xid,
};

/// Patience for anything that should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A node that stands alone, in a folder of its own.
pub struct Node {
    pub address: SocketAddr,
    server: Option<Server>,
    _folder: tempfile::TempDir,
}

/// Its threads must be gone before its folder is.
impl Drop for Node {
    fn drop(&mut self) {
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(self.stop()));
    }
}

pub async fn node() -> Node {
    node_with(&[]).await
}

pub async fn node_with(settings: &[(&str, &str)]) -> Node {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data_dir = folder.path().display().to_string();
    let fixed = [("dataDir", data_dir.as_str()), ("clientPort", "0")];
    let all = fixed.iter().chain(settings);
    let all: Vec<_> = all
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let config = Config::from_overrides(&all, None).expect("valid settings");
    let server = Server::start(config).await.expect("the node starts");
    Node {
        address: server.client_address(),
        server: Some(server),
        _folder: folder,
    }
}

impl Node {
    pub async fn stop(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    pub async fn socket(&self) -> Socket {
        let stream = TcpStream::connect(self.address).await.expect("connects");
        Socket {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// A new session. A node that has just started may have no leader yet: asks again.
    pub async fn session(&self) -> Socket {
        let deadline = tokio::time::timeout(PATIENCE, async {
            loop {
                let mut socket = self.socket().await;
                if socket.connect(&new_session()).await.is_some() {
                    return socket;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        deadline.await.expect("a session in time")
    }
}

pub fn new_session() -> ConnectRequest {
    ConnectRequest {
        protocol_version: 0,
        last_zxid_seen: 0,
        timeout_ms: 10_000,
        session: 0,
        password: Some(Bytes::from_static(&[0; 16])),
        read_only: Some(false),
    }
}

pub fn create(path: &str, data: Bytes, flags: i32) -> CreateRequest {
    CreateRequest {
        path: path.to_owned(),
        data: Some(data),
        acl: vec![Acl::open()],
        flags,
    }
}

/// The bytes of a request's frame.
pub fn frame(xid: i32, op: OpCode, body: &impl Jute) -> BytesMut {
    raw_frame(xid, op as i32, &body.to_bytes())
}

pub fn raw_frame(xid: i32, op: i32, body: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    put_frame(&mut out, |out| {
        RequestHeader { xid, op }.write(out);
        out.extend_from_slice(body);
    });
    out
}

/// What the node sent.
#[derive(Debug)]
pub enum Received {
    Event(WatcherEvent),
    Reply(ReplyHeader, Reader),
}

pub struct Socket {
    stream: TcpStream,
    buffer: BytesMut,
}

impl Socket {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("sent");
    }

    /// The next frame; `None` if the node closes.
    pub async fn frame(&mut self) -> Option<Bytes> {
        let read = async {
            loop {
                if let Some(frame) = split_frame(&mut self.buffer, 64 << 20).expect("a frame") {
                    return Some(frame);
                }
                match self.stream.read_buf(&mut self.buffer).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        tokio::time::timeout(PATIENCE, read)
            .await
            .expect("an answer in time")
    }

    pub async fn expect_closed(&mut self) {
        let frame = self.frame().await;
        assert_eq!(frame, None, "the node closes");
    }

    /// Everything until the node closes.
    pub async fn text(&mut self) -> String {
        let mut bytes = Vec::new();
        let read = self.stream.read_to_end(&mut bytes);
        let read = tokio::time::timeout(PATIENCE, read)
            .await
            .expect("closes in time");
        read.expect("read");
        String::from_utf8(bytes).expect("text")
    }

    /// The handshake; `None` if the node closes without an answer.
    pub async fn connect(&mut self, request: &ConnectRequest) -> Option<(ConnectResponse, usize)> {
        let mut out = BytesMut::new();
        put_frame(&mut out, |out| request.write(out));
        self.send(&out).await;
        let frame = self.frame().await?;
        let len = frame.len();
        let response = ConnectResponse::from_bytes(frame).expect("a handshake");
        Some((response, len))
    }

    pub async fn receive(&mut self) -> Received {
        let mut frame = Reader::new(self.frame().await.expect("an answer, not the end"));
        let header = ReplyHeader::read(&mut frame).expect("a header");
        match header.xid {
            xid::EVENT => Received::Event(Jute::read(&mut frame).expect("an event")),
            _ => Received::Reply(header, frame),
        }
    }

    pub async fn event(&mut self) -> WatcherEvent {
        match self.receive().await {
            Received::Event(event) => event,
            other => panic!("an event was expected: {other:?}"),
        }
    }

    pub async fn reply(&mut self) -> (ReplyHeader, Reader) {
        match self.receive().await {
            Received::Reply(header, body) => (header, body),
            other => panic!("a reply was expected: {other:?}"),
        }
    }

    /// One request; its error, or its body.
    pub async fn ask<R: Jute>(
        &mut self,
        xid: i32,
        op: OpCode,
        body: &impl Jute,
    ) -> Result<R, ErrorCode> {
        self.send(&frame(xid, op, body)).await;
        let (header, mut body) = self.reply().await;
        assert_eq!(header.xid, xid);
        match header.err {
            ErrorCode::OK => Ok(R::read(&mut body).expect("a body")),
            error => Err(error),
        }
    }

    /// One request; the code of its answer, whatever its body.
    pub async fn code_of(&mut self, xid: i32, op: OpCode, body: &impl Jute) -> ErrorCode {
        self.send(&frame(xid, op, body)).await;
        self.reply().await.0.err
    }

    /// One request whose answer has no body.
    pub async fn code(&mut self, xid: i32, op: OpCode, body: &impl Jute) -> ErrorCode {
        self.send(&frame(xid, op, body)).await;
        let (header, body) = self.reply().await;
        assert_eq!((header.xid, body.left()), (xid, 0));
        header.err
    }
}
