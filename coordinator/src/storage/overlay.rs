//! What was applied since the last flush, in memory, over the state on disk.
//!
//! `apply` writes into the present layer and so touches memory only. Behind it a thread of its own
//! moves layers to the disk, each as one batch, while reads see it still:
//! ```text
//!   apply ──▶ present ──freeze──▶ frozen ──Database::write──▶ Database ──persist──▶ disk
//!   read  ──▶ present, then frozen, then Database
//! ```
//! That thread calls [`write_behind`] often (ten times a second), and [`Database::persist`] now and then; raft's log may
//! be cut up to what [`Database::persisted`] tells.
//!
//! Invariants: a layer begins and ends at an entry's end; layers are written in order; a znode that is
//! in a layer hides what lies below, also as deleted.
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use super::history::{self, Run};
use super::{Database, HistoryError, Meta, Store, StoreError};
use crate::mutants::{self, Mutant};
use crate::session::{SessionId, SessionState};
use crate::tree::{Node, Transaction, Zxid, path};

/// Paths that came (`true`) or went since the layer began, in the order of bytes.
type Presence = BTreeMap<Arc<str>, bool>;

/// Changes that belong together; only ever read once it is frozen.
#[derive(Debug, Default)]
pub struct Layer {
    nodes: HashMap<Arc<str>, Option<Arc<Node>>>,
    children: HashMap<Arc<str>, Presence>,
    ephemerals: HashMap<SessionId, Presence>,
    sessions: HashMap<SessionId, Option<SessionState>>,
    history: Vec<Run>,
    meta: Option<Meta>,
    bytes: usize,
}

impl Layer {
    /// One more znode that came or changed, or went.
    #[cfg(test)]
    pub(super) fn put(&mut self, path: &str, node: Option<Arc<Node>>) {
        self.nodes.insert(path.into(), node);
    }

    /// Znodes that came or changed, or (`None`) went.
    pub(super) fn nodes(&self) -> impl Iterator<Item = (&Arc<str>, Option<&Arc<Node>>)> {
        self.nodes.iter().map(|(path, node)| (path, node.as_ref()))
    }

    /// Paths of children that are there now, or not.
    pub(super) fn children(&self) -> impl Iterator<Item = (&str, bool)> {
        self.children
            .values()
            .flatten()
            .map(|(path, is_there)| (&**path, *is_there))
    }

    /// Owners and paths of ephemerals that are there now, or not.
    pub(super) fn ephemerals(&self) -> impl Iterator<Item = (SessionId, &str, bool)> {
        self.ephemerals.iter().flat_map(|(owner, paths)| {
            paths
                .iter()
                .map(move |(path, is_there)| (*owner, &**path, *is_there))
        })
    }

    /// Sessions that came or changed, or (`None`) ended.
    pub(super) fn sessions(&self) -> impl Iterator<Item = (SessionId, Option<&SessionState>)> {
        self.sessions
            .iter()
            .map(|(id, state)| (*id, state.as_ref()))
    }

    /// Transactions in runs, in order.
    pub(super) fn history(&self) -> &[Run] {
        &self.history
    }

    /// The numbers at its end.
    pub(super) fn meta(&self) -> &Meta {
        self.meta
            .as_ref()
            .expect("only a layer that ends with a commit is frozen")
    }

    /// About how many bytes it takes to write it.
    pub(super) fn size_bytes(&self) -> usize {
        self.bytes
    }

    fn note_child(&mut self, path: &Arc<str>, is_there: bool) {
        let Some(parent) = path::parent(path) else {
            return;
        };
        match self.children.get_mut(parent) {
            Some(paths) => paths.insert(Arc::clone(path), is_there),
            None => self
                .children
                .entry(parent.into())
                .or_default()
                .insert(Arc::clone(path), is_there),
        };
    }

    fn note_ephemeral(&mut self, path: &Arc<str>, node: &Node, is_there: bool) {
        if node.has_owner() {
            self.ephemerals
                .entry(node.ephemeral_owner)
                .or_default()
                .insert(Arc::clone(path), is_there);
        }
    }
}

/// The store that a node runs on.
#[derive(Debug)]
pub struct OverlayStore {
    db: Arc<dyn Database>,
    present: Layer,
    frozen: Option<Arc<Layer>>,
    meta: Option<Meta>,
}

impl OverlayStore {
    /// Nothing in memory over what the database has.
    pub fn new(db: Arc<dyn Database>) -> Result<OverlayStore, StoreError> {
        let meta = db.meta()?;
        Ok(OverlayStore {
            db,
            present: Layer::default(),
            frozen: None,
            meta,
        })
    }

    /// The database below.
    pub fn db(&self) -> &Arc<dyn Database> {
        &self.db
    }

    /// About how many bytes wait in memory to be written behind.
    pub fn pending_bytes(&self) -> usize {
        self.present.bytes + self.frozen.as_ref().map_or(0, |frozen| frozen.bytes)
    }

    /// Begins a new layer, and hands over the former one to be written; `None` if there is nothing to
    /// write. A layer that was frozen before and not written comes first.
    fn freeze(&mut self) -> Option<Arc<Layer>> {
        if self.frozen.is_none() && self.present.meta.is_some() {
            self.frozen = Some(Arc::new(std::mem::take(&mut self.present)));
        }
        self.frozen.clone()
    }

    /// The frozen layer is in the database now; to be dropped where no lock is held.
    fn written(&mut self) -> Option<Arc<Layer>> {
        self.frozen.take()
    }

    fn layers(&self) -> impl Iterator<Item = &Layer> {
        std::iter::once(&self.present).chain(self.frozen.as_deref())
    }

    /// What the layers say about the presence of paths: the newer one counts.
    fn presence<'a>(
        &'a self,
        of: impl Fn(&'a Layer) -> Option<&'a Presence>,
        after: Option<&str>,
    ) -> BTreeMap<&'a str, bool> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut merged = BTreeMap::new();
        for paths in self.layers().filter_map(of) {
            for (path, is_there) in paths.range::<str, _>((from, Bound::Unbounded)) {
                merged.entry(&**path).or_insert(*is_there);
            }
        }
        merged
    }
}

/// Moves what waits in memory into the database; `with` gives access to the store, under whatever lock
/// it lives behind. That lock is held for moments only, not while the batch is written.
pub fn write_behind(
    with: impl Fn(&mut dyn FnMut(&mut OverlayStore)),
) -> Result<Arc<dyn Database>, StoreError> {
    let mut db = None;
    with(&mut |store| db = Some(Arc::clone(store.db())));
    let db = db.expect("access to the store was given");
    let turn = db.turn().lock();
    let mut layer = None;
    with(&mut |store| {
        // Another database by now: a checkpoint was installed, and its store has nothing to write yet.
        if Arc::ptr_eq(store.db(), &db) {
            layer = store.freeze();
        }
    });
    if let Some(layer) = layer {
        db.write(&layer)?;
        let mut written = None;
        with(&mut |store| {
            if Arc::ptr_eq(store.db(), &db) {
                written = store.written();
            }
        });
        drop((layer, written));
    }
    drop(turn);
    Ok(db)
}

impl Store for OverlayStore {
    fn node(&self, path: &str) -> Result<Option<Arc<Node>>, StoreError> {
        match self.layers().find_map(|layer| layer.nodes.get(path)) {
            Some(node) => Ok(node.clone()),
            None => self.db.node(path),
        }
    }

    fn children(
        &self,
        parent: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<String>, StoreError> {
        let behind = after.map(|after| path::child(parent, after));
        let presence = self.presence(|layer| layer.children.get(parent), behind.as_deref());
        let mut fresh = presence
            .iter()
            .filter(|(_, is_there)| **is_there)
            .map(|(path, _)| path::name(path))
            .peekable();
        let mut names: Vec<String> = Vec::new();
        let known: HashMap<&str, bool> = presence
            .iter()
            .map(|(path, is_there)| (path::name(path), *is_there))
            .collect();
        self.db.each_child(parent, after, &mut |name| {
            while names.len() < max
                && let Some(fresh) = fresh.next_if(|fresh| *fresh < name)
            {
                names.push(fresh.to_owned());
            }
            if names.len() < max && !known.contains_key(name) {
                names.push(name.to_owned());
            }
            names.len() < max
        })?;
        let missing = max - names.len();
        names.extend(fresh.take(missing).map(str::to_owned));
        Ok(names)
    }

    fn ephemerals(&self, session: SessionId) -> Result<Vec<Arc<str>>, StoreError> {
        let mut paths: Presence = self
            .db
            .ephemerals(session)?
            .into_iter()
            .map(|path| (path, true))
            .collect();
        for (path, is_there) in self.presence(|layer| layer.ephemerals.get(&session), None) {
            paths.insert(path.into(), is_there);
        }
        Ok(paths
            .into_iter()
            .filter_map(|(path, is_there)| is_there.then_some(path))
            .collect())
    }

    fn sessions(&self) -> Result<Vec<(SessionId, SessionState)>, StoreError> {
        let mut sessions: HashMap<_, _> = self.db.sessions()?.into_iter().collect();
        let layers = self.frozen.as_deref().into_iter().chain([&self.present]);
        for (id, state) in layers.flat_map(Layer::sessions) {
            match state {
                Some(state) => sessions.insert(id, state.clone()),
                None => sessions.remove(&id),
            };
        }
        Ok(sessions.into_iter().collect())
    }

    fn meta(&self) -> Option<&Meta> {
        self.meta.as_ref()
    }

    fn history(&self, after: Zxid, max: usize) -> Result<Vec<Arc<Transaction>>, HistoryError> {
        let layers = || self.frozen.as_deref().into_iter().chain([&self.present]);
        // A frozen layer may be in the database already.
        let first = layers()
            .find_map(|layer| layer.history.first())
            .map_or(i64::MAX, |run| run.first().0);
        let mut transactions = self.db.history(after, Zxid(first - 1), max)?;
        for run in layers().flat_map(|layer| &layer.history) {
            if transactions.len() < max && run.last() > after {
                let missing = max - transactions.len();
                let run = run.transactions()?.into_iter();
                let wanted = run.filter(|transaction| transaction.zxid > after);
                transactions.extend(wanted.take(missing).map(Arc::new));
            }
        }
        Ok(transactions)
    }

    fn insert(&mut self, path: &Arc<str>, node: Arc<Node>) {
        let layer = &mut self.present;
        layer.bytes += 512 + 2 * path.len() + node.data_length();
        layer.note_child(path, true);
        layer.note_ephemeral(path, &node, true);
        layer.nodes.insert(Arc::clone(path), Some(node));
    }

    fn update(&mut self, path: &str, node: Arc<Node>) {
        let layer = &mut self.present;
        match layer.nodes.get_mut(path) {
            Some(slot) => *slot = Some(node),
            None => {
                layer.bytes += 256 + path.len();
                layer.nodes.insert(path.into(), Some(node));
            }
        }
    }

    fn remove(&mut self, path: &Arc<str>, node: &Node) {
        let layer = &mut self.present;
        layer.bytes += 256;
        layer.note_child(path, false);
        layer.note_ephemeral(path, node, false);
        layer.nodes.insert(Arc::clone(path), None);
    }

    fn put_session(&mut self, id: SessionId, state: Option<SessionState>) {
        self.present.bytes += 64;
        self.present.sessions.insert(id, state);
    }

    fn push_history(&mut self, transaction: &Transaction) {
        self.present.bytes += history::push(&mut self.present.history, transaction);
    }

    fn commit(&mut self, meta: Meta) {
        let mut written = meta.clone();
        if mutants::is(Mutant::AppliedIndexApart) {
            written.applied.index += 1;
        }
        self.present.meta = Some(written);
        self.meta = Some(meta);
    }
}

#[cfg(test)]
mod tests;
