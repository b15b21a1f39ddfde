//! A broker's front on a free port, and a client that speaks in frames.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::{CancellationToken, DropGuard};
use zweig_broker::handlers::Services;
use zweig_broker::net::listener::{ListenerConfig, serve};

/// No wait in these tests is longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Stops its listener when dropped.
pub struct Front {
    address: SocketAddr,
    _stop: DropGuard,
}

impl Front {
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Serves requests on a free port of the loopback.
pub async fn broker() -> Front {
    let socket = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = socket.local_addr().expect("its address");
    let config = ListenerConfig {
        name: Arc::from("PLAINTEXT"),
        request_max_bytes: 1024 * 1024,
        max_idle: DEADLINE,
        max_connections: 100,
    };
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(
        socket,
        config,
        Arc::new(Services {}),
        shutdown.clone(),
    ));
    Front {
        address,
        _stop: shutdown.drop_guard(),
    }
}

/// A client's connection.
pub struct Wire {
    stream: TcpStream,
    unsent: BytesMut,
    next_id: i32,
}

impl Wire {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connect");
        Self {
            stream,
            unsent: BytesMut::new(),
            next_id: 1,
        }
    }

    /// Sends a request and decodes its answer.
    pub async fn call<A: Decodable>(
        &mut self,
        api: ApiKey,
        version: i16,
        request: &impl Encodable,
    ) -> A {
        let id = self.send_quietly(api, version, request);
        self.flush().await;
        let mut answer = self.receive_frame().await.expect("an answer");
        let header = ResponseHeader::decode(&mut answer, api.response_header_version(version))
            .expect("header");
        assert_eq!(header.correlation_id, id);
        let decoded = A::decode(&mut answer, version).expect("answer");
        assert!(
            !answer.has_remaining(),
            "{} bytes behind the answer",
            answer.remaining()
        );
        decoded
    }

    /// Queues a request; returns its correlation id.
    pub fn send_quietly(&mut self, api: ApiKey, version: i16, request: &impl Encodable) -> i32 {
        let id = self.next_id;
        self.next_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api as i16)
            .with_request_api_version(version)
            .with_correlation_id(id)
            .with_client_id(Some(StrBytes::from_static_str("wire")));
        let mut frame = BytesMut::new();
        header
            .encode(&mut frame, api.request_header_version(version))
            .expect("header");
        request.encode(&mut frame, version).expect("request");
        self.unsent
            .put_i32(i32::try_from(frame.len()).expect("size"));
        self.unsent.put_slice(&frame);
        id
    }

    pub async fn flush(&mut self) {
        let unsent = std::mem::take(&mut self.unsent);
        self.send_raw(&unsent).await;
    }

    pub async fn send_frame(&mut self, frame: &[u8]) {
        self.unsent
            .put_i32(i32::try_from(frame.len()).expect("size"));
        self.unsent.put_slice(frame);
        self.flush().await;
    }

    pub async fn send_raw(&mut self, bytes: &[u8]) {
        tokio::time::timeout(DEADLINE, self.stream.write_all(bytes))
            .await
            .expect("in time")
            .expect("write");
    }

    /// The next frame, or `None` if the broker closed the connection.
    pub async fn receive_frame(&mut self) -> Option<Bytes> {
        tokio::time::timeout(DEADLINE, async {
            let size = self.stream.read_i32().await.ok()?;
            let mut frame = vec![0; usize::try_from(size).expect("size")];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(Bytes::from(frame))
        })
        .await
        .expect("an answer in time")
    }
}
