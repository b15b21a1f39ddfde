//! Following a subtree without gap or repetition, from whichever node is there.
//!
//! A task reads the stream of one node. It holds the changes of a zxid back until their end mark
//! has come and hands them on together, so that a broken stream can resume after the last mark on
//! any node and nothing is seen twice. When the zxid to resume from is no longer kept, the state is
//! sent anew, announced by [`WatchItem::Reset`].
//!
//! Watch streams have a connection of their own. A reader that does not keep up makes the node end
//! the stream (`FellBehind`); the task then resumes like after any other break.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Code, Streaming};
use zweig_proto::grpc as proto;
use zweig_proto::grpc::watch_response::Response;

use super::chroot::Chroot;
use super::connection::{client, said};
use super::error::Error;
use super::node::Stat;
use super::options::Options;
use super::retry::{Backoff, Ring, generator};
use super::wire;

/// Items read ahead of the reader.
const QUEUE: usize = 256;

/// How long a node may be silent before another one is asked: HTTP/2 pings are answered by any
/// process that runs.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// What became of a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was created.
    Created,
    /// Its data was set.
    Data,
    /// It was deleted.
    Deleted,
    /// Its access list was set.
    Acl,
}

/// One item of a watch stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchItem {
    /// The subtree follows afresh: forget what you had.
    Reset,
    /// A znode of the subtree as it stands.
    Node {
        /// Its path.
        path: String,
        /// Its data; `None` also where the access list hides it.
        data: Option<Bytes>,
        /// Its stat.
        stat: Stat,
        /// Whether the access list lets this client read the data.
        readable: bool,
    },
    /// The subtree is complete, as of this zxid. Changes follow.
    SubtreeEnd {
        /// The zxid.
        zxid: i64,
    },
    /// One change; its zxid is complete only at the [`WatchItem::End`] that follows.
    Change {
        /// What became of it.
        kind: ChangeKind,
        /// The znode's path.
        path: String,
        /// Its data after the change; `None` also where the access list hides it.
        data: Option<Bytes>,
        /// Its stat after the change; `None` if it was deleted.
        stat: Option<Stat>,
        /// Whether the access list lets this client read the data.
        readable: bool,
        /// The transaction.
        zxid: i64,
    },
    /// Every change up to this zxid has been handed out. Also comes without any change, to tell
    /// how fresh the picture is.
    End {
        /// The zxid.
        zxid: i64,
    },
}

/// A subtree being followed. It ends (`None`) only if the servers refuse to serve it at all; the
/// log then says why.
#[derive(Debug)]
pub struct WatchStream {
    items: mpsc::Receiver<WatchItem>,
    _task: AbortOnDropHandle<()>,
}

impl WatchStream {
    /// The next item.
    pub async fn next(&mut self) -> Option<WatchItem> {
        self.items.recv().await
    }
}

impl Stream for WatchStream {
    type Item = WatchItem;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<WatchItem>> {
        self.items.poll_recv(cx)
    }
}

/// Follows what `request` asks for; `request.from_zxid` moves on with every end mark.
pub(super) fn follow(
    options: &Arc<Options>,
    chroot: Chroot,
    request: proto::WatchRequest,
) -> WatchStream {
    let (out, items) = mpsc::channel(QUEUE);
    let mut rng = generator(options.seed);
    let follower = Follower {
        ring: Ring::new(options.endpoints.clone(), &mut rng),
        backoff: Backoff::new(Duration::from_millis(20), Duration::from_secs(1), rng),
        chroot,
        request,
        out,
    };
    WatchStream {
        items,
        _task: AbortOnDropHandle::new(tokio::spawn(follower.run())),
    }
}

/// Why a node's stream ended.
enum End {
    /// Resume, on the next node.
    Elsewhere(String),
    /// Resume at once; where does not matter.
    Again,
    /// Nobody reads any more, or no node will ever serve it.
    Over,
}

struct Follower {
    ring: Ring,
    backoff: Backoff,
    chroot: Chroot,
    request: proto::WatchRequest,
    out: mpsc::Sender<WatchItem>,
}

impl Follower {
    async fn run(mut self) {
        let mut failed_in_a_row = 0;
        loop {
            let endpoint = self.ring.advance();
            let mark = self.request.from_zxid;
            let end = self.follow_at(&endpoint).await;
            if self.request.from_zxid != mark {
                failed_in_a_row = 0;
                self.backoff.reset();
            }
            match end {
                End::Over => return,
                End::Again => {}
                End::Elsewhere(why) => {
                    let from = self.request.from_zxid;
                    tracing::debug!(endpoint, why, from, "watch stream broke");
                    failed_in_a_row += 1;
                    if failed_in_a_row % self.ring.len() == 0 {
                        tokio::time::sleep(self.backoff.wait()).await;
                    }
                }
            }
        }
    }

    async fn follow_at(&mut self, endpoint: &str) -> End {
        // The reader may go away while no node can be reached.
        let opened = tokio::select! {
            opened = open(endpoint, self.request.clone()) => opened,
            () = self.out.closed() => return End::Over,
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(Refusal { why, lasting: true }) => {
                tracing::error!(endpoint, why, path = self.request.path, "watch refused");
                return End::Over;
            }
            Err(Refusal { why, .. }) => return End::Elsewhere(why),
        };
        let mut part = Part::Begin;
        let mut gathered = Vec::new();
        loop {
            let message = tokio::select! {
                message = stream.message() => message,
                () = self.out.closed() => return End::Over,
            };
            let response = match message {
                Ok(Some(message)) => message.response,
                Ok(None) => return End::Elsewhere("the node ended the stream".into()),
                Err(status) => return End::Elsewhere(said(&status)),
            };
            let Some(response) = response else { continue };
            let end = self.take(response, &mut part, &mut gathered);
            if let Some(end) = end.unwrap_or_else(|e| Some(End::Elsewhere(e.to_string()))) {
                return end;
            }
            if part == Part::Changes {
                continue; // Their end mark is still to come.
            }
            for item in gathered.drain(..) {
                if self.out.send(item).await.is_err() {
                    return End::Over;
                }
            }
        }
    }

    /// Gathers what a message brings; says when it was the last one.
    fn take(
        &mut self,
        response: Response,
        part: &mut Part,
        gathered: &mut Vec<WatchItem>,
    ) -> Result<Option<End>, Error> {
        let from = self.request.from_zxid;
        match response {
            Response::Subtree(chunk) => {
                if *part == Part::Begin {
                    *part = Part::Subtree;
                    gathered.push(WatchItem::Reset);
                }
                for node in chunk.nodes {
                    gathered.push(self.node(node)?);
                }
            }
            Response::SubtreeEnd(zxid) => {
                if *part == Part::Begin {
                    gathered.push(WatchItem::Reset);
                }
                *part = Part::Between;
                gathered.push(WatchItem::SubtreeEnd { zxid });
                self.request.from_zxid = zxid;
            }
            // What was handed out before a break is not repeated, whatever the node sends.
            Response::Change(change) if change.zxid <= from => {}
            Response::Change(change) => {
                *part = Part::Changes;
                gathered.push(self.change(change)?);
            }
            Response::EndOfZxid(zxid) if zxid < from => {}
            Response::EndOfZxid(zxid) => {
                *part = Part::Between;
                gathered.push(WatchItem::End { zxid });
                self.request.from_zxid = zxid;
            }
            Response::TooOld(too_old) => {
                tracing::info!(
                    from,
                    lowest = too_old.lowest_zxid,
                    "too old: from the beginning"
                );
                self.request.from_zxid = 0;
                return Ok(Some(End::Again));
            }
            Response::FellBehind(at) => {
                let why = format!("fell behind at zxid {:#x}", at.last_zxid);
                return Ok(Some(End::Elsewhere(why)));
            }
        }
        Ok(None)
    }

    fn node(&self, node: proto::WatchedNode) -> Result<WatchItem, Error> {
        Ok(WatchItem::Node {
            path: self.chroot.strip(&node.path)?,
            data: node.data,
            stat: wire::needed_stat(node.stat.as_ref())?,
            readable: node.readable,
        })
    }

    fn change(&self, change: proto::Change) -> Result<WatchItem, Error> {
        let kind = wire::change_kind(change.kind());
        let node = change
            .node
            .ok_or_else(|| Error::Protocol("a change without its node".into()))?;
        Ok(WatchItem::Change {
            kind,
            path: self.chroot.strip(&node.path)?,
            data: node.data,
            stat: match kind {
                ChangeKind::Deleted => None,
                _ => Some(wire::needed_stat(node.stat.as_ref())?),
            },
            readable: node.readable,
            zxid: change.zxid,
        })
    }
}

/// Where in the stream the last message stood.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    /// Before the first message.
    Begin,
    /// Within the subtree.
    Subtree,
    /// Within the changes of a zxid.
    Changes,
    /// After a mark.
    Between,
}

struct Refusal {
    why: String,
    /// Whichever node is asked.
    lasting: bool,
}

async fn open(
    endpoint: &str,
    request: proto::WatchRequest,
) -> Result<Streaming<proto::WatchResponse>, Refusal> {
    let node_only = |why: String| Refusal {
        why,
        lasting: false,
    };
    let asked = async {
        let mut node = client(endpoint, Some(KEEP_ALIVE))
            .await
            .map_err(node_only)?;
        let stream = node.watch(request).await.map_err(|status| Refusal {
            why: said(&status),
            lasting: matches!(
                status.code(),
                Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated
            ),
        })?;
        Ok(stream.into_inner())
    };
    match tokio::time::timeout(2 * KEEP_ALIVE, asked).await {
        Ok(opened) => opened,
        Err(_) => Err(node_only("no answer".into())),
    }
}
