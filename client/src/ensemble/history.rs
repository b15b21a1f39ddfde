//! What happened to znodes: the ensemble's history of changes, read once from its old end.

use std::time::Duration;

use bytes::Bytes;
use tonic::Streaming;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::history_response::Response;

use super::chroot::Chroot;
use super::connection::{client, said};
use super::error::Error;
use super::node::Stat;
use super::watch::ChangeKind;
use super::wire;

/// How long the node may be silent.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// Why a change was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A client asked for it.
    Asked,
    /// A client closed its session, whose ephemeral znodes went with it.
    SessionClosed,
    /// A session was silent for too long, or its client died.
    SessionExpired,
}

/// A znode at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// `None` is ZooKeeper's null, or data that the caller may not read.
    pub data: Option<Bytes>,
    /// Its numbers.
    pub stat: Stat,
    /// Whether the caller may read its data.
    pub readable: bool,
}

/// One change of one znode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastChange {
    /// Of what kind.
    pub kind: ChangeKind,
    /// In which transaction.
    pub zxid: i64,
    /// When, by the leader's clock: milliseconds since 1970.
    pub time_ms: i64,
    /// Whose session asked for it, or ended; 0 for nobody's.
    pub session: i64,
    /// Why.
    pub cause: Cause,
    /// Of which znode.
    pub path: String,
    /// Just before; `None` for a creation.
    pub before: Option<Image>,
    /// Just after; `None` for a deletion.
    pub after: Option<Image>,
}

/// The answer, oldest change first.
#[derive(Debug)]
pub struct History {
    begins_after: i64,
    up_to: Option<i64>,
    incoming: Streaming<proto::HistoryResponse>,
    chroot: Chroot,
}

impl History {
    pub(super) async fn ask(
        endpoint: &str,
        request: proto::HistoryRequest,
        chroot: Chroot,
    ) -> Result<Self, Error> {
        let mut client = client(endpoint, Some(KEEP_ALIVE))
            .await
            .map_err(Error::Unavailable)?;
        let answer = client.history(request).await;
        let mut incoming = answer.map_err(|status| refused(&status))?.into_inner();
        let first = incoming.message().await;
        match first
            .map_err(|status| refused(&status))?
            .and_then(|m| m.response)
        {
            Some(Response::BeginsAfter(begins_after)) => Ok(Self {
                begins_after,
                up_to: None,
                incoming,
                chroot,
            }),
            _ => Err(Error::Protocol("a history without a beginning".into())),
        }
    }

    /// Everything behind this zxid is kept; of what was before nothing is said.
    #[must_use]
    pub fn begins_after(&self) -> i64 {
        self.begins_after
    }

    /// Up to which zxid everything was said, once `next` has returned `None`.
    #[must_use]
    pub fn up_to(&self) -> Option<i64> {
        self.up_to
    }

    /// The next change; `None` behind the last.
    ///
    /// # Errors
    /// `Unavailable` if the answer breaks off.
    pub async fn next(&mut self) -> Result<Option<PastChange>, Error> {
        let message = self.incoming.message().await;
        match message
            .map_err(|status| refused(&status))?
            .and_then(|m| m.response)
        {
            Some(Response::Change(change)) => self.change(change).map(Some),
            Some(Response::UpTo(up_to)) => {
                self.up_to = Some(up_to);
                Ok(None)
            }
            Some(Response::BeginsAfter(_)) => {
                Err(Error::Protocol("a history that begins twice".into()))
            }
            None if self.up_to.is_some() => Ok(None),
            None => Err(Error::Unavailable("the history broke off".into())),
        }
    }

    fn change(&self, change: proto::PastChange) -> Result<PastChange, Error> {
        let cause = match change.cause() {
            proto::past_change::Cause::Asked => Cause::Asked,
            proto::past_change::Cause::SessionClosed => Cause::SessionClosed,
            proto::past_change::Cause::SessionExpired => Cause::SessionExpired,
        };
        Ok(PastChange {
            kind: wire::change_kind(change.kind()),
            zxid: change.zxid,
            time_ms: change.time_ms,
            session: change.session,
            cause,
            path: self.chroot.strip(&change.path)?,
            before: change.before.map(image),
            after: change.after.map(image),
        })
    }
}

fn image(node: proto::WatchedNode) -> Image {
    Image {
        data: node.data,
        stat: wire::stat(&node.stat.unwrap_or_default()),
        readable: node.readable,
    }
}

fn refused(status: &tonic::Status) -> Error {
    match status.code() {
        tonic::Code::InvalidArgument => Error::BadArguments(said(status)),
        _ => Error::Unavailable(said(status)),
    }
}
