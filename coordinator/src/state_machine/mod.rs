//! Commands in, outcomes out: the only writer of tree and sessions, the same on every node.
//!
//! Called by `request` with what consensus has committed, and for reads. Reads only the command, the
//! state and replicated settings: no clock, no chance, no I/O but the synchronous [`Store`].
//!
//! - `apply`: one entry; the match over commands. `write`: one transaction in the making, which can be
//!   taken back. `multi`: all-or-nothing groups. `sessions`: open, attach, close, expire.
//! - `read`: what clients may see. `subtree`: whole subtrees, also as of an earlier zxid.
//! - `audit`: the kept numbers against the state itself.
//!
//! Invariants: `applied.index` grows by one per entry; every command but `sync` takes the next zxid,
//! whether it succeeds or not; the digest is that of tree, sessions and limits.
use bytes::Bytes;

use crate::session::{SessionId, SessionState, SessionTable};
use crate::storage::{Applied, Counts, Meta, Store, StoreError};
use crate::tree::{Node, digest};

mod apply;
mod audit;
pub mod command;
mod entry;
#[cfg(any(test, feature = "fuzz"))]
pub(crate) mod fuzz;
mod multi;
pub mod outcome;
mod read;
mod sessions;
mod subtree;
mod write;

pub use apply::ApplyError;
pub use command::{Command, Create, Entry, EntryBuilder, Op, Origin};
pub use outcome::{Change, ChangeKind, OpError, Outcome, Reply, SessionChange, SessionGrant};
pub use subtree::{SubtreeError, SubtreeNode};

/// Why a read or an operation ended without a result.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The answer is an error, and belongs to the caller.
    #[error(transparent)]
    Op(#[from] OpError),
    /// The store failed; the node cannot go on.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The replicated state over a store.
#[derive(Debug)]
pub struct StateMachine<S> {
    store: S,
    sessions: SessionTable,
    meta: Meta,
}

impl<S: Store> StateMachine<S> {
    /// The state as the store has it; an empty store gets the initial znodes.
    pub fn open(mut store: S) -> Result<StateMachine<S>, StoreError> {
        let meta = match store.meta() {
            Some(meta) => meta.clone(),
            None => write_initial_state(&mut store),
        };
        let sessions = SessionTable::new(store.sessions()?);
        Ok(StateMachine {
            store,
            sessions,
            meta,
        })
    }

    /// How far it has come.
    pub fn applied(&self) -> Applied {
        self.meta.applied
    }

    /// Raft's membership at the last applied entry, as consensus encoded it.
    pub fn conf_state(&self) -> Option<Bytes> {
        self.meta.conf_state.clone()
    }

    /// The session, if it lives.
    pub fn session(&self, id: SessionId) -> Option<&SessionState> {
        self.sessions.get(id)
    }

    /// Every live session, in no order.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &SessionState)> {
        self.sessions.iter()
    }

    /// Live sessions.
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// How many znodes, ephemerals, bytes of data.
    pub fn counts(&self) -> Counts {
        self.meta.counts
    }

    /// Most bytes of data of one znode.
    pub fn max_data_bytes(&self) -> u32 {
        self.meta.limits.max_data_bytes
    }

    /// The store, for what belongs to it: flushing, checkpoints, history.
    pub fn store(&self) -> &S {
        &self.store
    }

    /// As [`StateMachine::store`]; what the state machine has written must stay as it is.
    pub fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Gives the store back.
    pub fn into_store(self) -> S {
        self.store
    }
}

fn write_initial_state<S: Store>(store: &mut S) -> Meta {
    let mut meta = Meta::default();
    for (path, node) in Node::initial() {
        let digest = &mut meta.applied.digest;
        digest.add(digest::content(path, &node));
        digest.add(digest::children(path, node.children));
        meta.counts.znodes += 1;
        store.insert(&path.into(), node.into());
    }
    meta.applied.digest.add(apply::limits_part(meta.limits));
    store.commit(meta.clone());
    meta
}

#[cfg(test)]
mod tests;
