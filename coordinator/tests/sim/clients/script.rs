//! What a client asks for next, by chance: a few paths, so that clients meet.

use std::collections::BTreeMap;

use bytes::Bytes;
use zweig_coordinator::request::{ReadOp, ReadReply, Request};
use zweig_coordinator::state_machine::{Create, Op, OpError};
use zweig_coordinator::tree::{Acl, AuthId, acl};
use zweig_coordinator::watch::RemoveKind;

use crate::chance::Chance;

/// Znodes that only persistent values are put into: the search for one order looks at these.
pub const REGISTERS: [&str; 3] = ["/r0", "/r1", "/r2"];
const FOLDERS: [&str; 3] = ["/d", "/d/c0", "/d/c1"];
const GRANDCHILDREN: [&str; 2] = ["/d/c0/g", "/d/c1/g"];
const EPHEMERALS: [&str; 3] = ["/e0", "/e1", "/d/e"];
const PRIVATE: &str = "/p";
const CONTAINER: &str = "/k";

/// Sequential znodes of a folder beyond which the old ones are deleted rather than new ones made.
const CROWD: usize = 6;

/// What a client knows and asks by.
pub struct Script {
    pub chance: Chance,
    /// Can read what is private.
    pub authorised: bool,
    /// Distinguishes the values that it writes.
    writer: u64,
    written: u64,
    versions: BTreeMap<String, i32>,
    created: BTreeMap<String, i64>,
    crowd: Vec<String>,
}

fn pick<'a>(chance: &mut Chance, of: &[&'a str]) -> &'a str {
    of[chance.below(of.len() as u64) as usize]
}

impl Script {
    pub fn new(chance: Chance, writer: u64, authorised: bool) -> Self {
        Self {
            chance,
            authorised,
            writer,
            written: 0,
            versions: BTreeMap::new(),
            created: BTreeMap::new(),
            crowd: Vec::new(),
        }
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> Bytes {
        self.written += 1;
        let value = self.writer << 32 | self.written;
        Bytes::copy_from_slice(&value.to_be_bytes())
    }

    fn any_path(&mut self) -> &'static str {
        match self.chance.below(8) {
            0..2 => pick(&mut self.chance, &REGISTERS),
            2..4 => pick(&mut self.chance, &FOLDERS),
            4 => pick(&mut self.chance, &GRANDCHILDREN),
            5..7 => pick(&mut self.chance, &EPHEMERALS),
            _ => pick(&mut self.chance, &[PRIVATE, CONTAINER, "/"]),
        }
    }

    fn version(&mut self, path: &str) -> i32 {
        match self.versions.get(path) {
            Some(&version) if self.chance.once_in(2) => version,
            _ => -1,
        }
    }

    fn create(&mut self, path: &str) -> Create {
        Create {
            path: path.to_owned(),
            data: Some(self.value()),
            acl: vec![Acl::anyone(acl::ALL)],
            ephemeral: false,
            sequential: false,
            want_stat: self.chance.once_in(2),
        }
    }

    /// One write of a single znode.
    fn write(&mut self) -> Op {
        match self.chance.below(16) {
            0..4 => {
                let path = pick(&mut self.chance, &REGISTERS);
                self.of_value(path)
            }
            4..6 => {
                let path = pick(&mut self.chance, &FOLDERS);
                self.of_value(path)
            }
            6 => {
                let path = pick(&mut self.chance, &GRANDCHILDREN);
                self.of_value(path)
            }
            7..11 => self.of_ephemeral(),
            11..13 => self.of_crowd(),
            13 => self.of_private(),
            14 => self.of_container(),
            _ => {
                let path = self.any_path().to_owned();
                let version = self.version(&path);
                Op::Delete { path, version }
            }
        }
    }

    fn of_value(&mut self, path: &str) -> Op {
        let version = self.version(path);
        match self.chance.below(8) {
            0..3 => Op::Create(self.create(path)),
            3 => Op::Delete {
                path: path.to_owned(),
                version,
            },
            _ => Op::SetData {
                path: path.to_owned(),
                data: Some(self.value()),
                version,
            },
        }
    }

    fn of_ephemeral(&mut self) -> Op {
        let path = pick(&mut self.chance, &EPHEMERALS);
        if self.chance.once_in(4) {
            let (path, version) = (path.to_owned(), -1);
            return Op::Delete { path, version };
        }
        let mut create = self.create(path);
        create.ephemeral = true;
        Op::Create(create)
    }

    fn of_crowd(&mut self) -> Op {
        if self.crowd.len() > CROWD {
            let at = self.chance.below(self.crowd.len() as u64) as usize;
            let (path, version) = (self.crowd.swap_remove(at), -1);
            return Op::Delete { path, version };
        }
        let mut create = self.create("/d/s-");
        create.sequential = true;
        create.ephemeral = self.chance.once_in(3);
        Op::Create(create)
    }

    fn of_private(&mut self) -> Op {
        let own = vec![Acl {
            permissions: acl::ALL,
            id: AuthId {
                scheme: "auth".into(),
                id: String::new(),
            },
        }];
        match self.chance.below(6) {
            0..2 if self.authorised => {
                let mut create = self.create(PRIVATE);
                create.acl = own;
                Op::Create(create)
            }
            2 => Op::SetAcl {
                path: PRIVATE.into(),
                acl: match self.chance.once_in(2) {
                    true => own,
                    false => vec![Acl::anyone(acl::ALL)],
                },
                version: -1,
            },
            3 => Op::Delete {
                path: PRIVATE.into(),
                version: -1,
            },
            _ => Op::SetData {
                path: PRIVATE.into(),
                data: Some(self.value()),
                version: -1,
            },
        }
    }

    fn of_container(&mut self) -> Op {
        let below = format!("{CONTAINER}/x");
        match self.chance.below(4) {
            0 => Op::CreateContainer(self.create(CONTAINER)),
            1 => Op::Create(self.create(&below)),
            _ => Op::Delete {
                path: below,
                version: -1,
            },
        }
    }

    /// What goes through the log.
    pub fn any_write(&mut self) -> Op {
        match self.chance.below(10) {
            0 => Op::Sync,
            1..3 => {
                let mut ops: Vec<Op> = (0..2 + self.chance.below(3))
                    .map(|_| self.write())
                    .collect();
                if self.chance.once_in(3) {
                    let check = self.check();
                    ops.insert(self.chance.below(2) as usize, check);
                }
                Op::Multi(ops)
            }
            _ => self.write(),
        }
    }

    fn check(&mut self) -> Op {
        let path = self.any_path().to_owned();
        match self.created.get(&path) {
            Some(&czxid) if self.chance.once_in(2) => Op::CheckCreated { path, czxid },
            _ => {
                let version = self.version(&path);
                Op::Check { path, version }
            }
        }
    }

    fn simple_read(&mut self) -> ReadOp {
        let path = self.any_path().to_owned();
        let watch = self.chance.once_in(3);
        match self.chance.below(3) {
            0 => ReadOp::Get { path, watch },
            1 => ReadOp::Exists { path, watch },
            _ => ReadOp::Children { path, watch },
        }
    }

    pub fn any_read(&mut self) -> Request {
        let path = self.any_path().to_owned();
        let kinds = [
            RemoveKind::Any,
            RemoveKind::Child,
            RemoveKind::Data,
            RemoveKind::Persistent,
            RemoveKind::PersistentRecursive,
        ];
        let kind = kinds[self.chance.below(5) as usize];
        Request::Read(match self.chance.below(24) {
            0 => ReadOp::Acl { path },
            1 => ReadOp::Ephemerals { prefix: "/".into() },
            2 => ReadOp::CountDescendants { path: "/".into() },
            3..5 => ReadOp::AddWatch {
                path,
                recursive: self.chance.once_in(2),
            },
            5 => ReadOp::HasWatch { path, kind },
            6 => ReadOp::RemoveWatches { path, kind },
            7 => ReadOp::Many((0..3).map(|_| self.simple_read()).collect()),
            8 => return Request::Refuse(OpError::Unimplemented),
            _ => self.simple_read(),
        })
    }

    /// A path whose present value is to be read.
    pub fn register(&mut self) -> String {
        pick(&mut self.chance, &REGISTERS).to_owned()
    }

    /// Takes in what was read.
    pub fn learn(&mut self, op: &ReadOp, reply: &ReadReply) {
        match (op, reply) {
            (ReadOp::Get { path, .. }, ReadReply::Data(_, stat))
            | (ReadOp::Exists { path, .. }, ReadReply::Exists(Some(stat))) => {
                self.versions.insert(path.clone(), stat.version);
                self.created.insert(path.clone(), stat.czxid.0);
            }
            (ReadOp::Children { path, .. }, ReadReply::Children(names, _)) if path == "/d" => {
                let crowd = names.iter().filter(|name| name.starts_with("s-"));
                self.crowd = crowd.map(|name| format!("/d/{name}")).collect();
            }
            _ => {}
        }
    }
}
