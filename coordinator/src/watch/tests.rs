//! ZooKeeper's rules, one by one; connections are letters.
use std::sync::Arc;

use super::*;
use crate::limits;
use crate::session::SessionId;
use crate::state_machine::{Change, ChangeKind};
use crate::tree::{Acl, Node, Zxid};

fn change(kind: ChangeKind, path: &str) -> Change {
    let node = Arc::new(Node::new(None, Acl::open(), SessionId::NONE, Zxid(1), 0));
    Change {
        kind,
        path: path.into(),
        zxid: Zxid(7),
        node,
        parent_acl: None,
    }
}

fn fired(table: &mut WatchTable<char>, kind: ChangeKind, path: &str) -> Vec<String> {
    let events = table.trigger(&[change(kind, path)]);
    assert!(events.iter().all(|(_, event)| event.zxid == Zxid(7)));
    events
        .into_iter()
        .map(|(connection, event)| format!("{connection} {:?} {}", event.kind, event.path))
        .collect()
}

fn armed(watches: &[(char, &str, WatchKind)]) -> WatchTable<char> {
    let mut table = WatchTable::new();
    for (connection, path, kind) in watches {
        table.arm(*connection, path, *kind);
    }
    table
}

const NOTHING: [&str; 0] = [];

#[test]
fn one_shot_watches_fire_once() {
    let mut table = armed(&[
        ('a', "/x", WatchKind::Data),
        ('b', "/x", WatchKind::Exists),
        ('a', "/x", WatchKind::Data),
    ]);
    assert_eq!(
        fired(&mut table, ChangeKind::Data, "/x"),
        ["a NodeDataChanged /x", "b NodeDataChanged /x"]
    );
    assert_eq!(fired(&mut table, ChangeKind::Data, "/x"), NOTHING);
    assert!(table.is_empty());
}

#[test]
fn an_exists_watch_hears_of_the_creation() {
    let mut table = armed(&[('a', "/x", WatchKind::Exists)]);
    assert_eq!(
        fired(&mut table, ChangeKind::Created, "/x"),
        ["a NodeCreated /x"]
    );
}

#[test]
fn a_child_watch_hears_of_children_and_of_its_own_deletion() {
    let watch = [('a', "/x", WatchKind::Child)];
    assert_eq!(
        fired(&mut armed(&watch), ChangeKind::Created, "/x/y"),
        ["a NodeChildrenChanged /x"]
    );
    assert_eq!(
        fired(&mut armed(&watch), ChangeKind::Deleted, "/x/y"),
        ["a NodeChildrenChanged /x"]
    );
    assert_eq!(
        fired(&mut armed(&watch), ChangeKind::Deleted, "/x"),
        ["a NodeDeleted /x"]
    );
    assert_eq!(fired(&mut armed(&watch), ChangeKind::Data, "/x"), NOTHING);
    assert_eq!(fired(&mut armed(&watch), ChangeKind::Data, "/x/y"), NOTHING);
    assert_eq!(
        fired(&mut armed(&watch), ChangeKind::Created, "/x/y/z"),
        NOTHING
    );
    assert_eq!(
        fired(
            &mut armed(&[('a', "/", WatchKind::Child)]),
            ChangeKind::Created,
            "/x"
        ),
        ["a NodeChildrenChanged /"]
    );
}

#[test]
fn an_event_carries_the_acl_of_its_own_path() {
    let watches = [
        ('a', "/x", WatchKind::Child),
        ('a', "/x/y", WatchKind::Data),
    ];
    let parent_acl: crate::tree::AclList = Arc::from([Acl::anyone(0)]);
    for kind in [ChangeKind::Created, ChangeKind::Deleted] {
        let change = Change {
            parent_acl: Some(Arc::clone(&parent_acl)),
            ..change(kind, "/x/y")
        };
        let events = armed(&watches).trigger(&[change]);
        let lists: Vec<_> = events.into_iter().map(|(_, event)| event.acl).collect();
        assert_eq!(lists, [Some(Acl::open()), Some(Arc::clone(&parent_acl))]);
    }
}

#[test]
fn a_deletion_is_told_once_to_a_connection_with_both_watches() {
    let mut table = armed(&[
        ('a', "/x", WatchKind::Data),
        ('a', "/x", WatchKind::Child),
        ('b', "/", WatchKind::Child),
    ]);
    assert_eq!(
        fired(&mut table, ChangeKind::Deleted, "/x"),
        ["a NodeDeleted /x", "b NodeChildrenChanged /"]
    );
    assert!(table.is_empty());
}

#[test]
fn a_persistent_watch_hears_everything_of_its_path_and_stays() {
    let mut table = armed(&[('a', "/x", WatchKind::Persistent)]);
    for _ in 0..2 {
        assert_eq!(
            fired(&mut table, ChangeKind::Created, "/x"),
            ["a NodeCreated /x"]
        );
        assert_eq!(
            fired(&mut table, ChangeKind::Data, "/x"),
            ["a NodeDataChanged /x"]
        );
        assert_eq!(
            fired(&mut table, ChangeKind::Created, "/x/y"),
            ["a NodeChildrenChanged /x"]
        );
        assert_eq!(fired(&mut table, ChangeKind::Data, "/x/y"), NOTHING);
        assert_eq!(
            fired(&mut table, ChangeKind::Deleted, "/x"),
            ["a NodeDeleted /x"]
        );
        assert_eq!(fired(&mut table, ChangeKind::Acl, "/x"), NOTHING);
    }
}

#[test]
fn a_recursive_watch_hears_of_all_below_but_never_of_children_changed() {
    let mut table = armed(&[('a', "/x", WatchKind::PersistentRecursive)]);
    assert_eq!(
        fired(&mut table, ChangeKind::Created, "/x"),
        ["a NodeCreated /x"]
    );
    assert_eq!(
        fired(&mut table, ChangeKind::Created, "/x/y"),
        ["a NodeCreated /x/y"]
    );
    assert_eq!(
        fired(&mut table, ChangeKind::Data, "/x/y/z"),
        ["a NodeDataChanged /x/y/z"]
    );
    assert_eq!(
        fired(&mut table, ChangeKind::Deleted, "/x/y"),
        ["a NodeDeleted /x/y"]
    );
    assert_eq!(fired(&mut table, ChangeKind::Created, "/xy"), NOTHING);
    let mut root = armed(&[('a', "/", WatchKind::PersistentRecursive)]);
    assert_eq!(
        fired(&mut root, ChangeKind::Data, "/x/y"),
        ["a NodeDataChanged /x/y"]
    );
}

#[test]
fn kinds_on_one_path_do_not_disturb_each_other() {
    let kinds = [
        WatchKind::Data,
        WatchKind::Child,
        WatchKind::PersistentRecursive,
    ];
    let mut table = armed(&kinds.map(|kind| ('a', "/x", kind)));
    assert_eq!(
        fired(&mut table, ChangeKind::Created, "/x/y"),
        ["a NodeCreated /x/y", "a NodeChildrenChanged /x"]
    );
    assert_eq!(
        fired(&mut table, ChangeKind::Data, "/x"),
        ["a NodeDataChanged /x"],
        "one event for two watches"
    );
    assert_eq!(
        fired(&mut table, ChangeKind::Data, "/x"),
        ["a NodeDataChanged /x"],
        "the recursive one stays"
    );
    assert!(!table.is_armed('a', "/x", RemoveKind::Data));
    assert!(table.is_armed('a', "/x", RemoveKind::PersistentRecursive));
}

#[test]
fn watches_are_removed_by_kind() {
    let kinds = [
        WatchKind::Data,
        WatchKind::Child,
        WatchKind::Persistent,
        WatchKind::PersistentRecursive,
    ];
    let mut table = armed(&kinds.map(|kind| ('a', "/x", kind)));
    assert!(!table.remove('b', "/x", RemoveKind::Any) && !table.remove('a', "/y", RemoveKind::Any));
    assert!(
        table.remove('a', "/x", RemoveKind::Data) && !table.remove('a', "/x", RemoveKind::Data)
    );
    assert!(table.remove('a', "/x", RemoveKind::Child));
    assert!(table.remove('a', "/x", RemoveKind::Persistent));
    assert_eq!(
        fired(&mut table, ChangeKind::Created, "/x/y"),
        ["a NodeCreated /x/y"]
    );
    assert!(table.remove('a', "/x", RemoveKind::Any));
    assert!(table.is_empty() && table.path_count() == 0 && table.recursive == 0);
}

#[test]
fn what_is_watched_is_counted_and_bounded_per_connection() {
    let long = |number: usize| format!("/{number}{}", "x".repeat(1 << 20));
    let mut table = armed(&[('b', "/x", WatchKind::Data), ('a', "/x", WatchKind::Child)]);
    let many = limits::WATCH_BYTES / (1 << 20) - 1;
    for number in 0..many {
        assert!(table.has_room('a', [long(number).as_str()]), "{number}");
        table.arm('a', &long(number), WatchKind::Exists);
    }
    assert_eq!((table.len(), table.path_count()), (many + 2, many + 1));
    assert!(!table.has_room('a', [long(many).as_str()]));
    assert!(
        table.has_room('a', [long(0).as_str(), "/x"]),
        "watched already"
    );
    assert!(table.has_room('b', [long(many).as_str()]), "another's room");
    let twice: Vec<String> = (0..many).chain(0..many).map(long).collect();
    assert!(
        table.has_room('b', twice.iter().map(String::as_str)),
        "each once"
    );
    fired(&mut table, ChangeKind::Created, &long(0));
    assert!(table.has_room('a', [long(many).as_str()]), "one has fired");
    table.drop_connection('a');
    assert_eq!((table.len(), table.path_count()), (1, 1));
    assert!(table.has_room('a', [long(0).as_str()]));
}

#[test]
fn a_dropped_connection_leaves_nothing() {
    let mut table = armed(&[
        ('a', "/x", WatchKind::PersistentRecursive),
        ('a', "/y", WatchKind::Child),
        ('b', "/x", WatchKind::Data),
    ]);
    table.drop_connection('a');
    assert_eq!(
        (table.len(), table.connection_count(), table.recursive),
        (1, 1, 0)
    );
    assert_eq!(
        fired(&mut table, ChangeKind::Data, "/x"),
        ["b NodeDataChanged /x"]
    );
}

#[test]
fn what_was_missed_is_told_and_the_rest_is_armed() {
    let node = |path: &str| -> Result<Option<Arc<Node>>, ()> {
        let mut node = Node::new(None, Acl::open(), SessionId::NONE, Zxid(1), 0);
        match path {
            "/old" => {}
            "/written" => node.mzxid = Zxid(6),
            "/grown" => node.children.pzxid = Zxid(6),
            _ => return Ok(None),
        }
        Ok(Some(Arc::new(node)))
    };
    let paths = || {
        ["/old", "/written", "/grown", "/gone"]
            .map(str::to_owned)
            .to_vec()
    };
    let watches = Rearm {
        seen: Zxid(5),
        data: paths(),
        exists: paths(),
        child: paths(),
        persistent: vec!["/p".to_owned()],
        persistent_recursive: vec!["/r".to_owned()],
    };
    let mut table = WatchTable::new();
    let events = table.rearm('a', &watches, node).unwrap();
    assert!(events.iter().all(|event| event.zxid == Zxid::NONE));
    assert!(
        events.iter().all(|event| event.acl.is_none()),
        "a replay is told unfiltered"
    );
    let shown: Vec<_> = events
        .iter()
        .map(|event| format!("{:?} {}", event.kind, event.path))
        .collect();
    let expected = [
        "NodeDataChanged /written",
        "NodeDeleted /gone",
        "NodeCreated /old",
        "NodeCreated /written",
        "NodeCreated /grown",
        "NodeChildrenChanged /grown",
        "NodeDeleted /gone",
    ];
    assert_eq!(shown, expected);
    for path in ["/old", "/grown", "/gone"] {
        assert!(table.is_armed('a', path, RemoveKind::Data), "{path}");
    }
    for path in ["/old", "/written"] {
        assert!(table.is_armed('a', path, RemoveKind::Child), "{path}");
    }
    assert!(
        !table.is_armed('a', "/written", RemoveKind::Data)
            && !table.is_armed('a', "/gone", RemoveKind::Child)
    );
    assert!(table.is_armed('a', "/p", RemoveKind::Persistent));
    assert!(table.is_armed('a', "/r", RemoveKind::PersistentRecursive));
}
