//! What one transaction did to the tree, with the images needed to tell it, and to take it back.
use std::sync::Arc;

use super::node::{ChildNumbers, Node};
use super::stat::Zxid;
use crate::session::SessionId;

/// One change of one znode. Creations and deletions change the parent's numbers too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mutation {
    /// A znode was created.
    Created {
        /// Where.
        path: Arc<str>,
        /// As it was created.
        node: Arc<Node>,
        /// The parent's numbers before.
        parent_before: ChildNumbers,
    },
    /// A znode's data was written.
    Data {
        /// Whose.
        path: Arc<str>,
        /// Just before.
        before: Arc<Node>,
        /// Just after.
        after: Arc<Node>,
    },
    /// A znode's ACL was changed.
    Acl {
        /// Whose.
        path: Arc<str>,
        /// Just before.
        before: Arc<Node>,
        /// Just after.
        after: Arc<Node>,
    },
    /// A znode was deleted.
    Deleted {
        /// Where.
        path: Arc<str>,
        /// Just before.
        node: Arc<Node>,
        /// The parent's numbers before.
        parent_before: ChildNumbers,
    },
}

impl Mutation {
    /// The changed znode's path.
    pub fn path(&self) -> &Arc<str> {
        match self {
            Mutation::Created { path, .. }
            | Mutation::Data { path, .. }
            | Mutation::Acl { path, .. }
            | Mutation::Deleted { path, .. } => path,
        }
    }
}

/// Why a transaction was made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Cause {
    /// A client asked for it; for containers without children the leader.
    #[default]
    Asked,
    /// The session's client closed it.
    SessionClosed,
    /// The session was silent for too long.
    SessionExpired,
}

/// Everything that one write transaction did to the tree, in order; never empty in history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// Its number.
    pub zxid: Zxid,
    /// The leader's clock, milliseconds since 1970.
    pub time_ms: i64,
    /// On whose behalf; [`SessionId::NONE`] for nobody's.
    pub session: SessionId,
    /// Why.
    pub cause: Cause,
    /// What it did.
    pub mutations: Vec<Mutation>,
}

impl Transaction {
    /// About how much memory or disk its images take, bytes.
    pub fn size_bytes(&self) -> usize {
        let node = |node: &Node| 112 + node.data_length() + node.acl.len() * 32;
        let size = |mutation: &Mutation| {
            mutation.path().len()
                + match mutation {
                    Mutation::Created { node: image, .. }
                    | Mutation::Deleted { node: image, .. } => node(image),
                    Mutation::Data { before, after, .. } | Mutation::Acl { before, after, .. } => {
                        node(before) + node(after)
                    }
                }
        };
        33 + self.mutations.iter().map(size).sum::<usize>()
    }
}
