//! The coordination service for programs: a session, the tree, watches, elections.
//!
//! [`Ensemble`] is a handle on one session. A task of its own (`session.rs`) keeps the session
//! alive, moves it to another node when a connection breaks, and sends what the handles ask, many
//! requests at a time, answered in order. [`WatchStream`] follows a subtree without gaps, from
//! whichever node is there. [`election`] is the usual recipe.
//!
//! Invariants:
//! - A write is sent at most once. If the connection breaks before its answer came, it ends in
//!   `OutcomeUnknown`; reads are asked again on the next node.
//! - Requests of one handle, and of its clones, take effect in the order in which they were made.
//! - `Expired` is only ever told by the ensemble, never guessed. How old the last proof of life is
//!   says [`Ensemble::last_renewal_sent`].
//!
//! All paths are relative to the chroot of the options.

mod chroot;
mod connection;
pub mod election;
mod error;
mod flight;
mod history;
mod keeper;
mod node;
mod options;
mod retry;
mod session;
mod status;
mod watch;
mod wire;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::session_request::Request;
use zweig_proto::grpc::session_response::Response;

pub use crate::clock::boot_time;
pub use error::{ConnectError, Error, MultiError};
pub use history::{Cause, History, Image, PastChange};
pub use node::{Acl, Batch, CreateMode, Created, Permissions, Stat, WriteOp, WriteResult};
pub use options::{Auth, Credentials, Options};
pub use session::SessionState;
pub use status::{Disk, Member, Status, status};
pub use watch::{ChangeKind, WatchItem, WatchStream};

use chroot::Chroot;
use proto::Consistency;
use proto::read_op::Kind as ReadKind;
use session::Handle;

/// A handle on a session; clones share it. When the last one is dropped the session is no longer
/// kept alive and ends by its timeout; [`Ensemble::close`] ends it at once.
#[derive(Debug, Clone)]
pub struct Ensemble {
    handle: Arc<Handle>,
    chroot: Chroot,
}

impl Ensemble {
    /// Opens a session, or resumes that of `options.resume`, on the first node that grants it.
    ///
    /// # Errors
    /// See [`ConnectError`]; `Unavailable` comes after `options.connect_timeout`.
    pub async fn connect(options: Options) -> Result<Self, ConnectError> {
        let options = options.validated()?;
        let chroot = Chroot::new(&options.chroot)
            .map_err(|error| ConnectError::BadOptions(error.to_string()))?;
        let handle = Arc::new(Handle::connect(options).await?);
        Ok(Self { handle, chroot })
    }

    /// The session's id and password.
    #[must_use]
    pub fn credentials(&self) -> Credentials {
        self.handle.vitals().credentials
    }

    /// The session timeout as granted.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.handle.vitals().timeout
    }

    /// The endpoint of the node that serves the session, or did last.
    #[must_use]
    pub fn endpoint(&self) -> String {
        self.handle.vitals().endpoint
    }

    /// The session's state, now and as it changes.
    #[must_use]
    pub fn state(&self) -> tokio::sync::watch::Receiver<SessionState> {
        self.handle.state()
    }

    /// When the last ping or request that was answered had been sent: the session certainly lives
    /// until its timeout after this, or, after a break, until the disconnect timeout it asked for.
    #[must_use]
    pub fn last_renewal_sent(&self) -> Instant {
        self.handle.vitals().last_renewal_sent
    }

    /// As [`Ensemble::last_renewal_sent`], on the clock that goes on while the machine is suspended
    /// (`CLOCK_BOOTTIME`): compare it to [`boot_time`].
    #[must_use]
    pub fn last_renewal_sent_boot_time(&self) -> Duration {
        self.handle.vitals().last_renewal_sent_boot_time
    }

    /// Whether the session may end soon, or has ended without this client's knowing: more than two thirds of its timeout
    /// have gone by since the last answered ping or request was sent, or of its disconnect timeout since the connection
    /// broke. On the boot time's clock.
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        let disconnect_timeout = self.handle.options().disconnect_timeout;
        self.handle
            .vitals()
            .in_doubt(boot_time(), disconnect_timeout)
    }

    /// Closes the session: its ephemeral nodes go, every clone of the handle ends.
    ///
    /// # Errors
    /// `Unavailable` if no node could be told within the request timeout: the session then ends by
    /// its timeout.
    pub async fn close(self) -> Result<(), Error> {
        self.handle.close().await
    }

    /// Creates a znode that is open to everyone; its parent must exist.
    ///
    /// # Errors
    /// `NodeExists`, `NoNode` (the parent), `NoChildrenForEphemerals`, and those of every write.
    pub async fn create(
        &self,
        path: &str,
        data: Option<Bytes>,
        mode: CreateMode,
    ) -> Result<Created, Error> {
        self.create_with_acl(path, data, mode, Vec::new()).await
    }

    /// As [`Ensemble::create`], with an access list.
    ///
    /// # Errors
    /// As `create`, and `InvalidAcl`.
    pub async fn create_with_acl(
        &self,
        path: &str,
        data: Option<Bytes>,
        mode: CreateMode,
        acl: Vec<Acl>,
    ) -> Result<Created, Error> {
        let op = WriteOp::Create {
            path: path.to_owned(),
            data,
            mode,
            acl,
        };
        match self.write_one(op).await? {
            WriteResult::Created(created) => Ok(created),
            other => Err(unexpected(&other)),
        }
    }

    /// Creates every ancestor of `path` that does not exist, the chroot included, but not `path`.
    ///
    /// # Errors
    /// Those of `create`, less `NodeExists`.
    pub async fn create_parents(&self, path: &str) -> Result<(), Error> {
        let full = self.chroot.full_sequential(path)?;
        let root = Self {
            handle: Arc::clone(&self.handle),
            chroot: Chroot::default(),
        };
        let mut missing = Vec::new();
        let mut ancestor = full.as_str();
        while let Some(at) = ancestor.rfind('/').filter(|at| *at > 0) {
            ancestor = &ancestor[..at];
            if root.exists(ancestor).await?.is_some() {
                break;
            }
            missing.push(ancestor);
        }
        for ancestor in missing.into_iter().rev() {
            match root.create(ancestor, None, CreateMode::Persistent).await {
                Ok(_) | Err(Error::NodeExists(_)) => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(())
    }

    /// The data and stat of a znode.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`, and those of every read.
    pub async fn get(&self, path: &str) -> Result<(Option<Bytes>, Stat), Error> {
        let result = self.read(ReadKind::Get, path, Consistency::Session).await?;
        Ok((result.data, wire::needed_stat(result.stat.as_ref())?))
    }

    /// As [`Ensemble::get`], not older than this call: it asks the quorum who leads.
    ///
    /// # Errors
    /// As `get`, and `NotDone` without a quorum.
    pub async fn get_linearizable(&self, path: &str) -> Result<(Option<Bytes>, Stat), Error> {
        let consistency = Consistency::Linearizable;
        let result = self.read(ReadKind::Get, path, consistency).await?;
        Ok((result.data, wire::needed_stat(result.stat.as_ref())?))
    }

    /// The stat of a znode, if it exists.
    ///
    /// # Errors
    /// Those of every read.
    pub async fn exists(&self, path: &str) -> Result<Option<Stat>, Error> {
        let read = self.read(ReadKind::Exists, path, Consistency::Session);
        match read.await {
            Ok(result) => Ok(result.stat.as_ref().map(wire::stat)),
            Err(Error::NoNode(_)) => Ok(None),
            Err(failed) => Err(failed),
        }
    }

    /// The names of the children of a znode, and its stat. Names are in byte order.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`, and those of every read.
    pub async fn children(&self, path: &str) -> Result<(Vec<String>, Stat), Error> {
        let read = self.read(ReadKind::Children, path, Consistency::Session);
        let mut result = read.await?;
        result.children.sort_unstable();
        Ok((result.children, wire::needed_stat(result.stat.as_ref())?))
    }

    /// The access list of a znode, and its stat.
    ///
    /// # Errors
    /// `NoNode`, `NoAuth`, and those of every read.
    pub async fn get_acl(&self, path: &str) -> Result<(Vec<Acl>, Stat), Error> {
        let result = self.read(ReadKind::Acl, path, Consistency::Session).await?;
        let stat = wire::needed_stat(result.stat.as_ref())?;
        Ok((wire::acl_in(result.acl), stat))
    }

    /// Replaces the data of a znode, if a version is given only at this one.
    ///
    /// # Errors
    /// `NoNode`, `BadVersion`, `NoAuth`, and those of every write.
    pub async fn set(
        &self,
        path: &str,
        data: Option<Bytes>,
        version: Option<i32>,
    ) -> Result<Stat, Error> {
        let op = WriteOp::Set {
            path: path.to_owned(),
            data,
            version,
        };
        match self.write_one(op).await? {
            WriteResult::Stat(stat) => Ok(stat),
            other => Err(unexpected(&other)),
        }
    }

    /// Replaces the access list of a znode, if a version is given only at this `aversion`.
    ///
    /// # Errors
    /// As `set`, and `InvalidAcl`.
    pub async fn set_acl(
        &self,
        path: &str,
        acl: Vec<Acl>,
        version: Option<i32>,
    ) -> Result<Stat, Error> {
        let op = WriteOp::SetAcl {
            path: path.to_owned(),
            acl,
            version,
        };
        match self.write_one(op).await? {
            WriteResult::Stat(stat) => Ok(stat),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes a znode, if a version is given only at this one.
    ///
    /// # Errors
    /// `NoNode`, `BadVersion`, `NotEmpty`, `NoAuth`, and those of every write.
    pub async fn delete(&self, path: &str, version: Option<i32>) -> Result<(), Error> {
        self.write_one(WriteOp::delete(path, version)).await?;
        Ok(())
    }

    /// Deletes a znode and everything below it, deepest first. Not one transaction: others may
    /// see parts of it. Returns how many znodes were deleted; what others deleted meanwhile is not
    /// an error.
    ///
    /// # Errors
    /// `NoNode` if `path` itself does not exist, and those of `delete`.
    pub async fn delete_recursive(&self, path: &str) -> Result<usize, Error> {
        let mut pending = vec![(path.to_owned(), false)];
        let mut deleted = 0;
        while let Some((node, children_done)) = pending.pop() {
            if children_done {
                match self.delete(&node, None).await {
                    Ok(()) => deleted += 1,
                    Err(Error::NoNode(_)) if node != path => {}
                    // Somebody created another child meanwhile.
                    Err(Error::NotEmpty(_)) => pending.push((node, false)),
                    Err(failed) => return Err(failed),
                }
                continue;
            }
            match self.children(&node).await {
                Ok((names, _)) => {
                    let prefix = if node == "/" { "" } else { node.as_str() };
                    let below = names.iter().map(|name| (format!("{prefix}/{name}"), false));
                    let below = below.collect::<Vec<_>>();
                    pending.push((node, true));
                    pending.extend(below);
                }
                Err(Error::NoNode(_)) if node != path => {}
                Err(failed) => return Err(failed),
            }
        }
        Ok(deleted)
    }

    /// Does all operations or none, at one zxid.
    ///
    /// # Errors
    /// The operation that failed, by its index, or the failure of the request as a whole.
    pub async fn multi(&self, ops: Vec<WriteOp>) -> Result<Batch<WriteResult>, MultiError> {
        let request = Request::Write(wire::writes_out(&self.chroot, &ops)?);
        let (zxid, response) = self.handle.write(request).await?;
        match response {
            Response::Write(answer) => Ok(Batch {
                zxid,
                results: wire::results_in(&self.chroot, &ops, answer.results)?,
            }),
            // A lone operation's failure may come as that of the request.
            Response::Error(failure) => {
                let path = if let [only] = &*ops { only.path() } else { "" };
                Err(wire::error(&failure, path).into())
            }
            _ => Err(other_answer().into()),
        }
    }

    /// If `fence_path` is at `fence_version`: does each group, all or nothing in itself,
    /// whatever becomes of the others, all at one zxid.
    ///
    /// # Errors
    /// `Fenced` if the fence does not hold: nothing was done.
    pub async fn fenced_batch(
        &self,
        fence_path: &str,
        fence_version: i32,
        groups: Vec<Vec<WriteOp>>,
    ) -> Result<Batch<Result<Vec<WriteResult>, MultiError>>, Error> {
        let mut ops = Vec::with_capacity(groups.len());
        for group in &groups {
            ops.push(wire::writes_out(&self.chroot, group)?);
        }
        let request = Request::FencedBatch(proto::FencedBatch {
            fence_path: self.chroot.full(fence_path)?,
            fence_version,
            ops,
        });
        let (zxid, response) = self.handle.write(request).await?;
        let results = match response {
            Response::FencedBatch(answer) => answer.results,
            Response::Error(failure) => return Err(wire::error(&failure, fence_path)),
            _ => return Err(other_answer()),
        };
        if results.len() != groups.len() {
            return Err(other_answer());
        }
        let results = groups
            .iter()
            .zip(results)
            .map(|(group, answer)| wire::results_in(&self.chroot, group, answer.results));
        Ok(Batch {
            zxid,
            results: results.collect(),
        })
    }

    /// Waits until this session's node has applied everything that was committed before the call.
    ///
    /// # Errors
    /// `NotDone` without a quorum, and those of every read.
    pub async fn sync(&self) -> Result<(), Error> {
        match self.handle.read(Request::Sync(proto::Sync {})).await?.1 {
            Response::Done(_) => Ok(()),
            Response::Error(failure) => Err(wire::error(&failure, "/")),
            _ => Err(other_answer()),
        }
    }

    /// Follows a znode, and with `recursive` everything below it: first as it stands, then every
    /// change. The stream outlives broken connections.
    ///
    /// # Errors
    /// `BadArguments` for a malformed path.
    pub fn watch(&self, path: &str, recursive: bool) -> Result<WatchStream, Error> {
        self.watch_from(path, recursive, None)
    }

    /// As [`Ensemble::watch`], resuming after a zxid: without the state as it stands, unless the
    /// zxid is too old.
    ///
    /// # Errors
    /// `BadArguments` for a malformed path.
    pub fn watch_from(
        &self,
        path: &str,
        recursive: bool,
        after: Option<i64>,
    ) -> Result<WatchStream, Error> {
        let request = proto::WatchRequest {
            path: self.chroot.full(path)?,
            recursive,
            from_zxid: after.unwrap_or(0),
            auth: wire::auth_out(&self.handle.options().auth),
        };
        let options = self.handle.options();
        Ok(watch::follow(options, self.chroot.clone(), request))
    }

    /// What happened to a znode, with `recursive` to everything below it, as far as the ensemble keeps that (an hour, half a
    /// gigabyte): the transactions behind `after`, up to `up_to`; 0 and 0: all. Asked of the node that serves the session.
    ///
    /// # Errors
    /// `BadArguments` for a malformed path; `Unavailable` if that node does not answer, or cuts what is asked for meanwhile.
    pub async fn history(
        &self,
        path: &str,
        recursive: bool,
        (after, up_to): (i64, i64),
    ) -> Result<History, Error> {
        let request = proto::HistoryRequest {
            path: self.chroot.full(path)?,
            recursive,
            after_zxid: after,
            up_to_zxid: up_to,
            auth: wire::auth_out(&self.handle.options().auth),
        };
        History::ask(&self.endpoint(), request, self.chroot.clone()).await
    }

    async fn write_one(&self, op: WriteOp) -> Result<WriteResult, Error> {
        let batch = self.multi(vec![op]).await?;
        batch.results.into_iter().next().ok_or_else(other_answer)
    }

    async fn read(
        &self,
        kind: ReadKind,
        path: &str,
        consistency: Consistency,
    ) -> Result<proto::ReadResult, Error> {
        let op = proto::ReadOp {
            kind: kind.into(),
            path: self.chroot.full(path)?,
        };
        let request = Request::Read(proto::Read {
            ops: vec![op],
            consistency: consistency.into(),
        });
        let mut result = match self.handle.read(request).await?.1 {
            Response::Read(answer) => answer.results.into_iter().next(),
            Response::Error(failure) => return Err(wire::error(&failure, path)),
            _ => None,
        }
        .ok_or_else(other_answer)?;
        match result.error.take() {
            Some(failure) => Err(wire::error(&failure, path)),
            None => Ok(result),
        }
    }
}

fn unexpected(result: &WriteResult) -> Error {
    Error::Protocol(format!("the result is of another operation: {result:?}"))
}

fn other_answer() -> Error {
    Error::Protocol("the answer is not one to this request".into())
}
