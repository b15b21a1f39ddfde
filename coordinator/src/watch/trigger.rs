//! Which watches a transaction fires.
//!
//! | change   | data watches                    | child watches                                     |
//! |----------|---------------------------------|---------------------------------------------------|
//! | creation | the path: `NodeCreated`         | the parent: `NodeChildrenChanged`                 |
//! | data     | the path: `NodeDataChanged`     |                                                   |
//! | deletion | the path: `NodeDeleted`         | the path: `NodeDeleted`, unless the connection    |
//! |          |                                 | has just been told; the parent: `..ChildrenChanged` |
//! | acl      | none                            | none                                              |
//!
//! Each event carries the ACL of its own path: what must not be read is not heard of either.
//!
//! A recursive watch stands among the data watches and hears of every path below its own.
use std::collections::BTreeMap;
use std::sync::Arc;

use super::event::{Event, EventKind};
use super::table::{ByPath, Modes, ONCE, RECURSIVE, WatchTable};
use crate::mutants::{self, Mutant};
use crate::state_machine::{Change, ChangeKind};
use crate::tree::path;

impl<K: Ord + Copy> WatchTable<K> {
    /// The events of these changes, in order; watches that fire once are gone.
    pub fn trigger(&mut self, changes: &[Change]) -> Vec<(K, Event)> {
        let mut events = Vec::new();
        for change in changes {
            if self.is_empty() {
                break;
            }
            self.trigger_one(change, &mut events);
        }
        events
    }

    fn trigger_one(&mut self, change: &Change, events: &mut Vec<(K, Event)>) {
        let kind = match change.kind {
            ChangeKind::Created => EventKind::NodeCreated,
            ChangeKind::Data => EventKind::NodeDataChanged,
            ChangeKind::Deleted => EventKind::NodeDeleted,
            ChangeKind::Acl => return,
        };
        let event = |kind, path: &Arc<str>, acl| Event {
            kind,
            path: Arc::clone(path),
            zxid: change.zxid,
            acl,
        };
        let acl = || Some(Arc::clone(&change.node.acl));
        let path = &change.path;
        let mut told = fire(&mut self.data, path);
        if self.recursive > 0 {
            self.above(path, &mut told);
        }
        if change.kind == ChangeKind::Deleted {
            told.extend(fire(&mut self.child, path));
        }
        for connection in told.into_keys() {
            self.forget_if_unwatched(connection, path);
            events.push((connection, event(kind, path, acl())));
        }
        if matches!(change.kind, ChangeKind::Created | ChangeKind::Deleted)
            && let Some(parent) = path::parent(path)
            && let Some((parent, _)) = self.child.get_key_value(parent)
        {
            let parent = Arc::clone(parent);
            for connection in fire(&mut self.child, &parent).into_keys() {
                self.forget_if_unwatched(connection, &parent);
                events.push((
                    connection,
                    event(
                        EventKind::NodeChildrenChanged,
                        &parent,
                        change.parent_acl.clone(),
                    ),
                ));
            }
        }
    }

    /// Adds the connections with a recursive watch above `path`.
    fn above(&self, path: &str, told: &mut BTreeMap<K, Modes>) {
        let mut at = path;
        while let Some(parent) = path::parent(at) {
            let watchers = self.data.get(parent).into_iter().flatten();
            told.extend(watchers.filter(|(_, modes)| **modes & RECURSIVE != 0));
            if mutants::is(Mutant::RecursiveMissesGrandchildren) {
                return;
            }
            at = parent;
        }
    }
}

/// Everyone who watches `path` in this table; watches that fire once are taken.
fn fire<K: Ord + Copy>(table: &mut ByPath<K>, path: &str) -> BTreeMap<K, Modes> {
    let Some(watchers) = table.get_mut(path) else {
        return BTreeMap::new();
    };
    let told = watchers.clone();
    watchers.retain(|_, modes| {
        if !mutants::is(Mutant::OneShotTwice) {
            *modes &= !ONCE;
        }
        *modes != 0
    });
    if watchers.is_empty() {
        table.remove(path);
    }
    told
}
