//! What clients may see of the tree, by ZooKeeper's rules.
use std::sync::Arc;

use bytes::Bytes;

use super::outcome::OpError;
use super::{Failure, StateMachine};
use crate::session::SessionId;
use crate::storage::{Store, StoreError};
use crate::tree::{Acl, AuthId, Node, Stat, Zxid, acl, path};

impl<S: Store> StateMachine<S> {
    /// A znode's data; the caller must be allowed to read it.
    pub fn get(&self, path: &str, auth: &[AuthId]) -> Result<(Option<Bytes>, Stat), Failure> {
        let node = self.permitted(path, acl::READ, auth)?;
        Ok((node.data.clone(), node.stat()))
    }

    /// A znode's stat, if there is one; the caller must be allowed to read it then.
    pub fn exists(&self, path: &str, auth: &[AuthId]) -> Result<Option<Stat>, Failure> {
        match self.permitted(path, acl::READ, auth) {
            Ok(node) => Ok(Some(node.stat())),
            Err(Failure::Op(OpError::NoNode { .. })) => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// The names of a znode's children, in order; the caller must be allowed to read it.
    pub fn children(&self, path: &str, auth: &[AuthId]) -> Result<(Vec<String>, Stat), Failure> {
        let node = self.permitted(path, acl::READ, auth)?;
        let names = if node.children.count == 0 {
            Vec::new()
        } else {
            self.store.children(path, None, usize::MAX)?
        };
        Ok((names, node.stat()))
    }

    /// A znode's ACL; the caller must be allowed to read or administer it, and sees the hashes of
    /// passwords only in the second case.
    pub fn acl(&self, path: &str, auth: &[AuthId]) -> Result<(Vec<Acl>, Stat), Failure> {
        let node = self.permitted(path, acl::READ | acl::ADMIN, auth)?;
        Ok((acl::shown(&node.acl, auth), node.stat()))
    }

    /// Paths of a session's ephemeral znodes, in order.
    pub fn ephemerals(&self, session: SessionId) -> Result<Vec<Arc<str>>, StoreError> {
        self.store.ephemerals(session)
    }

    /// Paths of all containers, in order.
    pub fn containers(&self) -> Result<Vec<Arc<str>>, StoreError> {
        self.store.ephemerals(SessionId::CONTAINER)
    }

    /// How many znodes lie below a path, itself not counted; walks over all of them. The caller must be
    /// allowed to read the first one.
    pub fn descendants(&self, path: &str, auth: &[AuthId]) -> Result<u64, Failure> {
        self.permitted(path, acl::READ, auth)?;
        let mut open = vec![path.to_owned()];
        let mut count = 0;
        while let Some(path) = open.pop() {
            let node = self.store.node(&path)?;
            let node = node.ok_or_else(|| OpError::NoNode { path: path.clone() })?;
            count += u64::from(node.children.count.unsigned_abs());
            if node.children.count > 0 {
                let names = self.store.children(&path, None, usize::MAX)?;
                open.extend(names.iter().map(|name| path::child(&path, name)));
            }
        }
        Ok(count)
    }

    /// The znode itself, whoever asks; for what tells nothing of it, such as re-arming watches.
    pub fn node(&self, path: &str) -> Result<Option<Arc<Node>>, StoreError> {
        self.store.node(path)
    }

    /// The last transaction.
    pub fn zxid(&self) -> Zxid {
        self.meta.applied.zxid
    }

    fn permitted(
        &self,
        path: &str,
        permissions: u32,
        auth: &[AuthId],
    ) -> Result<Arc<Node>, Failure> {
        let node = self.store.node(path)?;
        let node = node.ok_or_else(|| OpError::NoNode {
            path: path.to_owned(),
        })?;
        if !acl::allows(&node.acl, permissions, auth) {
            return Err(OpError::NoAuth {
                path: path.to_owned(),
            }
            .into());
        }
        Ok(node)
    }
}
