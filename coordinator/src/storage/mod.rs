//! Where the state is kept. One trait, [`Store`], for tree, sessions and history; behind it:
//!
//! - `memory`: all in memory, for tests and the simulation; says what the trait means.
//! - `overlay`: what was applied since the last flush, in memory, over a `database`.
//! - `state`: RocksDB without its log; `checkpoint` makes and installs whole copies of it. `memory_db` is the
//!   twin of both: it loses what was not flushed.
//! - `identity`: who this node is in raft's eyes; `lock`: one process per folder.
//! - `raft_log`: the flat files of the raft log, apart from all this and with its own rules.
//! - `keys`: the bytes of every stored key and value, one file per kind.
//!
//! `state_machine` is the only writer. Everything here is synchronous; writes only touch memory, and
//! reach the disk behind, as one batch that ends at an entry's end and carries its index.
use std::sync::Arc;

use bytes::Bytes;

use crate::octets::DecodeError;
use crate::session::{SessionId, SessionState};
use crate::tree::digest::Digest;
use crate::tree::{Node, Transaction, Zxid};

pub mod checkpoint;
pub mod database;
pub mod folder;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
pub mod history;
pub mod identity;
pub mod keys;
pub mod lock;
pub mod memory;
pub mod memory_db;
pub mod overlay;
pub mod raft_log;
pub mod state;

pub use checkpoint::StateFolder;
pub use database::{Database, States};
pub use memory::MemoryStore;
pub use memory_db::{MemoryDb, MemoryFolders, MemoryStates};
pub use overlay::{OverlayStore, write_behind};
pub use state::StateDb;

/// Why the store could not answer. The node cannot go on: its state is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database failed.
    #[error("state store: cannot {operation}")]
    Database {
        /// What was tried.
        operation: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is stored cannot be read back.
    #[error("state store: the stored {what} is damaged")]
    Damaged {
        /// Which record.
        what: &'static str,
        /// What is wrong with it.
        #[source]
        source: DecodeError,
    },
    /// Two stored records contradict each other.
    #[error("state store: {0}")]
    Inconsistent(String),
}

/// Why changes after a zxid cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// They are no longer kept.
    #[error("changes up to {floor} are no longer kept, those after {asked} were asked for")]
    TooOld {
        /// What was asked for.
        asked: Zxid,
        /// Every transaction after this one is kept.
        floor: Zxid,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How much history is kept: the last `max_age_ms` and at most `max_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryBounds {
    /// Milliseconds, by the leader's clock.
    pub max_age_ms: i64,
    /// Bytes of images, as [`Transaction::size_bytes`] counts them.
    pub max_bytes: u64,
}

impl Default for HistoryBounds {
    /// One hour, 512 MiB.
    fn default() -> HistoryBounds {
        HistoryBounds {
            max_age_ms: 3_600_000,
            max_bytes: 512 << 20,
        }
    }
}

/// How far the state has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Applied {
    /// The last applied raft entry.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// The last transaction.
    pub zxid: Zxid,
    /// Of tree, sessions and limits.
    pub digest: Digest,
}

/// How much there is. Sessions are counted by their table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Znodes, the four initial ones included.
    pub znodes: u64,
    /// Ephemeral ones among them.
    pub ephemerals: u64,
    /// Bytes of data of all znodes.
    pub data_bytes: u64,
}

/// Settings that every node applies alike, since they came through the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicatedLimits {
    /// Most bytes of data of one znode.
    pub max_data_bytes: u32,
}

impl Default for ReplicatedLimits {
    /// ZooKeeper's default for a whole packet: 1 MiB less one byte.
    fn default() -> ReplicatedLimits {
        ReplicatedLimits {
            max_data_bytes: 0xf_ffff,
        }
    }
}

/// The state's numbers; written together with the changes that led to them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    /// How far it has come.
    pub applied: Applied,
    /// Raft's membership at that point, as consensus encodes it; `None` before the first.
    pub conf_state: Option<Bytes>,
    /// How much there is.
    pub counts: Counts,
    /// Replicated settings.
    pub limits: ReplicatedLimits,
    /// Time of the last entry, milliseconds since 1970; later ones are not earlier.
    pub time_ms: i64,
}

/// A state, read and written by the state machine alone.
///
/// Writes belong to the next [`Store::commit`]; reads see them at once. A node that is handed over is
/// shared from then on and never changed.
pub trait Store {
    /// The znode at a path.
    fn node(&self, path: &str) -> Result<Option<Arc<Node>>, StoreError>;

    /// Names of the children of `parent`, in the order of bytes, from behind `after`, at most `max`.
    fn children(
        &self,
        parent: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<String>, StoreError>;

    /// Paths of a session's ephemeral znodes, in the order of bytes; of [`SessionId::CONTAINER`] those of all
    /// containers.
    fn ephemerals(&self, session: SessionId) -> Result<Vec<Arc<str>>, StoreError>;

    /// Every live session, in no order.
    fn sessions(&self) -> Result<Vec<(SessionId, SessionState)>, StoreError>;

    /// The numbers at the last commit; `None` if there was none yet.
    fn meta(&self) -> Option<&Meta>;

    /// Transactions after a zxid, in order, at most `max`; those that changed no znode have none.
    fn history(&self, after: Zxid, max: usize) -> Result<Vec<Arc<Transaction>>, HistoryError>;

    /// Adds a znode that was not there; also as a child of its parent, and to its owner's ephemerals.
    fn insert(&mut self, path: &Arc<str>, node: Arc<Node>);

    /// Replaces a znode that is there; its owner stays the same.
    fn update(&mut self, path: &str, node: Arc<Node>);

    /// Takes away a znode that is there.
    fn remove(&mut self, path: &Arc<str>, node: &Node);

    /// Adds or replaces a session, or ends it.
    fn put_session(&mut self, id: SessionId, state: Option<SessionState>);

    /// Adds to the history; zxids grow.
    fn push_history(&mut self, transaction: &Transaction);

    /// Ends an entry: what was written since the last commit leads to these numbers.
    fn commit(&mut self, meta: Meta);
}
