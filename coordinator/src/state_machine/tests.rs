//! What a script cannot show; those are in `scripts`.
mod scripts;

use super::command::{Command, Entry, Op, Origin};
use super::*;
use crate::storage::MemoryStore;
use crate::tree::Zxid;

fn machine() -> StateMachine<MemoryStore> {
    StateMachine::open(MemoryStore::default()).unwrap()
}

fn plain(op: Op) -> Command {
    Command {
        origin: Origin::default(),
        session: SessionId::NONE,
        attach: 0,
        auth: vec![],
        deadline_ms: 0,
        trace: [0; 16],
        op,
    }
}

fn create(path: &str) -> Op {
    scripts::parse_op(&["create", path])
}

fn entry(term: u64, ops: Vec<Op>) -> Bytes {
    Entry {
        term,
        time_ms: 1,
        commands: ops.into_iter().map(plain).collect(),
    }
    .encode()
}

#[test]
fn an_entry_of_another_term_is_ignored_whole() {
    let mut machine = machine();
    assert!(
        machine
            .apply(1, 2, &entry(1, vec![create("/a")]))
            .unwrap()
            .is_empty()
    );
    assert_eq!(
        (
            machine.applied().index,
            machine.applied().term,
            machine.applied().zxid
        ),
        (1, 2, Zxid(0))
    );
    assert_eq!(machine.exists("/a", &[]).unwrap(), None);
    assert_eq!(
        machine
            .apply(2, 2, &entry(2, vec![create("/a")]))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn an_empty_entry_only_counts() {
    let mut machine = machine();
    assert!(machine.apply(1, 1, &Bytes::new()).unwrap().is_empty());
    assert_eq!(machine.store().meta().unwrap().applied.index, 1);
}

#[test]
fn an_entry_is_applied_once_and_none_is_left_out() {
    let mut machine = machine();
    let first = entry(1, vec![create("/a")]);
    machine.apply(1, 1, &first).unwrap();
    let applied = machine.applied();
    assert!(machine.apply(1, 1, &first).unwrap().is_empty());
    assert_eq!(machine.applied(), applied);
    assert!(matches!(
        machine.apply(3, 1, &first),
        Err(ApplyError::Gap {
            index: 3,
            applied: 1
        })
    ));
}

#[test]
fn an_entry_that_cannot_be_read_stops_the_node() {
    let unknown = Bytes::from_static(&[77]);
    assert!(matches!(
        machine().apply(1, 1, &unknown),
        Err(ApplyError::Unreadable { index: 1, .. })
    ));
}

#[test]
fn membership_stands_with_the_state() {
    let mut machine = machine();
    machine.apply_conf(1, 1, b"three voters").unwrap();
    let machine = StateMachine::open(machine.into_store()).unwrap();
    assert_eq!(machine.conf_state().as_deref(), Some(&b"three voters"[..]));
    assert_eq!(machine.applied().index, 1);
}

#[test]
fn descendants_are_counted_without_the_root_of_them() {
    let mut machine = machine();
    let paths = ["/a", "/a/b", "/a/b/c", "/a-"];
    let created = entry(1, paths.map(create).to_vec());
    machine.apply(1, 1, &created).unwrap();
    let counted = ["/", "/a", "/a/b/c"].map(|path| machine.descendants(path, &[]).unwrap());
    assert_eq!(counted, [7, 2, 0]);
    assert!(machine.descendants("/missing", &[]).is_err());
}

#[test]
fn a_subtree_in_chunks_of_any_size_is_the_same() {
    let mut machine = machine();
    let paths = [
        "/a", "/a/b", "/a/b/c", "/a/b-", "/a-", "/a/d", "/a/d/e", "/a/d/f", "/z",
    ];
    machine
        .apply(1, 1, &entry(1, paths.map(create).to_vec()))
        .unwrap();
    for root in ["/", "/a", "/a/b", "/missing"] {
        let whole = machine.subtree(root, &[], None, usize::MAX).unwrap();
        assert!(whole.is_sorted_by(|a, b| crate::tree::path::compare(&a.path, &b.path).is_lt()));
        for max in 1..12 {
            let mut chunks: Vec<SubtreeNode> = Vec::new();
            loop {
                let after = chunks.last().map(|node| node.path.clone());
                let chunk = machine.subtree(root, &[], after.as_deref(), max).unwrap();
                let ended = chunk.len() < max;
                chunks.extend(chunk);
                if ended {
                    break;
                }
            }
            assert_eq!(chunks, whole, "{root} in chunks of {max}");
        }
    }
    let under_a: Vec<_> = machine
        .subtree("/a", &[], None, 99)
        .unwrap()
        .into_iter()
        .map(|node| node.path.to_string())
        .collect();
    assert_eq!(
        under_a,
        ["/a", "/a/b", "/a/b/c", "/a/b-", "/a/d", "/a/d/e", "/a/d/f"]
    );
}
