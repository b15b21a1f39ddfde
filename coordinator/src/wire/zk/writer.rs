//! Writes a client's outbox to its socket: from its own task, or from whoever has just filled it.
//!
//! One at a time, under a lock that is held for one write that does not wait. What the system does not take stays here,
//! and the task goes on with it; so it does with what is more than one write, so that nobody else is held up by one
//! client. Before each write it is asked whether this node may still answer its clients.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Buf, BytesMut};
use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;

use super::connection::{Client, Ended, WRITE_DEADLINE};
use super::encode;
use super::outbox::{End, Item};
use crate::clock;
use crate::request::Closed;
use crate::request::together::Deliver;

/// Above this a write is not gathered further.
const WRITE_BYTES: usize = 256 << 10;

/// A buffer that was larger than this is not kept.
const KEPT_BYTES: usize = 16 << 10;

/// See the module.
pub(super) struct Writer {
    client: Arc<Client>,
    stream: OwnedWriteHalf,
    writing: Mutex<Writing>,
}

/// What of the outbox is on its way.
#[derive(Default)]
struct Writing {
    /// In the reverse order, to be encoded.
    items: Vec<Item>,
    /// Encoded, to be written.
    bytes: BytesMut,
    /// There is no answer behind `bytes`: the connection ends with them.
    unanswerable: bool,
    /// Nothing follows.
    end: Option<End>,
    /// Nothing is written any more; why, until its task has heard.
    over: bool,
    ended: Option<Ended>,
}

/// How far a write came.
enum Wrote {
    /// There was nothing left to write; and whether nothing will follow.
    All(Option<End>),
    /// There may be more.
    Some,
    /// The system takes no more now.
    Blocked,
}

impl Writing {
    /// Writes once, as much as one write holds.
    fn write(&mut self, client: &Client, stream: &OwnedWriteHalf) -> Result<Wrote, Ended> {
        if self.over {
            return self.ended.take().map_or(Ok(Wrote::All(None)), Err);
        }
        let wrote = self.write_on(client, stream);
        self.over = wrote.is_err();
        wrote
    }

    fn write_on(&mut self, client: &Client, stream: &OwnedWriteHalf) -> Result<Wrote, Ended> {
        if self.bytes.is_empty() {
            if self.items.is_empty() {
                self.end = self.end.or(client.outbox.take(&mut self.items));
                self.items.reverse();
            }
            if self.items.is_empty() {
                return Ok(Wrote::All(self.end));
            }
            self.encode(client);
        }
        if !client.services.door.in_touch(clock::now()) {
            return Err(Ended::ByServer(End::Server(Closed::OutOfTouch)));
        }
        while !self.bytes.is_empty() {
            match stream.try_write(&self.bytes) {
                Ok(0) => return Err(io::Error::from(ErrorKind::WriteZero).into()),
                Ok(bytes) => self.bytes.advance(bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Wrote::Blocked),
                Err(error) => return Err(error.into()),
            }
        }
        if self.bytes.capacity() > KEPT_BYTES {
            self.bytes = BytesMut::new();
        }
        match self.unanswerable {
            true => Err(Ended::NoAnswer),
            false => Ok(Wrote::Some),
        }
    }

    /// Encodes items until they fill one write.
    fn encode(&mut self, client: &Client) {
        let now = clock::now();
        let mut packets = 0;
        while let Some(item) = self.items.pop() {
            if encode::put(&item, &mut self.bytes).is_err() {
                self.unanswerable = true;
                self.items.clear();
                break;
            }
            packets += 1;
            if let Item::Reply { asked, .. } = item {
                client.services.metrics.answered(asked, now);
            }
            if self.bytes.len() >= WRITE_BYTES {
                break;
            }
        }
        client.services.metrics.sent(packets);
        client.info.sent.fetch_add(packets, Ordering::Relaxed);
    }

    /// Whether there is something for the task to do, behind a write.
    fn is_left(&self) -> bool {
        !self.bytes.is_empty() || !self.items.is_empty() || self.end.is_some()
    }
}

impl Deliver for Writer {
    fn deliver(&self) {
        let left = match self.writing.try_lock() {
            // Somebody writes, and may have looked into the outbox before this was in it.
            None => true,
            // Its client is slow: not everybody who has something for it is to find out how slow.
            Some(writing) if writing.is_left() => true,
            Some(mut writing) => match writing.write(&self.client, &self.stream) {
                Ok(_) => writing.is_left(),
                Err(ended) => {
                    writing.ended = Some(ended);
                    true
                }
            },
        };
        if left {
            self.wake();
        }
    }

    fn wake(&self) {
        self.client.outbox.wake();
    }
}

impl Writer {
    /// Writes that client's outbox to that socket.
    pub fn new(client: Arc<Client>, stream: OwnedWriteHalf) -> Arc<Self> {
        let outbox = Arc::clone(&client.outbox);
        let writer = Arc::new(Self {
            client,
            stream,
            writing: Mutex::default(),
        });
        let deliver: Arc<dyn Deliver> = writer.clone();
        outbox.set_writer(Arc::downgrade(&deliver));
        writer
    }

    /// The client's task: writes what others leave to it, until the end.
    pub async fn run(self: Arc<Self>) -> Ended {
        loop {
            let wrote = self.writing.lock().write(&self.client, &self.stream);
            match wrote {
                Ok(Wrote::All(None)) => self.client.outbox.filled().await,
                Ok(Wrote::All(Some(end))) => {
                    // The client reads what was written before it sees the end; one that is gone sees neither.
                    let socket = socket2::SockRef::from(self.stream.as_ref());
                    let _ = socket.shutdown(std::net::Shutdown::Write);
                    return Ended::ByServer(end);
                }
                Ok(Wrote::Some) => tokio::task::consume_budget().await,
                Ok(Wrote::Blocked) => {
                    if let Err(ended) = self.until_it_takes_more().await {
                        return ended;
                    }
                }
                Err(ended) => return ended,
            }
        }
    }

    /// A slow client may take its time for all of it, but not to take nothing.
    async fn until_it_takes_more(&self) -> Result<(), Ended> {
        let writable = tokio::time::timeout(WRITE_DEADLINE, self.stream.writable()).await;
        Ok(writable.map_err(|_| Ended::WriteDeadline)??)
    }
}
