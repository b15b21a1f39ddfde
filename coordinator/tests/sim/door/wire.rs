//! Connections of one process: what `wire/zk` is on a node, without the bytes. Requests come in, answers and events
//! go out in the order in which they arose, while the node may answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use zweig_coordinator::clock::Clock as _;
use zweig_coordinator::request::{
    Answer, Closed, Connection, EventSink, OpenError, ReplyTo, Request,
};
use zweig_coordinator::session::{Password, SessionId};
use zweig_coordinator::state_machine::SessionGrant;
use zweig_coordinator::tree::Zxid;
use zweig_coordinator::watch::Event;

use super::Door;

/// One thing for a client.
#[derive(Clone, Debug)]
pub enum Item {
    Opened(Result<SessionGrant, OpenError>),
    /// Of the request of that number.
    Answer(u64, Answer),
    Event(Event),
    Pong(Zxid),
    /// Nothing follows.
    Closed(Closed),
}

/// Connections with something to send.
type Filled = Arc<Mutex<BTreeSet<u64>>>;

struct Outbox {
    line: u64,
    order_is_all: bool,
    items: Mutex<Vec<Item>>,
    filled: Filled,
}

impl Outbox {
    fn push(&self, item: Item) {
        let mut items = self.items.lock();
        if matches!(items.last(), Some(Item::Closed(_))) {
            return;
        }
        items.push(item);
        self.filled.lock().insert(self.line);
    }
}

impl EventSink for Outbox {
    fn event(&self, event: Event) {
        self.push(Item::Event(event));
    }

    fn closed(&self, why: Closed) {
        self.push(Item::Closed(why));
    }

    fn writes_in_order_or_not_at_all(&self) -> bool {
        self.order_is_all
    }
}

struct End {
    connection: Arc<Connection>,
    outbox: Arc<Outbox>,
    disconnect_timeout_ms: u32,
    opening: Option<u64>,
}

/// How a client begins.
#[derive(Clone, Debug)]
pub struct Opening {
    pub timeout_ms: u32,
    /// 0: none.
    pub disconnect_timeout_ms: u32,
    pub resume: Option<(SessionId, Password)>,
    pub seen: Zxid,
    /// `user:password` of `digest`.
    pub credentials: Option<String>,
    pub order_is_all: bool,
}

#[derive(Default)]
pub struct Wire {
    ends: BTreeMap<u64, End>,
    filled: Filled,
}

impl Door {
    /// A client connects and asks for a session.
    pub fn open(&mut self, line: u64, opening: &Opening) {
        let outbox = Arc::new(Outbox {
            line,
            order_is_all: opening.order_is_all,
            items: Mutex::default(),
            filled: Arc::clone(&self.wire.filled),
        });
        let connection = Arc::new(self.front.connect(outbox.clone()));
        if let Some(credentials) = &opening.credentials {
            let added = connection.add_auth("digest", credentials.as_bytes());
            added.unwrap();
        }
        let (opened_by, told) = (Arc::clone(&connection), Arc::clone(&outbox));
        let Opening {
            timeout_ms,
            disconnect_timeout_ms,
            resume,
            seen,
            ..
        } = *opening;
        let opening = self.tasks.spawn(async move {
            let opened = opened_by.open(timeout_ms, resume, seen).await;
            told.push(Item::Opened(opened));
        });
        let end = End {
            connection,
            outbox,
            disconnect_timeout_ms,
            opening: Some(opening),
        };
        self.wire.ends.insert(line, end);
    }

    /// Requests of a client arrive together.
    pub fn ask(&mut self, line: u64, requests: Vec<(u64, Request)>) {
        let Some(end) = self.wire.ends.get(&line) else {
            return;
        };
        let outbox = &end.outbox;
        let requests = requests.into_iter().map(|(number, request)| {
            let outbox = Arc::clone(outbox);
            let reply: ReplyTo = Box::new(move |answer| outbox.push(Item::Answer(number, answer)));
            (request, reply)
        });
        end.connection.send(requests.collect::<Vec<_>>());
    }

    pub fn ping(&mut self, line: u64) {
        if let Some(end) = self.wire.ends.get(&line) {
            end.connection
                .ping(|zxid| end.outbox.push(Item::Pong(zxid)));
        }
    }

    /// Whether the node holds a session by this connection: it may have closed it, and its client not know that yet.
    pub fn holds(&self, line: u64) -> bool {
        let end = self.wire.ends.get(&line);
        end.is_some_and(|end| end.connection.session().is_some())
    }

    /// The client has ended the connection. What it asked for in that case, if it held a session here.
    pub fn leave(&mut self, line: u64) -> Option<u32> {
        let end = self.hang_up(line)?;
        let held = end.connection.session().is_some();
        end.connection.left(end.disconnect_timeout_ms);
        Some(end.disconnect_timeout_ms).filter(|&ms| held && ms > 0)
    }

    /// The connection is gone.
    fn hang_up(&mut self, line: u64) -> Option<End> {
        let end = self.wire.ends.remove(&line)?;
        if let Some(task) = end.opening {
            self.tasks.stop(task);
        }
        Some(end)
    }

    /// What leaves now, by connection.
    pub fn take_filled(&mut self) -> Vec<(u64, Vec<Item>)> {
        let filled = std::mem::take(&mut *self.wire.filled.lock());
        let mut leaving = Vec::new();
        for line in filled {
            let Some(end) = self.wire.ends.get(&line) else {
                continue;
            };
            let mut items = std::mem::take(&mut *end.outbox.items.lock());
            let in_touch = self.front.in_touch(self.time.now());
            let handshake = matches!(items.first(), Some(Item::Opened(_)));
            if !in_touch && !handshake {
                items = vec![Item::Closed(Closed::OutOfTouch)];
            }
            let last = items
                .iter()
                .position(|item| matches!(item, Item::Closed(_) | Item::Opened(Err(_))));
            if let Some(last) = last {
                items.truncate(last + 1);
                self.hang_up(line);
            }
            leaving.push((line, items));
        }
        leaving
    }
}
