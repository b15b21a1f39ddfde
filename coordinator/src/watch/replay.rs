//! Watches that a client arms again after a reconnect (ZooKeeper's `setWatches` and `setWatches2`).
use std::sync::Arc;

use super::event::{Event, EventKind, WatchKind};
use super::table::WatchTable;
use crate::mutants::{self, Mutant};
use crate::tree::{Node, Zxid};

/// What a client had armed, and how far it had seen.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rearm {
    /// The last zxid the client has seen.
    pub seen: Zxid,
    /// Paths with a data watch.
    pub data: Vec<String>,
    /// Paths with an exists watch, where there was no znode.
    pub exists: Vec<String>,
    /// Paths with a child watch.
    pub child: Vec<String>,
    /// Paths with a persistent watch; armed again, nothing is told of what was missed.
    pub persistent: Vec<String>,
    /// Paths with a persistent recursive watch; likewise.
    pub persistent_recursive: Vec<String>,
}

impl Rearm {
    /// Every path, of whatever kind of watch.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        let one_shot = self.data.iter().chain(&self.exists).chain(&self.child);
        let all = one_shot
            .chain(&self.persistent)
            .chain(&self.persistent_recursive);
        all.map(String::as_str)
    }
}

impl<K: Ord + Copy> WatchTable<K> {
    /// Arms each watch, or tells at once what its client has missed, whatever the ACL has become since:
    /// a client that armed a watch waits for its event. `node` looks up the state.
    pub fn rearm<E>(
        &mut self,
        connection: K,
        watches: &Rearm,
        node: impl Fn(&str) -> Result<Option<Arc<Node>>, E>,
    ) -> Result<Vec<Event>, E> {
        let mut events = Vec::new();
        let mut one_shot =
            |paths: &[String], kind, missed: fn(Option<&Node>, Zxid) -> Option<EventKind>| {
                for path in paths {
                    let node = node(path)?;
                    match missed(node.as_deref(), watches.seen) {
                        Some(kind) => events.push(Event {
                            kind,
                            path: path.as_str().into(),
                            zxid: Zxid::NONE,
                            acl: None,
                        }),
                        None => self.arm(connection, path, kind),
                    }
                }
                Ok(())
            };
        one_shot(&watches.data, WatchKind::Data, missed_data)?;
        one_shot(&watches.exists, WatchKind::Exists, missed_creation)?;
        if !mutants::is(Mutant::ReplayForgetsChildren) {
            one_shot(&watches.child, WatchKind::Child, missed_children)?;
        }
        for path in &watches.persistent {
            self.arm(connection, path, WatchKind::Persistent);
        }
        for path in &watches.persistent_recursive {
            self.arm(connection, path, WatchKind::PersistentRecursive);
        }
        Ok(events)
    }
}

fn missed_data(node: Option<&Node>, seen: Zxid) -> Option<EventKind> {
    match node {
        None => Some(EventKind::NodeDeleted),
        Some(node) => (node.mzxid > seen).then_some(EventKind::NodeDataChanged),
    }
}

fn missed_creation(node: Option<&Node>, _seen: Zxid) -> Option<EventKind> {
    node.map(|_| EventKind::NodeCreated)
}

fn missed_children(node: Option<&Node>, seen: Zxid) -> Option<EventKind> {
    match node {
        None => Some(EventKind::NodeDeleted),
        Some(node) => (node.children.pzxid > seen).then_some(EventKind::NodeChildrenChanged),
    }
}
