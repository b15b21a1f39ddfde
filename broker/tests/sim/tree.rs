//! The tree of the simulated ensemble: znodes, versions, sessions' ephemerals. One write is one zxid, and every
//! write's changes are kept, for streams that lag.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use zweig_client::ensemble::{
    ChangeKind, CreateMode, Created, Error, MultiError, Stat, WatchItem, WriteOp, WriteResult,
};

/// Data and stat by path.
pub type Nodes = BTreeMap<String, (Option<Bytes>, Stat)>;
type Step = Result<(WriteResult, Option<WatchItem>), Error>;

/// See the module.
#[derive(Default)]
pub struct Tree {
    /// As it stands.
    pub nodes: Nodes,
    /// The last write.
    pub zxid: i64,
    /// Changes by zxid, in order, and the tree after some of them.
    pub history: Vec<(i64, Arc<Vec<WatchItem>>)>,
    /// Time, for stats.
    pub now_ms: i64,
}

/// What a group did.
#[derive(Default)]
pub struct Done {
    /// By operation.
    pub results: Vec<WriteResult>,
    /// For watchers.
    pub items: Vec<WatchItem>,
}

impl Tree {
    /// The next write begins.
    pub fn begin(&mut self) {
        self.zxid += 1;
    }

    /// It ends with these changes.
    pub fn end(&mut self, items: Vec<WatchItem>) {
        self.history.push((self.zxid, Arc::new(items)));
    }

    /// Takes the ephemerals of a session.
    pub fn end_session(&mut self, session: i64) {
        self.begin();
        let owned: Vec<String> = self
            .nodes
            .iter()
            .filter(|(_, (_, stat))| stat.ephemeral_owner == session)
            .map(|(path, _)| path.clone())
            .collect();
        let zxid = self.zxid;
        let items = owned.into_iter().map(|path| {
            self.nodes.remove(&path);
            change(ChangeKind::Deleted, path, None, zxid)
        });
        let items = items.collect();
        self.end(items);
    }

    /// One group at the current zxid, all or nothing.
    pub fn group(&mut self, session: i64, ops: &[WriteOp]) -> Result<Done, MultiError> {
        let before = (ops.len() > 1).then(|| self.nodes.clone());
        let mut done = Done::default();
        for (index, op) in ops.iter().enumerate() {
            match self.step(session, op) {
                Ok((result, item)) => {
                    done.results.push(result);
                    done.items.extend(item);
                }
                Err(error) => {
                    if let Some(before) = before {
                        self.nodes = before;
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
                self.at(path, *version)?;
                let below = format!("{path}/");
                let next = self.nodes.range(below.clone()..).next();
                if next.is_some_and(|(other, _)| other.starts_with(&below)) {
                    return Err(Error::NotEmpty(path.clone()));
                }
                self.nodes.remove(path);
                let item = change(ChangeKind::Deleted, path.clone(), None, zxid);
                Ok((WriteResult::Done, Some(item)))
            }
            WriteOp::Set {
                path,
                data,
                version,
            } => {
                let (old, stat) = self.at(path, *version)?;
                old.clone_from(data);
                stat.version += 1;
                stat.mzxid = zxid;
                stat.mtime_ms = now_ms;
                let after = Some((data.clone(), *stat));
                let result = WriteResult::Stat(*stat);
                let item = change(ChangeKind::Data, path.clone(), after, zxid);
                Ok((result, Some(item)))
            }
            WriteOp::Check { path, version } => {
                self.at(path, *version)?;
                Ok((WriteResult::Done, None))
            }
            WriteOp::SetAcl { path, .. } => Err(Error::Unimplemented(path.clone())),
        }
    }

    /// The znode, if its version is as expected.
    pub fn at(
        &mut self,
        path: &str,
        version: Option<i32>,
    ) -> Result<&mut (Option<Bytes>, Stat), Error> {
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

    fn create(&mut self, session: i64, path: &str, data: Option<Bytes>, mode: CreateMode) -> Step {
        assert!(!mode.sequential(), "no broker asks for it");
        let parent = &path[..path.rfind('/').unwrap_or(0)];
        match self.nodes.get(parent) {
            None if !parent.is_empty() => return Err(Error::NoNode(parent.to_owned())),
            Some((_, stat)) if stat.ephemeral_owner != 0 => {
                return Err(Error::NoChildrenForEphemerals(parent.to_owned()));
            }
            _ => {}
        }
        if self.nodes.contains_key(path) {
            return Err(Error::NodeExists(path.to_owned()));
        }
        let stat = Stat {
            czxid: self.zxid,
            mzxid: self.zxid,
            ctime_ms: self.now_ms,
            mtime_ms: self.now_ms,
            ephemeral_owner: if mode.ephemeral() { session } else { 0 },
            ..Stat::default()
        };
        self.nodes.insert(path.to_owned(), (data.clone(), stat));
        let created = Created {
            path: path.to_owned(),
            stat,
        };
        let after = Some((data, stat));
        let item = change(ChangeKind::Created, path.to_owned(), after, self.zxid);
        Ok((WriteResult::Created(created), Some(item)))
    }
}

fn change(
    kind: ChangeKind,
    path: String,
    after: Option<(Option<Bytes>, Stat)>,
    zxid: i64,
) -> WatchItem {
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
pub fn replay(history: &[(i64, Arc<Vec<WatchItem>>)], upto: i64) -> Nodes {
    let mut nodes = Nodes::new();
    for (_, items) in history.iter().take_while(|(zxid, _)| *zxid <= upto) {
        for item in &**items {
            if let WatchItem::Change {
                path, data, stat, ..
            } = item
            {
                match stat {
                    Some(stat) => {
                        nodes.insert(path.clone(), (data.clone(), *stat));
                    }
                    None => {
                        nodes.remove(path);
                    }
                }
            }
        }
    }
    nodes
}
