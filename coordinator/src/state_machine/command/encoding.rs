//! The bytes of commands; their layout stands in the module above.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Command, Create, Op, Origin};
use crate::octets::{DecodeError, Reader, put_bytes, put_count, put_optional_bytes};
use crate::session::{Password, SessionId};
use crate::tree::{Acl, AuthId};

pub(super) mod tag {
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

    /// The origin and the trace of an encoded command: what stands before its operation is read and no more.
    pub fn peek(bytes: Bytes) -> Result<(Origin, [u8; 16]), DecodeError> {
        let head = Head::read(&mut Reader::new(bytes))?;
        Ok((head.origin, head.trace))
    }

    /// Reads one command from the front of `reader`.
    pub fn read(reader: &mut Reader) -> Result<Command, DecodeError> {
        let head = Head::read(reader)?;
        let op = read_op(reader, Place::Command)?;
        Ok(Command {
            origin: head.origin,
            session: head.session,
            attach: head.attach,
            auth: head.auth,
            deadline_ms: head.deadline_ms,
            trace: head.trace,
            op,
        })
    }
}

/// What stands before a command's operation.
struct Head {
    origin: Origin,
    session: SessionId,
    attach: u64,
    auth: Vec<AuthId>,
    deadline_ms: i64,
    trace: [u8; 16],
}

impl Head {
    fn read(reader: &mut Reader) -> Result<Head, DecodeError> {
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
        Ok(Head {
            origin,
            session,
            attach,
            auth,
            deadline_ms: reader.i64("deadline")?,
            trace: reader.array("trace")?,
        })
    }
}

/// Where an operation stands: batches hold only operations on znodes, so that nothing nests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Command,
    Batch,
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
