//! Whole subtrees, chunk by chunk, as they stand or as of an earlier zxid.
//!
//! A chunk is read under the caller's lock, and the tree may change before the next one. Asking every
//! chunk as of the same zxid makes the whole consistent: changes after it are taken back by the former
//! images that history has. The order is that of [`path::compare`].
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::StateMachine;
use crate::storage::{HistoryError, Store, StoreError};
use crate::tree::{AuthId, ChildNumbers, Mutation, Node, Transaction, Zxid, acl, path};

/// Names read at once while walking.
const PAGE: usize = 1000;

/// A znode of a subtree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubtreeNode {
    /// Where it is.
    pub path: Arc<str>,
    /// What it is.
    pub node: Arc<Node>,
    /// Whether the caller may see its data.
    pub readable: bool,
}

/// A path and the znode there.
type Found = (Arc<str>, Arc<Node>);

/// Why a subtree cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum SubtreeError {
    /// The history does not reach back that far.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The state has not come that far.
    #[error("the state is at {applied}, the subtree was asked for as of {asked}")]
    NotYet {
        /// What was asked for.
        asked: Zxid,
        /// The last transaction.
        applied: Zxid,
    },
}

impl From<StoreError> for SubtreeError {
    fn from(error: StoreError) -> SubtreeError {
        SubtreeError::History(error.into())
    }
}

impl<S: Store> StateMachine<S> {
    /// The subtree under `root` (itself included) as it stands, from behind the path `after`, at most
    /// `max` znodes; fewer only at its end. A root that does not exist has an empty subtree.
    pub fn subtree(
        &self,
        root: &str,
        auth: &[AuthId],
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<SubtreeNode>, StoreError> {
        let nodes = walk(&self.store, root, after, max)?;
        Ok(nodes
            .into_iter()
            .map(|(path, node)| shown(path, node, auth))
            .collect())
    }

    /// As [`StateMachine::subtree`], as of the zxid `at`. A chunk may be a little longer than `max`; the
    /// end is told by an empty chunk.
    pub fn subtree_at(
        &self,
        at: Zxid,
        root: &str,
        auth: &[AuthId],
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<SubtreeNode>, SubtreeError> {
        let applied = self.meta.applied.zxid;
        if at > applied {
            return Err(SubtreeError::NotYet { asked: at, applied });
        }
        let since = self.store.history(at, usize::MAX)?;
        let mut former = Former::before(&since);
        let mut after = after.map(str::to_owned);
        loop {
            let present = walk(&self.store, root, after.as_deref(), max)?;
            let last = (present.len() == max).then(|| present[max - 1].0.to_string());
            let chunk = former.chunk(root, after.as_deref(), last.as_deref(), present);
            // A chunk may be empty because all of it was created later: the end is further on.
            if !chunk.is_empty() || last.is_none() {
                return Ok(chunk
                    .into_iter()
                    .map(|(path, node)| shown(path, node, auth))
                    .collect());
            }
            after = last;
        }
    }
}

fn shown(path: Arc<str>, node: Arc<Node>, auth: &[AuthId]) -> SubtreeNode {
    let readable = acl::allows(&node.acl, acl::READ, auth);
    SubtreeNode {
        path,
        node,
        readable,
    }
}

/// Znodes as they were before some transactions: only those that these changed.
struct Former {
    nodes: HashMap<Arc<str>, Option<Arc<Node>>>,
    children: HashMap<String, ChildNumbers>,
}

impl Former {
    fn before(transactions: &[Arc<Transaction>]) -> Former {
        let mut former = Former {
            nodes: HashMap::new(),
            children: HashMap::new(),
        };
        for mutation in transactions
            .iter()
            .flat_map(|transaction| &transaction.mutations)
        {
            let (image, parent_before) = match mutation {
                Mutation::Created { parent_before, .. } => (None, Some(*parent_before)),
                Mutation::Deleted {
                    node,
                    parent_before,
                    ..
                } => (Some(node), Some(*parent_before)),
                Mutation::Data { before, .. } | Mutation::Acl { before, .. } => {
                    (Some(before), None)
                }
            };
            let path = mutation.path();
            if let Mutation::Deleted { node, .. } = mutation {
                // What comes after it belongs to another znode of the same path.
                former
                    .children
                    .entry(path.to_string())
                    .or_insert(node.children);
            }
            former
                .nodes
                .entry(Arc::clone(path))
                .or_insert_with(|| image.cloned());
            if let (Some(numbers), Some(parent)) = (parent_before, path::parent(path)) {
                former.children.entry(parent.to_owned()).or_insert(numbers);
            }
        }
        former
    }

    /// The chunk behind `after` up to `last` (`None`: to the end), from what is there now.
    fn chunk(
        &mut self,
        root: &str,
        after: Option<&str>,
        last: Option<&str>,
        present: Vec<Found>,
    ) -> Vec<Found> {
        let in_range = |path: &str| {
            path::is_within(path, root)
                && after.is_none_or(|after| path::compare(path, after).is_gt())
                && last.is_none_or(|last| path::compare(path, last).is_le())
        };
        let mut chunk: BTreeMap<InOrder, Arc<Node>> = present
            .into_iter()
            .map(|(path, node)| (InOrder(path), node))
            .collect();
        for (path, node) in self.nodes.iter().filter(|(path, _)| in_range(path)) {
            match node {
                Some(node) => chunk.insert(InOrder(Arc::clone(path)), Arc::clone(node)),
                None => chunk.remove(&InOrder(Arc::clone(path))),
            };
        }
        let with_numbers =
            |(InOrder(path), node): (InOrder, Arc<Node>)| match self.children.get(&*path) {
                // A znode that did not change otherwise has the image of now, with later children.
                Some(&children) if node.children != children => (
                    path,
                    Arc::new(Node {
                        children,
                        ..Node::clone(&node)
                    }),
                ),
                _ => (path, node),
            };
        chunk.into_iter().map(with_numbers).collect()
    }
}

#[derive(PartialEq, Eq)]
struct InOrder(Arc<str>);

impl Ord for InOrder {
    fn cmp(&self, other: &InOrder) -> std::cmp::Ordering {
        path::compare(&self.0, &other.0)
    }
}

impl PartialOrd for InOrder {
    fn partial_cmp(&self, other: &InOrder) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// Up to `max` znodes under `root` behind `after`, depth first: every level above the place keeps the
/// names that come next there.
fn walk<S: Store>(
    store: &S,
    root: &str,
    after: Option<&str>,
    max: usize,
) -> Result<Vec<Found>, StoreError> {
    let mut found = Vec::new();
    let mut levels: Vec<Level> = Vec::new();
    match after {
        None => match store.node(root)? {
            Some(node) if max > 0 => {
                found.push((Arc::from(root), node));
                levels.push(Level::new(root, None));
            }
            _ => return Ok(found),
        },
        Some(after) => levels.extend(levels_behind(root, after)),
    }
    while found.len() < max {
        let Some(level) = levels.last_mut() else {
            break;
        };
        let Some(name) = level.next(store, max - found.len())? else {
            levels.pop();
            continue;
        };
        let path = path::child(&level.parent, &name);
        let Some(node) = store.node(&path)? else {
            return Err(StoreError::Inconsistent(format!(
                "{path} is listed by its parent, but not there"
            )));
        };
        if node.children.count > 0 {
            levels.push(Level::new(&path, None));
        }
        found.push((Arc::from(path), node));
    }
    Ok(found)
}

/// The levels from `root` down to below `after`, each to go on behind it.
fn levels_behind(root: &str, after: &str) -> Vec<Level> {
    if !path::is_within(after, root) {
        return Vec::new();
    }
    let mut levels = vec![Level::new(after, None)];
    let mut at = after;
    while at != root
        && let Some(parent) = path::parent(at)
    {
        levels.push(Level::new(parent, Some(path::name(at).to_owned())));
        at = parent;
    }
    levels.reverse();
    levels
}

/// The children of one znode that are still to come.
struct Level {
    parent: String,
    last: Option<String>,
    page: std::vec::IntoIter<String>,
    exhausted: bool,
}

impl Level {
    fn new(parent: &str, last: Option<String>) -> Level {
        Level {
            parent: parent.to_owned(),
            last,
            page: Vec::new().into_iter(),
            exhausted: false,
        }
    }

    fn next<S: Store>(&mut self, store: &S, wanted: usize) -> Result<Option<String>, StoreError> {
        if let Some(name) = self.page.next() {
            return Ok(Some(name));
        }
        if self.exhausted {
            return Ok(None);
        }
        let size = wanted.clamp(1, PAGE);
        let names = store.children(&self.parent, self.last.as_deref(), size)?;
        self.exhausted = names.len() < size;
        self.last = names.last().cloned();
        self.page = names.into_iter();
        Ok(self.page.next())
    }
}
