//! What clients ask for, as it stands in the raft log.
//!
//! Layout, all integers big-endian; `str` and `bytes` are a u32 length and the bytes:
//! ```text
//! command  u64 node, u64 boot, u64 request, i64 session, u64 attach,
//!          u32 n, n × (str scheme, str id), i64 deadline_ms, 16 bytes trace, op
//! op       u8 tag, then its fields in the order of the enum
//! ```
//! Invariant: what [`Command::encode`] writes, [`Command::decode`] reads back equal. A format or tag
//! that is not known is an error, and the node stops rather than skip it: skipping would part it from
//! the others. A new field or operation gets a new tag or format; old ones are read for ever. (`command/encoding.rs`)
mod encoding;

use bytes::Bytes;

pub use super::entry::{Entry, EntryBuilder};
pub use crate::session::{Password, SessionId};
pub use crate::tree::{Acl, AuthId, Zxid};
pub(crate) use encoding::{put_acl, read_acl};

/// A command is at least this long.
pub(super) const COMMAND_MIN_BYTES: usize = 24 + 16 + 4 + 8 + 16 + 1;

/// Where a command came from, and who waits for its outcome there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The node that the client is connected to.
    pub node: u64,
    /// That node's boot nonce: a waiter of a former boot is not one of this.
    pub boot: u64,
    /// The waiter's number, unique within the boot.
    pub request: u64,
}

/// An operation, with everything that `apply` needs to decide it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Who waits for the outcome.
    pub origin: Origin,
    /// On whose behalf; [`SessionId::NONE`] for what needs no session.
    pub session: SessionId,
    /// The attach number under which the node holds the session.
    pub attach: u64,
    /// The ids that the caller has authenticated.
    pub auth: Vec<AuthId>,
    /// Milliseconds since 1970 after which nobody should propose it any more; 0: none. `apply` does
    /// not look at it.
    pub deadline_ms: i64,
    /// The caller's trace id, all zero for none.
    pub trace: [u8; 16],
    /// What to do.
    pub op: Op,
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Opens the session `Command::session`.
    OpenSession {
        /// As granted, milliseconds.
        timeout_ms: u32,
        /// Chosen at random by the origin.
        password: Password,
    },
    /// Takes the session over: it gets a new attach number. `Command::attach` is not looked at.
    AttachSession {
        /// The timeout from now on, milliseconds.
        timeout_ms: u32,
        /// Must be the session's.
        password: Password,
    },
    /// Ends the session, at its client's wish.
    CloseSession,
    /// Ends the session if `Command::attach` is still its attach number.
    ExpireSession,
    /// Changes nothing; its outcome comes behind all that was proposed before it.
    Sync,
    /// Creates a znode.
    Create(Create),
    /// Creates a container, which is neither ephemeral nor sequential.
    CreateContainer(Create),
    /// Deletes a container that has had children and has none; asked by the leader, of no ACL.
    DeleteContainer {
        /// Which.
        path: String,
    },
    /// Deletes a znode without children.
    Delete {
        /// Which.
        path: String,
        /// Its data version; -1: any.
        version: i32,
    },
    /// Writes a znode's data.
    SetData {
        /// Which.
        path: String,
        /// `None` is ZooKeeper's null.
        data: Option<Bytes>,
        /// Its data version before; -1: any.
        version: i32,
    },
    /// Replaces a znode's ACL.
    SetAcl {
        /// Which.
        path: String,
        /// The new list, as requested.
        acl: Vec<Acl>,
        /// Its ACL version before; -1: any.
        version: i32,
    },
    /// Does nothing, or fails if the data version is another.
    Check {
        /// Which.
        path: String,
        /// Its data version; -1: any.
        version: i32,
    },
    /// Does nothing, or fails if the znode is another one than that created at a zxid: versions begin anew when a
    /// znode is deleted and created again, the zxid of its creation never comes back.
    CheckCreated {
        /// Which.
        path: String,
        /// Its czxid.
        czxid: i64,
    },
    /// All or nothing, one zxid. Holds creates, delete, setData, setACL and checks only.
    Multi(Vec<Op>),
    /// One fence; if it holds, each group is done or not on its own, all in one zxid.
    FencedBatch {
        /// The znode whose version is the fence.
        fence_path: String,
        /// The version the batch was decided at.
        fence_version: i32,
        /// Each all or nothing, with what a `Multi` may hold.
        groups: Vec<Vec<Op>>,
    },
    /// Sets replicated limits.
    SetLimits {
        /// Most bytes of data of one znode.
        max_data_bytes: u32,
    },
}

/// A znode to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// Where; with `sequential` the parent's create counter is appended.
    pub path: String,
    /// `None` is ZooKeeper's null.
    pub data: Option<Bytes>,
    /// As requested: `auth` stands for the caller's ids.
    pub acl: Vec<Acl>,
    /// Whether it ends with the session.
    pub ephemeral: bool,
    /// Whether a number is appended.
    pub sequential: bool,
    /// Whether the answer carries the stat (`create2`).
    pub want_stat: bool,
}

impl Op {
    /// Whether this may stand in a `multi` or a fenced batch. Whoever builds one checks this first:
    /// encoding anything else there is a bug and panics.
    pub fn may_be_batched(&self) -> bool {
        match self {
            Op::Create(_)
            | Op::CreateContainer(_)
            | Op::Delete { .. }
            | Op::SetData { .. }
            | Op::SetAcl { .. }
            | Op::Check { .. }
            | Op::CheckCreated { .. } => true,
            Op::OpenSession { .. }
            | Op::AttachSession { .. }
            | Op::CloseSession
            | Op::ExpireSession
            | Op::Sync
            | Op::Multi(_)
            | Op::FencedBatch { .. }
            | Op::DeleteContainer { .. }
            | Op::SetLimits { .. } => false,
        }
    }
}

#[cfg(test)]
#[path = "command/tests.rs"]
mod tests;
