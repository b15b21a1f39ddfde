//! What waits to be written to one client: answers and events, in the order in which they arose.

use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use zweig_proto::zk::ErrorCode;

use super::dispatch::Shape;
use crate::limits;
use crate::request::{Answer, Closed, EventSink, ReadReply, Response};
use crate::watch::Event;

/// One thing to write.
pub enum Item {
    /// A watch has fired.
    Event(Event),
    /// An answer.
    Reply {
        /// Of the request.
        xid: i32,
        /// Of the body.
        shape: Shape,
        /// What came of the request.
        answer: Answer,
        /// When the request came in.
        received: Instant,
        /// Its place among the connection's requests; given back once this has been written.
        _permit: OwnedSemaphorePermit,
    },
    /// A header alone, outside the order of requests: of a ping or of `auth`.
    Header {
        /// Of the request.
        xid: i32,
        /// The last transaction applied.
        zxid: i64,
        /// 0, or why it failed.
        err: ErrorCode,
    },
}

/// Why nothing more is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The server's side says so; what is in the outbox is written first.
    Server(Closed),
    /// The client does not read what it asked for.
    Overflow,
    /// An identity was not proved: the answer is written, then the connection closes.
    AuthFailed,
}

#[derive(Default)]
struct State {
    items: Vec<Item>,
    bytes: usize,
    end: Option<End>,
}

/// See the module.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    filled: Notify,
}

impl Item {
    /// About as many bytes as it will have on the wire.
    fn size_bytes(&self) -> usize {
        const HEADER_AND_STAT: usize = 20 + 68;
        let body = match self {
            Item::Event(event) => event.path.len(),
            Item::Header { .. } => 0,
            Item::Reply { answer, .. } => match &answer.result {
                Ok(Response::Read(reply)) => size_of_reply(reply),
                Ok(Response::Written(_)) | Err(_) => 256,
            },
        };
        HEADER_AND_STAT + body
    }
}

fn size_of_reply(reply: &ReadReply) -> usize {
    match reply {
        ReadReply::Data(data, _) => data.as_ref().map_or(0, |data| data.len()),
        ReadReply::Children(names, _) | ReadReply::Paths(names) => {
            names.iter().map(|name| name.len() + 4).sum()
        }
        ReadReply::Many(replies) => {
            let sizes = replies.iter().flatten().map(size_of_reply);
            sizes.sum::<usize>() + replies.len() * 80
        }
        ReadReply::Exists(_)
        | ReadReply::Acl(..)
        | ReadReply::Count(_)
        | ReadReply::Found(_)
        | ReadReply::Done => 64,
    }
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Adds an item; nothing enters after the end.
    pub fn push(&self, item: Item) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        state.bytes += item.size_bytes();
        if state.bytes > limits::OUTBOX_BYTES {
            state.items.clear();
            state.end = Some(End::Overflow);
        } else {
            state.items.push(item);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Nothing follows what is in the outbox.
    pub fn end(&self, why: End) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some(why);
        }
        drop(state);
        self.filled.notify_one();
    }

    /// Waits for something to write; swaps it with `items`, which must be empty. The end comes with
    /// the last items.
    pub async fn take(&self, items: &mut Vec<Item>) -> Option<End> {
        loop {
            let filled = self.filled.notified();
            {
                let mut state = self.state.lock();
                if !state.items.is_empty() || state.end.is_some() {
                    std::mem::swap(&mut state.items, items);
                    state.bytes = 0;
                    return state.end;
                }
            }
            filled.await;
        }
    }
}

impl EventSink for Outbox {
    fn event(&self, event: Event) {
        self.push(Item::Event(event));
    }

    fn closed(&self, why: Closed) {
        self.end(End::Server(why));
    }
}
