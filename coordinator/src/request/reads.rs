//! What can be read, and how watches are armed: looking and arming are one step under the
//! publication lock, so that no change falls between them.

use std::sync::Arc;

use bytes::Bytes;

use super::Closed;
use super::connection::Core;
use super::published::Shared;
use crate::limits;
use crate::session::SessionId;
use crate::state_machine::{Failure, OpError};
use crate::storage::{Store, StoreError};
use crate::tree::{Acl, AuthId, Stat, path};
use crate::watch::{Rearm, RemoveKind, WatchKind};

/// A read. `watch` leaves a one-shot watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadOp {
    /// Data and stat.
    Get {
        /// The znode.
        path: String,
        /// For its data and its end.
        watch: bool,
    },
    /// The stat, or that there is no such znode.
    Exists {
        /// The znode.
        path: String,
        /// For its data and its end, or for its creation.
        watch: bool,
    },
    /// Names of the children, and the stat.
    Children {
        /// The znode.
        path: String,
        /// For its children and its end.
        watch: bool,
    },
    /// ACL and stat.
    Acl {
        /// The znode.
        path: String,
    },
    /// Paths of this session's ephemeral znodes.
    Ephemerals {
        /// Only those that begin with it.
        prefix: String,
    },
    /// How many znodes lie below one, at any depth.
    CountDescendants {
        /// The znode.
        path: String,
    },
    /// Keeps its place in the order, and is answered with nothing.
    Nothing,
    /// Leaves a persistent watch.
    AddWatch {
        /// The znode, which need not exist.
        path: String,
        /// All below it as well?
        recursive: bool,
    },
    /// Is there such a watch of this connection?
    HasWatch {
        /// The znode.
        path: String,
        /// Any of these will do.
        kind: RemoveKind,
    },
    /// Removes this connection's watches.
    RemoveWatches {
        /// The znode.
        path: String,
        /// All of these.
        kind: RemoveKind,
    },
    /// Arms again what a client watched elsewhere, and tells what it missed.
    SetWatches(Rearm),
    /// Several reads of one state, each with its own result.
    Many(Vec<ReadOp>),
}

/// What a read was answered with.
#[derive(Debug, Clone, PartialEq)]
pub enum ReadReply {
    /// Of `Get`; null data is not empty data.
    Data(Option<Bytes>, Stat),
    /// Of `Exists`.
    Exists(Option<Stat>),
    /// Of `Children`.
    Children(Vec<String>, Stat),
    /// Of `Acl`.
    Acl(Vec<Acl>, Stat),
    /// Of `Ephemerals`.
    Paths(Vec<String>),
    /// Of `CountDescendants`.
    Count(u64),
    /// Of `HasWatch` and `RemoveWatches`: was there one?
    Found(bool),
    /// Of `AddWatch`, `SetWatches` and `Nothing`.
    Done,
    /// Of `Many`, in order.
    Many(Vec<Result<ReadReply, OpError>>),
}

/// Why a read ended without a reply.
pub(super) enum ReadFailure {
    /// The caller's.
    Op(OpError),
    /// The store failed; the node cannot go on.
    Store(StoreError),
}

impl From<OpError> for ReadFailure {
    fn from(error: OpError) -> Self {
        Self::Op(error)
    }
}

impl From<StoreError> for ReadFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for ReadFailure {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Op(error) => Self::Op(error),
            Failure::Store(error) => Self::Store(error),
        }
    }
}

/// The znode that is asked for. ZooKeeper's readers do not check paths: the empty one is the root, and
/// of the others that no znode can have there simply is none.
fn existing(path: &str) -> Result<&str, OpError> {
    match path {
        "" => Ok(path::ROOT),
        path if path::validate(path).is_ok() => Ok(path),
        path => Err(OpError::NoNode {
            path: path.to_owned(),
        }),
    }
}

impl ReadReply {
    /// About as many bytes as it has on the wire, header not counted.
    pub fn size_bytes(&self) -> usize {
        const STAT: usize = 68;
        match self {
            ReadReply::Data(data, _) => STAT + data.as_ref().map_or(0, Bytes::len),
            ReadReply::Children(names, _) | ReadReply::Paths(names) => {
                STAT + names.iter().map(|name| name.len() + 4).sum::<usize>()
            }
            ReadReply::Acl(list, _) => {
                STAT + list
                    .iter()
                    .map(|entry| entry.size_bytes() + 12)
                    .sum::<usize>()
            }
            ReadReply::Many(replies) => replies.iter().map(size_of_one).sum(),
            ReadReply::Exists(_) | ReadReply::Count(_) | ReadReply::Found(_) | ReadReply::Done => {
                STAT
            }
        }
    }
}

/// Of one read among many.
fn size_of_one(result: &Result<ReadReply, OpError>) -> usize {
    const HEADER: usize = 13;
    HEADER + result.as_ref().map_or(4, ReadReply::size_bytes)
}

impl Shared {
    /// Answers one read of `core`, which holds `session`.
    pub(super) fn read(
        &mut self,
        core: &Arc<Core>,
        session: SessionId,
        auth: &[AuthId],
        op: ReadOp,
    ) -> Result<ReadReply, ReadFailure> {
        match op {
            ReadOp::Get { path, watch } => self.get(core, auth, &path, watch),
            ReadOp::Exists { path, watch } => self.exists(core, auth, &path, watch),
            ReadOp::Children { path, watch } => self.children(core, auth, &path, watch),
            ReadOp::Acl { path } => {
                let (acl, stat) = self.state().acl(existing(&path)?, auth)?;
                Ok(ReadReply::Acl(acl, stat))
            }
            ReadOp::Ephemerals { prefix } => {
                let paths = self.state().ephemerals(session)?;
                let with_prefix = paths.iter().filter(|path| path.starts_with(&prefix));
                Ok(ReadReply::Paths(
                    with_prefix.map(|p| p.to_string()).collect(),
                ))
            }
            ReadOp::CountDescendants { path } => {
                let path = existing(&path)?;
                Ok(ReadReply::Count(self.state().descendants(path, auth)?))
            }
            ReadOp::Nothing => Ok(ReadReply::Done),
            ReadOp::AddWatch { path, recursive } => {
                path::validate(&path).map_err(OpError::BadArguments)?;
                let kind = match recursive {
                    true => WatchKind::PersistentRecursive,
                    false => WatchKind::Persistent,
                };
                self.arm(core, &path, kind)?;
                Ok(ReadReply::Done)
            }
            ReadOp::HasWatch { path, kind } => Ok(ReadReply::Found(
                self.watches.is_armed(core.id, &path, kind),
            )),
            ReadOp::RemoveWatches { path, kind } => {
                Ok(ReadReply::Found(self.watches.remove(core.id, &path, kind)))
            }
            ReadOp::SetWatches(watches) => self.set_watches(core, &watches),
            ReadOp::Many(ops) => self.many(core, session, auth, ops),
        }
    }

    /// Refused as a whole as soon as the answers are too many or too large: they wait in memory until
    /// the client has read them.
    fn many(
        &mut self,
        core: &Arc<Core>,
        session: SessionId,
        auth: &[AuthId],
        ops: Vec<ReadOp>,
    ) -> Result<ReadReply, ReadFailure> {
        if ops.len() > limits::MULTI_READS {
            let problem = format!("more than {} reads at once", limits::MULTI_READS);
            return Err(OpError::BadArguments(problem).into());
        }
        let mut replies = Vec::with_capacity(ops.len());
        let mut bytes = 0;
        for op in ops {
            let reply = match self.read(core, session, auth, op) {
                Ok(reply) => Ok(reply),
                Err(ReadFailure::Op(error)) => Err(error),
                Err(failure @ ReadFailure::Store(_)) => return Err(failure),
            };
            bytes += size_of_one(&reply);
            if bytes > limits::MULTI_READ_BYTES {
                let most = limits::MULTI_READ_BYTES;
                let problem = format!("more than {most} bytes of answers at once");
                return Err(OpError::BadArguments(problem).into());
            }
            replies.push(reply);
        }
        Ok(ReadReply::Many(replies))
    }

    fn get(
        &mut self,
        core: &Core,
        auth: &[AuthId],
        path: &str,
        watch: bool,
    ) -> Result<ReadReply, ReadFailure> {
        let path = existing(path)?;
        let (data, stat) = self.state().get(path, auth)?;
        if watch {
            self.arm(core, path, WatchKind::Data)?;
        }
        Ok(ReadReply::Data(data, stat))
    }

    /// Not permitted leaves no watch: it would tell what must not be read.
    fn exists(
        &mut self,
        core: &Core,
        auth: &[AuthId],
        path: &str,
        watch: bool,
    ) -> Result<ReadReply, ReadFailure> {
        let Ok(path) = existing(path) else {
            return Ok(ReadReply::Exists(None));
        };
        let stat = self.state().exists(path, auth)?;
        if watch {
            self.arm(core, path, WatchKind::Exists)?;
        }
        Ok(ReadReply::Exists(stat))
    }

    fn children(
        &mut self,
        core: &Core,
        auth: &[AuthId],
        path: &str,
        watch: bool,
    ) -> Result<ReadReply, ReadFailure> {
        let path = existing(path)?;
        let (names, stat) = self.state().children(path, auth)?;
        if watch {
            self.arm(core, path, WatchKind::Child)?;
        }
        Ok(ReadReply::Children(names, stat))
    }

    fn arm(&mut self, core: &Core, path: &str, kind: WatchKind) -> Result<(), OpError> {
        if !self.watches.has_room(core.id, [path]) {
            core.watches_too_much();
            return Err(OpError::TooManyWatches);
        }
        #[cfg(feature = "mutants")]
        if crate::mutants::is(crate::mutants::Mutant::WatchArmedLater) {
            self.late.push((core.id, path.to_owned(), kind));
            return Ok(());
        }
        self.watches.arm(core.id, path, kind);
        Ok(())
    }

    /// Each watch either fires at once, for what happened after the zxid that the client has seen,
    /// or is armed.
    ///
    /// Clients don't look at the answer: one that wants too much is cut off, lest it waits for events.
    fn set_watches(&mut self, core: &Arc<Core>, watches: &Rearm) -> Result<ReadReply, ReadFailure> {
        if !self.watches.has_room(core.id, watches.paths()) {
            core.watches_too_much();
            self.close(core, Some(Closed::WatchesTooMuch));
            return Err(OpError::TooManyWatches.into());
        }
        let Shared {
            state,
            watches: table,
            ..
        } = self;
        let missed = table.rearm(core.id, watches, |path| state.store().node(path))?;
        for event in missed {
            core.tell(event);
        }
        Ok(ReadReply::Done)
    }
}
