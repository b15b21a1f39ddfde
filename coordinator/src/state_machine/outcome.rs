//! What came of a command: the answer for its origin, and what changed, for everyone who watches.
use std::sync::Arc;

use super::command::Origin;
use crate::session::{Password, SessionId};
use crate::tree::{AclList, Mutation, Node, Stat, Zxid};

/// One per command, in order; every node derives the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Who waits for it.
    pub origin: Origin,
    /// The command's trace, all zero for none.
    pub trace: [u8; 16],
    /// Until when it might be proposed, by its origin's clock, milliseconds since 1970.
    pub deadline_ms: i64,
    /// The session of the command.
    pub session: SessionId,
    /// The command's transaction; for [`super::Op::Sync`] the last one before it.
    pub zxid: Zxid,
    /// The answer. A `multi` that failed is `Ok(Reply::Multi)` with one error per operation.
    pub result: Result<Reply, OpError>,
    /// Changed znodes, in the order in which they changed; empty if the command failed.
    pub changes: Vec<Change>,
    /// Set by commands that open, take or end a session.
    pub session_change: Option<SessionChange>,
}

/// The answer of a command that was done.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// The path of a created znode, with its sequence number.
    Path(String),
    /// As `Path`, for a create that wants the stat.
    Created {
        /// The path, with its sequence number.
        path: String,
        /// The new znode's stat.
        stat: Stat,
    },
    /// The stat after a write.
    Stat(Stat),
    /// A session was opened or attached.
    Session(SessionGrant),
    /// One result per operation. If one is an error, nothing was done: those before it are
    /// `Ok(Reply::Done)`, those behind it [`OpError::RuntimeInconsistency`].
    Multi(Vec<Result<Reply, OpError>>),
    /// One list per group, each to be read as the list of a `Multi`.
    FencedBatch(Vec<Vec<Result<Reply, OpError>>>),
}

/// What a client needs to keep its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionGrant {
    /// The session.
    pub id: SessionId,
    /// The attach number that its commands must carry from now on.
    pub attach: u64,
    /// The timeout as granted, milliseconds.
    pub timeout_ms: u32,
    /// To be shown when attaching again.
    pub password: Password,
}

/// Why a command, or an operation of a `multi`, was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpError {
    /// The znode, or the parent of one to create, does not exist.
    #[error("no znode at {path}")]
    NoNode {
        /// The missing path.
        path: String,
    },
    /// There is one already.
    #[error("a znode exists at {path}")]
    NodeExists {
        /// Where.
        path: String,
    },
    /// The version asked for is not the present one.
    #[error("{path}: version {expected} expected, {found} found")]
    BadVersion {
        /// Of which znode.
        path: String,
        /// What the caller asked for.
        expected: i32,
        /// What it is.
        found: i32,
    },
    /// The znode is not the one that was meant: that one was deleted.
    #[error("{path}: created at zxid {found}, expected the one of {expected}")]
    CreatedAnew {
        /// Which.
        path: String,
        /// The czxid that the caller asked for.
        expected: i64,
        /// What it is.
        found: i64,
    },
    /// A znode with children cannot be deleted.
    #[error("{path} has {children} children")]
    NotEmpty {
        /// Which.
        path: String,
        /// How many.
        children: i32,
    },
    /// Ephemeral znodes have no children.
    #[error("{path} is ephemeral and cannot have children")]
    NoChildrenForEphemerals {
        /// The ephemeral parent.
        path: String,
    },
    /// The list is empty, or names a scheme or id that does not exist.
    #[error("{path}: invalid acl")]
    InvalidAcl {
        /// For which znode.
        path: String,
    },
    /// The ACL gives the caller no permission for this.
    #[error("{path}: not permitted")]
    NoAuth {
        /// The znode asked for.
        path: String,
    },
    /// Credentials that do not hold.
    #[error("authentication failed")]
    AuthFailed,
    /// A request that makes no sense; says why.
    #[error("{0}")]
    BadArguments(String),
    /// The session does not live, or its password is another.
    #[error("session {session} has expired")]
    SessionExpired {
        /// Which.
        session: SessionId,
    },
    /// Another connection has taken the session since.
    #[error("session {session} has moved: attach number {found}, this command carries {carried}")]
    SessionMoved {
        /// Which.
        session: SessionId,
        /// What the command carried.
        carried: u64,
        /// What it is now.
        found: u64,
    },
    /// More data than a znode may hold.
    #[error("{path}: {bytes} bytes of data, at most {limit} are allowed")]
    TooLarge {
        /// For which znode.
        path: String,
        /// Bytes sent.
        bytes: usize,
        /// The replicated limit.
        limit: u32,
    },
    /// Behind an operation of the same `multi` that failed.
    #[error("not tried: an operation before it failed")]
    RuntimeInconsistency,
    /// The fence of a batch did not hold; nothing was done.
    #[error("fenced: {path} has version {found:?}, the batch was decided at {expected}")]
    Fenced {
        /// The fence.
        path: String,
        /// The version the batch was decided at.
        expected: i32,
        /// The version now; `None`: the znode is gone.
        found: Option<i32>,
    },
    /// The leader's disk is nearly full.
    #[error("no space")]
    NoSpace,
    /// Never the outcome of a command: a connection watches too much.
    #[error("this connection watches too much")]
    TooManyWatches,
    /// Not yet.
    #[error("not implemented")]
    Unimplemented,
}

/// What happened to a znode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ChangeKind {
    /// It was created.
    Created,
    /// Its data was written.
    Data,
    /// It was deleted.
    Deleted,
    /// Its ACL was changed.
    Acl,
}

/// One changed znode. Its parent's numbers change with a creation or deletion; no change of their own
/// tells of that.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What happened.
    pub kind: ChangeKind,
    /// To which znode.
    pub path: Arc<str>,
    /// In which transaction.
    pub zxid: Zxid,
    /// The znode just after this change; for a deletion just before it. Its ACL tells who may see the
    /// data: [`crate::tree::acl::allows`].
    pub node: Arc<Node>,
    /// Of a creation or deletion: the parent's ACL at that moment, which tells who may hear that its
    /// children have changed.
    pub parent_acl: Option<AclList>,
}

impl Change {
    /// What is told of a mutation.
    pub fn of(mutation: &Mutation, zxid: Zxid, parent_acl: Option<AclList>) -> Change {
        let (kind, path, node) = match mutation {
            Mutation::Created { path, node, .. } => (ChangeKind::Created, path, node),
            Mutation::Data { path, after, .. } => (ChangeKind::Data, path, after),
            Mutation::Acl { path, after, .. } => (ChangeKind::Acl, path, after),
            Mutation::Deleted { path, node, .. } => (ChangeKind::Deleted, path, node),
        };
        Change {
            kind,
            path: Arc::clone(path),
            zxid,
            node: Arc::clone(node),
            parent_acl,
        }
    }
}

/// What happened to the session of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionChange {
    /// It lives from now on.
    Opened(SessionGrant),
    /// Another connection has it from now on; whoever holds it with a lower number must let go.
    Attached(SessionGrant),
    /// Its client closed it.
    Closed,
    /// Its timeout went by.
    Expired,
}
