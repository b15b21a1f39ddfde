//! One watch stream: a subtree as of a zxid, then every change after it, without a gap.
//!
//! ```text
//!   from 0:  subtree as of Z ─▶ history after Z ─▶ live
//!   from Z:                     history after Z ─▶ live ─▶ fell behind / too old / out of touch
//! ```
//! The stream is one task that reads at its client's pace. What happens meanwhile is in the history,
//! and once it has caught up, in a bounded queue of changes: `apply` never waits for it. The last
//! piece of history and the subscription to what follows are taken in one step.
//!
//! Each zxid with a change in the subtree is closed by an end mark. While nothing changes there, a
//! mark is sent from time to time all the same, so that the client knows how fresh its picture is
//! and can resume from a zxid that is still kept. A mark for Z is sent only if every change up to Z
//! has been.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::watch_response::Response as Said;

use super::values;
use crate::clock::timeout;
use crate::mutants::{self, Mutant};
use crate::request::{ChangeSet, Closed, EventSink, FrontDoor};
use crate::state_machine::{Change, ChangeKind, SubtreeError, SubtreeNode};
use crate::storage::{HistoryError, Store};
use crate::tree::{AuthId, Transaction, Zxid, acl, path};
use crate::watch::Event;

/// Messages on their way to the transport.
const OUTGOING: usize = 16;

/// Znodes looked up at a time, under the publication lock.
const SUBTREE_CHUNK: usize = 256;

/// Data that one message of the subtree may carry; one znode may carry more.
const CHUNK_BYTES: usize = 256 << 10;

/// Transactions taken out of the history at a time.
const HISTORY_CHUNK: usize = 512;

/// How often the end mark moves on while nothing changes in the subtree.
const MARK_PERIOD: Duration = Duration::from_millis(200);

/// How long this node may take to reach a zxid that the client has seen elsewhere.
const CATCH_UP: Duration = Duration::from_secs(5);

type Responses = mpsc::Receiver<Result<proto::WatchResponse, Status>>;

/// Serves the stream in a task of its own, until the client leaves or this node stops.
///
/// # Errors
/// For a request that no node would serve.
pub(super) fn start(
    door: FrontDoor,
    request: proto::WatchRequest,
    shutdown: CancellationToken,
) -> Result<ReceiverStream<Result<proto::WatchResponse, Status>>, Status> {
    let (serving, responses) = serve(door, request, shutdown)?;
    tokio::spawn(serving);
    Ok(ReceiverStream::new(responses))
}

/// What serves the stream, and what it says.
///
/// # Errors
/// For a request that no node would serve.
pub fn serve(
    door: FrontDoor,
    request: proto::WatchRequest,
    shutdown: CancellationToken,
) -> Result<(impl Future<Output = ()> + Send + use<>, Responses), Status> {
    path::validate(&request.path).map_err(Status::invalid_argument)?;
    if request.from_zxid < 0 {
        return Err(Status::invalid_argument("from_zxid is negative"));
    }
    let auth = authenticated(&door, &request.auth)?;
    let (out, responses) = mpsc::channel(OUTGOING);
    let mut stream = WatchStream {
        door,
        root: request.path,
        recursive: request.recursive,
        auth,
        ended: Zxid(request.from_zxid),
        out: out.clone(),
    };
    let serving = async move {
        let end = tokio::select! {
            biased;
            end = stream.run() => end,
            () = out.closed() => End::ClientLeft,
            () = shutdown.cancelled() => End::Failed(Status::unavailable("this node is stopping")),
        };
        let last = match end {
            End::ClientLeft => return,
            End::TooOld(lowest) => Ok(Said::TooOld(proto::TooOld {
                lowest_zxid: lowest.0,
            })),
            End::FellBehind(last) => Ok(Said::FellBehind(proto::FellBehind { last_zxid: last.0 })),
            End::Failed(status) => Err(status),
        };
        // The client may be gone by now.
        let _ = out.send(last.map(message)).await;
    };
    Ok((serving, responses))
}

/// A stream's credentials are checked like a session's.
pub(super) fn authenticated(
    door: &FrontDoor,
    claims: &[proto::AuthId],
) -> Result<Arc<[AuthId]>, Status> {
    struct Deaf;
    impl EventSink for Deaf {
        fn event(&self, _: Event) {}
        fn closed(&self, _: Closed) {}
    }
    let connection = door.connect(Arc::new(Deaf));
    for claim in claims {
        connection
            .add_auth(&claim.scheme, claim.id.as_bytes())
            .map_err(|failed| Status::unauthenticated(failed.to_string()))?;
    }
    Ok(connection.auth())
}

fn message(said: Said) -> proto::WatchResponse {
    proto::WatchResponse {
        response: Some(said),
    }
}

/// Why a stream ends.
enum End {
    ClientLeft,
    TooOld(Zxid),
    FellBehind(Zxid),
    Failed(Status),
}

impl From<HistoryError> for End {
    fn from(failed: HistoryError) -> Self {
        match failed {
            HistoryError::TooOld { floor, .. } => Self::TooOld(floor),
            failed => Self::Failed(Status::internal(failed.to_string())),
        }
    }
}

impl From<SubtreeError> for End {
    fn from(failed: SubtreeError) -> Self {
        match failed {
            SubtreeError::History(failed) => failed.into(),
            failed @ SubtreeError::NotYet { .. } => {
                Self::Failed(Status::unavailable(failed.to_string()))
            }
        }
    }
}

struct WatchStream {
    door: FrontDoor,
    root: String,
    recursive: bool,
    auth: Arc<[AuthId]>,
    /// Every change up to here has been sent, and marked; 0: the subtree has not.
    ended: Zxid,
    out: mpsc::Sender<Result<proto::WatchResponse, Status>>,
}

impl WatchStream {
    async fn run(&mut self) -> End {
        let done = async {
            if self.ended == Zxid(0) {
                self.send_subtree().await?;
            } else {
                self.reach().await?;
            }
            let changes = self.send_history().await?;
            self.send_live(changes).await
        };
        match done.await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn send(&self, said: Said) -> Result<(), End> {
        self.in_touch()?;
        let sent = self.out.send(Ok(message(said))).await;
        sent.map_err(|_| End::ClientLeft)
    }

    fn in_touch(&self) -> Result<(), End> {
        if self.door.in_touch(self.door.clock().now()) {
            Ok(())
        } else {
            let why = "this node is out of touch with the leader";
            Err(End::Failed(Status::unavailable(why)))
        }
    }

    fn concerns(&self, changed: &str) -> bool {
        match self.recursive {
            true => path::is_within(changed, &self.root),
            false => changed == self.root,
        }
    }

    // ---- the subtree ----

    async fn send_subtree(&mut self) -> Result<(), End> {
        let at = self.door.read(|state| state.applied().zxid);
        let mut after: Option<String> = None;
        loop {
            let chunk = self.door.read(|state| {
                let after = after.as_deref();
                state.subtree_at(at, &self.root, &self.auth, after, SUBTREE_CHUNK)
            })?;
            let Some(last) = chunk.last() else { break };
            after = Some(last.path.to_string());
            let chunk = chunk.into_iter().filter(|node| self.concerns(&node.path));
            self.send_nodes(chunk.collect()).await?;
            if !self.recursive {
                break;
            }
        }
        self.send(Said::SubtreeEnd(at.0)).await?;
        self.ended = at;
        Ok(())
    }

    async fn send_nodes(&self, nodes: Vec<SubtreeNode>) -> Result<(), End> {
        let mut chunk = proto::SubtreeChunk::default();
        let mut size_bytes = 0;
        for SubtreeNode {
            path,
            node,
            readable,
        } in nodes
        {
            size_bytes += path.len() + if readable { node.data_length() } else { 0 };
            chunk.nodes.push(proto::WatchedNode {
                path: path.to_string(),
                data: if readable { node.data.clone() } else { None },
                stat: Some(values::stat(&node.stat())),
                readable,
            });
            if size_bytes >= CHUNK_BYTES {
                self.send(Said::Subtree(std::mem::take(&mut chunk))).await?;
                size_bytes = 0;
            }
        }
        if chunk.nodes.is_empty() {
            return Ok(());
        }
        self.send(Said::Subtree(chunk)).await
    }

    // ---- changes ----

    /// A client that comes from another node may be ahead of this one. If even an up-to-date
    /// ensemble is behind it, the state is another one than it saw.
    async fn reach(&self) -> Result<(), End> {
        let applied = || self.door.read(|state| state.applied().zxid);
        if applied() >= self.ended {
            return Ok(());
        }
        let clock = &**self.door.clock();
        match timeout(clock, CATCH_UP, self.door.linearizable()).await {
            Some(Ok(())) if applied() >= self.ended => Ok(()),
            Some(Ok(())) => Err(End::TooOld(applied().next())),
            _ => {
                let why = format!("this node has not reached zxid {} yet", self.ended.0);
                Err(End::Failed(Status::unavailable(why)))
            }
        }
    }

    /// Sends what has happened since; returns the subscription to what follows.
    async fn send_history(&mut self) -> Result<broadcast::Receiver<Arc<ChangeSet>>, End> {
        loop {
            let after = match mutants::is(Mutant::StreamSkips) {
                true => self.ended.next(),
                false => self.ended,
            };
            let (past, changes) = self
                .door
                .read_and_follow(|state| state.store().history(after, HISTORY_CHUNK));
            let past = past?;
            for transaction in &past {
                self.send_transaction(transaction).await?;
            }
            if past.len() < HISTORY_CHUNK {
                return Ok(changes);
            }
        }
    }

    async fn send_transaction(&mut self, transaction: &Transaction) -> Result<(), End> {
        let zxid = transaction.zxid;
        let changes: Vec<Change> = transaction
            .mutations
            .iter()
            .map(|mutation| Change::of(mutation, zxid, None))
            .collect();
        self.send_changes(zxid, &changes).await
    }

    async fn send_changes(&mut self, zxid: Zxid, changes: &[Change]) -> Result<(), End> {
        let mut any = false;
        for change in changes.iter().filter(|change| self.concerns(&change.path)) {
            any = true;
            self.send(Said::Change(self.change(change))).await?;
        }
        if any {
            self.send(Said::EndOfZxid(zxid.0)).await?;
        }
        self.ended = zxid;
        Ok(())
    }

    fn change(&self, change: &Change) -> proto::Change {
        use proto::change::Kind;
        let kind = match change.kind {
            ChangeKind::Created => Kind::Created,
            ChangeKind::Data => Kind::Data,
            ChangeKind::Deleted => Kind::Deleted,
            ChangeKind::Acl => Kind::Acl,
        };
        let readable = acl::allows(&change.node.acl, acl::READ, &self.auth);
        let there = change.kind != ChangeKind::Deleted;
        proto::Change {
            kind: kind.into(),
            zxid: change.zxid.0,
            node: Some(proto::WatchedNode {
                path: change.path.to_string(),
                data: change.node.data.clone().filter(|_| readable && there),
                stat: there.then(|| values::stat(&change.node.stat())),
                readable,
            }),
        }
    }

    async fn send_live(
        &mut self,
        mut changes: broadcast::Receiver<Arc<ChangeSet>>,
    ) -> Result<std::convert::Infallible, End> {
        let clock = Arc::clone(self.door.clock());
        // The first mark at once.
        let mut period = clock.sleep(Duration::ZERO);
        let mut marked = Zxid(0);
        loop {
            tokio::select! {
                biased;
                () = &mut period => {
                    period = clock.sleep(MARK_PERIOD);
                    self.in_touch()?;
                    // Under the publication lock: what is applied has been queued. A queue that is
                    // closed belongs to a state that is no more; what is applied now went by it.
                    let applied = self.door.read(|state| {
                        let up_to_date = changes.is_empty() && !changes.is_closed();
                        up_to_date.then(|| state.applied().zxid)
                    });
                    if let Some(applied) = applied.filter(|applied| *applied > marked) {
                        self.send(Said::EndOfZxid(applied.0)).await?;
                        self.ended = applied;
                        marked = applied;
                    }
                }
                change = changes.recv() => match change {
                    Ok(set) => self.send_changes(set.zxid, &set.changes).await?,
                    Err(RecvError::Lagged(_)) => return Err(End::FellBehind(self.ended)),
                    Err(RecvError::Closed) => {
                        let why = "this node's state was replaced";
                        return Err(End::Failed(Status::unavailable(why)));
                    }
                },
            }
        }
    }
}
