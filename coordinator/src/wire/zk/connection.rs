//! One client's socket: its handshake, and a reader that starts requests; `writer` empties the outbox.
//!
//! The reader parses every frame that a read brought and starts them together; it stops reading
//! while too many requests are unanswered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use zweig_proto::zk::frame::{BadFrame, split_frame};
use zweig_proto::zk::op::AuthRequest;
use zweig_proto::zk::{
    ConnectRequest, DecodeError, ErrorCode, Jute, OpCode, Reader, RequestHeader, xid,
};

use super::dispatch::{self, Caller};
use super::handshake::{self, Handshake};
use super::outbox::{End, Item, Outbox};
use super::writer::Writer;
use super::{ClientInfo, Services};
use crate::limits;
use crate::request::together::Together;
use crate::request::{Closed, Connection, ReplyTo, Request};
use crate::tree::Zxid;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;

/// How long a connection may take for its whole first frame.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a client may take no byte at all of what is written before it counts as gone.
pub(super) const WRITE_DEADLINE: Duration = Duration::from_secs(30);

/// Room for one read.
const READ_BYTES: usize = 16 << 10;

/// Why a connection ended; for the log.
#[derive(Debug, thiserror::Error)]
pub(super) enum Ended {
    #[error("closed by the client")]
    ByClient,
    #[error("closed by this node: {0}")]
    ByServer(End),
    #[error("no answer can be given")]
    NoAnswer,
    #[error("this node is stopping")]
    Stopping,
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error("the client does not read its answers")]
    WriteDeadline,
    #[error(transparent)]
    Frame(#[from] BadFrame),
    #[error("a request header cannot be read: {0}")]
    Header(#[from] DecodeError),
}

/// Whether requests behind this one are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goes {
    On,
    /// No: once it is answered the connection closes.
    NoFurther,
}

/// Serves a connection whose first four bytes, `head`, have been read.
pub async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    head: [u8; 4],
    services: Arc<Services>,
    shutdown: CancellationToken,
) {
    services.metrics.connection_requests.one();
    let outbox = Outbox::new();
    let connection = services.door.connect(outbox.clone());
    let (mut from_client, mut to_client) = stream.into_split();
    let mut buffer = BytesMut::from(&head[..]);
    let handshake = tokio::select! {
        () = shutdown.cancelled() => return,
        handshake = shake_hands(&mut from_client, &mut buffer, &connection) => handshake,
    };
    let (answer, grant) = match handshake {
        Ok(Handshake::Open(answer, grant)) => (answer, grant),
        Ok(Handshake::Expired(answer)) => {
            if connection.may_tell() {
                tracing::info!(%peer, "the session asked for has expired");
            }
            send_last(&mut to_client, &answer).await;
            return;
        }
        Ok(Handshake::Refused(reason)) => {
            if connection.may_tell() {
                tracing::info!(%peer, %reason, "no session");
            }
            return;
        }
        Err(reason) => {
            if connection.may_tell() {
                tracing::info!(%peer, %reason, "no handshake");
            }
            return;
        }
    };
    let info = Arc::new(ClientInfo {
        peer,
        session: AtomicI64::new(grant.id.0),
        timeout_ms: AtomicU64::new(grant.timeout_ms.into()),
        received: AtomicU64::new(1),
        sent: AtomicU64::new(1),
    });
    let _registered = Registered::new(&services, connection.id(), Arc::clone(&info));
    tracing::debug!(%peer, connection = connection.id(), "the peer of a connection");
    if let Err(error) = to_client.write_all(&answer).await {
        connection.tell_end(grant.id, &error);
        return;
    }
    let shared = Arc::new(Client {
        connection,
        services: Arc::clone(&services),
        outbox,
        info,
    });
    let writing = tokio::spawn(Writer::new(Arc::clone(&shared), to_client).run());
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ended::Stopping,
        ended = read_all(&shared, from_client, buffer) => ended,
        ended = writing => match ended {
            Ok(ended) => ended,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        },
    };
    shared.outbox.end(End::Server(Closed::Stopping));
    shared.connection.tell_end(grant.id, &ended);
}

/// What reader and writer share.
pub(super) struct Client {
    connection: Connection,
    pub(super) services: Arc<Services>,
    pub(super) outbox: Arc<Outbox>,
    pub(super) info: Arc<ClientInfo>,
}

/// Keeps a connection in the list of `stat` and `cons`.
struct Registered<'a> {
    services: &'a Services,
    id: u64,
}

impl<'a> Registered<'a> {
    fn new(services: &'a Services, id: u64, info: Arc<ClientInfo>) -> Self {
        services.clients.lock().insert(id, info);
        Self { services, id }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.services.clients.lock().remove(&self.id);
    }
}

async fn shake_hands(
    stream: &mut OwnedReadHalf,
    buffer: &mut BytesMut,
    connection: &Connection,
) -> Result<Handshake, Ended> {
    let read = async {
        loop {
            if let Some(frame) = split_frame(buffer, limits::HANDSHAKE_FRAME_BYTES)? {
                return Ok(ConnectRequest::from_bytes(frame)?);
            }
            if stream.read_buf(buffer).await? == 0 {
                return Err(Ended::ByClient);
            }
        }
    };
    let request = match tokio::time::timeout(HANDSHAKE_DEADLINE, read).await {
        Ok(request) => request?,
        Err(_) => return Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()),
    };
    Ok(handshake::open(connection, request).await)
}

/// Writes what is the last word; whether the client hears it is not our concern any more.
async fn send_last(stream: &mut OwnedWriteHalf, bytes: &[u8]) {
    let sent = tokio::time::timeout(WRITE_DEADLINE, stream.write_all(bytes)).await;
    if matches!(sent, Ok(Ok(()))) {
        let _ = stream.shutdown().await;
    }
}

async fn read_all(client: &Arc<Client>, mut stream: OwnedReadHalf, mut buffer: BytesMut) -> Ended {
    let room = Arc::new(Semaphore::new(limits::PIPELINE_COST as usize));
    loop {
        match start_all(client, &mut buffer, &room).await {
            Ok(Goes::On) => {}
            // The writer ends the connection, behind what is left to answer.
            Ok(Goes::NoFurther) => std::future::pending().await,
            Err(ended) => return ended,
        }
        buffer.reserve(READ_BYTES);
        match stream.read_buf(&mut buffer).await {
            Ok(0) => return Ended::ByClient,
            Ok(bytes) => client.services.metrics.bytes_received.add(bytes as u64),
            Err(error) => return error.into(),
        }
    }
}

/// Starts every request whose frame is whole.
async fn start_all(
    client: &Arc<Client>,
    buffer: &mut BytesMut,
    room: &Arc<Semaphore>,
) -> Result<Goes, Ended> {
    let mut batch = Vec::new();
    let mut packets = 0;
    let result = loop {
        let frame = match split_frame(buffer, client.services.config.jute_max_buffer) {
            Ok(Some(frame)) => frame,
            Ok(None) => break Ok(Goes::On),
            Err(error) => break Err(error.into()),
        };
        packets += 1;
        let cost = cost(&frame);
        let permit = match Arc::clone(room).try_acquire_many_owned(cost) {
            Ok(permit) => permit,
            Err(_) => {
                send(client, std::mem::take(&mut batch));
                let permit = Arc::clone(room).acquire_many_owned(cost).await;
                permit.expect("the semaphore is never closed")
            }
        };
        match start(client, frame, permit, &mut batch) {
            Ok(Goes::On) => {}
            last => break last,
        }
    };
    if packets > 0 {
        client.services.metrics.received(packets);
        client.info.received.fetch_add(packets, Ordering::Relaxed);
        send(client, batch);
    }
    result
}

fn send(client: &Client, batch: Vec<(Request, ReplyTo)>) {
    let _together = Together::begin();
    client.connection.send(batch);
}

/// What a request takes of the connection's [`limits::PIPELINE_COST`].
fn cost(frame: &Bytes) -> u32 {
    let by_size = u32::try_from(frame.len() / limits::COST_BYTES).unwrap_or(u32::MAX);
    by_size
        .saturating_add(limits::REQUEST_COST)
        .min(limits::PIPELINE_COST)
}

fn start(
    client: &Client,
    frame: Bytes,
    permit: OwnedSemaphorePermit,
    batch: &mut Vec<(Request, ReplyTo)>,
) -> Result<Goes, Ended> {
    let mut body = Reader::new(frame);
    let header = RequestHeader::read(&mut body)?;
    let code = OpCode::from_number(header.op);
    match code {
        Some(OpCode::Ping) => {
            client.connection.ping(|zxid| {
                let (xid, zxid, err) = (xid::PING, zxid.0, ErrorCode::OK);
                client.outbox.push(Item::Header { xid, zxid, err });
            });
            return Ok(Goes::On);
        }
        Some(OpCode::Auth) => return Ok(authenticate(client, &header, &mut body)),
        _ => {}
    }
    let auth = client.connection.auth();
    let caller = Caller {
        address: client.info.peer.ip(),
        auth: &auth,
    };
    let (request, shape) = match dispatch::decode(header.op, &mut body, &caller) {
        Ok(decoded) => decoded,
        Err(error) => {
            let (op, peer) = (header.op, client.info.peer);
            tracing::info!(%peer, op, %error, "a request cannot be decoded");
            dispatch::malformed()
        }
    };
    let outbox = Arc::clone(&client.outbox);
    let asked = client.services.metrics.asked(&request);
    let xid = header.xid;
    // As ZooKeeper: whoever asks for what has no name here is not understood any further.
    let goes = match code {
        None | Some(OpCode::Check) => Goes::NoFurther,
        Some(_) => Goes::On,
    };
    let reply: ReplyTo = Box::new(move |mut answer| {
        if goes == Goes::NoFurther {
            answer.zxid = Zxid::NONE;
        }
        outbox.push(Item::Reply {
            xid,
            shape,
            answer,
            asked,
            _permit: permit,
        });
        if goes == Goes::NoFurther {
            outbox.end(End::NotUnderstood);
        }
    });
    batch.push((request, reply));
    Ok(goes)
}

/// Like ZooKeeper: at once, outside the order of requests; what is not proved ends the connection.
fn authenticate(client: &Client, header: &RequestHeader, body: &mut Reader) -> Goes {
    let proved = AuthRequest::read(body).is_ok_and(|request| match request.auth {
        // The address is known anyway, and no ACL can name it here.
        _ if request.scheme == "ip" => true,
        Some(credentials) => {
            let added = client.connection.add_auth(&request.scheme, &credentials);
            added.is_ok()
        }
        None => false,
    });
    let err = match proved {
        true => ErrorCode::OK,
        false => ErrorCode::AUTH_FAILED,
    };
    let (xid, zxid) = (header.xid, 0);
    client.outbox.push(Item::Header { xid, zxid, err });
    if proved {
        return Goes::On;
    }
    tracing::info!(peer = %client.info.peer, "an identity was not proved: closed");
    client.outbox.end(End::AuthFailed);
    Goes::NoFurther
}
