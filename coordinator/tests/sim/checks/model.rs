//! ZooKeeper's tree once more, as plainly as can be: what each command of the log must come to. Shares no code
//! with `state_machine`, so that both can't be wrong in the same way by chance.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;
use zweig_coordinator::session::SessionId;
use zweig_coordinator::state_machine::{ChangeKind, Command, Create, Op, OpError, Reply};
use zweig_coordinator::tree::{Acl, AuthId, Stat, Zxid};

const READ: u32 = 1;
const WRITE: u32 = 2;
const CREATE: u32 = 4;
const DELETE: u32 = 8;
const ADMIN: u32 = 16;

/// A znode.
#[derive(Clone, Debug, PartialEq)]
pub struct Znode {
    pub data: Option<Bytes>,
    pub acl: Vec<Acl>,
    pub stat: Stat,
    pub children: BTreeSet<String>,
    /// Children ever created.
    creates: i32,
    container: bool,
}

impl Znode {
    fn new(data: Option<Bytes>, acl: Vec<Acl>, zxid: i64, time_ms: i64) -> Self {
        let stat = Stat {
            czxid: Zxid(zxid),
            mzxid: Zxid(zxid),
            pzxid: Zxid(zxid),
            ctime_ms: time_ms,
            mtime_ms: time_ms,
            data_length: data.as_ref().map_or(0, |data| data.len() as i32),
            ..Stat::default()
        };
        Self {
            data,
            acl,
            stat,
            children: BTreeSet::new(),
            creates: 0,
            container: false,
        }
    }

    /// Whether a caller with these identities has one of these permissions.
    fn permits(&self, permissions: u32, auth: &[AuthId]) -> bool {
        permits(&self.acl, permissions, auth)
    }

    pub fn is_readable(&self, auth: &[AuthId]) -> bool {
        self.permits(READ, auth)
    }

    pub fn permits_read(acl: &[Acl], auth: &[AuthId]) -> bool {
        permits(acl, READ, auth)
    }
}

fn permits(acl: &[Acl], permissions: u32, auth: &[AuthId]) -> bool {
    acl.iter().any(|entry| {
        let known = entry.id.scheme == "world" || auth.contains(&entry.id);
        known && entry.permissions & permissions != 0
    })
}

/// Who may do what with `acl` as asked for; nothing if it makes no sense.
fn stored(acl: &[Acl], auth: &[AuthId]) -> Option<Vec<Acl>> {
    let mut list = Vec::new();
    for entry in acl {
        match entry.id.scheme.as_str() {
            "auth" if auth.is_empty() => return None,
            "auth" => list.extend(auth.iter().map(|id| Acl {
                permissions: entry.permissions,
                id: id.clone(),
            })),
            _ => list.push(entry.clone()),
        }
    }
    (!list.is_empty()).then_some(list)
}

/// What is changed, and where.
pub type Changed = (ChangeKind, String);

/// What a command must come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Expected {
    pub zxid: i64,
    pub result: Result<Reply, OpError>,
    pub changes: Vec<Changed>,
}

#[derive(Clone, Debug)]
struct Session {
    attach: u64,
    password: [u8; 16],
}

/// The whole state.
#[derive(Clone, Debug)]
pub struct Model {
    pub nodes: BTreeMap<String, Rc<Znode>>,
    sessions: BTreeMap<i64, Session>,
    pub zxid: i64,
}

type Did = Result<Reply, OpError>;

/// One transaction in the making.
struct Draft<'a> {
    nodes: BTreeMap<String, Rc<Znode>>,
    changes: Vec<Changed>,
    command: &'a Command,
    zxid: i64,
    time_ms: i64,
}

fn parent(path: &str) -> &str {
    match path.rfind('/') {
        Some(0) | None => "/",
        Some(slash) => &path[..slash],
    }
}

fn no_node(path: &str) -> OpError {
    OpError::NoNode { path: path.into() }
}

fn no_auth(path: &str) -> OpError {
    OpError::NoAuth { path: path.into() }
}

fn of_version(path: &str, expected: i32, found: i32) -> Result<(), OpError> {
    if expected == -1 || expected == found {
        return Ok(());
    }
    let path = path.into();
    Err(OpError::BadVersion {
        path,
        expected,
        found,
    })
}

impl Draft<'_> {
    fn node(&self, path: &str) -> Result<Rc<Znode>, OpError> {
        self.nodes.get(path).cloned().ok_or_else(|| no_node(path))
    }

    fn change(&mut self, path: &str, change: impl FnOnce(&mut Znode)) {
        if let Some(node) = self.nodes.get_mut(path) {
            change(Rc::make_mut(node));
        }
    }

    fn auth(&self) -> &[AuthId] {
        &self.command.auth
    }

    fn one(&mut self, op: &Op) -> Did {
        match op {
            Op::Create(create) => self.create(create, false),
            Op::CreateContainer(create) => self.create(create, true),
            Op::Delete { path, version } => self.delete(path, *version),
            Op::SetData {
                path,
                data,
                version,
            } => self.set_data(path, data.as_ref(), *version),
            Op::SetAcl { path, acl, version } => self.set_acl(path, acl, *version),
            Op::Check { path, version } => {
                let node = self.node(path)?;
                if !node.permits(READ, self.auth()) {
                    return Err(no_auth(path));
                }
                of_version(path, *version, node.stat.version)?;
                Ok(Reply::Done)
            }
            Op::CheckCreated { path, czxid } => {
                let node = self.node(path)?;
                if !node.permits(READ, self.auth()) {
                    return Err(no_auth(path));
                }
                let (path, found) = (path.clone(), node.stat.czxid.0);
                match found == *czxid {
                    true => Ok(Reply::Done),
                    false => Err(OpError::CreatedAnew {
                        path,
                        expected: *czxid,
                        found,
                    }),
                }
            }
            Op::DeleteContainer { path } => {
                let node = self.node(path)?;
                if !(node.container && node.children.is_empty() && node.creates > 0) {
                    let (path, children) = (path.clone(), node.children.len() as i32);
                    return Err(OpError::NotEmpty { path, children });
                }
                self.take_away(path);
                Ok(Reply::Done)
            }
            other => panic!("the model knows nothing of {other:?}"),
        }
    }

    fn create(&mut self, create: &Create, container: bool) -> Did {
        let above = parent(&create.path).to_owned();
        let acl = stored(&create.acl, self.auth()).ok_or_else(|| OpError::InvalidAcl {
            path: create.path.clone(),
        })?;
        let at = self.node(&above)?;
        if !at.permits(CREATE, self.auth()) {
            return Err(no_auth(&create.path));
        }
        let path = match create.sequential {
            true => format!("{}{:010}", create.path, at.creates),
            false => create.path.clone(),
        };
        if self.nodes.contains_key(&path) {
            return Err(OpError::NodeExists { path });
        }
        if at.stat.ephemeral_owner != 0 {
            return Err(OpError::NoChildrenForEphemerals { path: above });
        }
        let mut node = Znode::new(create.data.clone(), acl, self.zxid, self.time_ms);
        if create.ephemeral {
            node.stat.ephemeral_owner = self.command.session.0;
        }
        node.container = container;
        let stat = node.stat;
        let (name, zxid) = (path.rsplit('/').next().unwrap_or_default(), self.zxid);
        self.change(&above, |at| {
            at.children.insert(name.to_owned());
            at.creates += 1;
            at.stat.cversion += 1;
            at.stat.num_children += 1;
            at.stat.pzxid = Zxid(zxid);
        });
        self.nodes.insert(path.clone(), Rc::new(node));
        self.changes.push((ChangeKind::Created, path.clone()));
        Ok(match create.want_stat {
            true => Reply::Created { path, stat },
            false => Reply::Path(path),
        })
    }

    fn delete(&mut self, path: &str, version: i32) -> Did {
        if path == "/" {
            return Err(OpError::BadArguments("/ cannot be deleted".into()));
        }
        let at = self.nodes.get(parent(path)).ok_or_else(|| no_node(path))?;
        if !at.permits(DELETE, self.auth()) {
            return Err(no_auth(path));
        }
        let node = self.node(path)?;
        of_version(path, version, node.stat.version)?;
        if !node.children.is_empty() {
            let (path, children) = (path.to_owned(), node.children.len() as i32);
            return Err(OpError::NotEmpty { path, children });
        }
        self.take_away(path);
        Ok(Reply::Done)
    }

    fn take_away(&mut self, path: &str) {
        let zxid = self.zxid;
        self.nodes.remove(path);
        self.change(parent(path), |at| {
            at.children
                .remove(path.rsplit('/').next().unwrap_or_default());
            at.stat.cversion += 1;
            at.stat.num_children -= 1;
            at.stat.pzxid = Zxid(zxid);
        });
        self.changes.push((ChangeKind::Deleted, path.to_owned()));
    }

    fn set_data(&mut self, path: &str, data: Option<&Bytes>, version: i32) -> Did {
        let node = self.node(path)?;
        if !node.permits(WRITE, self.auth()) {
            return Err(no_auth(path));
        }
        of_version(path, version, node.stat.version)?;
        let (zxid, time_ms) = (self.zxid, self.time_ms);
        self.change(path, |node| {
            node.data = data.cloned();
            node.stat.data_length = data.map_or(0, |data| data.len() as i32);
            node.stat.version += 1;
            node.stat.mzxid = Zxid(zxid);
            node.stat.mtime_ms = time_ms;
        });
        self.changes.push((ChangeKind::Data, path.to_owned()));
        Ok(Reply::Stat(self.node(path)?.stat))
    }

    fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> Did {
        let acl = stored(acl, self.auth()).ok_or_else(|| OpError::InvalidAcl {
            path: path.to_owned(),
        })?;
        let node = self.node(path)?;
        if !node.permits(ADMIN, self.auth()) {
            return Err(no_auth(path));
        }
        of_version(path, version, node.stat.aversion)?;
        self.change(path, |node| {
            node.acl = acl;
            node.stat.aversion += 1;
        });
        self.changes.push((ChangeKind::Acl, path.to_owned()));
        Ok(Reply::Stat(self.node(path)?.stat))
    }

    /// All or nothing.
    fn all(&mut self, ops: &[Op]) -> Vec<Did> {
        let (nodes, changes) = (self.nodes.clone(), self.changes.len());
        let mut results = Vec::new();
        for op in ops {
            match self.one(op) {
                Ok(reply) => results.push(Ok(reply)),
                Err(error) => {
                    self.nodes = nodes;
                    self.changes.truncate(changes);
                    results = vec![Ok(Reply::Done); results.len()];
                    results.push(Err(error));
                    results.resize(ops.len(), Err(OpError::RuntimeInconsistency));
                    return results;
                }
            }
        }
        results
    }

    fn fenced(&mut self, fence: &str, version: i32, groups: &[Vec<Op>]) -> Did {
        let found = self.nodes.get(fence);
        if found.is_some_and(|node| !node.permits(READ, self.auth())) {
            return Err(no_auth(fence));
        }
        let found = found.map(|node| node.stat.version);
        if found.is_none_or(|found| version != -1 && version != found) {
            let (path, expected) = (fence.to_owned(), version);
            return Err(OpError::Fenced {
                path,
                expected,
                found,
            });
        }
        let results = groups.iter().map(|group| self.all(group)).collect();
        Ok(Reply::FencedBatch(results))
    }
}

impl Model {
    /// As `nodes` are at the start; their numbers are those of a fresh ensemble.
    pub fn new(nodes: impl IntoIterator<Item = (String, Option<Bytes>, Vec<Acl>, Stat)>) -> Self {
        let mut model = Self {
            nodes: BTreeMap::new(),
            sessions: BTreeMap::new(),
            zxid: 0,
        };
        let given: Vec<_> = nodes.into_iter().collect();
        for (path, data, acl, stat) in &given {
            let mut node = Znode::new(data.clone(), acl.clone(), 0, 0);
            node.stat = *stat;
            let below = given
                .iter()
                .filter(|(other, ..)| other != "/" && parent(other) == path.as_str());
            node.children = below
                .map(|(other, ..)| other.rsplit('/').next().unwrap_or_default().to_owned())
                .collect();
            model.nodes.insert(path.clone(), Rc::new(node));
        }
        model
    }

    /// Does one command, and tells what must come of it.
    pub fn apply(&mut self, command: &Command, time_ms: i64) -> Expected {
        if command.op != Op::Sync {
            self.zxid += 1;
        }
        let zxid = self.zxid;
        let mut draft = Draft {
            nodes: std::mem::take(&mut self.nodes),
            changes: Vec::new(),
            command,
            zxid,
            time_ms,
        };
        let result = perform(&mut self.sessions, &mut draft);
        let Draft { nodes, changes, .. } = draft;
        self.nodes = nodes;
        Expected {
            zxid,
            result,
            changes,
        }
    }
}

fn perform(sessions: &mut BTreeMap<i64, Session>, draft: &mut Draft<'_>) -> Did {
    let Command {
        session,
        attach,
        ref op,
        ..
    } = *draft.command;
    let granted = |attach, timeout_ms, password| {
        Ok(Reply::Session(
            zweig_coordinator::state_machine::SessionGrant {
                id: session,
                attach,
                timeout_ms,
                password,
            },
        ))
    };
    match op {
        Op::OpenSession {
            timeout_ms,
            password,
        } => {
            let (attach, password) = (1, *password);
            let former = sessions.insert(session.0, Session { attach, password });
            assert!(former.is_none(), "session {session} is opened twice");
            return granted(attach, *timeout_ms, password);
        }
        Op::AttachSession {
            timeout_ms,
            password,
        } => {
            let found = sessions.get_mut(&session.0);
            let found = found.filter(|found| found.password == *password);
            let found = found.ok_or(OpError::SessionExpired { session })?;
            found.attach += 1;
            return granted(found.attach, *timeout_ms, *password);
        }
        _ => {}
    }
    if session != SessionId::NONE {
        let found = sessions.get(&session.0).map(|found| found.attach);
        let found = found.ok_or(OpError::SessionExpired { session })?;
        if found != attach {
            return Err(OpError::SessionMoved {
                session,
                carried: attach,
                found,
            });
        }
    }
    admitted(sessions, draft, op)
}

/// What a command comes to whose session, if it has one, lives and holds that attach number.
fn admitted(sessions: &mut BTreeMap<i64, Session>, draft: &mut Draft<'_>, op: &Op) -> Did {
    let session = draft.command.session;
    match op {
        Op::CloseSession | Op::ExpireSession => {
            sessions.remove(&session.0);
            let owned = draft
                .nodes
                .iter()
                .filter(|(_, node)| node.stat.ephemeral_owner == session.0);
            let owned: Vec<String> = owned.map(|(path, _)| path.clone()).collect();
            for path in owned {
                draft.take_away(&path);
            }
            Ok(Reply::Done)
        }
        Op::Sync | Op::SetLimits { .. } => Ok(Reply::Done),
        Op::Multi(ops) => Ok(Reply::Multi(draft.all(ops))),
        Op::FencedBatch {
            fence_path,
            fence_version,
            groups,
        } => draft.fenced(fence_path, *fence_version, groups),
        op => draft.one(op),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zweig_coordinator::state_machine::Origin;

    fn model() -> Model {
        let open = vec![Acl::anyone(31)];
        Model::new([("/".to_owned(), None, open, Stat::default())])
    }

    fn command(op: Op) -> Command {
        Command {
            origin: Origin::default(),
            session: SessionId::NONE,
            attach: 0,
            auth: Vec::new(),
            deadline_ms: 0,
            trace: [0; 16],
            op,
        }
    }

    fn create(path: &str, sequential: bool) -> Op {
        Op::Create(Create {
            path: path.into(),
            data: None,
            acl: vec![Acl::anyone(31)],
            ephemeral: false,
            sequential,
            want_stat: false,
        })
    }

    #[test]
    fn numbers_are_of_creations_not_of_children() {
        let mut model = model();
        let delete = Op::Delete {
            path: "/s0000000000".into(),
            version: -1,
        };
        let path = |n: &str| Ok(Reply::Path(n.into()));
        let first = model.apply(&command(create("/s", true)), 1);
        assert_eq!(first.result, path("/s0000000000"));
        model.apply(&command(delete), 2);
        let second = model.apply(&command(create("/s", true)), 3);
        assert_eq!(second.result, path("/s0000000001"));
        assert_eq!(second.zxid, 3);
    }

    #[test]
    fn a_multi_that_fails_leaves_nothing() {
        let mut model = model();
        let check = Op::Check {
            path: "/a".into(),
            version: 7,
        };
        let multi = Op::Multi(vec![create("/a", false), check, create("/b", false)]);
        let told = model.apply(&command(multi), 1);
        assert_eq!(told.changes, []);
        assert_eq!(model.nodes.len(), 1);
        let Ok(Reply::Multi(results)) = told.result else {
            panic!("{told:?}")
        };
        assert_eq!(results[0], Ok(Reply::Done));
        assert_eq!(results[2], Err(OpError::RuntimeInconsistency));
    }
}
