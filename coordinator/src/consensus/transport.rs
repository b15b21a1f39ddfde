//! Links to the other nodes, over plain TCP on the quorum port.
//!
//! Each node dials every other one and only sends on what it dialled; what it accepts it only reads. So the
//! closing of either direction tells at once that the peer's process, or the path to it, is gone, which is
//! what fail-over waits for. A lost frame is nothing new to raft or to the forwarder: a queue that is full
//! drops, and says so.
//!
//! Checkpoints never travel here: see `bulk`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::frame::{self, Frame, FrameError, HEADER_BYTES, Hello};
use super::membership::server_of;
use super::node::PeerMessage;

/// Frames that wait for one peer.
const QUEUE_FRAMES: usize = 8_192;
/// Bytes that wait for one peer.
const QUEUE_BYTES: usize = 256 << 20;
/// Frames go out in writes of about this size.
const WRITE_BYTES: usize = 256 << 10;
/// Bytes received and not handled; beyond, nothing is read.
const INBOUND_BYTES: usize = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const HELLO_TIMEOUT: Duration = Duration::from_secs(5);
/// Unacknowledged bytes for this long mean that the path is gone.
const SILENCE_MS: u32 = 3_000;
const BACKOFF_FIRST: Duration = Duration::from_millis(20);
const BACKOFF_MOST: Duration = Duration::from_millis(320);

/// What links tell the raft thread.
#[derive(Debug)]
pub enum LinkEvent {
    /// A message came in.
    Message {
        /// The sender's raft id.
        from: u64,
        boot: u64,
        message: PeerMessage,
        bytes: usize,
    },
    /// Sending to that server works again.
    Up(u64),
    /// A connection to or from that server's process closed.
    Lost(u64),
}

/// Takes events; never blocks.
pub type Events = Arc<dyn Fn(LinkEvent) + Send + Sync>;

/// Who this node is, and who the others are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its raft id.
    pub node: u64,
    pub boot: u64,
    pub cluster: String,
}

struct Peer {
    queue: mpsc::Sender<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
}

/// All links of one node. Stops when dropped.
pub struct Transport {
    peers: BTreeMap<u64, Peer>,
    /// This node's raft id, as links introduce themselves with it.
    name: watch::Sender<u64>,
    inbound: Arc<AtomicUsize>,
    stop: CancellationToken,
}

impl Transport {
    /// Listens and dials until dropped.
    ///
    /// # Errors
    /// When the listener can't be used by the runtime.
    pub fn start(
        identity: &Identity,
        addresses: &BTreeMap<u64, String>,
        listener: std::net::TcpListener,
        events: &Events,
        runtime: &Handle,
    ) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let inbound = Arc::new(AtomicUsize::new(0));
        listener.set_nonblocking(true)?;
        let _entered = runtime.enter();
        let acceptor = Acceptor {
            identity: identity.clone(),
            known: addresses.keys().copied().collect(),
            events: events.clone(),
            inbound: inbound.clone(),
            current: Mutex::new(BTreeMap::new()),
        };
        let listener = TcpListener::from_std(listener)?;
        runtime.spawn(stop.clone().run_until_cancelled_owned(accept(
            listener,
            Arc::new(acceptor),
            stop.clone(),
        )));
        let mut peers = BTreeMap::new();
        let (name, names) = watch::channel(identity.node);
        let own = server_of(identity.node);
        for (&node, address) in addresses.iter().filter(|(node, _)| **node != own) {
            let (queue, frames) = mpsc::channel(QUEUE_FRAMES);
            let queued_bytes = Arc::new(AtomicUsize::new(0));
            let hello = Hello {
                from: identity.node,
                to: node,
                boot: identity.boot,
                cluster: identity.cluster.clone(),
            };
            let dialer = Dialer {
                node,
                address: address.clone(),
                hello,
                names: names.clone(),
                frames,
                queued_bytes: queued_bytes.clone(),
                events: events.clone(),
            };
            runtime.spawn(stop.clone().run_until_cancelled_owned(dialer.run()));
            peers.insert(
                node,
                Peer {
                    queue,
                    queued_bytes,
                },
            );
        }
        Ok(Self {
            peers,
            name,
            inbound,
            stop,
        })
    }

    /// Queues a message for the server of a raft id; whether it will be tried at all.
    pub fn send(&self, to: u64, message: PeerMessage) -> bool {
        let Some(peer) = self.peers.get(&server_of(to)) else {
            return false;
        };
        if peer.queued_bytes.load(Ordering::Relaxed) > QUEUE_BYTES {
            return false;
        }
        let bytes = frame::encode(&Frame::Peer(message));
        let length = bytes.len();
        let queued = peer.queue.try_send(bytes).is_ok();
        if queued {
            peer.queued_bytes.fetch_add(length, Ordering::Relaxed);
        }
        queued
    }

    /// From now on this node has another raft id: links are made anew.
    pub fn rename(&self, id: u64) {
        self.name.send_replace(id);
    }

    /// The raft thread has handled a message of that many bytes.
    pub fn handled(&self, bytes: usize) {
        self.inbound.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Dialer {
    node: u64,
    address: String,
    hello: Hello,
    names: watch::Receiver<u64>,
    frames: mpsc::Receiver<Bytes>,
    queued_bytes: Arc<AtomicUsize>,
    events: Events,
}

impl Dialer {
    async fn run(mut self) {
        let mut backoff = BACKOFF_FIRST;
        loop {
            match self.connect().await {
                Ok((reader, writer)) => {
                    backoff = BACKOFF_FIRST;
                    tracing::info!(peer = self.node, address = %self.address, "linked");
                    (self.events)(LinkEvent::Up(self.node));
                    let error = self.pump(reader, writer).await;
                    tracing::info!(peer = self.node, %error, "link lost");
                    (self.events)(LinkEvent::Lost(self.node));
                }
                Err(error) => {
                    tracing::debug!(peer = self.node, address = %self.address, %error, "can't be reached")
                }
            }
            // What waits for a peer that is not there grows old; raft and the forwarder send anew.
            while let Ok(frame) = self.frames.try_recv() {
                self.queued_bytes.fetch_sub(frame.len(), Ordering::Relaxed);
            }
            sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF_MOST);
        }
    }

    async fn connect(&mut self) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
        let stream = timeout(CONNECT_TIMEOUT, TcpStream::connect(&self.address)).await??;
        prepare(&stream)?;
        let (reader, mut writer) = stream.into_split();
        self.hello.from = *self.names.borrow_and_update();
        let hello = frame::encode(&Frame::Hello(self.hello.clone()));
        writer.write_all(&hello).await?;
        Ok((reader, writer))
    }

    /// Writes until the connection ends; says how it ended.
    async fn pump(&mut self, mut reader: OwnedReadHalf, mut writer: OwnedWriteHalf) -> io::Error {
        let mut nothing = [0; 1];
        let mut out = BytesMut::new();
        loop {
            let first = tokio::select! {
                first = self.frames.recv() => first,
                read = reader.read(&mut nothing) => return closed(read),
                _ = self.names.changed() => return io::Error::other("this node has another name now"),
            };
            let Some(first) = first else {
                return io::Error::other("stopping");
            };
            out.clear();
            out.extend_from_slice(&first);
            while out.len() < WRITE_BYTES
                && let Ok(next) = self.frames.try_recv()
            {
                out.extend_from_slice(&next);
            }
            self.queued_bytes.fetch_sub(out.len(), Ordering::Relaxed);
            tokio::select! {
                written = writer.write_all(&out) => {
                    if let Err(error) = written {
                        return error;
                    }
                }
                read = reader.read(&mut nothing) => return closed(read),
            }
        }
    }
}

fn closed(read: io::Result<usize>) -> io::Error {
    match read {
        Ok(0) => io::Error::from(io::ErrorKind::UnexpectedEof),
        Ok(_) => io::Error::other("the peer answered where it must not"),
        Err(error) => error,
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Without it a path that swallows packets would be noticed after minutes.
    rustix::net::sockopt::set_tcp_user_timeout(stream, SILENCE_MS)?;
    Ok(())
}

struct Acceptor {
    identity: Identity,
    known: Vec<u64>,
    events: Events,
    inbound: Arc<AtomicUsize>,
    /// Number of the newest connection of each server: an older one that closes means nothing.
    current: Mutex<BTreeMap<u64, u64>>,
}

async fn accept(listener: TcpListener, acceptor: Arc<Acceptor>, stop: CancellationToken) {
    let mut number = 0;
    loop {
        match listener.accept().await {
            Ok((stream, address)) => {
                number += 1;
                let acceptor = acceptor.clone();
                let serve = async move {
                    if let Err(error) = acceptor.serve(stream, number).await {
                        tracing::debug!(%address, %error, "a node's connection ended");
                    }
                };
                tokio::spawn(stop.clone().run_until_cancelled_owned(serve));
            }
            Err(error) => {
                tracing::warn!(%error, "can't accept a node's connection");
                sleep(BACKOFF_MOST).await;
            }
        }
    }
}

/// Why a node's connection ended.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("it sent no hello in time")]
    Silent,
    #[error("{0}")]
    Stranger(String),
    #[error("it sent a frame that does not belong here")]
    Misplaced,
}

impl Acceptor {
    async fn serve(&self, stream: TcpStream, number: u64) -> Result<(), ServeError> {
        prepare(&stream)?;
        let mut reader = BufReader::with_capacity(WRITE_BYTES, stream);
        let hello = timeout(
            HELLO_TIMEOUT,
            read_frame(&mut reader, frame::HELLO_FRAME_BYTES),
        );
        let (first, _) = hello.await.map_err(|_| ServeError::Silent)??;
        let hello =
            check_hello(first, &self.identity, &self.known).map_err(ServeError::Stranger)?;
        let server = server_of(hello.from);
        self.current.lock().insert(server, number);
        let result = self.read(&mut reader, &hello).await;
        if self.current.lock().get(&server) == Some(&number) {
            (self.events)(LinkEvent::Lost(server));
        }
        result
    }

    async fn read(
        &self,
        reader: &mut BufReader<TcpStream>,
        hello: &Hello,
    ) -> Result<(), ServeError> {
        loop {
            let (frame, bytes) = read_frame(reader, frame::FRAME_BYTES).await?;
            let Frame::Peer(message) = frame else {
                return Err(ServeError::Misplaced);
            };
            self.inbound.fetch_add(bytes, Ordering::Relaxed);
            (self.events)(LinkEvent::Message {
                from: hello.from,
                boot: hello.boot,
                message,
                bytes,
            });
            while self.inbound.load(Ordering::Relaxed) > INBOUND_BYTES {
                sleep(Duration::from_millis(1)).await;
            }
        }
    }
}

/// Whether the caller is one of the others, and means us.
pub fn check_hello(first: Frame, identity: &Identity, known: &[u64]) -> Result<Hello, String> {
    let Frame::Hello(hello) = first else {
        return Err("its first frame is no hello".to_owned());
    };
    let (from, own) = (server_of(hello.from), server_of(identity.node));
    if hello.to != own {
        return Err(format!(
            "node {from} looks for node {}, this is {own}",
            hello.to
        ));
    }
    if hello.cluster != identity.cluster {
        return Err(format!(
            "node {from} belongs to ensemble {:?}",
            hello.cluster
        ));
    }
    if from == own || !known.contains(&from) {
        return Err(format!("node {from} is not one of us"));
    }
    Ok(hello)
}

async fn read_frame(
    reader: &mut BufReader<TcpStream>,
    limit: usize,
) -> Result<(Frame, usize), ServeError> {
    let mut header = [0; HEADER_BYTES];
    reader.read_exact(&mut header).await?;
    let (length, crc) = frame::decode_header(header, limit)?;
    // Grows as bytes arrive: a length alone must not make us hold so much.
    let mut body = Vec::with_capacity(length.min(WRITE_BYTES));
    (&mut *reader)
        .take(length as u64)
        .read_to_end(&mut body)
        .await?;
    if body.len() < length {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    Ok((frame::decode(crc, Bytes::from(body))?, length))
}
