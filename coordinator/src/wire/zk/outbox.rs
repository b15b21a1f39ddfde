//! What waits to be written to one client: answers and events, in the order in which they arose.

use std::sync::{Arc, OnceLock, Weak};

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, OwnedSemaphorePermit};
use zweig_proto::zk::ErrorCode;
use zweig_proto::zk::op::ClientInfo;

use super::dispatch::Shape;
use crate::limits;
use crate::metrics::Asked;
use crate::request::together::{Deliver, deliver_later};
use crate::request::{Answer, Closed, EventSink, Response};
use crate::state_machine::{OpError, Reply};
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
        /// The request, for those who count.
        asked: Asked,
        /// Its place among the connection's requests; given back once this is on its way.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum End {
    /// The server's side says so; what is in the outbox is written first.
    #[error("{0}")]
    Server(Closed),
    /// The client does not read what it asked for.
    #[error("the client does not read what it asked for")]
    Overflow,
    /// An identity was not proved: the answer is written, then the connection closes.
    #[error("an identity was not proved")]
    AuthFailed,
    /// The operation has no name here: the answer is written, then the connection closes.
    #[error("an operation is not known")]
    NotUnderstood,
}

#[derive(Default)]
struct State {
    items: Vec<Item>,
    bytes: usize,
    end: Option<End>,
    /// Somebody is going to deliver what is in it.
    awaited: bool,
}

/// See the module.
#[derive(Default)]
pub struct Outbox {
    state: Mutex<State>,
    filled: Notify,
    writer: OnceLock<Weak<dyn Deliver>>,
}

impl Item {
    /// About as many bytes as it will have on the wire.
    fn size_bytes(&self) -> usize {
        const HEADER: usize = 20;
        let body = match self {
            Item::Event(event) => 12 + event.path.len(),
            Item::Header { .. } => 0,
            Item::Reply { shape, answer, .. } => {
                size_of_shape(shape)
                    + match &answer.result {
                        Ok(Response::Read(reply)) => reply.size_bytes(),
                        Ok(Response::Written(reply)) => size_of_written(reply),
                        Err(_) => 0,
                    }
            }
        };
        HEADER + body
    }
}

/// What the form of an answer itself keeps of the request.
fn size_of_shape(shape: &Shape) -> usize {
    match shape {
        Shape::Echo(path) => path.len(),
        Shape::Multi(ops) => ops.len(),
        Shape::FailedMulti(errors) => errors.len() * 13,
        Shape::WhoAmI(clients) => {
            let size = |client: &ClientInfo| 8 + client.scheme.len() + client.user.len();
            clients.iter().map(size).sum()
        }
        _ => 0,
    }
}

fn size_of_written(reply: &Reply) -> usize {
    const STAT: usize = 68;
    const RESULT: usize = 13;
    let results = |results: &Vec<Result<Reply, OpError>>| -> usize {
        let size = |result: &Result<Reply, OpError>| result.as_ref().map_or(4, size_of_written);
        results.iter().map(|result| RESULT + size(result)).sum()
    };
    match reply {
        Reply::Done => 0,
        Reply::Path(path) => 4 + path.len(),
        Reply::Created { path, .. } => 4 + path.len() + STAT,
        Reply::Stat(_) | Reply::Session(_) => STAT,
        Reply::Multi(list) => results(list),
        Reply::FencedBatch(groups) => groups.iter().map(results).sum(),
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
        self.announce(state);
    }

    /// Who delivers what is in it; until that is known, it waits.
    pub fn set_writer(&self, writer: Weak<dyn Deliver>) {
        // It is set once, by the connection that made this.
        let _ = self.writer.set(writer);
    }

    /// Sees to it that what is new is delivered.
    fn announce(&self, mut state: MutexGuard<'_, State>) {
        if state.awaited {
            return;
        }
        state.awaited = deliver_later(|| self.writer.get()?.upgrade());
        let awaited = state.awaited;
        drop(state);
        if !awaited {
            self.filled.notify_one();
        }
    }

    /// Leaves what is in it to the client's task.
    pub fn wake(&self) {
        self.filled.notify_one();
    }

    /// Nothing follows what is in the outbox.
    pub fn end(&self, why: End) {
        let mut state = self.state.lock();
        if state.end.is_none() {
            state.end = Some(why);
        }
        self.announce(state);
    }

    /// Swaps what is to be written with `items`, which must be empty. The end comes with the last items.
    pub fn take(&self, items: &mut Vec<Item>) -> Option<End> {
        let mut state = self.state.lock();
        std::mem::swap(&mut state.items, items);
        state.bytes = 0;
        state.awaited = false;
        state.end
    }

    /// Waits until there may be something to take that nobody else delivers.
    pub async fn filled(&self) {
        self.filled.notified().await;
    }
}

impl EventSink for Outbox {
    fn event(&self, event: Event) {
        self.push(Item::Event(event));
    }

    fn closed(&self, why: Closed) {
        self.end(End::Server(why));
    }

    fn writes_in_order_or_not_at_all(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};
    use tokio::sync::Semaphore;

    use super::super::encode;
    use super::*;
    use crate::metrics::Metrics;
    use crate::request::{ReadReply, Request};
    use crate::state_machine::Op;
    use crate::tree::{Acl, AuthId, Stat, Zxid};

    fn reply(shape: Shape, response: Response) -> Item {
        let room = Arc::new(Semaphore::new(1));
        Item::Reply {
            xid: 1,
            shape,
            answer: Answer {
                zxid: Zxid(1),
                result: Ok(response),
            },
            asked: Metrics::default().asked(&Request::Write(Op::Sync)),
            _permit: room.try_acquire_owned().expect("room"),
        }
    }

    /// Whatever a client makes us hold must count, or the bound bounds nothing.
    #[test]
    fn every_answer_counts_about_as_many_bytes_as_it_has() {
        let long = "n".repeat(10_000);
        let entry = Acl {
            permissions: 1,
            id: AuthId {
                scheme: "digest".to_owned(),
                id: long.clone(),
            },
        };
        let stat = Stat::default();
        let data = || ReadReply::Data(Some(Bytes::from(vec![7; 10_000])), stat);
        let children = || ReadReply::Children(vec![long.clone(); 3], stat);
        let multi = vec![Ok(Reply::Path(long.clone())), Ok(Reply::Stat(stat))];
        let ops = vec![
            zweig_proto::zk::OpCode::Create,
            zweig_proto::zk::OpCode::SetData,
        ];
        let user = ClientInfo {
            scheme: "digest".to_owned(),
            user: long.clone(),
        };
        let read = |shape, read| reply(shape, Response::Read(read));
        let written = |shape, done| reply(shape, Response::Written(done));
        let items = [
            read(Shape::Data, data()),
            read(Shape::Children, children()),
            read(Shape::ChildrenAndStat, children()),
            read(Shape::Acl, ReadReply::Acl(vec![entry; 50], stat)),
            read(Shape::Paths, ReadReply::Paths(vec![long.clone(); 3])),
            read(
                Shape::MultiRead,
                ReadReply::Many(vec![Ok(data()), Ok(children())]),
            ),
            read(Shape::WhoAmI(vec![user]), ReadReply::Done),
            written(Shape::Path, Reply::Path(long.clone())),
            written(
                Shape::PathAndStat,
                Reply::Created {
                    path: long.clone(),
                    stat,
                },
            ),
            written(Shape::Echo(long.clone()), Reply::Done),
            written(Shape::Multi(ops), Reply::Multi(multi)),
        ];
        for item in &items {
            let mut out = BytesMut::new();
            encode::put(item, &mut out).expect("an answer");
            let (counted, written) = (item.size_bytes(), out.len());
            assert!(
                counted.abs_diff(written) < 200 && written > 9_000,
                "{written} bytes are counted as {counted}"
            );
        }
    }
}
