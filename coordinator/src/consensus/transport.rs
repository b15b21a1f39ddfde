//! Links to the other nodes, over plain TCP on the quorum port.
//!
//! Each node dials every other one and only sends on what it dialled; what it accepts it only reads. So the
//! closing of either direction tells at once that the peer's process, or the path to it, is gone, which is
//! what fail-over waits for. A lost frame is nothing new to raft or to the forwarder: what waits for a peer beyond a
//! bound, or when its connection breaks, is dropped. What must not be late overtakes data (`waiting`).
//!
//! Tasks of the runtime dial, accept and introduce (`dial`, `accept`); then the raft thread has the sockets to
//! itself (`socket`). It reads and writes them where it stands: a message handed to another thread at each end would
//! cost more than all else that happens to it.
//!
//! Checkpoints never travel here: see `bulk`.

mod accept;
mod dial;
mod socket;
mod waiting;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use mio::{Interest, Registry, Token};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::frame::Hello;
use super::membership::server_of;
use super::node::PeerMessage;

pub use accept::check_hello;
use accept::{Acceptor, accept};
use dial::Dialer;
use socket::{Ended, Incoming, Outgoing};
use waiting::Waiting;

/// Bytes that wait for one peer in a lane.
const QUEUE_BYTES: usize = 256 << 20;
/// Frames that wait for the connection to one peer.
const QUEUE_FRAMES: usize = 8_192;
/// One read takes at most so much.
const READ_BYTES: usize = 128 << 10;
/// Bytes read from each peer before what they say is carried out ...
const BYTES_PER_ROUND: usize = 4 << 20;
/// ... unless it is so many messages, but for those of the last read.
const MESSAGES_PER_ROUND: usize = 4_096;
/// Unacknowledged bytes for this long mean that the path is gone.
const SILENCE_MS: u32 = 3_000;

/// What the tasks hand to the raft thread.
#[derive(Debug)]
pub enum Arrival {
    /// A peer was reached, and this node introduced under that raft id.
    Dialled {
        server: u64,
        name: u64,
        stream: std::net::TcpStream,
    },
    /// A peer could not be reached.
    NotReached(u64),
    /// A peer has introduced itself.
    Accepted {
        hello: Hello,
        stream: std::net::TcpStream,
    },
}

/// Takes arrivals; never blocks.
pub type Arrivals = Arc<dyn Fn(Arrival) + Send + Sync>;

/// What came of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkEvent {
    /// Sending to that server works again.
    Up(u64),
    /// A connection to or from that server's process closed.
    Lost(u64),
}

/// A message, and who sent it.
#[derive(Debug)]
pub struct Received {
    /// The sender's raft id.
    pub from: u64,
    pub boot: u64,
    pub message: PeerMessage,
}

/// Who this node is, and who the others are.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its raft id.
    pub node: u64,
    pub boot: u64,
    pub cluster: String,
}

struct Peer {
    link: Option<Outgoing>,
    /// Frames that wait: for the system to take them, or for a connection that is being made.
    frames: Waiting,
    /// How many wait for a connection.
    waiting: usize,
    /// Tells its dialer to begin again.
    lost: Arc<Notify>,
}

/// All links of one node, in the hands of the raft thread. Stops when dropped.
pub struct Transport {
    registry: Registry,
    peers: BTreeMap<u64, Peer>,
    incoming: BTreeMap<usize, Incoming>,
    /// Token of the newest connection of each server: an older one that closes means nothing.
    current: BTreeMap<u64, usize>,
    next_token: usize,
    room: Vec<u8>,
    /// What the node has to be told.
    events: Vec<LinkEvent>,
    /// This node's raft id, as links introduce themselves with it.
    name: watch::Sender<u64>,
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
        (registry, arrivals): (Registry, Arrivals),
        runtime: &Handle,
    ) -> io::Result<Self> {
        let stop = CancellationToken::new();
        listener.set_nonblocking(true)?;
        let _entered = runtime.enter();
        let acceptor = Acceptor {
            identity: identity.clone(),
            known: addresses.keys().copied().collect(),
            arrivals: arrivals.clone(),
        };
        let listener = TcpListener::from_std(listener)?;
        let accept = accept(listener, Arc::new(acceptor), stop.clone());
        runtime.spawn(stop.clone().run_until_cancelled_owned(accept));
        let (name, names) = watch::channel(identity.node);
        let own = server_of(identity.node);
        let mut peers = BTreeMap::new();
        for (&server, address) in addresses.iter().filter(|(server, _)| **server != own) {
            let lost = Arc::new(Notify::new());
            let dialer = Dialer {
                server,
                address: address.clone(),
                hello: Hello {
                    from: identity.node,
                    to: server,
                    boot: identity.boot,
                    cluster: identity.cluster.clone(),
                },
                names: names.clone(),
                lost: lost.clone(),
                arrivals: arrivals.clone(),
            };
            runtime.spawn(stop.clone().run_until_cancelled_owned(dialer.run()));
            let peer = Peer {
                link: None,
                frames: Waiting::default(),
                waiting: 0,
                lost,
            };
            peers.insert(server, peer);
        }
        Ok(Self {
            registry,
            peers,
            incoming: BTreeMap::new(),
            current: BTreeMap::new(),
            next_token: 1,
            room: vec![0; READ_BYTES],
            events: Vec::new(),
            name,
            stop,
        })
    }

    /// Queues a message for the server of a raft id, until [`Transport::flush`]; whether it will be tried at all.
    pub fn send(&mut self, to: u64, message: PeerMessage) -> bool {
        let Some(peer) = self.peers.get_mut(&server_of(to)) else {
            return false;
        };
        if !peer.frames.has_room(&message, QUEUE_BYTES) || peer.waiting > QUEUE_FRAMES {
            return false;
        }
        peer.waiting += usize::from(peer.link.is_none());
        peer.frames.put(message);
        true
    }

    /// Writes what waits, as far as the system takes it.
    pub fn flush(&mut self) {
        for (&server, peer) in &mut self.peers {
            let Some(link) = &mut peer.link else { continue };
            if let Err(ended) = link.write(&mut peer.frames) {
                peer.end(server, &ended, &self.registry);
                self.events.push(LinkEvent::Lost(server));
            }
        }
    }

    /// Reads what is there, at most so much that it can be carried out soon.
    pub fn receive(&mut self) -> Vec<Received> {
        let mut received = Vec::new();
        let mut ended = Vec::new();
        for (&token, incoming) in &mut self.incoming {
            let (mut read, before) = (0, received.len());
            while incoming.readable
                && read < BYTES_PER_ROUND
                && received.len() < before + MESSAGES_PER_ROUND
            {
                let bytes = incoming.read(&mut self.room, |hello, message| {
                    received.push(Received {
                        from: hello.from,
                        boot: hello.boot,
                        message,
                    });
                });
                match bytes {
                    Ok(bytes) => read += bytes,
                    Err(error) => {
                        ended.push((token, error));
                        break;
                    }
                }
            }
        }
        for (token, error) in ended {
            self.end_incoming(token, &error);
        }
        received
    }

    /// Whether there is something to do without waiting for a socket.
    pub fn is_behind(&self) -> bool {
        !self.events.is_empty() || self.incoming.values().any(|incoming| incoming.readable)
    }

    /// What came of peers since the last call; to be asked behind [`Transport::receive`], so that the end of a peer's
    /// connection comes behind what was read from it.
    pub fn events(&mut self) -> Vec<LinkEvent> {
        std::mem::take(&mut self.events)
    }

    /// The system says that a socket is ready.
    pub fn ready(&mut self, event: &mio::event::Event) {
        let Token(token) = event.token();
        if let Some(incoming) = self.incoming.get_mut(&token) {
            incoming.ready(event);
            return;
        }
        let is_it = |peer: &Peer| peer.link.as_ref().is_some_and(|link| link.token == token);
        let Some((&server, peer)) = self.peers.iter_mut().find(|(_, peer)| is_it(peer)) else {
            return;
        };
        let Some(link) = &mut peer.link else { return };
        link.writable |= event.is_writable();
        if (event.is_readable() || event.is_error() || event.is_read_closed())
            && let Err(ended) = link.check()
        {
            peer.end(server, &ended, &self.registry);
            self.events.push(LinkEvent::Lost(server));
        }
    }

    /// Takes what a task hands over.
    pub fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Dialled {
                server,
                name,
                stream,
            } => self.dialled(server, name, stream),
            // What waits for a peer that is not there grows old; raft and the forwarder send anew.
            Arrival::NotReached(server) => {
                if let Some(peer) = self.peers.get_mut(&server) {
                    peer.forget();
                }
            }
            Arrival::Accepted { hello, stream } => self.accepted(hello, stream),
        }
    }

    /// From now on this node has another raft id: links are made anew.
    pub fn rename(&mut self, id: u64) {
        self.name.send_replace(id);
        for (&server, peer) in &mut self.peers {
            if peer.link.is_some() {
                peer.end(server, &Ended::Renamed, &self.registry);
                self.events.push(LinkEvent::Lost(server));
            }
        }
    }

    fn dialled(&mut self, server: u64, name: u64, stream: std::net::TcpStream) {
        let Some(peer) = self.peers.get_mut(&server) else {
            return;
        };
        let mut stream = mio::net::TcpStream::from_std(stream);
        self.next_token += 1;
        let token = self.next_token;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.registry.register(&mut stream, Token(token), interest);
        if name != *self.name.borrow() || registered.is_err() {
            if let Err(error) = registered {
                tracing::warn!(peer = server, %error, "a link could not be used");
            }
            peer.lost.notify_one();
            return;
        }
        peer.waiting = 0;
        peer.link = Some(Outgoing {
            stream,
            token,
            writable: true,
        });
        self.events.push(LinkEvent::Up(server));
    }

    fn accepted(&mut self, hello: Hello, stream: std::net::TcpStream) {
        let mut stream = mio::net::TcpStream::from_std(stream);
        self.next_token += 1;
        let token = self.next_token;
        if let Err(error) = self
            .registry
            .register(&mut stream, Token(token), Interest::READABLE)
        {
            // It is closed: the peer dials again.
            tracing::warn!(peer = hello.from, %error, "a node's connection could not be used");
            return;
        }
        self.current.insert(server_of(hello.from), token);
        self.incoming.insert(token, Incoming::new(stream, hello));
    }

    fn end_incoming(&mut self, token: usize, error: &Ended) {
        let Some(mut incoming) = self.incoming.remove(&token) else {
            return;
        };
        // It is closed with this; what fails here would have failed there.
        let _ = self.registry.deregister(&mut incoming.stream);
        let server = server_of(incoming.hello.from);
        tracing::debug!(peer = server, %error, "a node's connection ended");
        if self.current.get(&server) == Some(&token) {
            self.events.push(LinkEvent::Lost(server));
        }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Peer {
    fn end(&mut self, server: u64, error: &Ended, registry: &Registry) {
        if let Some(mut link) = self.link.take() {
            // It is closed with this; what fails here would have failed there.
            let _ = registry.deregister(&mut link.stream);
        }
        tracing::info!(peer = server, %error, "link lost");
        // Part of a frame may be gone already.
        self.forget();
        self.lost.notify_one();
    }

    fn forget(&mut self) {
        self.frames = Waiting::default();
        self.waiting = 0;
    }
}

fn prepare(stream: &tokio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // Without it a path that swallows packets would be noticed after minutes.
    rustix::net::sockopt::set_tcp_user_timeout(stream, SILENCE_MS)?;
    Ok(())
}
