//! Answers and events as frames.

use bytes::BytesMut;
use zweig_proto::zk::frame::put_frame;
use zweig_proto::zk::op::{
    AddWatchResponse, Create2Response, CreateResponse, GetAclResponse,
    GetAllChildrenNumberResponse, GetChildren2Response, GetChildrenResponse, GetDataResponse,
    GetEphemeralsResponse, MultiResponse, MultiResult, SyncResponse, WhoAmIResponse,
};
use zweig_proto::zk::watcher_event::{kind, state};
use zweig_proto::zk::{
    Acl as ZkAcl, ErrorCode, Id, Jute, OpCode, ReplyHeader, Stat as ZkStat, WatcherEvent, xid,
};

use super::codes;
use super::dispatch::Shape;
use super::outbox::Item;
use crate::request::{Answer, ReadReply, Response};
use crate::state_machine::{OpError, Reply};
use crate::tree::{Acl, Stat};
use crate::watch::{Event, EventKind};

/// There is no honest answer to this request: the connection must close instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MustClose;

/// Appends the frame of `item` to `out`.
pub fn put(item: &Item, out: &mut BytesMut) -> Result<(), MustClose> {
    match item {
        Item::Event(event) => put_event(event, out),
        Item::Header { xid, zxid, err } => {
            let header = ReplyHeader {
                xid: *xid,
                zxid: *zxid,
                err: *err,
            };
            put_frame(out, |out| header.write(out));
        }
        Item::Reply {
            xid, shape, answer, ..
        } => return put_answer(*xid, shape, answer, out),
    }
    Ok(())
}

fn put_event(event: &Event, out: &mut BytesMut) {
    let header = ReplyHeader {
        xid: xid::EVENT,
        zxid: event.zxid.0,
        err: ErrorCode::OK,
    };
    let body = WatcherEvent {
        kind: match event.kind {
            EventKind::NodeCreated => kind::NODE_CREATED,
            EventKind::NodeDeleted => kind::NODE_DELETED,
            EventKind::NodeDataChanged => kind::NODE_DATA_CHANGED,
            EventKind::NodeChildrenChanged => kind::NODE_CHILDREN_CHANGED,
        },
        state: state::SYNC_CONNECTED,
        path: event.path.to_string(),
    };
    put_frame(out, |out| {
        header.write(out);
        body.write(out);
    });
}

fn put_answer(
    xid: i32,
    shape: &Shape,
    answer: &Answer,
    out: &mut BytesMut,
) -> Result<(), MustClose> {
    let mut body = BytesMut::new();
    let err = match &answer.result {
        Ok(response) => put_body(shape, response, &mut body),
        Err(error) => codes::of_request(error).ok_or(MustClose)?,
    };
    let header = ReplyHeader {
        xid,
        zxid: answer.zxid.0,
        err,
    };
    put_frame(out, |out| {
        header.write(out);
        if err == ErrorCode::OK {
            out.extend_from_slice(&body);
        }
    });
    Ok(())
}

/// Writes the body; returns the header's code.
fn put_body(shape: &Shape, response: &Response, out: &mut BytesMut) -> ErrorCode {
    match response {
        Response::Written(reply) => put_written(shape, reply, out),
        Response::Read(reply) => return put_read(shape, reply, out),
    }
    ErrorCode::OK
}

fn put_written(shape: &Shape, reply: &Reply, out: &mut BytesMut) {
    match (shape, reply) {
        (Shape::Path, Reply::Path(path)) => CreateResponse { path: path.clone() }.write(out),
        (Shape::PathAndStat, Reply::Created { path, stat }) => {
            created(path, stat).write(out);
        }
        (Shape::Stat, Reply::Stat(stat)) => zk_stat(stat).write(out),
        (Shape::Echo(path), Reply::Done) => SyncResponse { path: path.clone() }.write(out),
        (Shape::Nothing, Reply::Done) => {}
        (Shape::Multi(ops), Reply::Multi(results)) => {
            let failed = results.iter().any(Result::is_err);
            let results = ops.iter().zip(results);
            let results = results.map(|(op, result)| multi_result(*op, result, failed));
            let results = results.collect();
            MultiResponse { results }.write(out);
        }
        (shape, reply) => unreachable!("{reply:?} is no answer of the form {shape:?}"),
    }
}

/// A failed multi has code 0 in its header, and one error per operation: 0 for those before the
/// one that failed.
fn multi_result(op: OpCode, result: &Result<Reply, OpError>, failed: bool) -> MultiResult {
    match (op, result) {
        (_, Ok(_)) if failed => MultiResult::Error(ErrorCode::OK),
        (OpCode::Create, Ok(Reply::Path(path))) => MultiResult::Create(path.clone()),
        (OpCode::Create2, Ok(Reply::Created { path, stat })) => {
            MultiResult::Create2(created(path, stat))
        }
        (OpCode::SetData, Ok(Reply::Stat(stat))) => MultiResult::SetData(zk_stat(stat)),
        (OpCode::Delete, Ok(Reply::Done)) => MultiResult::Delete,
        (OpCode::Check, Ok(Reply::Done)) => MultiResult::Check,
        (op, Ok(reply)) => unreachable!("{reply:?} is no result of {op:?}"),
        (_, Err(error)) => MultiResult::Error(codes::of_op(error)),
    }
}

fn put_read(shape: &Shape, reply: &ReadReply, out: &mut BytesMut) -> ErrorCode {
    match (shape, reply) {
        (Shape::Data, ReadReply::Data(data, stat)) => data_response(data, stat).write(out),
        (Shape::Stat, ReadReply::Exists(Some(stat))) => zk_stat(stat).write(out),
        (Shape::Stat, ReadReply::Exists(None)) => return ErrorCode::NO_NODE,
        (Shape::Children, ReadReply::Children(names, _)) => names.write(out),
        (Shape::ChildrenAndStat, ReadReply::Children(names, stat)) => {
            let children = names.clone();
            let stat = zk_stat(stat);
            GetChildren2Response { children, stat }.write(out);
        }
        (Shape::Acl, ReadReply::Acl(acl, stat)) => {
            let acl = acl.iter().map(zk_acl).collect();
            let stat = zk_stat(stat);
            GetAclResponse { acl, stat }.write(out);
        }
        (Shape::Paths, ReadReply::Paths(paths)) => {
            let ephemerals = paths.clone();
            GetEphemeralsResponse { ephemerals }.write(out);
        }
        (Shape::Count, ReadReply::Count(count)) => {
            let total = i32::try_from(*count).unwrap_or(i32::MAX);
            GetAllChildrenNumberResponse { total }.write(out);
        }
        (Shape::Watch, ReadReply::Found(true)) => {}
        (Shape::Watch, ReadReply::Found(false)) => return ErrorCode::NO_WATCHER,
        (Shape::AddWatch, ReadReply::Done) => {
            let err = ErrorCode::OK;
            AddWatchResponse { err }.write(out);
        }
        (Shape::WhoAmI(clients), ReadReply::Done) => {
            let clients = clients.clone();
            WhoAmIResponse { clients }.write(out);
        }
        (Shape::Nothing, ReadReply::Done) => {}
        (Shape::Refused(code), ReadReply::Done) => return *code,
        (Shape::FailedMulti(errors), ReadReply::Done) => {
            let results = errors.iter().map(|error| MultiResult::Error(*error));
            let results = results.collect();
            MultiResponse { results }.write(out);
        }
        (Shape::MultiRead, ReadReply::Many(replies)) => {
            let results = replies.iter().map(multi_read_result).collect();
            MultiResponse { results }.write(out);
        }
        (shape, reply) => unreachable!("{reply:?} is no answer of the form {shape:?}"),
    }
    ErrorCode::OK
}

fn multi_read_result(result: &Result<ReadReply, OpError>) -> MultiResult {
    match result {
        Ok(ReadReply::Data(data, stat)) => MultiResult::GetData(data_response(data, stat)),
        Ok(ReadReply::Children(names, _)) => {
            let children = names.clone();
            MultiResult::GetChildren(GetChildrenResponse { children })
        }
        Ok(other) => unreachable!("{other:?} is no answer of a multiRead"),
        Err(error) => MultiResult::Error(codes::of_op(error)),
    }
}

fn data_response(data: &Option<bytes::Bytes>, stat: &Stat) -> GetDataResponse {
    GetDataResponse {
        data: data.clone(),
        stat: zk_stat(stat),
    }
}

fn created(path: &str, stat: &Stat) -> Create2Response {
    Create2Response {
        path: path.to_owned(),
        stat: zk_stat(stat),
    }
}

fn zk_stat(stat: &Stat) -> ZkStat {
    ZkStat {
        czxid: stat.czxid.0,
        mzxid: stat.mzxid.0,
        ctime: stat.ctime_ms,
        mtime: stat.mtime_ms,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: stat.data_length,
        num_children: stat.num_children,
        pzxid: stat.pzxid.0,
    }
}

fn zk_acl(entry: &Acl) -> ZkAcl {
    ZkAcl {
        perms: entry.permissions.cast_signed(),
        id: Id {
            scheme: entry.id.scheme.clone(),
            id: entry.id.id.clone(),
        },
    }
}
