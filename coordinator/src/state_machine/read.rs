//! What clients may see of the tree, by ZooKeeper's rules.
use std::sync::Arc;

use bytes::Bytes;

use super::outcome::OpError;
use super::{Failure, StateMachine};
use crate::storage::Store;
use crate::tree::{Acl, AuthId, Node, Stat, acl};

impl<S: Store> StateMachine<S> {
    /// A znode's data; the caller must be allowed to read it.
    pub fn get(&self, path: &str, auth: &[AuthId]) -> Result<(Option<Bytes>, Stat), Failure> {
        let node = self.permitted(path, acl::READ, auth)?;
        Ok((node.data.clone(), node.stat()))
    }

    /// A znode's stat, if there is one; needs no permission, as in ZooKeeper.
    pub fn exists(&self, path: &str) -> Result<Option<Stat>, Failure> {
        Ok(self.store.node(path)?.map(|node| node.stat()))
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
