//! What really happened: every entry as the first node applied it, done once more by the production state machine
//! on a store of its own and by [`Model`], which must agree. Everything that clients see is compared with this.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use zweig_coordinator::consensus::{Committed, CommittedData};
use zweig_coordinator::state_machine::{
    Change, ChangeKind, Entry, Op, OpError, Origin, Outcome, Reply, SessionChange, StateMachine,
};
use zweig_coordinator::storage::{HistoryBounds, MemoryStore};
use zweig_coordinator::tree::digest::Digest;
use zweig_coordinator::tree::{AuthId, Node};

use super::ephemerals::Ephemerals;
use super::model::{Model, Znode};

/// Entries between two recomputations of the digest.
const AUDIT_ENTRIES: u64 = 97;

/// A command that was done, or refused by the state machine.
#[derive(Clone, Debug)]
pub struct Deed {
    pub session: i64,
    pub attach: u64,
    pub op: Op,
    pub result: Result<Reply, OpError>,
}

/// One changed znode.
#[derive(Clone, Debug)]
pub struct Changed {
    pub kind: ChangeKind,
    pub path: Arc<str>,
    /// Just after; for a deletion just before.
    pub node: Arc<Node>,
    parent: Option<Rc<Znode>>,
}

impl Changed {
    pub fn is_readable(&self, auth: &[AuthId]) -> bool {
        Znode::permits_read(&self.node.acl, auth)
    }

    /// May a caller hear that the children of the parent have changed?
    pub fn is_parent_readable(&self, auth: &[AuthId]) -> bool {
        let parent = self.parent.as_ref();
        parent.is_none_or(|parent| parent.is_readable(auth))
    }
}

/// A transaction that changed something.
#[derive(Clone, Debug)]
pub struct Transaction {
    pub zxid: i64,
    pub changes: Vec<Changed>,
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    pub zxid: i64,
    pub expired: bool,
    /// When the first node applied it.
    pub at_us: u64,
}

/// A session from its opening on.
#[derive(Clone, Debug, Default)]
pub struct Life {
    pub timeout_ms: u32,
    pub attach: u64,
    pub opened_us: u64,
    pub attached_us: u64,
    pub end: Option<End>,
}

/// A znode from some zxid on.
type Image = (i64, Option<Rc<Znode>>);

pub struct Truth {
    machine: StateMachine<MemoryStore>,
    model: Model,
    ephemerals: Ephemerals,
    time_ms: i64,
    /// By zxid; the first is of zxid 1.
    deeds: Vec<Deed>,
    images: BTreeMap<String, Vec<Image>>,
    transactions: Vec<Transaction>,
    lives: BTreeMap<i64, Life>,
    digests: Vec<Digest>,
    pub expired: u64,
    /// When each index was applied first.
    applied_us: Vec<u64>,
    /// Who asked for what was done since somebody took this, and the zxids.
    fresh: Vec<(Origin, i64)>,
}

impl Default for Truth {
    fn default() -> Self {
        let bounds = HistoryBounds::default();
        let machine = StateMachine::open(MemoryStore::new(bounds)).unwrap();
        let model = Model::new(Node::initial().map(|(path, node)| {
            let acl = node.acl.to_vec();
            (path.to_owned(), node.data.clone(), acl, node.stat())
        }));
        let image = |(path, node): (&String, &Rc<Znode>)| {
            let first = (0, Some(Rc::clone(node)));
            (path.clone(), vec![first])
        };
        Self {
            images: model.nodes.iter().map(image).collect(),
            digests: vec![machine.applied().digest],
            machine,
            model,
            ephemerals: Ephemerals::default(),
            time_ms: 0,
            deeds: Vec::new(),
            transactions: Vec::new(),
            lives: BTreeMap::new(),
            expired: 0,
            applied_us: vec![0],
            fresh: Vec::new(),
        }
    }
}

impl Truth {
    /// A node is about to apply an entry. True if it is the first, and there is news.
    pub fn applied(&mut self, now_us: u64, committed: &Committed) -> bool {
        let applied = self.machine.applied().index;
        if committed.index <= applied {
            return false;
        }
        assert_eq!(committed.index, applied + 1, "an entry is left out");
        match &committed.data {
            CommittedData::Normal(data) => {
                let (index, term) = (committed.index, committed.term);
                let outcomes = self.machine.apply(index, term, data).unwrap();
                if !data.is_empty() {
                    let entry = Entry::decode(data.clone()).unwrap();
                    self.entry(now_us, committed, entry, outcomes);
                }
            }
            CommittedData::Conf(conf) => {
                let (index, term) = (committed.index, committed.term);
                self.machine.apply_conf(index, term, conf).unwrap();
            }
        }
        let now = self.machine.applied();
        self.digests.push(now.digest);
        self.applied_us.push(now_us);
        if now.index.is_multiple_of(AUDIT_ENTRIES) {
            let (digest, counts) = self.machine.audit().unwrap();
            assert_eq!(digest, now.digest, "the digest is not that of the state");
            assert_eq!(counts, self.machine.counts());
        }
        true
    }

    /// The state of some node behind an index that was applied before.
    pub fn compare(&self, node: u64, index: u64, digest: u64) {
        let known = self.digests[index as usize].0;
        assert_eq!(digest, known, "node {node} differs at index {index}");
    }

    fn entry(&mut self, now_us: u64, at: &Committed, entry: Entry, outcomes: Vec<Outcome>) {
        if entry.term != at.term {
            assert_eq!(outcomes, [], "an entry of a deposed leader has effects");
            return;
        }
        self.time_ms = self.time_ms.max(entry.time_ms);
        assert_eq!(entry.commands.len(), outcomes.len());
        let mut touched = Vec::new();
        for (command, outcome) in entry.commands.into_iter().zip(outcomes) {
            let expected = self.model.apply(&command, self.time_ms);
            let changes = outcome.changes.iter();
            let changes: Vec<_> = changes.map(|c| (c.kind, c.path.to_string())).collect();
            let zxid = outcome.zxid.0;
            assert_eq!(
                (zxid, &outcome.result, &changes),
                (expected.zxid, &expected.result, &expected.changes),
                "{command:?} came to something else than it must"
            );
            if command.op != Op::Sync {
                assert_eq!(zxid, self.deeds.len() as i64 + 1, "zxids grow by one");
                self.deeds.push(Deed {
                    session: command.session.0,
                    attach: command.attach,
                    op: command.op,
                    result: outcome.result.clone(),
                });
            }
            self.fresh.push((command.origin, zxid));
            self.ephemerals.see(&outcome);
            self.session(now_us, &outcome);
            touched.extend(changes.into_iter().map(|(_, path)| path));
            if !outcome.changes.is_empty() {
                let changes = outcome.changes.into_iter();
                let changes = changes.map(|change| self.changed(change)).collect();
                self.transactions.push(Transaction { zxid, changes });
            }
        }
        self.keep(touched);
    }

    fn changed(&self, change: Change) -> Changed {
        let parent = match change.kind {
            ChangeKind::Created | ChangeKind::Deleted => {
                self.model.nodes.get(parent(&change.path)).cloned()
            }
            ChangeKind::Data | ChangeKind::Acl => None,
        };
        Changed {
            kind: change.kind,
            path: change.path,
            node: change.node,
            parent,
        }
    }

    /// Keeps how these znodes and their parents are now, and looks whether the state machine agrees.
    fn keep(&mut self, touched: Vec<String>) {
        let zxid = self.model.zxid;
        let parents: Vec<String> = touched.iter().map(|path| parent(path).to_owned()).collect();
        for path in touched.into_iter().chain(parents) {
            let node = self.model.nodes.get(&path).cloned();
            let real = self.machine.node(&path).unwrap();
            let (shown, real_shown) = (
                node.as_ref().map(|node| (node.stat, &node.data)),
                real.as_ref().map(|real| (real.stat(), &real.data)),
            );
            assert_eq!(real_shown, shown, "{path} at zxid {zxid}");
            let images = self.images.entry(path).or_default();
            match images.last_mut() {
                Some(last) if last.0 == zxid => last.1 = node,
                _ => images.push((zxid, node)),
            }
        }
    }

    fn session(&mut self, now_us: u64, outcome: &Outcome) {
        let life = self.lives.entry(outcome.session.0);
        let end = |expired| {
            Some(End {
                zxid: outcome.zxid.0,
                expired,
                at_us: now_us,
            })
        };
        match &outcome.session_change {
            None => {}
            Some(SessionChange::Opened(grant)) => {
                let life = life.or_default();
                (life.timeout_ms, life.attach) = (grant.timeout_ms, grant.attach);
                (life.opened_us, life.attached_us) = (now_us, now_us);
            }
            Some(SessionChange::Attached(grant)) => {
                let life = life.or_default();
                (life.timeout_ms, life.attach) = (grant.timeout_ms, grant.attach);
                life.attached_us = now_us;
            }
            Some(SessionChange::Closed) => life.or_default().end = end(false),
            Some(SessionChange::Expired) => {
                self.expired += 1;
                life.or_default().end = end(true);
            }
        }
    }

    /// The newest index that somebody had applied by then.
    pub fn index_at(&self, now_us: u64) -> u64 {
        let behind = self.applied_us.partition_point(|&at_us| at_us <= now_us);
        behind.saturating_sub(1) as u64
    }

    /// Who asked for what was done since the last call, in the order of the log.
    pub fn take_fresh(&mut self) -> Vec<(Origin, i64)> {
        std::mem::take(&mut self.fresh)
    }

    pub fn zxid(&self) -> i64 {
        self.model.zxid
    }

    /// The znode as a read at that zxid must show it.
    pub fn image(&self, path: &str, zxid: i64) -> Option<&Rc<Znode>> {
        let images = self.images.get(path)?;
        let behind = images.partition_point(|(since, _)| *since <= zxid);
        images[..behind].last()?.1.as_ref()
    }

    /// All znodes at and below `root` at a zxid.
    pub fn subtree(&self, root: &str, zxid: i64) -> BTreeMap<&str, &Rc<Znode>> {
        let paths = self.images.keys().filter(|path| is_within(path, root));
        let images = paths.filter_map(|path| Some((path.as_str(), self.image(path, zxid)?)));
        images.collect()
    }

    /// What was done under that zxid.
    pub fn deed(&self, zxid: i64) -> Option<&Deed> {
        self.deeds.get(usize::try_from(zxid).ok()?.checked_sub(1)?)
    }

    /// Transactions behind a zxid, in order.
    pub fn since(&self, zxid: i64) -> &[Transaction] {
        let first = self.transactions.partition_point(|t| t.zxid <= zxid);
        &self.transactions[first..]
    }

    pub fn life(&self, session: i64) -> Option<&Life> {
        self.lives.get(&session)
    }

    /// Sessions that live.
    pub fn living(&self) -> impl Iterator<Item = (i64, &Life)> {
        let lives = self.lives.iter().filter(|(_, life)| life.end.is_none());
        lives.map(|(session, life)| (*session, life))
    }
}

pub fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(slash) => &path[..slash],
    }
}

pub fn is_within(path: &str, root: &str) -> bool {
    root == "/" || path == root || path.strip_prefix(root).is_some_and(|p| p.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::samples::{command, create, entry};

    #[test]
    fn a_state_of_the_past_is_as_it_was() {
        let mut truth = Truth::default();
        truth.applied(0, &entry(1, vec![command(create("/a"))]));
        truth.applied(
            0,
            &entry(2, vec![command(create("/a/b")), command(create("/c"))]),
        );
        assert_eq!(truth.zxid(), 3);
        let children = |zxid| truth.image("/a", zxid).map(|a| a.stat.num_children);
        assert_eq!(
            (children(0), children(1), children(3)),
            (None, Some(0), Some(1))
        );
        assert_eq!(truth.since(1).len(), 2);
        let paths: Vec<_> = truth.subtree("/a", 3).into_keys().collect();
        assert_eq!(paths, ["/a", "/a/b"]);
        assert_eq!(truth.subtree("/a", 1).len(), 1);
    }

    #[test]
    #[should_panic(expected = "differs at index 1")]
    fn another_state_is_found() {
        let mut truth = Truth::default();
        truth.applied(0, &entry(1, vec![command(create("/a"))]));
        truth.compare(2, 1, 0);
    }
}
