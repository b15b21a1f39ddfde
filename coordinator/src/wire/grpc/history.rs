//! What happened to a znode, or to all below it, out of the history of changes: who did it, when, why, and what was there
//! before and after.
//!
//! One pass from the oldest transaction that is kept, or a later one, to the newest that was applied when the request came in.
//! Images are shown only where their own access list lets the caller read them; that something changed is told to everyone, as
//! in watch streams.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::history_response::Response as Said;

use super::values;
use super::watch::authenticated;
use crate::request::FrontDoor;
use crate::storage::{HistoryError, Store};
use crate::tree::{AuthId, Cause, Mutation, Node, Transaction, Zxid, acl, path};

/// Messages on their way to the transport.
const OUTGOING: usize = 16;

/// Transactions taken out of the history at a time, under the publication lock, at most.
const CHUNK: usize = 512;

/// And so many at first, before it is known how large they are.
const FIRST: usize = 16;

/// What these are to hold, in bytes: nothing is applied while they are read, and nobody else is served by this thread until they
/// are looked through.
const BYTES: usize = 512 << 10;

/// How many to take next, if they are like these.
fn next_chunk(transactions: &[Arc<Transaction>]) -> usize {
    let bytes: usize = transactions.iter().map(|one| one.size_bytes()).sum();
    (transactions.len() * BYTES / bytes.max(1)).clamp(1, CHUNK)
}

type Responses = ReceiverStream<Result<proto::HistoryResponse, Status>>;

/// Serves the request in a task of its own, until all is said or the client leaves.
///
/// # Errors
/// For a request that no node would serve.
pub(super) fn start(door: FrontDoor, request: proto::HistoryRequest) -> Result<Responses, Status> {
    path::validate(&request.path).map_err(Status::invalid_argument)?;
    if request.after_zxid < 0 || request.up_to_zxid < 0 {
        return Err(Status::invalid_argument("a zxid is negative"));
    }
    let auth = authenticated(&door, &request.auth)?;
    let (out, responses) = mpsc::channel(OUTGOING);
    let past = Past {
        door,
        root: request.path,
        recursive: request.recursive,
        auth,
        out,
    };
    let (after, up_to) = (Zxid(request.after_zxid), Zxid(request.up_to_zxid));
    tokio::spawn(past.tell(after, up_to));
    Ok(ReceiverStream::new(responses))
}

struct Past {
    door: FrontDoor,
    root: String,
    recursive: bool,
    auth: Arc<[AuthId]>,
    out: mpsc::Sender<Result<proto::HistoryResponse, Status>>,
}

/// Nothing more is to be said: an error was, or the client has left.
struct Over;

impl Past {
    async fn tell(self, after: Zxid, up_to: Zxid) {
        // Whoever left needs no answer.
        let _ = self.tell_all(after, up_to).await;
    }

    async fn tell_all(&self, after: Zxid, up_to: Zxid) -> Result<(), Over> {
        let applied = self.door.read(|state| state.applied().zxid);
        let up_to = match up_to {
            Zxid(0) => applied,
            up_to => up_to.min(applied),
        };
        let mut size = FIRST;
        let (mut after, mut chunk) = self.begin(after).await?;
        self.say(Said::BeginsAfter(after.0)).await?;
        loop {
            for transaction in &chunk {
                if transaction.zxid > up_to {
                    return self.say(Said::UpTo(up_to.0)).await;
                }
                self.transaction(transaction).await?;
                after = transaction.zxid;
            }
            if chunk.len() < size {
                return self.say(Said::UpTo(up_to.0)).await;
            }
            // What concerns nobody is passed over without a pause: others are to be served between two chunks.
            tokio::task::yield_now().await;
            size = next_chunk(&chunk);
            chunk = match self.chunk(after, size) {
                Ok(chunk) => chunk,
                Err(failed) => return Err(self.fail(&failed).await),
            };
        }
    }

    /// From where on everything is kept, at or behind `after`, and what comes first.
    async fn begin(&self, after: Zxid) -> Result<(Zxid, Vec<Arc<Transaction>>), Over> {
        let mut from = after;
        loop {
            match self.chunk(from, FIRST) {
                Ok(chunk) => return Ok((from, chunk)),
                // It moves on meanwhile, but only forwards.
                Err(HistoryError::TooOld { floor, .. }) if floor > from => from = floor,
                Err(failed) => return Err(self.fail(&failed).await),
            }
        }
    }

    fn chunk(&self, after: Zxid, size: usize) -> Result<Vec<Arc<Transaction>>, HistoryError> {
        self.door.read(|state| state.store().history(after, size))
    }

    async fn transaction(&self, transaction: &Transaction) -> Result<(), Over> {
        for mutation in &transaction.mutations {
            let changed = mutation.path();
            let concerns = match self.recursive {
                true => path::is_within(changed, &self.root),
                false => **changed == *self.root,
            };
            if concerns {
                let change = self.change(transaction, mutation);
                self.say(Said::Change(change)).await?;
            }
        }
        Ok(())
    }

    fn change(&self, transaction: &Transaction, mutation: &Mutation) -> proto::PastChange {
        use proto::change::Kind;
        let image = |node: &Arc<Node>| self.image(mutation.path(), node);
        let (kind, before, after) = match mutation {
            Mutation::Created { node, .. } => (Kind::Created, None, Some(image(node))),
            Mutation::Data { before, after, .. } => {
                (Kind::Data, Some(image(before)), Some(image(after)))
            }
            Mutation::Acl { before, after, .. } => {
                (Kind::Acl, Some(image(before)), Some(image(after)))
            }
            Mutation::Deleted { node, .. } => (Kind::Deleted, Some(image(node)), None),
        };
        let cause = match transaction.cause {
            Cause::Asked => proto::past_change::Cause::Asked,
            Cause::SessionClosed => proto::past_change::Cause::SessionClosed,
            Cause::SessionExpired => proto::past_change::Cause::SessionExpired,
        };
        proto::PastChange {
            kind: kind.into(),
            zxid: transaction.zxid.0,
            time_ms: transaction.time_ms,
            session: transaction.session.0,
            cause: cause.into(),
            path: mutation.path().to_string(),
            before,
            after,
        }
    }

    fn image(&self, path: &str, node: &Node) -> proto::WatchedNode {
        let readable = acl::allows(&node.acl, acl::READ, &self.auth);
        proto::WatchedNode {
            path: path.to_owned(),
            data: node.data.clone().filter(|_| readable),
            stat: Some(values::stat(&node.stat())),
            readable,
        }
    }

    async fn say(&self, said: Said) -> Result<(), Over> {
        let in_touch = self.door.in_touch(self.door.clock().now());
        if !in_touch {
            let why = Status::unavailable("this node is out of touch with the leader");
            // The client may have left.
            let _ = self.out.send(Err(why)).await;
            return Err(Over);
        }
        let response = proto::HistoryResponse {
            response: Some(said),
        };
        self.out.send(Ok(response)).await.map_err(|_| Over)
    }

    async fn fail(&self, failed: &HistoryError) -> Over {
        let status = match failed {
            HistoryError::TooOld { .. } => {
                Status::aborted("the history was cut meanwhile: ask again")
            }
            failed => Status::internal(failed.to_string()),
        };
        // The client may have left.
        let _ = self.out.send(Err(status)).await;
        Over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::SessionId;
    use crate::tree::Acl;

    #[test]
    fn the_larger_transactions_are_the_fewer_are_read_at_a_time() {
        let of = |znodes: usize, data: usize| {
            let data = Some(vec![0; data].into());
            let node = Node::new(data, Acl::open(), SessionId::NONE, Zxid(1), 0);
            let (node, parent_before) = (Arc::new(node.clone()), node.children);
            let created = |at: usize| Mutation::Created {
                path: format!("/z{at}").into(),
                node: Arc::clone(&node),
                parent_before,
            };
            Arc::new(Transaction {
                zxid: Zxid(1),
                time_ms: 0,
                session: SessionId(1),
                cause: Cause::Asked,
                mutations: (0..znodes).map(created).collect(),
            })
        };
        assert_eq!(next_chunk(&vec![of(1, 10); 16]), CHUNK);
        let some = next_chunk(&vec![of(100, 10); 16]);
        assert!((10..100).contains(&some), "{some}");
        assert_eq!(next_chunk(&[of(2, 1 << 20)]), 1);
        assert_eq!(next_chunk(&[]), 1);
    }
}
