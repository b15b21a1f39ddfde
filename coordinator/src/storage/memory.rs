//! The store as plain maps: the meaning of [`Store`] at a glance, for tests and the simulation.
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;

use super::overlay::Layer;
use super::{HistoryBounds, HistoryError, Meta, Store, StoreError};
use crate::session::{SessionId, SessionState};
use crate::tree::{Node, Transaction, Zxid, path};

/// Everything in memory; a clone is an independent copy, as a disk's state at one moment.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    nodes: HashMap<Arc<str>, Arc<Node>>,
    children: HashMap<String, BTreeSet<String>>,
    ephemerals: BTreeMap<SessionId, BTreeSet<Arc<str>>>,
    sessions: HashMap<SessionId, SessionState>,
    meta: Option<Meta>,
    history: VecDeque<Arc<Transaction>>,
    history_bytes: u64,
    history_floor: Zxid,
    bounds: HistoryBounds,
}

impl MemoryStore {
    /// An empty store that keeps this much history.
    pub fn new(bounds: HistoryBounds) -> MemoryStore {
        MemoryStore {
            bounds,
            ..MemoryStore::default()
        }
    }

    /// Takes in a frozen layer of the overlay, as a whole.
    pub(super) fn take_in(&mut self, layer: &Layer) {
        for (path, node) in layer.nodes() {
            match node {
                Some(node) => self.nodes.insert(Arc::clone(path), Arc::clone(node)),
                None => self.nodes.remove(path),
            };
        }
        for (path, is_there) in layer.children() {
            let Some(parent) = path::parent(path) else {
                continue;
            };
            let names = self.children.entry(parent.to_owned()).or_default();
            match is_there {
                true => names.insert(path::name(path).to_owned()),
                false => names.remove(path::name(path)),
            };
        }
        for (owner, path, is_there) in layer.ephemerals() {
            let paths = self.ephemerals.entry(owner).or_default();
            match is_there {
                true => paths.insert(path.into()),
                false => paths.remove(path),
            };
        }
        for (id, state) in layer.sessions() {
            self.put_session(id, state.cloned());
        }
        for run in layer.history() {
            let transactions = run.transactions();
            for transaction in transactions.expect("what was just written can be read") {
                self.push_history(&transaction);
            }
        }
        self.meta = Some(layer.meta().clone());
    }

    fn trim_history(&mut self, now_ms: i64) {
        while let Some(oldest) = self.history.front() {
            let too_old = now_ms - oldest.time_ms > self.bounds.max_age_ms;
            if !too_old && self.history_bytes <= self.bounds.max_bytes {
                return;
            }
            self.history_floor = oldest.zxid;
            self.history_bytes -= oldest.size_bytes() as u64;
            self.history.pop_front();
        }
    }
}

impl Store for MemoryStore {
    fn node(&self, path: &str) -> Result<Option<Arc<Node>>, StoreError> {
        Ok(self.nodes.get(path).cloned())
    }

    fn children(
        &self,
        parent: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<String>, StoreError> {
        let Some(names) = self.children.get(parent) else {
            return Ok(Vec::new());
        };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        Ok(names
            .range::<str, _>((from, Bound::Unbounded))
            .take(max)
            .cloned()
            .collect())
    }

    fn ephemerals(&self, session: SessionId) -> Result<Vec<Arc<str>>, StoreError> {
        Ok(self
            .ephemerals
            .get(&session)
            .into_iter()
            .flatten()
            .cloned()
            .collect())
    }

    fn sessions(&self) -> Result<Vec<(SessionId, SessionState)>, StoreError> {
        Ok(self
            .sessions
            .iter()
            .map(|(id, state)| (*id, state.clone()))
            .collect())
    }

    fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }

    fn history(&self, after: Zxid, max: usize) -> Result<Vec<Arc<Transaction>>, HistoryError> {
        if after < self.history_floor {
            return Err(HistoryError::TooOld {
                asked: after,
                floor: self.history_floor,
            });
        }
        let start = self
            .history
            .partition_point(|transaction| transaction.zxid <= after);
        Ok(self.history.range(start..).take(max).cloned().collect())
    }

    fn insert(&mut self, path: &Arc<str>, node: Arc<Node>) {
        if let Some(parent) = path::parent(path) {
            let name = path::name(path).to_owned();
            self.children
                .entry(parent.to_owned())
                .or_default()
                .insert(name);
        }
        if node.has_owner() {
            self.ephemerals
                .entry(node.ephemeral_owner)
                .or_default()
                .insert(Arc::clone(path));
        }
        let former = self.nodes.insert(Arc::clone(path), node);
        assert!(former.is_none(), "{path} was inserted twice");
    }

    fn update(&mut self, path: &str, node: Arc<Node>) {
        *self
            .nodes
            .get_mut(path)
            .expect("only znodes that are there are updated") = node;
    }

    fn remove(&mut self, path: &Arc<str>, node: &Node) {
        let former = self.nodes.remove(path);
        assert!(former.is_some(), "{path} was removed twice");
        if let Some(names) = path::parent(path).and_then(|parent| self.children.get_mut(parent)) {
            names.remove(path::name(path));
        }
        if let Some(paths) = self.ephemerals.get_mut(&node.ephemeral_owner) {
            paths.remove(path);
        }
    }

    fn put_session(&mut self, id: SessionId, state: Option<SessionState>) {
        match state {
            Some(state) => self.sessions.insert(id, state),
            None => self.sessions.remove(&id),
        };
    }

    fn push_history(&mut self, transaction: &Transaction) {
        self.history_bytes += transaction.size_bytes() as u64;
        self.history.push_back(Arc::new(transaction.clone()));
        self.trim_history(transaction.time_ms);
    }

    fn commit(&mut self, meta: Meta) {
        self.meta = Some(meta);
    }
}
