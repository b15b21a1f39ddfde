//! The toy tree that all nodes of a fake ensemble share.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::write_op::Op;

pub(super) struct Node {
    pub(super) data: Option<Bytes>,
    pub(super) stat: proto::Stat,
}

/// The state that all nodes of a fake ensemble share.
pub struct State {
    pub(super) zxid: i64,
    pub(super) nodes: BTreeMap<String, Node>,
    pub(super) sessions: HashMap<i64, u64>,
    /// Every change, in order.
    pub(super) changes: Vec<proto::Change>,
    /// Changes up to here are forgotten.
    pub floor: i64,
    pub writes_done: usize,
    sequence: i32,
}

impl State {
    /// The root alone, at zxid 1.
    pub(super) fn new() -> Self {
        let root = Node {
            data: None,
            stat: proto::Stat::default(),
        };
        Self {
            zxid: 1,
            nodes: BTreeMap::from([("/".to_owned(), root)]),
            sessions: HashMap::new(),
            changes: Vec::new(),
            floor: 0,
            writes_done: 0,
            sequence: 0,
        }
    }

    fn changed(&mut self, kind: proto::change::Kind, path: &str) {
        let node = self.nodes.get(path);
        let node = proto::WatchedNode {
            path: path.to_owned(),
            data: node.and_then(|n| n.data.clone()),
            stat: node.map(|n| n.stat),
            readable: true,
        };
        let zxid = self.zxid;
        self.changes.push(proto::Change {
            kind: kind.into(),
            zxid,
            node: Some(node),
        });
    }

    pub(super) fn delete(&mut self, path: &str) -> bool {
        let was_there = self.nodes.remove(path).is_some();
        if was_there {
            self.changed(proto::change::Kind::Deleted, path);
        }
        was_there
    }

    /// All or nothing is not played: tests of multis use operations that succeed, or one that fails.
    pub(super) fn write(&mut self, session: i64, op: proto::WriteOp) -> proto::WriteResult {
        use proto::change::Kind;
        match op.op.expect("an operation") {
            Op::Create(create) => {
                let mut path = create.path;
                if create.sequential {
                    path = format!("{path}{:010}", self.sequence);
                    self.sequence += 1;
                }
                let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                let parent = if parent.is_empty() { "/" } else { parent };
                if !self.nodes.contains_key(parent) {
                    return failed(proto::Code::NoNode);
                }
                if self.nodes.contains_key(&path) {
                    return failed(proto::Code::NodeExists);
                }
                let stat = proto::Stat {
                    czxid: self.zxid,
                    mzxid: self.zxid,
                    ephemeral_owner: if create.ephemeral { session } else { 0 },
                    ..proto::Stat::default()
                };
                let data = create.data;
                self.nodes.insert(path.clone(), Node { data, stat });
                self.changed(Kind::Created, &path);
                proto::WriteResult {
                    result: Some(proto::write_result::Result::Path(path)),
                    stat: Some(stat),
                }
            }
            Op::Delete(delete) => match self.delete(&delete.path) {
                true => done(None),
                false => failed(proto::Code::NoNode),
            },
            Op::SetData(set) => {
                let zxid = self.zxid;
                let Some(node) = self.nodes.get_mut(&set.path) else {
                    return failed(proto::Code::NoNode);
                };
                if set.version >= 0 && set.version != node.stat.version {
                    return failed(proto::Code::BadVersion);
                }
                node.data = set.data;
                node.stat.version += 1;
                node.stat.mzxid = zxid;
                let stat = node.stat;
                self.changed(Kind::Data, &set.path);
                done(Some(stat))
            }
            Op::Check(check) => match self.nodes.contains_key(&check.path) {
                true => done(None),
                false => failed(proto::Code::NoNode),
            },
            Op::CheckCreated(check) => match self.nodes.get(&check.path) {
                Some(node) if node.stat.czxid == check.czxid => done(None),
                Some(_) => failed(proto::Code::BadVersion),
                None => failed(proto::Code::NoNode),
            },
            Op::SetAcl(_) => failed(proto::Code::Unimplemented),
        }
    }

    pub(super) fn read(&self, op: &proto::ReadOp) -> proto::ReadResult {
        let Some(node) = self.nodes.get(&op.path) else {
            let error = failed(proto::Code::NoNode).result;
            let Some(proto::write_result::Result::Error(error)) = error else {
                unreachable!("made above")
            };
            return proto::ReadResult {
                error: Some(error),
                ..proto::ReadResult::default()
            };
        };
        let prefix = format!("{}/", op.path.trim_end_matches('/'));
        let below = self
            .nodes
            .keys()
            .filter_map(|path| path.strip_prefix(&prefix));
        let children = below.filter(|name| !name.is_empty() && !name.contains('/'));
        proto::ReadResult {
            data: node.data.clone(),
            stat: Some(node.stat),
            children: children.map(str::to_owned).collect(),
            ..proto::ReadResult::default()
        }
    }
}

fn done(stat: Option<proto::Stat>) -> proto::WriteResult {
    proto::WriteResult {
        result: Some(proto::write_result::Result::Done(proto::Empty {})),
        stat,
    }
}

pub(super) fn error(code: proto::Code) -> proto::Error {
    proto::Error {
        code: code.into(),
        message: "as ordered".into(),
    }
}

fn failed(code: proto::Code) -> proto::WriteResult {
    proto::WriteResult {
        result: Some(proto::write_result::Result::Error(error(code))),
        stat: None,
    }
}
