//! What is watched, and what is told.
use std::sync::Arc;

use crate::tree::{AclList, Zxid};

/// How a path is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum WatchKind {
    /// Once: the next write of the data, creation or deletion. Set by reading the data.
    Data,
    /// Once, the same; set by asking whether the znode exists, also where it does not.
    Exists,
    /// Once: the next child created or deleted, or the znode's own deletion. Set by listing.
    Child,
    /// Until removed: everything that `Data` and `Child` tell.
    Persistent,
    /// Until removed: creation, data and deletion of the znode and of everything below it. Children
    /// are not told apart: their own creations and deletions are.
    PersistentRecursive,
}

/// Which watches on a path to remove; the numbers are ZooKeeper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RemoveKind {
    /// 1: the one-shot child watch.
    Child,
    /// 2: the one-shot data or exists watch.
    Data,
    /// 3: all of them.
    Any,
    /// 4: the persistent one.
    Persistent,
    /// 5: the persistent recursive one.
    PersistentRecursive,
}

/// What is told of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// 1
    NodeCreated,
    /// 2
    NodeDeleted,
    /// 3
    NodeDataChanged,
    /// 4
    NodeChildrenChanged,
}

/// One event for one connection.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// To which znode.
    pub path: Arc<str>,
    /// In which transaction; [`Zxid::NONE`] for one that was missed and is told late.
    pub zxid: Zxid,
    /// The znode's ACL. Whoever may not read the znode hears nothing of it: check
    /// [`crate::tree::acl::allows`] before sending. `None`: nothing to check.
    pub acl: Option<AclList>,
}
