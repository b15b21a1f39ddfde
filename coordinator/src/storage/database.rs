//! What keeps a state below the overlay: RocksDB on a node, maps in memory for tests and the simulation.
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use super::checkpoint::CheckpointError;
use super::overlay::{Layer, OverlayStore};
use super::{HistoryError, Meta, StoreError};
use crate::session::{SessionId, SessionState};
use crate::tree::{Node, Transaction, Zxid};

/// Sessions by id.
pub type Sessions = Vec<(SessionId, SessionState)>;

/// The state as of some written layer, and how much of it would survive a loss of power.
///
/// Invariant: [`Database::persisted`] is what would be found after a loss of power just now, and is the
/// state at one index; raft's log must be kept from there on.
pub trait Database: Send + Sync + std::fmt::Debug {
    /// Held from the freezing of a layer until it is written: layers are written in order.
    fn turn(&self) -> &Mutex<()>;

    /// The numbers at the last written layer; `None` if there was none yet.
    fn meta(&self) -> Result<Option<Meta>, StoreError>;

    /// The numbers of what survives a loss of power.
    fn persisted(&self) -> Result<Option<Meta>, StoreError>;

    /// Brings every layer written so far to the disk. Blocks for as long as that takes.
    fn persist(&self) -> Result<(), StoreError>;

    /// Writes a layer as one step. It is seen at once and on disk at some later time: see
    /// [`Database::persist`].
    fn write(&self, layer: &Arc<Layer>) -> Result<(), StoreError>;

    /// The znode at a path.
    fn node(&self, path: &str) -> Result<Option<Arc<Node>>, StoreError>;

    /// Hands over the names of the children of `parent` behind `after`, in order, until `take` says no.
    fn each_child(
        &self,
        parent: &str,
        after: Option<&str>,
        take: &mut dyn FnMut(&str) -> bool,
    ) -> Result<(), StoreError>;

    /// Paths of a session's ephemerals, in order.
    fn ephemerals(&self, session: SessionId) -> Result<Vec<Arc<str>>, StoreError>;

    /// Every session.
    fn sessions(&self) -> Result<Sessions, StoreError>;

    /// Transactions behind `after` and up to `until`, in order, at most `max`.
    fn history(
        &self,
        after: Zxid,
        until: Zxid,
        max: usize,
    ) -> Result<Vec<Arc<Transaction>>, HistoryError>;

    /// Makes a checkpoint of what was written into `folder`, which must not exist yet, and tells what it
    /// holds. Call [`super::write_behind`] first to have everything applied in it.
    fn checkpoint(&self, folder: &Path) -> Result<Meta, CheckpointError>;
}

/// Where a node's states lie, of which one counts.
pub trait States: Send {
    /// Puts the checkpoint in `folder` in the place of the state, durably and in one step; `folder` is used
    /// up. The former store must not be written any more.
    fn install(&self, folder: &Path) -> Result<OverlayStore, CheckpointError>;
}
