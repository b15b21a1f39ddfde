//! The registry: one row per operation says how its frame becomes a request, and what form its
//! answer has. What is not in it is answered as unimplemented.

use std::net::IpAddr;

use zweig_proto::zk::op::create::flags;
use zweig_proto::zk::op::remove_watches::kind;
use zweig_proto::zk::op::*;
use zweig_proto::zk::{Acl as ZkAcl, DecodeError, ErrorCode, Jute, OpCode, Reader};

use super::codes;
use crate::request::{ReadOp, Request};
use crate::state_machine::{Create, Op, OpError};
use crate::tree::{Acl, AuthId, Zxid, acl};
use crate::watch::{Rearm, RemoveKind};

/// The form of an answer's body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// None.
    Nothing,
    /// None: this error.
    Refused(ErrorCode),
    /// `CreateResponse`.
    Path,
    /// `Create2Response`.
    PathAndStat,
    /// A stat alone.
    Stat,
    /// `GetDataResponse`.
    Data,
    /// `GetChildrenResponse`.
    Children,
    /// `GetChildren2Response`.
    ChildrenAndStat,
    /// `GetAclResponse`.
    Acl,
    /// `SyncResponse` with the request's path.
    Echo(String),
    /// `MultiResponse` of writes, one form each.
    Multi(Vec<OpCode>),
    /// `MultiResponse` of these errors: nothing was tried.
    FailedMulti(Vec<ErrorCode>),
    /// `MultiResponse` of reads.
    MultiRead,
    /// None; an error if no watch was found.
    Watch,
    /// `AddWatchResponse`.
    AddWatch,
    /// `GetEphemeralsResponse`.
    Paths,
    /// `GetAllChildrenNumberResponse`.
    Count,
    /// `WhoAmIResponse` with these.
    WhoAmI(Vec<ClientInfo>),
}

/// Who asks.
pub struct Caller<'a> {
    /// Where it connects from.
    pub address: IpAddr,
    /// The identities it has proved.
    pub auth: &'a [AuthId],
}

type Decode = fn(&mut Reader, &Caller<'_>) -> Result<(Request, Shape), DecodeError>;

/// Every operation that is served through the order of requests; `ping` and `auth` are not.
pub const ROWS: &[(OpCode, Decode)] = &[
    (OpCode::Create, |r, _| {
        create(Jute::read(r)?, false, Shape::Path)
    }),
    (OpCode::Create2, |r, _| {
        create(Jute::read(r)?, true, Shape::PathAndStat)
    }),
    (OpCode::CreateContainer, |r, _| {
        create(Jute::read(r)?, true, Shape::PathAndStat)
    }),
    (OpCode::Delete, |r, _| {
        write(delete(Jute::read(r)?), Shape::Nothing)
    }),
    (OpCode::SetData, |r, _| {
        write(set_data(Jute::read(r)?), Shape::Stat)
    }),
    (OpCode::SetAcl, |r, _| set_acl(Jute::read(r)?)),
    (OpCode::Multi, |r, _| multi(Jute::read(r)?)),
    (OpCode::MultiRead, |r, _| multi_read(Jute::read(r)?)),
    (OpCode::Sync, |r, _| {
        let sync = SyncRequest::read(r)?;
        write(Op::Sync, Shape::Echo(sync.path))
    }),
    (OpCode::CloseSession, |_, _| {
        write(Op::CloseSession, Shape::Nothing)
    }),
    // Alone it would be a read that says less than `exists`; ZooKeeper refuses it too.
    (OpCode::Check, |_, _| {
        Ok((Request::Refuse(OpError::Unimplemented), Shape::Nothing))
    }),
    (OpCode::Exists, |r, _| {
        let ExistsRequest { path, watch } = Jute::read(r)?;
        read(ReadOp::Exists { path, watch }, Shape::Stat)
    }),
    (OpCode::GetData, |r, _| {
        let GetDataRequest { path, watch } = Jute::read(r)?;
        read(ReadOp::Get { path, watch }, Shape::Data)
    }),
    (OpCode::GetChildren, |r, _| {
        let GetChildrenRequest { path, watch } = Jute::read(r)?;
        read(ReadOp::Children { path, watch }, Shape::Children)
    }),
    (OpCode::GetChildren2, |r, _| {
        let GetChildren2Request { path, watch } = Jute::read(r)?;
        read(ReadOp::Children { path, watch }, Shape::ChildrenAndStat)
    }),
    (OpCode::GetAcl, |r, _| {
        let GetAclRequest { path } = Jute::read(r)?;
        read(ReadOp::Acl { path }, Shape::Acl)
    }),
    (OpCode::GetEphemerals, |r, _| {
        let GetEphemeralsRequest { prefix } = Jute::read(r)?;
        read(ReadOp::Ephemerals { prefix }, Shape::Paths)
    }),
    (OpCode::GetAllChildrenNumber, |r, _| {
        let GetAllChildrenNumberRequest { path } = Jute::read(r)?;
        read(ReadOp::CountDescendants { path }, Shape::Count)
    }),
    (OpCode::AddWatch, |r, _| add_watch(Jute::read(r)?)),
    (OpCode::CheckWatches, |r, _| {
        let CheckWatchesRequest { path, kind } = Jute::read(r)?;
        watches(kind, |kind| ReadOp::HasWatch { path, kind })
    }),
    (OpCode::RemoveWatches, |r, _| {
        let RemoveWatchesRequest { path, kind } = Jute::read(r)?;
        watches(kind, |kind| ReadOp::RemoveWatches { path, kind })
    }),
    (OpCode::SetWatches, |r, _| set_watches(Jute::read(r)?)),
    (OpCode::SetWatches2, |r, _| set_watches2(Jute::read(r)?)),
    (OpCode::WhoAmI, |_, caller| {
        read(ReadOp::Nothing, Shape::WhoAmI(who_am_i(caller)))
    }),
];

/// The request of a frame, behind its header.
pub fn decode(
    op: i32,
    body: &mut Reader,
    caller: &Caller<'_>,
) -> Result<(Request, Shape), DecodeError> {
    let code = OpCode::from_number(op);
    let row = ROWS.iter().find(|(row, _)| Some(*row) == code);
    match row {
        Some((_, decode)) => decode(body, caller),
        None => Ok((Request::Refuse(OpError::Unimplemented), Shape::Nothing)),
    }
}

type Decoded = Result<(Request, Shape), DecodeError>;

fn write(op: Op, shape: Shape) -> Decoded {
    Ok((Request::Write(op), shape))
}

fn read(op: ReadOp, shape: Shape) -> Decoded {
    Ok((Request::Read(op), shape))
}

fn create(request: CreateRequest, want_stat: bool, shape: Shape) -> Decoded {
    match create_op(request, want_stat) {
        Ok(op) => write(op, shape),
        Err(error) => Ok((Request::Refuse(error), Shape::Nothing)),
    }
}

fn create_op(request: CreateRequest, want_stat: bool) -> Result<Op, OpError> {
    let (ephemeral, sequential) = match request.flags {
        flags::PERSISTENT => (false, false),
        flags::EPHEMERAL => (true, false),
        flags::PERSISTENT_SEQUENTIAL => (false, true),
        flags::EPHEMERAL_SEQUENTIAL => (true, true),
        flags::CONTAINER => (false, false),
        flags::WITH_TTL | flags::SEQUENTIAL_WITH_TTL => return Err(OpError::Unimplemented),
        flags => return Err(OpError::BadArguments(format!("no create flags {flags}"))),
    };
    let create = Create {
        path: request.path,
        data: request.data,
        acl: acl_list(request.acl),
        ephemeral,
        sequential,
        want_stat,
    };
    Ok(match request.flags {
        flags::CONTAINER => Op::CreateContainer(create),
        _ => Op::Create(create),
    })
}

fn acl_list(list: Vec<ZkAcl>) -> Vec<Acl> {
    acl::bounded(list.into_iter().map(acl_entry).collect())
}

fn acl_entry(entry: ZkAcl) -> Acl {
    Acl {
        // The bits as they are: ZooKeeper looks at schemes and ids alone, and gives back bits that
        // mean nothing as they came.
        permissions: entry.perms.cast_unsigned(),
        id: AuthId {
            scheme: entry.id.scheme,
            id: entry.id.id,
        },
    }
}

fn delete(request: DeleteRequest) -> Op {
    let DeleteRequest { path, version } = request;
    Op::Delete { path, version }
}

fn set_data(request: SetDataRequest) -> Op {
    let SetDataRequest {
        path,
        data,
        version,
    } = request;
    Op::SetData {
        path,
        data,
        version,
    }
}

fn set_acl(request: SetAclRequest) -> Decoded {
    let op = Op::SetAcl {
        path: request.path,
        acl: acl_list(request.acl),
        version: request.version,
    };
    write(op, Shape::Stat)
}

fn multi(request: MultiRequest) -> Decoded {
    let total = request.ops.len();
    let mut ops = Vec::with_capacity(total);
    let mut shapes = Vec::with_capacity(total);
    for op in request.ops {
        let (op, shape) = match op {
            // As in ZooKeeper the answer to a container has a stat, whichever create asked for it.
            MultiOp::Create(create) if create.flags != flags::CONTAINER => {
                (create_op(create, false), OpCode::Create)
            }
            MultiOp::Create(create) => (create_op(create, true), OpCode::Create2),
            MultiOp::Create2(create) => (create_op(create, true), OpCode::Create2),
            MultiOp::CreateTtl(_) => (Err(OpError::Unimplemented), OpCode::CreateTtl),
            MultiOp::Delete(request) => (Ok(delete(request)), OpCode::Delete),
            MultiOp::SetData(request) => (Ok(set_data(request)), OpCode::SetData),
            MultiOp::Check(CheckRequest { path, version }) => {
                (Ok(Op::Check { path, version }), OpCode::Check)
            }
            // A multi holds writes, or reads, not both.
            MultiOp::GetChildren(_) | MultiOp::GetData(_) => return Ok(malformed()),
        };
        match op {
            Ok(op) => ops.push(op),
            Err(OpError::BadArguments(_)) => return Ok(malformed()),
            Err(error) => return Ok(failed_multi(ops.len(), &error, total)),
        }
        shapes.push(shape);
    }
    write(Op::Multi(ops), Shape::Multi(shapes))
}

/// What can be told of a multi without asking the state: its operation `at` cannot be done.
fn failed_multi(at: usize, error: &OpError, total: usize) -> (Request, Shape) {
    let mut results = vec![ErrorCode::OK; at];
    results.push(codes::of_op(error));
    results.resize(total, ErrorCode::RUNTIME_INCONSISTENCY);
    (Request::Read(ReadOp::Nothing), Shape::FailedMulti(results))
}

fn multi_read(request: MultiRequest) -> Decoded {
    let mut ops = Vec::with_capacity(request.ops.len());
    for op in request.ops {
        match op {
            MultiOp::GetData(GetDataRequest { path, watch }) => {
                ops.push(ReadOp::Get { path, watch });
            }
            MultiOp::GetChildren(GetChildrenRequest { path, watch }) => {
                ops.push(ReadOp::Children { path, watch });
            }
            // A multiRead holds reads only.
            _ => return Ok(malformed()),
        }
    }
    read(ReadOp::Many(ops), Shape::MultiRead)
}

fn add_watch(request: AddWatchRequest) -> Decoded {
    let recursive = match request.mode {
        add_watch::mode::PERSISTENT => false,
        add_watch::mode::PERSISTENT_RECURSIVE => true,
        _ => return Ok(malformed()),
    };
    let path = request.path;
    read(ReadOp::AddWatch { path, recursive }, Shape::AddWatch)
}

fn watches(number: i32, op: impl FnOnce(RemoveKind) -> ReadOp) -> Decoded {
    let kind = match number {
        kind::CHILDREN => RemoveKind::Child,
        kind::DATA => RemoveKind::Data,
        kind::ANY => RemoveKind::Any,
        kind::PERSISTENT => RemoveKind::Persistent,
        kind::PERSISTENT_RECURSIVE => RemoveKind::PersistentRecursive,
        _ => return Ok(malformed()),
    };
    read(op(kind), Shape::Watch)
}

fn set_watches(request: SetWatchesRequest) -> Decoded {
    let watches = Rearm {
        seen: Zxid(request.relative_zxid),
        data: request.data,
        exists: request.exist,
        child: request.child,
        ..Rearm::default()
    };
    read(ReadOp::SetWatches(watches), Shape::Nothing)
}

fn set_watches2(request: SetWatches2Request) -> Decoded {
    let watches = Rearm {
        seen: Zxid(request.relative_zxid),
        data: request.data,
        exists: request.exist,
        child: request.child,
        persistent: request.persistent,
        persistent_recursive: request.persistent_recursive,
    };
    read(ReadOp::SetWatches(watches), Shape::Nothing)
}

fn who_am_i(caller: &Caller<'_>) -> Vec<ClientInfo> {
    let address = ClientInfo {
        scheme: "ip".to_owned(),
        user: caller.address.to_string(),
    };
    let proved = caller.auth.iter().map(|id| ClientInfo {
        scheme: id.scheme.clone(),
        user: id.id.split(':').next().unwrap_or_default().to_owned(),
    });
    [address].into_iter().chain(proved).collect()
}

/// A request whose body cannot be read, or makes no sense as one: keeps its place in the order too.
pub fn malformed() -> (Request, Shape) {
    let shape = Shape::Refused(ErrorCode::MARSHALLING_ERROR);
    (Request::Read(ReadOp::Nothing), shape)
}
