//! What clients ask for, as it stands in the raft log.
//!
//! Layout, all integers big-endian; `str` and `bytes` are a u32 length and the bytes:
//! ```text
//! command  u64 node, u64 boot, u64 request, i64 session, u64 attach,
//!          u32 n, n × (str scheme, str id), i64 deadline_ms, 16 bytes trace, op
//! op       u8 tag, then its fields in the order of the enum
//! ```
//! Invariant: what [`Command::encode`] writes, [`Command::decode`] reads back equal. A format or tag
//! that is not known is an error, and the node stops rather than skip it: skipping would part it from
//! the others. A new field or operation gets a new tag or format; old ones are read for ever.
use bytes::{BufMut, Bytes, BytesMut};

pub use super::entry::{Entry, EntryBuilder};
use crate::octets::{DecodeError, Reader, put_bytes, put_count, put_optional_bytes};
pub use crate::session::{Password, SessionId};
pub use crate::tree::{Acl, AuthId, Zxid};

/// A command is at least this long.
pub(super) const COMMAND_MIN_BYTES: usize = 24 + 16 + 4 + 8 + 16 + 1;

/// Where a command came from, and who waits for its outcome there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The node that the client is connected to.
    pub node: u64,
    /// That node's boot nonce: a waiter of a former boot is not one of this.
    pub boot: u64,
    /// The waiter's number, unique within the boot.
    pub request: u64,
}

/// An operation, with everything that `apply` needs to decide it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Who waits for the outcome.
    pub origin: Origin,
    /// On whose behalf; [`SessionId::NONE`] for what needs no session.
    pub session: SessionId,
    /// The attach number under which the node holds the session.
    pub attach: u64,
    /// The ids that the caller has authenticated.
    pub auth: Vec<AuthId>,
    /// Milliseconds since 1970 after which nobody should propose it any more; 0: none. `apply` does
    /// not look at it.
    pub deadline_ms: i64,
    /// The caller's trace id, all zero for none.
    pub trace: [u8; 16],
    /// What to do.
    pub op: Op,
}

/// What a command asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Opens the session `Command::session`.
    OpenSession {
        /// As granted, milliseconds.
        timeout_ms: u32,
        /// Chosen at random by the origin.
        password: Password,
    },
    /// Takes the session over: it gets a new attach number. `Command::attach` is not looked at.
    AttachSession {
        /// The timeout from now on, milliseconds.
        timeout_ms: u32,
        /// Must be the session's.
        password: Password,
    },
    /// Ends the session, at its client's wish.
    CloseSession,
    /// Ends the session if `Command::attach` is still its attach number.
    ExpireSession,
    /// Changes nothing; its outcome comes behind all that was proposed before it.
    Sync,
    /// Creates a znode.
    Create(Create),
    /// Creates a container, which is neither ephemeral nor sequential.
    CreateContainer(Create),
    /// Deletes a container that has had children and has none; asked by the leader, of no ACL.
    DeleteContainer {
        /// Which.
        path: String,
    },
    /// Deletes a znode without children.
    Delete {
        /// Which.
        path: String,
        /// Its data version; -1: any.
        version: i32,
    },
    /// Writes a znode's data.
    SetData {
        /// Which.
        path: String,
        /// `None` is ZooKeeper's null.
        data: Option<Bytes>,
        /// Its data version before; -1: any.
        version: i32,
    },
    /// Replaces a znode's ACL.
    SetAcl {
        /// Which.
        path: String,
        /// The new list, as requested.
        acl: Vec<Acl>,
        /// Its ACL version before; -1: any.
        version: i32,
    },
    /// Does nothing, or fails if the data version is another.
    Check {
        /// Which.
        path: String,
        /// Its data version; -1: any.
        version: i32,
    },
    /// Does nothing, or fails if the znode is another one than that created at a zxid: versions begin anew when a
    /// znode is deleted and created again, the zxid of its creation never comes back.
    CheckCreated {
        /// Which.
        path: String,
        /// Its czxid.
        czxid: i64,
    },
    /// All or nothing, one zxid. Holds creates, delete, setData, setACL and checks only.
    Multi(Vec<Op>),
    /// One fence; if it holds, each group is done or not on its own, all in one zxid.
    FencedBatch {
        /// The znode whose version is the fence.
        fence_path: String,
        /// The version the batch was decided at.
        fence_version: i32,
        /// Each all or nothing, with what a `Multi` may hold.
        groups: Vec<Vec<Op>>,
    },
    /// Sets replicated limits.
    SetLimits {
        /// Most bytes of data of one znode.
        max_data_bytes: u32,
    },
}

/// A znode to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Create {
    /// Where; with `sequential` the parent's create counter is appended.
    pub path: String,
    /// `None` is ZooKeeper's null.
    pub data: Option<Bytes>,
    /// As requested: `auth` stands for the caller's ids.
    pub acl: Vec<Acl>,
    /// Whether it ends with the session.
    pub ephemeral: bool,
    /// Whether a number is appended.
    pub sequential: bool,
    /// Whether the answer carries the stat (`create2`).
    pub want_stat: bool,
}

mod tag {
    pub const OPEN_SESSION: u8 = 1;
    pub const ATTACH_SESSION: u8 = 2;
    pub const CLOSE_SESSION: u8 = 3;
    pub const EXPIRE_SESSION: u8 = 4;
    pub const SYNC: u8 = 5;
    pub const CREATE: u8 = 6;
    pub const DELETE: u8 = 7;
    pub const SET_DATA: u8 = 8;
    pub const SET_ACL: u8 = 9;
    pub const CHECK: u8 = 10;
    pub const MULTI: u8 = 11;
    pub const FENCED_BATCH: u8 = 12;
    pub const SET_LIMITS: u8 = 13;
    pub const CREATE_CONTAINER: u8 = 14;
    pub const DELETE_CONTAINER: u8 = 15;
    pub const CHECK_CREATED: u8 = 16;
}

impl Command {
    /// Appends this command's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        out.reserve(256);
        out.put_u64(self.origin.node);
        out.put_u64(self.origin.boot);
        out.put_u64(self.origin.request);
        out.put_i64(self.session.0);
        out.put_u64(self.attach);
        put_count(out, self.auth.len());
        for id in &self.auth {
            put_auth_id(out, id);
        }
        out.put_i64(self.deadline_ms);
        out.put_slice(&self.trace);
        put_op(out, &self.op, Place::Command);
    }

    /// Reads one command that fills `bytes`.
    pub fn decode(bytes: Bytes) -> Result<Command, DecodeError> {
        let mut reader = Reader::new(bytes);
        let command = Command::read(&mut reader)?;
        reader.end()?;
        Ok(command)
    }

    /// Reads one command from the front of `reader`.
    pub fn read(reader: &mut Reader) -> Result<Command, DecodeError> {
        let origin = Origin {
            node: reader.u64("origin node")?,
            boot: reader.u64("origin boot")?,
            request: reader.u64("origin request")?,
        };
        let session = SessionId(reader.i64("session")?);
        let attach = reader.u64("attach")?;
        let count = reader.count("auth ids", 8)?;
        let mut auth = Vec::with_capacity(count);
        for _ in 0..count {
            auth.push(read_auth_id(reader)?);
        }
        let deadline_ms = reader.i64("deadline")?;
        let trace = reader.array("trace")?;
        let op = read_op(reader, Place::Command)?;
        Ok(Command {
            origin,
            session,
            attach,
            auth,
            deadline_ms,
            trace,
            op,
        })
    }
}

/// Where an operation stands: batches hold only operations on znodes, so that nothing nests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Command,
    Batch,
}

impl Op {
    /// Whether this may stand in a `multi` or a fenced batch. Whoever builds one checks this first:
    /// encoding anything else there is a bug and panics.
    pub fn may_be_batched(&self) -> bool {
        match self {
            Op::Create(_)
            | Op::CreateContainer(_)
            | Op::Delete { .. }
            | Op::SetData { .. }
            | Op::SetAcl { .. }
            | Op::Check { .. }
            | Op::CheckCreated { .. } => true,
            Op::OpenSession { .. }
            | Op::AttachSession { .. }
            | Op::CloseSession
            | Op::ExpireSession
            | Op::Sync
            | Op::Multi(_)
            | Op::FencedBatch { .. }
            | Op::DeleteContainer { .. }
            | Op::SetLimits { .. } => false,
        }
    }
}

fn put_op(out: &mut BytesMut, op: &Op, place: Place) {
    assert!(
        place == Place::Command || op.may_be_batched(),
        "{op:?} cannot stand in a batch"
    );
    match op {
        Op::OpenSession {
            timeout_ms,
            password,
        } => {
            put_session(out, tag::OPEN_SESSION, *timeout_ms, password);
        }
        Op::AttachSession {
            timeout_ms,
            password,
        } => {
            put_session(out, tag::ATTACH_SESSION, *timeout_ms, password);
        }
        Op::CloseSession => out.put_u8(tag::CLOSE_SESSION),
        Op::ExpireSession => out.put_u8(tag::EXPIRE_SESSION),
        Op::Sync => out.put_u8(tag::SYNC),
        Op::Create(create) => put_create(out, tag::CREATE, create),
        Op::CreateContainer(create) => put_create(out, tag::CREATE_CONTAINER, create),
        Op::DeleteContainer { path } => {
            out.put_u8(tag::DELETE_CONTAINER);
            put_bytes(out, path.as_bytes());
        }
        Op::Delete { path, version } => put_path_version(out, tag::DELETE, path, *version),
        Op::SetData {
            path,
            data,
            version,
        } => {
            out.put_u8(tag::SET_DATA);
            put_bytes(out, path.as_bytes());
            put_optional_bytes(out, data.as_deref());
            out.put_i32(*version);
        }
        Op::SetAcl { path, acl, version } => {
            out.put_u8(tag::SET_ACL);
            put_bytes(out, path.as_bytes());
            put_acl(out, acl);
            out.put_i32(*version);
        }
        Op::Check { path, version } => put_path_version(out, tag::CHECK, path, *version),
        Op::CheckCreated { path, czxid } => {
            out.put_u8(tag::CHECK_CREATED);
            put_bytes(out, path.as_bytes());
            out.put_i64(*czxid);
        }
        Op::Multi(ops) => {
            out.put_u8(tag::MULTI);
            put_batch(out, ops);
        }
        Op::FencedBatch {
            fence_path,
            fence_version,
            groups,
        } => {
            put_path_version(out, tag::FENCED_BATCH, fence_path, *fence_version);
            put_count(out, groups.len());
            for group in groups {
                put_batch(out, group);
            }
        }
        Op::SetLimits { max_data_bytes } => {
            out.put_u8(tag::SET_LIMITS);
            out.put_u32(*max_data_bytes);
        }
    }
}

fn put_session(out: &mut BytesMut, tag: u8, timeout_ms: u32, password: &Password) {
    out.put_u8(tag);
    out.put_u32(timeout_ms);
    out.put_slice(password);
}

fn put_path_version(out: &mut BytesMut, tag: u8, path: &str, version: i32) {
    out.put_u8(tag);
    put_bytes(out, path.as_bytes());
    out.put_i32(version);
}

fn put_create(out: &mut BytesMut, tag: u8, create: &Create) {
    out.put_u8(tag);
    put_bytes(out, create.path.as_bytes());
    put_optional_bytes(out, create.data.as_deref());
    put_acl(out, &create.acl);
    out.put_u8(create.ephemeral.into());
    out.put_u8(create.sequential.into());
    out.put_u8(create.want_stat.into());
}

fn put_batch(out: &mut BytesMut, ops: &[Op]) {
    put_count(out, ops.len());
    for op in ops {
        put_op(out, op, Place::Batch);
    }
}

/// Writes an ACL: a count, then permissions, scheme and id of each. Stored znodes hold the same bytes.
pub(crate) fn put_acl(out: &mut impl BufMut, acl: &[Acl]) {
    put_count(out, acl.len());
    for entry in acl {
        out.put_u32(entry.permissions);
        put_auth_id(out, &entry.id);
    }
}

fn put_auth_id(out: &mut impl BufMut, id: &AuthId) {
    put_bytes(out, id.scheme.as_bytes());
    put_bytes(out, id.id.as_bytes());
}

fn read_op(reader: &mut Reader, place: Place) -> Result<Op, DecodeError> {
    let tag = reader.u8("op")?;
    let may_be_batched = matches!(
        tag,
        tag::CREATE..=tag::CHECK | tag::CREATE_CONTAINER | tag::CHECK_CREATED
    );
    if place == Place::Batch && !may_be_batched {
        return Err(DecodeError::Misplaced {
            field: "op in a batch",
        });
    }
    Ok(match tag {
        tag::OPEN_SESSION => Op::OpenSession {
            timeout_ms: reader.u32("timeout")?,
            password: reader.array("password")?,
        },
        tag::ATTACH_SESSION => Op::AttachSession {
            timeout_ms: reader.u32("timeout")?,
            password: reader.array("password")?,
        },
        tag::CLOSE_SESSION => Op::CloseSession,
        tag::EXPIRE_SESSION => Op::ExpireSession,
        tag::SYNC => Op::Sync,
        tag::CREATE => Op::Create(read_create(reader)?),
        tag::CREATE_CONTAINER => Op::CreateContainer(read_create(reader)?),
        tag::DELETE_CONTAINER => Op::DeleteContainer {
            path: reader.string("path")?,
        },
        tag::DELETE => Op::Delete {
            path: reader.string("path")?,
            version: reader.i32("version")?,
        },
        tag::SET_DATA => Op::SetData {
            path: reader.string("path")?,
            data: reader.optional_bytes("data")?,
            version: reader.i32("version")?,
        },
        tag::SET_ACL => Op::SetAcl {
            path: reader.string("path")?,
            acl: read_acl(reader)?,
            version: reader.i32("version")?,
        },
        tag::CHECK => Op::Check {
            path: reader.string("path")?,
            version: reader.i32("version")?,
        },
        tag::CHECK_CREATED => Op::CheckCreated {
            path: reader.string("path")?,
            czxid: reader.i64("czxid")?,
        },
        tag::MULTI => Op::Multi(read_batch(reader)?),
        tag::FENCED_BATCH => read_fenced_batch(reader)?,
        tag::SET_LIMITS => Op::SetLimits {
            max_data_bytes: reader.u32("max data bytes")?,
        },
        value => {
            return Err(DecodeError::Unknown {
                field: "op",
                value: value.into(),
            });
        }
    })
}

fn read_create(reader: &mut Reader) -> Result<Create, DecodeError> {
    Ok(Create {
        path: reader.string("path")?,
        data: reader.optional_bytes("data")?,
        acl: read_acl(reader)?,
        ephemeral: reader.bool("ephemeral")?,
        sequential: reader.bool("sequential")?,
        want_stat: reader.bool("want stat")?,
    })
}

fn read_fenced_batch(reader: &mut Reader) -> Result<Op, DecodeError> {
    let fence_path = reader.string("fence path")?;
    let fence_version = reader.i32("fence version")?;
    let count = reader.count("groups", 4)?;
    let mut groups = Vec::new();
    for _ in 0..count {
        groups.push(read_batch(reader)?);
    }
    Ok(Op::FencedBatch {
        fence_path,
        fence_version,
        groups,
    })
}

fn read_batch(reader: &mut Reader) -> Result<Vec<Op>, DecodeError> {
    let count = reader.count("ops", 1 + 4 + 4)?;
    let mut ops = Vec::new();
    for _ in 0..count {
        ops.push(read_op(reader, Place::Batch)?);
    }
    Ok(ops)
}

/// The counterpart of [`put_acl`].
pub(crate) fn read_acl(reader: &mut Reader) -> Result<Vec<Acl>, DecodeError> {
    let count = reader.count("acl", 12)?;
    let mut acl = Vec::with_capacity(count);
    for _ in 0..count {
        acl.push(Acl {
            permissions: reader.u32("permissions")?,
            id: read_auth_id(reader)?,
        });
    }
    Ok(acl)
}

fn read_auth_id(reader: &mut Reader) -> Result<AuthId, DecodeError> {
    Ok(AuthId {
        scheme: reader.string("scheme")?,
        id: reader.string("id")?,
    })
}

#[cfg(test)]
#[path = "command/tests.rs"]
mod tests;
