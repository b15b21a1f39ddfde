//! Values of the tree as programs see them: stats, access lists, writes and their results.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What the ensemble knows of a znode beside its data. Field names are ZooKeeper's.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// The zxid that created it.
    pub czxid: i64,
    /// The zxid that last changed its data.
    pub mzxid: i64,
    /// When it was created, in milliseconds since 1970.
    pub ctime_ms: i64,
    /// When its data was last changed, in milliseconds since 1970.
    pub mtime_ms: i64,
    /// Changes of its data since it was created.
    pub version: i32,
    /// Creations and deletions of children.
    pub cversion: i32,
    /// Changes of its access list.
    pub aversion: i32,
    /// The session it lives with; 0 if it is persistent.
    pub ephemeral_owner: i64,
    /// Length of its data in bytes.
    pub data_length: i32,
    /// How many children it has.
    pub num_children: i32,
    /// The zxid that last created or deleted a child.
    pub pzxid: i64,
}

/// What an access list entry allows: a sum of the constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions(pub u32);

impl Permissions {
    /// Read data and children.
    pub const READ: Self = Self(1);
    /// Set data.
    pub const WRITE: Self = Self(2);
    /// Create children.
    pub const CREATE: Self = Self(4);
    /// Delete children.
    pub const DELETE: Self = Self(8);
    /// Set the access list.
    pub const ADMIN: Self = Self(16);
    /// Everything.
    pub const ALL: Self = Self(31);
}

/// One entry of an access list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    /// What is allowed.
    pub permissions: Permissions,
    /// `world`, `auth` or `digest`.
    pub scheme: String,
    /// `anyone`; empty; `user:base64(sha1(user:password))`.
    pub id: String,
}

impl Acl {
    /// Everything to everyone: what an absent list means.
    #[must_use]
    pub fn open() -> Vec<Self> {
        vec![Self {
            permissions: Permissions::ALL,
            scheme: "world".into(),
            id: "anyone".into(),
        }]
    }
}

/// How a znode lives and is named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CreateMode {
    /// Stays until deleted.
    #[default]
    Persistent,
    /// Goes with the session.
    Ephemeral,
    /// Stays; the parent's counter is appended to its name, ten digits.
    PersistentSequential,
    /// Goes with the session; the parent's counter is appended to its name.
    EphemeralSequential,
}

impl CreateMode {
    /// Whether the znode goes with its session.
    #[must_use]
    pub fn ephemeral(self) -> bool {
        matches!(self, Self::Ephemeral | Self::EphemeralSequential)
    }

    /// Whether the parent's counter is appended to the name.
    #[must_use]
    pub fn sequential(self) -> bool {
        matches!(self, Self::PersistentSequential | Self::EphemeralSequential)
    }
}

/// A znode that was just created.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Created {
    /// Its path, with the sequence number if it has one.
    pub path: String,
    /// Its stat.
    pub stat: Stat,
}

/// One operation of a multi or of a fenced batch. A version of `None` means any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteOp {
    /// Create a znode; its parent must exist.
    Create {
        /// Where.
        path: String,
        /// `None` is ZooKeeper's null, which is not the empty string.
        data: Option<Bytes>,
        /// How it lives and is named.
        mode: CreateMode,
        /// Empty: open to everyone.
        acl: Vec<Acl>,
    },
    /// Delete a znode without children.
    Delete {
        /// Which.
        path: String,
        /// Only at this version.
        version: Option<i32>,
    },
    /// Replace the data of a znode.
    Set {
        /// Of which.
        path: String,
        /// By what.
        data: Option<Bytes>,
        /// Only at this version.
        version: Option<i32>,
    },
    /// Replace the access list of a znode.
    SetAcl {
        /// Of which.
        path: String,
        /// By what.
        acl: Vec<Acl>,
        /// Only at this `aversion`.
        version: Option<i32>,
    },
    /// Do nothing, but fail unless the znode exists at this version.
    Check {
        /// Which.
        path: String,
        /// `None`: that it exists is enough.
        version: Option<i32>,
    },
    /// Do nothing, but fail unless the znode is the one created at that zxid: where a znode is deleted and created
    /// again, versions begin anew, and a version alone may be that of the former one.
    CheckCreated {
        /// Which.
        path: String,
        /// Its [`Stat::czxid`].
        czxid: i64,
    },
}

impl WriteOp {
    /// A creation open to everyone.
    pub fn create(path: impl Into<String>, data: impl Into<Bytes>, mode: CreateMode) -> Self {
        Self::Create {
            path: path.into(),
            data: Some(data.into()),
            mode,
            acl: Vec::new(),
        }
    }

    /// New data for a znode.
    pub fn set(path: impl Into<String>, data: impl Into<Bytes>, version: Option<i32>) -> Self {
        Self::Set {
            path: path.into(),
            data: Some(data.into()),
            version,
        }
    }

    /// A deletion.
    pub fn delete(path: impl Into<String>, version: Option<i32>) -> Self {
        Self::Delete {
            path: path.into(),
            version,
        }
    }

    /// A condition.
    pub fn check(path: impl Into<String>, version: Option<i32>) -> Self {
        Self::Check {
            path: path.into(),
            version,
        }
    }

    /// The znode it is about.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::Create { path, .. }
            | Self::Delete { path, .. }
            | Self::Set { path, .. }
            | Self::SetAcl { path, .. }
            | Self::Check { path, .. }
            | Self::CheckCreated { path, .. } => path,
        }
    }
}

/// The result of one operation that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WriteResult {
    /// Of a creation.
    Created(Created),
    /// Of new data or a new access list.
    Stat(Stat),
    /// Of a deletion or a check.
    Done,
}

impl WriteResult {
    /// The stat, where the operation has one.
    #[must_use]
    pub fn stat(&self) -> Option<&Stat> {
        match self {
            Self::Created(created) => Some(&created.stat),
            Self::Stat(stat) => Some(stat),
            Self::Done => None,
        }
    }
}

/// What a multi, or a fenced batch, came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch<T> {
    /// The transaction that did all of it.
    pub zxid: i64,
    /// One result each, in the order in which they were asked for.
    pub results: Vec<T>,
}
