//! The armed watches, by path and by connection.
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::event::{RemoveKind, WatchKind};
use crate::limits;

/// Watches of one connection on one path, in one of the two tables: a set of bits.
pub(super) type Modes = u8;
pub(super) const ONCE: Modes = 1;
pub(super) const PERSISTENT: Modes = 2;
pub(super) const RECURSIVE: Modes = 4;
const ALL: Modes = ONCE | PERSISTENT | RECURSIVE;

/// Watches by path; ordered, so that the same state tells the same events in the same order.
pub(super) type ByPath<K> = HashMap<Arc<str>, BTreeMap<K, Modes>>;

/// All watches of this node's connections, each named by a `K`.
///
/// Invariants: no empty map and no empty set of modes is kept; `connections` names every path of either
/// table once per connection, `watched` counts those; `recursive` counts the recursive watches.
#[derive(Debug)]
pub struct WatchTable<K> {
    /// As ZooKeeper: data, exists, persistent and recursive watches ...
    pub(super) data: ByPath<K>,
    /// ... and child watches, the persistent ones (but not the recursive ones) once more.
    pub(super) child: ByPath<K>,
    connections: BTreeMap<K, Watched>,
    /// How many connections watch a path.
    watched: HashMap<Arc<str>, usize>,
    /// Watched paths, once per connection.
    len: usize,
    pub(super) recursive: usize,
}

/// What one connection watches.
#[derive(Debug, Default)]
struct Watched {
    paths: BTreeSet<Arc<str>>,
    /// See [`limits::WATCH_BYTES`].
    bytes: usize,
}

fn bytes_of(path: &str) -> usize {
    path.len() + limits::WATCH_COST_BYTES
}

impl<K: Ord + Copy> Default for WatchTable<K> {
    fn default() -> WatchTable<K> {
        WatchTable {
            data: HashMap::new(),
            child: HashMap::new(),
            connections: BTreeMap::new(),
            watched: HashMap::new(),
            len: 0,
            recursive: 0,
        }
    }
}

impl<K: Ord + Copy> WatchTable<K> {
    /// A table without watches.
    pub fn new() -> WatchTable<K> {
        WatchTable::default()
    }

    /// Whether a connection may watch all these paths as well.
    pub fn has_room<'a>(&self, connection: K, paths: impl IntoIterator<Item = &'a str>) -> bool {
        let watched = self.connections.get(&connection);
        let known = |path: &str| watched.is_some_and(|watched| watched.paths.contains(path));
        // A path may be named once for each kind of watch.
        let new: HashSet<&str> = paths.into_iter().filter(|path| !known(path)).collect();
        let bytes = watched.map_or(0, |watched| watched.bytes);
        bytes + new.into_iter().map(bytes_of).sum::<usize>() <= limits::WATCH_BYTES
    }

    /// Arms a watch; one that is armed already stays as it is.
    pub fn arm(&mut self, connection: K, path: &str, kind: WatchKind) {
        let path = self.known(path);
        let (data, child) = match kind {
            WatchKind::Data | WatchKind::Exists => (ONCE, 0),
            WatchKind::Child => (0, ONCE),
            WatchKind::Persistent => (PERSISTENT, PERSISTENT),
            WatchKind::PersistentRecursive => (RECURSIVE, 0),
        };
        let former = add(&mut self.data, connection, &path, data);
        add(&mut self.child, connection, &path, child);
        self.recursive += usize::from(data & !former & RECURSIVE != 0);
        let watched = self.connections.entry(connection).or_default();
        if watched.paths.insert(Arc::clone(&path)) {
            watched.bytes += bytes_of(&path);
            self.len += 1;
            *self.watched.entry(path).or_default() += 1;
        }
    }

    /// Removes watches; `false` if there was none such.
    pub fn remove(&mut self, connection: K, path: &str, kind: RemoveKind) -> bool {
        let (data, child) = modes_of(kind);
        let data = take(&mut self.data, connection, path, data);
        let child = take(&mut self.child, connection, path, child);
        self.recursive -= usize::from(data & RECURSIVE != 0);
        self.forget_if_unwatched(connection, path);
        data | child != 0
    }

    /// Whether there is such a watch.
    pub fn is_armed(&self, connection: K, path: &str, kind: RemoveKind) -> bool {
        let (data, child) = modes_of(kind);
        modes(&self.data, connection, path) & data | modes(&self.child, connection, path) & child
            != 0
    }

    /// Removes every watch of a connection.
    pub fn drop_connection(&mut self, connection: K) {
        let watched = self.connections.remove(&connection).unwrap_or_default();
        for path in watched.paths {
            self.uncount(&path);
            let data = take(&mut self.data, connection, &path, ALL);
            take(&mut self.child, connection, &path, ALL);
            self.recursive -= usize::from(data & RECURSIVE != 0);
        }
    }

    /// Watched paths, counted once per connection.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing is watched.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Each connection that watches something, with the paths.
    pub fn by_connection(&self) -> impl Iterator<Item = (K, &BTreeSet<Arc<str>>)> {
        let connections = self.connections.iter();
        connections.map(|(connection, watched)| (*connection, &watched.paths))
    }

    /// Paths that someone watches.
    pub fn path_count(&self) -> usize {
        self.watched.len()
    }

    /// Connections that watch something.
    pub fn connection_count(&self) -> usize {
        self.connections.len()
    }

    pub(super) fn forget_if_unwatched(&mut self, connection: K, path: &str) {
        if modes(&self.data, connection, path) | modes(&self.child, connection, path) != 0 {
            return;
        }
        let Some(watched) = self.connections.get_mut(&connection) else {
            return;
        };
        if watched.paths.remove(path) {
            watched.bytes -= bytes_of(path);
            if watched.paths.is_empty() {
                self.connections.remove(&connection);
            }
            self.uncount(path);
        }
    }

    /// One connection less watches the path.
    fn uncount(&mut self, path: &str) {
        self.len -= 1;
        if let Some(count) = self.watched.get_mut(path) {
            *count -= 1;
            if *count == 0 {
                self.watched.remove(path);
            }
        }
    }

    /// The path's own string, shared where it is watched already.
    fn known(&self, path: &str) -> Arc<str> {
        let known = self.watched.get_key_value(path);
        known.map_or_else(|| Arc::from(path), |(path, _)| Arc::clone(path))
    }
}

fn modes_of(kind: RemoveKind) -> (Modes, Modes) {
    match kind {
        RemoveKind::Child => (0, ONCE),
        RemoveKind::Data => (ONCE, 0),
        RemoveKind::Any => (ALL, ALL),
        RemoveKind::Persistent => (PERSISTENT, PERSISTENT),
        RemoveKind::PersistentRecursive => (RECURSIVE, 0),
    }
}

fn modes<K: Ord + Copy>(table: &ByPath<K>, connection: K, path: &str) -> Modes {
    table
        .get(path)
        .and_then(|watchers| watchers.get(&connection))
        .copied()
        .unwrap_or(0)
}

/// Adds modes and returns the former ones.
fn add<K: Ord + Copy>(
    table: &mut ByPath<K>,
    connection: K,
    path: &Arc<str>,
    modes: Modes,
) -> Modes {
    if modes == 0 {
        return 0;
    }
    let entry = table
        .entry(Arc::clone(path))
        .or_default()
        .entry(connection)
        .or_insert(0);
    std::mem::replace(entry, *entry | modes)
}

/// Takes modes away and returns those that were there.
fn take<K: Ord + Copy>(table: &mut ByPath<K>, connection: K, path: &str, modes: Modes) -> Modes {
    let Some(watchers) = table.get_mut(path) else {
        return 0;
    };
    let Some(entry) = watchers.get_mut(&connection) else {
        return 0;
    };
    let taken = *entry & modes;
    *entry &= !modes;
    if *entry == 0 {
        watchers.remove(&connection);
        if watchers.is_empty() {
            table.remove(path);
        }
    }
    taken
}
