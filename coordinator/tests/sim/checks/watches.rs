//! What one connection watches: every watch that must fire does, once if it is of that kind, in the order of the
//! changes, and before anything that could show the newer state. `setWatches` tells what was missed, once, and arms
//! the rest. What the ACL hides is not heard of.

use std::collections::{BTreeMap, VecDeque};

use zweig_coordinator::request::{Answer, ReadOp, ReadReply, Response};
use zweig_coordinator::state_machine::ChangeKind;
use zweig_coordinator::tree::{AuthId, Zxid};
use zweig_coordinator::watch::{Event, EventKind, Rearm, RemoveKind};

use super::truth::{Changed, Truth, parent};

/// What is watched on one path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Modes {
    /// Once, and whether there was a znode then.
    data: Option<bool>,
    child: bool,
    persistent: bool,
    recursive: bool,
}

type Told = (EventKind, String);

#[derive(Debug)]
pub struct Watches {
    session: i64,
    auth: Vec<AuthId>,
    armed: BTreeMap<String, Modes>,
    /// Every change up to here has been looked at.
    looked: i64,
    /// What must be told next.
    due: VecDeque<(i64, Told)>,
    /// What was told of the past, and no answer explains yet.
    replayed: Vec<Told>,
    pub fired: u64,
}

impl Watches {
    pub fn new(session: i64, auth: Vec<AuthId>) -> Self {
        Self {
            session,
            auth,
            armed: BTreeMap::new(),
            looked: 0,
            due: VecDeque::new(),
            replayed: Vec::new(),
            fired: 0,
        }
    }

    /// An event arrives.
    pub fn told(&mut self, event: &Event, truth: &Truth) {
        let told = (event.kind, event.path.to_string());
        self.fired += 1;
        if event.zxid == Zxid::NONE {
            self.replayed.push(told);
            return;
        }
        self.look(event.zxid.0, truth);
        let due = self.due.pop_front();
        assert_eq!(
            Some((event.zxid.0, told)),
            due,
            "session {:#x}: another event than is due (right); {:?}",
            self.session,
            self.armed
        );
    }

    /// Something else shows the state as of a zxid: every event up to there has been told.
    pub fn shown(&mut self, zxid: i64, truth: &Truth) {
        self.look(zxid, truth);
        assert!(
            self.due.is_empty(),
            "session {:#x}: zxid {zxid} is shown before {:?}",
            self.session,
            self.due
        );
    }

    /// The answer of a read; what it armed, counts from its zxid on.
    pub fn read(&mut self, op: &ReadOp, answer: &Answer, truth: &Truth) {
        let zxid = answer.zxid.0;
        match &answer.result {
            Ok(Response::Read(reply)) => {
                self.shown(zxid, truth);
                self.arm(op, reply, zxid, truth);
            }
            Err(error) => {
                let told = matches!(error, zweig_coordinator::request::RequestError::Op(_));
                if told {
                    self.shown(zxid, truth);
                }
            }
            Ok(Response::Written(_)) => {}
        }
        let session = self.session;
        assert_eq!(self.replayed, [], "session {session:#x}: told of the past");
    }

    fn arm(&mut self, op: &ReadOp, reply: &ReadReply, zxid: i64, truth: &Truth) {
        match (op, reply) {
            (ReadOp::Many(ops), ReadReply::Many(replies)) => {
                let done = ops
                    .iter()
                    .zip(replies)
                    .filter_map(|(op, r)| Some((op, r.as_ref().ok()?)));
                for (op, reply) in done {
                    self.arm(op, reply, zxid, truth);
                }
            }
            (ReadOp::Get { path, watch: true }, _) => self.modes(path).data = Some(true),
            (ReadOp::Exists { path, watch: true }, ReadReply::Exists(stat)) => {
                let there = stat.is_some();
                self.modes(path).data.get_or_insert(there);
            }
            (ReadOp::Children { path, watch: true }, _) => self.modes(path).child = true,
            (ReadOp::AddWatch { path, recursive }, _) => match recursive {
                true => self.modes(path).recursive = true,
                false => self.modes(path).persistent = true,
            },
            (ReadOp::HasWatch { path, kind }, ReadReply::Found(found)) => {
                let modes = self.armed.get(path).copied().unwrap_or_default();
                assert_eq!(*found, modes != without(modes, *kind), "{op:?}: {modes:?}");
            }
            (ReadOp::RemoveWatches { path, kind }, ReadReply::Found(found)) => {
                let modes = self.armed.get(path).copied().unwrap_or_default();
                assert_eq!(*found, modes != without(modes, *kind), "{op:?}: {modes:?}");
                self.change(path, |modes| *modes = without(*modes, *kind));
            }
            (ReadOp::SetWatches(rearm), _) => self.rearmed(rearm, zxid, truth),
            _ => {}
        }
    }

    fn modes(&mut self, path: &str) -> &mut Modes {
        self.armed.entry(path.to_owned()).or_default()
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Modes)) {
        let Some(modes) = self.armed.get_mut(path) else {
            return;
        };
        change(modes);
        if *modes == Modes::default() {
            self.armed.remove(path);
        }
    }

    /// What a client arms again at another node, having seen the state up to `seen`.
    pub fn rearm(&self, seen: i64) -> Rearm {
        let mut rearm = Rearm {
            seen: Zxid(seen),
            ..Rearm::default()
        };
        for (path, modes) in &self.armed {
            match modes.data {
                Some(true) => rearm.data.push(path.clone()),
                Some(false) => rearm.exists.push(path.clone()),
                None => {}
            }
            let lists = [
                (modes.child, &mut rearm.child),
                (modes.persistent, &mut rearm.persistent),
                (modes.recursive, &mut rearm.persistent_recursive),
            ];
            for (_, list) in lists.into_iter().filter(|(armed, _)| *armed) {
                list.push(path.clone());
            }
        }
        rearm
    }

    /// By what really happened since the client had seen it, not by the numbers that znodes carry.
    fn rearmed(&mut self, rearm: &Rearm, zxid: i64, truth: &Truth) {
        let mut missed = Vec::new();
        let happened = |is_meant: &dyn Fn(&Changed) -> bool| {
            let since = truth.since(rearm.seen.0).iter();
            let mut changes = since
                .take_while(|t| t.zxid <= zxid)
                .flat_map(|t| &t.changes);
            changes.any(is_meant)
        };
        let is_there = |path: &str| truth.image(path, zxid).is_some();
        for path in &rearm.data {
            let touched = |c: &Changed| *c.path == **path && c.kind != ChangeKind::Acl;
            match (is_there(path), happened(&touched)) {
                (false, _) => missed.push((EventKind::NodeDeleted, path.clone())),
                (true, true) => missed.push((EventKind::NodeDataChanged, path.clone())),
                (true, false) => self.modes(path).data = Some(true),
            }
        }
        for path in &rearm.exists {
            match is_there(path) {
                true => missed.push((EventKind::NodeCreated, path.clone())),
                false => self.modes(path).data = Some(false),
            }
        }
        for path in &rearm.child {
            let touched = |c: &Changed| {
                let moved = matches!(c.kind, ChangeKind::Created | ChangeKind::Deleted);
                moved && (*c.path == **path || parent(&c.path) == path)
            };
            match (is_there(path), happened(&touched)) {
                (false, _) => missed.push((EventKind::NodeDeleted, path.clone())),
                (true, true) => missed.push((EventKind::NodeChildrenChanged, path.clone())),
                (true, false) => self.modes(path).child = true,
            }
        }
        for path in &rearm.persistent {
            self.modes(path).persistent = true;
        }
        for path in &rearm.persistent_recursive {
            self.modes(path).recursive = true;
        }
        let told = std::mem::take(&mut self.replayed);
        let session = self.session;
        assert_eq!(
            told, missed,
            "session {session:#x}: {rearm:?} at zxid {zxid}"
        );
    }

    /// Looks at the changes up to a zxid: what they must tell is due.
    fn look(&mut self, zxid: i64, truth: &Truth) {
        if zxid <= self.looked {
            return;
        }
        if !self.armed.is_empty() {
            for transaction in truth.since(self.looked) {
                if transaction.zxid > zxid {
                    break;
                }
                for change in &transaction.changes {
                    self.look_at(transaction.zxid, change);
                }
            }
        }
        self.looked = zxid;
    }

    fn look_at(&mut self, zxid: i64, change: &Changed) {
        let path = &*change.path;
        let kind = match change.kind {
            ChangeKind::Created => EventKind::NodeCreated,
            ChangeKind::Data => EventKind::NodeDataChanged,
            ChangeKind::Deleted => EventKind::NodeDeleted,
            ChangeKind::Acl => return,
        };
        let deleted = change.kind == ChangeKind::Deleted;
        let here = self.armed.get(path).copied().unwrap_or_default();
        let own = here.data.is_some() || here.persistent || (deleted && here.child);
        if (own || self.is_above(path)) && change.is_readable(&self.auth) {
            self.due.push_back((zxid, (kind, path.to_owned())));
        }
        self.change(path, |modes| {
            modes.data = None;
            modes.child &= !deleted;
        });
        if change.kind == ChangeKind::Data || path == "/" {
            return;
        }
        let above = parent(path);
        let modes = self.armed.get(above).copied().unwrap_or_default();
        if (modes.child || modes.persistent) && change.is_parent_readable(&self.auth) {
            let told = (EventKind::NodeChildrenChanged, above.to_owned());
            self.due.push_back((zxid, told));
        }
        self.change(above, |modes| modes.child = false);
    }

    /// Whether a recursive watch stands at the path or above it.
    fn is_above(&self, path: &str) -> bool {
        let mut at = path;
        loop {
            if self.armed.get(at).is_some_and(|modes| modes.recursive) {
                return true;
            }
            if at == "/" {
                return false;
            }
            at = parent(at);
        }
    }
}

fn without(modes: Modes, kind: RemoveKind) -> Modes {
    match kind {
        RemoveKind::Child => Modes {
            child: false,
            ..modes
        },
        RemoveKind::Data => Modes {
            data: None,
            ..modes
        },
        RemoveKind::Any => Modes::default(),
        RemoveKind::Persistent => Modes {
            persistent: false,
            ..modes
        },
        RemoveKind::PersistentRecursive => Modes {
            recursive: false,
            ..modes
        },
    }
}

#[cfg(test)]
#[path = "watches_tests.rs"]
mod tests;
