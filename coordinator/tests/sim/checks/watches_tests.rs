//! Histories of one connection's watches, some of them spoiled.

use super::*;
use crate::checks::samples::{command, create, delete, entry, set};

/// 1: `/a` is created, 2: and written, 3: `/a/b` is created, 4: and deleted, 5: `/a` is written.
fn truth() -> Truth {
    let ops = [
        create("/a"),
        set("/a"),
        create("/a/b"),
        delete("/a/b"),
        set("/a"),
    ];
    let mut truth = Truth::default();
    for (index, op) in (1..).zip(ops) {
        truth.applied(0, &entry(index, vec![command(op)]));
    }
    truth
}

fn event(kind: EventKind, path: &str, zxid: i64) -> Event {
    Event {
        kind,
        path: path.into(),
        zxid: Zxid(zxid),
        acl: None,
    }
}

fn read(watches: &mut Watches, truth: &Truth, op: &ReadOp, zxid: i64) {
    let reply = match op {
        ReadOp::Get { .. } => ReadReply::Data(None, Default::default()),
        ReadOp::Children { .. } => ReadReply::Children(Vec::new(), Default::default()),
        _ => ReadReply::Done,
    };
    let (zxid, result) = (Zxid(zxid), Ok(Response::Read(reply)));
    watches.read(op, &Answer { zxid, result }, truth);
}

fn get() -> ReadOp {
    let (path, watch) = ("/a".into(), true);
    ReadOp::Get { path, watch }
}

fn watching(recursive: bool) -> ReadOp {
    let path = "/a".into();
    ReadOp::AddWatch { path, recursive }
}

fn watches() -> Watches {
    Watches::new(1, Vec::new())
}

#[test]
fn once_and_before_the_newer_state_is_right() {
    let (mut watches, truth) = (watches(), truth());
    read(&mut watches, &truth, &get(), 1);
    watches.told(&event(EventKind::NodeDataChanged, "/a", 2), &truth);
    watches.shown(5, &truth);
}

#[test]
#[should_panic(expected = "is shown before")]
fn a_dropped_event_is_found() {
    let (mut watches, truth) = (watches(), truth());
    read(&mut watches, &truth, &get(), 1);
    watches.shown(2, &truth);
}

#[test]
#[should_panic(expected = "another event than is due")]
fn one_that_fires_twice_is_found() {
    let (mut watches, truth) = (watches(), truth());
    read(&mut watches, &truth, &get(), 1);
    watches.told(&event(EventKind::NodeDataChanged, "/a", 2), &truth);
    watches.told(&event(EventKind::NodeDataChanged, "/a", 5), &truth);
}

#[test]
fn each_change_below_a_recursive_watch_is_told() {
    let (mut watches, truth) = (watches(), truth());
    read(&mut watches, &truth, &watching(true), 1);
    watches.told(&event(EventKind::NodeDataChanged, "/a", 2), &truth);
    watches.told(&event(EventKind::NodeCreated, "/a/b", 3), &truth);
    watches.told(&event(EventKind::NodeDeleted, "/a/b", 4), &truth);
    watches.told(&event(EventKind::NodeDataChanged, "/a", 5), &truth);
    watches.shown(5, &truth);
}

#[test]
#[should_panic(expected = "another event than is due")]
fn a_gap_in_a_persistent_watch_is_found() {
    let (mut watches, truth) = (watches(), truth());
    read(&mut watches, &truth, &watching(false), 1);
    watches.told(&event(EventKind::NodeDataChanged, "/a", 2), &truth);
    watches.told(&event(EventKind::NodeDataChanged, "/a", 5), &truth);
}

#[test]
fn what_was_missed_is_told_once() {
    let (mut watches, truth) = (watches(), truth());
    let again = |data: &str, child: &str| {
        ReadOp::SetWatches(Rearm {
            seen: Zxid(3),
            data: vec![data.into()],
            child: vec![child.into()],
            ..Rearm::default()
        })
    };
    watches.told(&event(EventKind::NodeChildrenChanged, "/a", -1), &truth);
    read(&mut watches, &truth, &again("/a", "/a"), 4);
    assert_eq!(watches.rearm(4).data, ["/a"]);
    watches.told(&event(EventKind::NodeDataChanged, "/a", 5), &truth);
    assert_eq!(
        watches.rearm(5),
        Rearm {
            seen: Zxid(5),
            ..Rearm::default()
        }
    );
}

#[test]
#[should_panic(expected = "at zxid 4")]
fn a_replay_that_forgets_is_found() {
    let (mut watches, truth) = (watches(), truth());
    let rearm = Rearm {
        seen: Zxid(1),
        data: vec!["/a".into()],
        ..Rearm::default()
    };
    read(&mut watches, &truth, &ReadOp::SetWatches(rearm), 4);
}
