//! What ZooKeeper tells about a znode beside its data.

/// The number of a write transaction: 1 for the first, one more for each that follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zxid(pub i64);

impl Zxid {
    /// No transaction: ZooKeeper's word for it.
    pub const NONE: Zxid = Zxid(-1);

    /// The zxid of the next transaction.
    pub fn next(self) -> Zxid {
        Zxid(self.0 + 1)
    }
}

impl std::fmt::Display for Zxid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A znode's numbers as its clients see them. `cversion` is derived, not stored: see `tree::node`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stat {
    /// The transaction that created the znode.
    pub czxid: Zxid,
    /// The last transaction that wrote its data.
    pub mzxid: Zxid,
    /// Time of creation, milliseconds since 1970, by the leader's clock.
    pub ctime_ms: i64,
    /// Time of the last write of its data, as `ctime_ms`.
    pub mtime_ms: i64,
    /// Writes of its data since creation.
    pub version: i32,
    /// Children created and deleted since creation.
    pub cversion: i32,
    /// Changes of its ACL since creation.
    pub aversion: i32,
    /// The session that owns it; 0: none, the znode is persistent.
    pub ephemeral_owner: i64,
    /// Length of its data in bytes; 0 also for absent data.
    pub data_length: i32,
    /// Its children now.
    pub num_children: i32,
    /// The last transaction that created or deleted a child (at first: `czxid`).
    pub pzxid: Zxid,
}
