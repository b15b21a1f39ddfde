//! The state's numbers counted again from the state itself, for tests, the simulation and tools.
use super::sessions::session_part;
use super::{StateMachine, apply};
use crate::storage::{Counts, Store, StoreError};
use crate::tree::digest::{self, Digest};
use crate::tree::path;

impl<S: Store> StateMachine<S> {
    /// Walks over the whole state and returns its digest and counts, which must be those that were kept
    /// on the way. Costs a read of every znode.
    pub fn audit(&self) -> Result<(Digest, Counts), StoreError> {
        let (mut digest, mut counts) = (Digest::default(), Counts::default());
        let mut open = vec![path::ROOT.to_owned()];
        while let Some(path) = open.pop() {
            let Some(node) = self.store.node(&path)? else {
                let message = format!("{path} is listed by its parent, but not there");
                return Err(StoreError::Inconsistent(message));
            };
            digest.add(digest::content(&path, &node));
            digest.add(digest::children(&path, node.children));
            counts.znodes += 1;
            counts.ephemerals += u64::from(node.is_ephemeral());
            counts.data_bytes += node.data_length() as u64;
            let names = self.store.children(&path, None, usize::MAX)?;
            if names.len() != node.children.count as usize {
                let message = format!(
                    "{path} counts {} children, {} are listed",
                    node.children.count,
                    names.len()
                );
                return Err(StoreError::Inconsistent(message));
            }
            open.extend(names.iter().map(|name| path::child(&path, name)));
        }
        for (id, state) in self.sessions() {
            digest.add(session_part(id, state));
        }
        digest.add(apply::limits_part(self.meta.limits));
        Ok((digest, counts))
    }
}
