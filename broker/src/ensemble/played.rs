//! The tree of an ensemble that is played: what `fake` and the simulator keep in the place of coordinators. One write is
//! one zxid; a group is done whole or not at all; every write's changes are kept, for streams that lag.
//!
//! It follows ZooKeeper's rules as far as this package relies on them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use zweig_client::ensemble::{
    Batch, ChangeKind, CreateMode, Created, Error, MultiError, Stat, WatchItem, WriteOp,
    WriteResult,
};

use super::port::GroupResult;

/// A znode.
pub type Node = (Option<Bytes>, Stat);
/// Data and stat by path; the root is not among them.
pub type Nodes = BTreeMap<String, Node>;
/// The changes of each write, by zxid.
pub type Changes = [(i64, Arc<Vec<WatchItem>>)];
type Step = Result<(WriteResult, Option<WatchItem>), Error>;

/// See the module.
#[derive(Default)]
pub struct Tree {
    /// As it stands.
    pub nodes: Nodes,
    /// The last write.
    pub zxid: i64,
    /// Changes by zxid, in order.
    pub history: Vec<(i64, Arc<Vec<WatchItem>>)>,
    /// Time, for stats.
    pub now_ms: i64,
    root: Stat,
    /// What stood where the group under way wrote, first things first.
    before: Vec<(String, Option<Node>)>,
}

/// What a group did.
#[derive(Default)]
struct Done {
    results: Vec<WriteResult>,
    items: Vec<WatchItem>,
}

impl Tree {
    /// A write of one group.
    ///
    /// # Errors
    /// That of the first operation that can't be done; then nothing is.
    pub fn multi(
        &mut self,
        session: i64,
        ops: &[WriteOp],
    ) -> Result<Batch<WriteResult>, MultiError> {
        self.zxid += 1;
        let done = self.group(session, ops);
        let zxid = self.zxid;
        match done {
            Ok(Done { results, items }) => {
                self.end(items);
                Ok(Batch { zxid, results })
            }
            Err(failed) => {
                self.end(Vec::new());
                Err(failed)
            }
        }
    }

    /// A write of groups, each whole or not at all, if a znode has a certain version.
    ///
    /// # Errors
    /// `Fenced`, if it has not.
    pub fn fenced_batch(
        &mut self,
        session: i64,
        (fence, version): (&str, i32),
        groups: &[Vec<WriteOp>],
    ) -> Result<Batch<GroupResult>, Error> {
        self.zxid += 1;
        if self.at(fence, Some(version)).is_err() {
            self.end(Vec::new());
            return Err(Error::Fenced(fence.to_owned()));
        }
        let mut items = Vec::new();
        let results = groups.iter().map(|group| {
            self.group(session, group).map(|done| {
                items.extend(done.items);
                done.results
            })
        });
        let results = results.collect();
        self.end(items);
        let zxid = self.zxid;
        Ok(Batch { zxid, results })
    }

    fn end(&mut self, items: Vec<WatchItem>) {
        self.history.push((self.zxid, Arc::new(items)));
    }

    /// Takes the ephemerals of a session.
    pub fn end_session(&mut self, session: i64) {
        self.zxid += 1;
        let nodes = self.nodes.iter();
        let owned = nodes.filter(|(_, (_, stat))| stat.ephemeral_owner == session);
        let owned: Vec<String> = owned.map(|(path, _)| path.clone()).collect();
        let zxid = self.zxid;
        let mut items = Vec::new();
        for path in owned {
            self.remove(&path);
            items.push(change(ChangeKind::Deleted, path, None, zxid));
        }
        self.before.clear();
        self.end(items);
    }

    /// The changes behind a zxid.
    #[must_use]
    pub fn since(&self, zxid: i64) -> &Changes {
        let begin = self.history.partition_point(|(at, _)| *at <= zxid);
        &self.history[begin..]
    }

    /// One group at the current zxid, all or nothing.
    fn group(&mut self, session: i64, ops: &[WriteOp]) -> Result<Done, MultiError> {
        self.before.clear();
        let root = self.root;
        let mut done = Done::default();
        for (index, op) in ops.iter().enumerate() {
            match self.step(session, op) {
                Ok((result, item)) => {
                    done.results.push(result);
                    done.items.extend(item);
                }
                Err(error) => {
                    self.root = root;
                    for (path, node) in std::mem::take(&mut self.before).into_iter().rev() {
                        match node {
                            Some(node) => self.nodes.insert(path, node),
                            None => self.nodes.remove(&path),
                        };
                    }
                    let index = Some(index);
                    return Err(MultiError { index, error });
                }
            }
        }
        Ok(done)
    }

    fn step(&mut self, session: i64, op: &WriteOp) -> Step {
        let zxid = self.zxid;
        let now_ms = self.now_ms;
        match op {
            WriteOp::Create {
                path, data, mode, ..
            } => self.create(session, path, data.clone(), *mode),
            WriteOp::Delete { path, version } => {
                let (_, stat) = self.at(path, *version)?;
                if stat.num_children > 0 {
                    return Err(Error::NotEmpty(path.clone()));
                }
                self.remove(path);
                let item = change(ChangeKind::Deleted, path.clone(), None, zxid);
                Ok((WriteResult::Done, Some(item)))
            }
            WriteOp::Set {
                path,
                data,
                version,
            } => {
                self.at(path, *version)?;
                self.keep(path);
                let (old, stat) = self.at(path, None)?;
                old.clone_from(data);
                stat.version += 1;
                stat.mzxid = zxid;
                stat.mtime_ms = now_ms;
                stat.data_length = length(data.as_ref());
                let after = Some((data.clone(), *stat));
                let result = WriteResult::Stat(*stat);
                let item = change(ChangeKind::Data, path.clone(), after, zxid);
                Ok((result, Some(item)))
            }
            WriteOp::Check { path, version } => {
                self.at(path, *version)?;
                Ok((WriteResult::Done, None))
            }
            WriteOp::CheckCreated { path, czxid } => {
                let (_, stat) = self.at(path, None)?;
                if stat.czxid != *czxid {
                    return Err(Error::BadVersion {
                        path: path.clone(),
                        detail: format!("expected the one of {czxid}, found {}", stat.czxid),
                    });
                }
                Ok((WriteResult::Done, None))
            }
            WriteOp::SetAcl { path, .. } => Err(Error::Unimplemented(path.clone())),
        }
    }

    fn at(&mut self, path: &str, version: Option<i32>) -> Result<&mut Node, Error> {
        let missing = || Error::NoNode(path.to_owned());
        let node = self.nodes.get_mut(path).ok_or_else(missing)?;
        match version {
            Some(version) if version != node.1.version => Err(Error::BadVersion {
                path: path.to_owned(),
                detail: format!("expected {version}, found {}", node.1.version),
            }),
            _ => Ok(node),
        }
    }

    /// Remembers a znode as it stands, in case the group fails.
    fn keep(&mut self, path: &str) {
        self.before
            .push((path.to_owned(), self.nodes.get(path).cloned()));
    }

    fn remove(&mut self, path: &str) {
        self.keep(path);
        self.nodes.remove(path);
        self.count_child(path, -1);
    }

    /// A child came or went.
    fn count_child(&mut self, path: &str, by: i32) {
        let zxid = self.zxid;
        let parent = parent(path);
        self.keep(parent);
        let stat = match self.nodes.get_mut(parent) {
            Some((_, stat)) => stat,
            None => &mut self.root,
        };
        stat.cversion += 1;
        stat.num_children += by;
        stat.pzxid = zxid;
    }

    fn create(&mut self, session: i64, path: &str, data: Option<Bytes>, mode: CreateMode) -> Step {
        let above = parent(path);
        let above = match self.nodes.get(above) {
            None if !above.is_empty() => return Err(Error::NoNode(path.to_owned())),
            Some((_, stat)) if stat.ephemeral_owner != 0 => {
                return Err(Error::NoChildrenForEphemerals(path.to_owned()));
            }
            Some((_, stat)) => *stat,
            None => self.root,
        };
        // `cversion` counts creations and deletions; names count creations alone.
        let created = (above.cversion + above.num_children) / 2;
        let path = match mode.sequential() {
            true => format!("{path}{created:010}"),
            false => path.to_owned(),
        };
        if self.nodes.contains_key(&path) {
            return Err(Error::NodeExists(path));
        }
        let stat = Stat {
            czxid: self.zxid,
            mzxid: self.zxid,
            pzxid: self.zxid,
            ctime_ms: self.now_ms,
            mtime_ms: self.now_ms,
            ephemeral_owner: if mode.ephemeral() { session } else { 0 },
            data_length: length(data.as_ref()),
            ..Stat::default()
        };
        self.keep(&path);
        self.nodes.insert(path.clone(), (data.clone(), stat));
        self.count_child(&path, 1);
        let item = change(
            ChangeKind::Created,
            path.clone(),
            Some((data, stat)),
            self.zxid,
        );
        Ok((WriteResult::Created(Created { path, stat }), Some(item)))
    }
}

/// The path above; empty for what stands below the root.
fn parent(path: &str) -> &str {
    &path[..path.rfind('/').unwrap_or(0)]
}

fn length(data: Option<&Bytes>) -> i32 {
    data.map_or(0, |data| i32::try_from(data.len()).unwrap_or(i32::MAX))
}

fn change(kind: ChangeKind, path: String, after: Option<Node>, zxid: i64) -> WatchItem {
    let (data, stat) = after.map_or((None, None), |(data, stat)| (data, Some(stat)));
    WatchItem::Change {
        kind,
        path,
        data,
        stat,
        readable: true,
        zxid,
    }
}

/// A tree as of an earlier write, made from its changes.
#[must_use]
pub fn replay(history: &Changes, upto: i64) -> Nodes {
    let mut nodes = Nodes::new();
    let past = history.iter().take_while(|(zxid, _)| *zxid <= upto);
    for (zxid, items) in past {
        for item in &**items {
            let WatchItem::Change {
                path, data, stat, ..
            } = item
            else {
                continue;
            };
            let was_there = match stat {
                Some(stat) => nodes.insert(path.clone(), (data.clone(), *stat)).is_some(),
                None => nodes.remove(path).is_some(),
            };
            if was_there != stat.is_some()
                && let Some((_, above)) = nodes.get_mut(parent(path))
            {
                above.cversion += 1;
                above.num_children += if was_there { -1 } else { 1 };
                above.pzxid = *zxid;
            }
        }
    }
    nodes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_fails_leaves_nothing_behind() {
        let mut tree = Tree::default();
        let create = |path| WriteOp::create(path, "x", CreateMode::Persistent);
        tree.multi(1, &[create("/a"), create("/a/b")])
            .expect("done");
        let before = tree.nodes.clone();
        let ops = [
            WriteOp::set("/a", "y", Some(0)),
            create("/a/c"),
            WriteOp::delete("/a/b", None),
            create("/d"),
            WriteOp::check("/a", Some(0)),
        ];
        let failed = tree.multi(1, &ops).expect_err("the version moved");
        assert_eq!(failed.index, Some(4));
        assert_eq!(tree.nodes, before);
        let sequence = WriteOp::create("/q-", "", CreateMode::PersistentSequential);
        let done = tree.multi(1, &[sequence]).expect("done");
        let WriteResult::Created(created) = &done.results[0] else {
            panic!("{done:?}");
        };
        assert_eq!(created.path, "/q-0000000001", "only /a was created before");
    }

    #[test]
    fn an_earlier_tree_is_made_from_its_changes() {
        let mut tree = Tree::default();
        let create = |path| WriteOp::create(path, "x", CreateMode::Ephemeral);
        tree.multi(7, &[create("/a")]).expect("done");
        tree.multi(8, &[create("/b")]).expect("done");
        tree.end_session(7);
        let paths = |upto| replay(&tree.history, upto).into_keys().collect::<Vec<_>>();
        assert_eq!(paths(2), ["/a", "/b"]);
        assert_eq!(paths(3), ["/b"]);
        assert_eq!(tree.since(2).len(), 1);
    }
}
