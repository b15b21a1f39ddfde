//! The network: connections between named hosts, each direction a queue of chunks with a time of arrival.
//!
//! As over TCP, a connection loses nothing, doubles nothing and keeps its order: what is lost on a cut link arrives
//! late, or the connection breaks. Two connections between the same hosts overtake each other freely. A cut is of
//! one direction; a slow link delays each chunk. A host whose process was killed resets its connections; one
//! that lost power is silent until it is back.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use zweig_broker::sim::{Accept, Stream};

use crate::trace::Trace;

/// Bytes on their way in one direction before the writer waits.
const WINDOW: usize = 256 << 10;

/// A connection attempt over a cut link gives up after this.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A host: a broker's number, or a client's from 100 on.
pub type Host = usize;

/// All connections.
#[derive(Clone)]
pub struct Net {
    inner: Arc<Mutex<Inner>>,
    trace: Trace,
}

/// What a listener is handed: its end of a new connection, and who is at the other.
type Arriving = (Box<dyn Stream>, SocketAddr);

struct Inner {
    chance: StdRng,
    cut: BTreeSet<(Host, Host)>,
    slow: BTreeMap<(Host, Host), u64>,
    silent: BTreeSet<Host>,
    listeners: BTreeMap<Host, mpsc::UnboundedSender<Arriving>>,
    pipes: Vec<std::sync::Weak<Mutex<Pipe>>>,
    next: u64,
    delivered: u64,
    broken: u64,
}

#[derive(Default)]
struct Pipe {
    id: u64,
    from: Host,
    to: Host,
    chunks: VecDeque<(Instant, Vec<u8>)>,
    offset: usize,
    size: usize,
    last: Option<Instant>,
    /// The writer is gone: the end follows what is on its way, at this time.
    ended: Option<Instant>,
    /// The reader is gone, or the connection broke.
    broken: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}

impl Net {
    /// Without any host.
    pub fn new(seed: u64, trace: Trace) -> Net {
        let inner = Inner {
            chance: StdRng::seed_from_u64(seed ^ 0x6e65_7477),
            cut: BTreeSet::new(),
            slow: BTreeMap::new(),
            silent: BTreeSet::new(),
            listeners: BTreeMap::new(),
            pipes: Vec::new(),
            next: 0,
            delivered: 0,
            broken: 0,
        };
        Net {
            inner: Arc::new(Mutex::new(inner)),
            trace,
        }
    }

    /// Nothing passes from one host to another until it is healed.
    pub fn cut(&self, from: Host, to: Host) {
        self.inner.lock().cut.insert((from, to));
    }

    /// Every chunk takes so much longer.
    pub fn slow(&self, from: Host, to: Host, ms: u64) {
        self.inner.lock().slow.insert((from, to), ms);
    }

    /// Everything passes quickly again from one host to another.
    pub fn heal(&self, from: Host, to: Host) {
        let mut inner = self.inner.lock();
        inner.slow.remove(&(from, to));
        if inner.cut.remove(&(from, to)) {
            let pipes = inner.living();
            drop(inner);
            for pipe in pipes {
                let mut pipe = pipe.lock();
                if (pipe.from, pipe.to) == (from, to) {
                    pipe.wake();
                }
            }
        }
    }

    /// Heals all links.
    pub fn heal_all(&self) {
        let (cut, slow) = {
            let inner = self.inner.lock();
            (inner.cut.clone(), inner.slow.clone())
        };
        for (from, to) in cut.into_iter().chain(slow.into_keys()) {
            self.heal(from, to);
        }
    }

    /// Breaks every connection of which `which` says so.
    pub fn reset(&self, which: impl Fn(Host, Host) -> bool) {
        let pipes = self.inner.lock().living();
        for pipe in pipes {
            let mut pipe = pipe.lock();
            if which(pipe.from, pipe.to) && !pipe.broken {
                pipe.broken = true;
                pipe.wake();
                self.inner.lock().broken += 1;
            }
        }
    }

    /// Connections of this host that end from now on say nothing to their peers: its power is gone. Once it is back,
    /// it resets them.
    pub fn silence(&self, host: Host, silent: bool) {
        if silent {
            self.inner.lock().silent.insert(host);
        } else if self.inner.lock().silent.remove(&host) {
            self.reset(|from, to| from == host || to == host);
        }
    }

    /// Chunks that arrived, and connections that broke.
    pub fn counts(&self) -> (u64, u64) {
        let inner = self.inner.lock();
        (inner.delivered, inner.broken)
    }

    /// Listens on a host, instead of whoever did before.
    pub fn listen(&self, host: Host) -> Box<dyn Accept> {
        let (sender, accepted) = mpsc::unbounded_channel();
        self.inner.lock().listeners.insert(host, sender);
        Box::new(Listener {
            host,
            accepted: tokio::sync::Mutex::new(accepted),
        })
    }

    /// Nobody listens there any more.
    pub fn close(&self, host: Host) {
        self.inner.lock().listeners.remove(&host);
    }

    /// Connects two hosts.
    pub async fn connect(&self, from: Host, to: Host) -> io::Result<Box<dyn Stream>> {
        let delay = self.delay(from, to) + self.delay(to, from);
        sleep(delay).await;
        let reachable = {
            let inner = self.inner.lock();
            !inner.cut.contains(&(from, to)) && !inner.cut.contains(&(to, from))
        };
        if !reachable {
            sleep(CONNECT_LIMIT).await;
            return Err(io::ErrorKind::TimedOut.into());
        }
        let mut inner = self.inner.lock();
        let Some(listener) = inner.listeners.get(&to).cloned() else {
            return Err(io::ErrorKind::ConnectionRefused.into());
        };
        let there = inner.pipe(from, to);
        let back = inner.pipe(to, from);
        drop(inner);
        let near = End::new(self.clone(), back.clone(), there.clone());
        let far = End::new(self.clone(), there, back);
        let last = u8::try_from(from % 250).unwrap_or(0);
        let address = SocketAddr::from(([10, 0, 0, last], 40_000));
        match listener.send((Box::new(far), address)) {
            Ok(()) => Ok(Box::new(near)),
            Err(_) => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    fn delay(&self, from: Host, to: Host) -> Duration {
        let mut inner = self.inner.lock();
        let slow = inner.slow.get(&(from, to)).copied().unwrap_or(0);
        let ms = match inner.chance.random_range(0..100) {
            0..80 => 1,
            80..95 => inner.chance.random_range(1..5),
            95..99 => inner.chance.random_range(5..20),
            _ => inner.chance.random_range(20..150),
        };
        Duration::from_millis(ms + slow)
    }
}

impl Inner {
    fn living(&mut self) -> Vec<Arc<Mutex<Pipe>>> {
        self.pipes.retain(|pipe| pipe.strong_count() > 0);
        self.pipes
            .iter()
            .filter_map(std::sync::Weak::upgrade)
            .collect()
    }

    fn pipe(&mut self, from: Host, to: Host) -> Arc<Mutex<Pipe>> {
        self.next += 1;
        let pipe = Pipe {
            id: self.next,
            from,
            to,
            ..Pipe::default()
        };
        let pipe = Arc::new(Mutex::new(pipe));
        if self.pipes.len() == self.pipes.capacity() {
            self.pipes.retain(|pipe| pipe.strong_count() > 0);
        }
        self.pipes.push(Arc::downgrade(&pipe));
        pipe
    }
}

struct Listener {
    host: Host,
    accepted: tokio::sync::Mutex<mpsc::UnboundedReceiver<Arriving>>,
}

impl Accept for Listener {
    fn accept(&self) -> BoxFuture<'_, io::Result<(Box<dyn Stream>, SocketAddr)>> {
        async {
            let mut accepted = self.accepted.lock().await;
            match accepted.recv().await {
                Some(next) => Ok(next),
                // Replaced by another listener.
                None => std::future::pending().await,
            }
        }
        .boxed()
    }

    fn local_addr(&self) -> SocketAddr {
        let last = u8::try_from(self.host % 250).unwrap_or(0);
        SocketAddr::from(([10, 0, 0, last], 9092))
    }
}

/// One end of a connection.
struct End {
    net: Net,
    read: Arc<Mutex<Pipe>>,
    write: Arc<Mutex<Pipe>>,
    timer: Pin<Box<Sleep>>,
}

impl End {
    fn new(net: Net, read: Arc<Mutex<Pipe>>, write: Arc<Mutex<Pipe>>) -> End {
        End {
            net,
            read,
            write,
            timer: Box::pin(sleep_until(Instant::now())),
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let (from, to) = {
            let write = self.write.lock();
            (write.from, write.to)
        };
        if self.net.inner.lock().silent.contains(&from) {
            return;
        }
        let delay = self.net.delay(from, to);
        let mut write = self.write.lock();
        let at = write.last.unwrap_or_else(Instant::now).max(Instant::now()) + delay;
        write.ended.get_or_insert(at);
        write.wake();
        drop(write);
        let mut read = self.read.lock();
        read.broken = true;
        read.wake();
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut pipe = this.read.lock();
        loop {
            if pipe.broken {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            let due = match (pipe.chunks.front(), pipe.ended) {
                (Some((at, _)), _) => *at,
                (None, Some(at)) => at,
                (None, None) => {
                    pipe.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            };
            if due > Instant::now() {
                this.timer.as_mut().reset(due);
                if this.timer.as_mut().poll(cx).is_pending() {
                    pipe.reader = Some(cx.waker().clone());
                    return Poll::Pending;
                }
            }
            let mut net = this.net.inner.lock();
            if net.cut.contains(&(pipe.from, pipe.to)) {
                pipe.reader = Some(cx.waker().clone());
                return Poll::Pending;
            }
            if pipe.chunks.is_empty() {
                return Poll::Ready(Ok(()));
            }
            net.delivered += 1;
            drop(net);
            let offset = pipe.offset;
            let Some((_, chunk)) = pipe.chunks.front() else {
                continue;
            };
            let rest = &chunk[offset..];
            let taken = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..taken]);
            this.net
                .trace
                .bytes("net", &[pipe.id, taken as u64], &rest[..taken]);
            pipe.offset += taken;
            pipe.size -= taken;
            if pipe.offset == pipe.chunks.front().map_or(0, |(_, chunk)| chunk.len()) {
                pipe.offset = 0;
                pipe.chunks.pop_front();
            }
            pipe.writer.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(()));
        }
    }
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let (from, to) = {
            let mut pipe = this.write.lock();
            if pipe.broken {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if pipe.size >= WINDOW {
                pipe.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            (pipe.from, pipe.to)
        };
        let delay = this.net.delay(from, to);
        let mut pipe = this.write.lock();
        let now = Instant::now();
        let at = (now + delay).max(pipe.last.unwrap_or(now));
        pipe.last = Some(at);
        let taken = bytes.len().min(WINDOW);
        pipe.chunks.push_back((at, bytes[..taken].to_vec()));
        pipe.size += taken;
        pipe.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(Ok(taken))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut pipe = this.write.lock();
        let at = pipe.last.unwrap_or_else(Instant::now).max(Instant::now());
        pipe.ended.get_or_insert(at);
        pipe.wake();
        Poll::Ready(Ok(()))
    }
}
