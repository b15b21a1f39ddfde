//! Messages of the native API to values of this node, and back.

use zweig_proto::grpc as proto;
use zweig_proto::grpc::write_op::Op as ProtoOp;
use zweig_proto::grpc::write_result::Result as ProtoResult;

use super::codes;
use crate::request::{ReadOp, ReadReply};
use crate::state_machine::{Create, Op, OpError, Reply};
use crate::tree::{Acl, AuthId, Stat, acl};

pub(super) fn stat(stat: &Stat) -> proto::Stat {
    proto::Stat {
        czxid: stat.czxid.0,
        mzxid: stat.mzxid.0,
        ctime_ms: stat.ctime_ms,
        mtime_ms: stat.mtime_ms,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: stat.data_length,
        num_children: stat.num_children,
        pzxid: stat.pzxid.0,
    }
}

fn acl_in(list: Vec<proto::Acl>) -> Vec<Acl> {
    let entry = |entry: proto::Acl| {
        let id = entry.id.unwrap_or_default();
        Acl {
            permissions: entry.permissions,
            id: AuthId {
                scheme: id.scheme,
                id: id.id,
            },
        }
    };
    acl::bounded(list.into_iter().map(entry).collect())
}

fn acl_out(list: Vec<Acl>) -> Vec<proto::Acl> {
    let entry = |entry: Acl| proto::Acl {
        permissions: entry.permissions,
        id: Some(proto::AuthId {
            scheme: entry.id.scheme,
            id: entry.id.id,
        }),
    };
    list.into_iter().map(entry).collect()
}

fn missing(what: &str) -> OpError {
    OpError::BadArguments(format!("{what} is missing"))
}

fn op(op: proto::WriteOp) -> Result<Op, OpError> {
    Ok(match op.op.ok_or_else(|| missing("an operation"))? {
        ProtoOp::Create(create) => Op::Create(Create {
            path: create.path,
            data: create.data,
            acl: match create.acl.is_empty() {
                true => vec![Acl::anyone(acl::ALL)],
                false => acl_in(create.acl),
            },
            ephemeral: create.ephemeral,
            sequential: create.sequential,
            want_stat: true,
        }),
        ProtoOp::Delete(delete) => Op::Delete {
            path: delete.path,
            version: delete.version,
        },
        ProtoOp::SetData(set) => Op::SetData {
            path: set.path,
            data: set.data,
            version: set.version,
        },
        ProtoOp::SetAcl(set) => Op::SetAcl {
            path: set.path,
            acl: acl_in(set.acl),
            version: set.version,
        },
        ProtoOp::Check(check) => Op::Check {
            path: check.path,
            version: check.version,
        },
        ProtoOp::CheckCreated(check) => Op::CheckCreated {
            path: check.path,
            czxid: check.czxid,
        },
    })
}

fn ops(write: proto::Write) -> Result<Vec<Op>, OpError> {
    write.ops.into_iter().map(op).collect()
}

/// One operation goes as itself, several go as a `Multi`.
pub(super) fn write(write: proto::Write) -> Result<Op, OpError> {
    let mut ops = ops(write)?;
    match ops.len() {
        1 => Ok(ops.remove(0)),
        _ => Ok(Op::Multi(ops)),
    }
}

pub(super) fn fenced_batch(batch: proto::FencedBatch) -> Result<Op, OpError> {
    let groups: Result<Vec<Vec<Op>>, OpError> = batch.ops.into_iter().map(ops).collect();
    Ok(Op::FencedBatch {
        fence_path: batch.fence_path,
        fence_version: batch.fence_version,
        groups: groups?,
    })
}

pub(super) fn read(read: proto::Read) -> Result<ReadOp, OpError> {
    use proto::read_op::Kind;
    let op = |op: proto::ReadOp| {
        let (kind, path) = (op.kind(), op.path);
        match kind {
            Kind::Get => ReadOp::Get { path, watch: false },
            Kind::Exists => ReadOp::Exists { path, watch: false },
            Kind::Children => ReadOp::Children { path, watch: false },
            Kind::Acl => ReadOp::Acl { path },
        }
    };
    if read.ops.is_empty() {
        return Err(missing("what to read"));
    }
    Ok(ReadOp::Many(read.ops.into_iter().map(op).collect()))
}

fn write_result(result: Result<Reply, OpError>) -> proto::WriteResult {
    let (result, stat_of) = match result {
        Err(failed) => (ProtoResult::Error(codes::of_op(&failed)), None),
        Ok(Reply::Created { path, stat }) => (ProtoResult::Path(path), Some(stat)),
        Ok(Reply::Path(path)) => (ProtoResult::Path(path), None),
        Ok(Reply::Stat(stat)) => (ProtoResult::Done(proto::Empty {}), Some(stat)),
        Ok(Reply::Done | Reply::Session(_) | Reply::Multi(_) | Reply::FencedBatch(_)) => {
            (ProtoResult::Done(proto::Empty {}), None)
        }
    };
    proto::WriteResult {
        result: Some(result),
        stat: stat_of.as_ref().map(stat),
    }
}

fn list(results: Vec<Result<Reply, OpError>>) -> proto::WriteResults {
    proto::WriteResults {
        results: results.into_iter().map(write_result).collect(),
    }
}

/// The results of a write of one or of several operations.
pub(super) fn write_results(result: Result<Reply, OpError>) -> proto::WriteResults {
    match result {
        Ok(Reply::Multi(results)) => list(results),
        result => list(vec![result]),
    }
}

pub(super) fn fenced_batch_result(
    groups: Vec<Vec<Result<Reply, OpError>>>,
) -> proto::FencedBatchResult {
    proto::FencedBatchResult {
        results: groups.into_iter().map(list).collect(),
    }
}

pub(super) fn read_results(replies: Vec<Result<ReadReply, OpError>>) -> proto::ReadResults {
    proto::ReadResults {
        results: replies.into_iter().map(read_result).collect(),
    }
}

fn read_result(reply: Result<ReadReply, OpError>) -> proto::ReadResult {
    let mut result = proto::ReadResult::default();
    match reply {
        Err(failed) => result.error = Some(codes::of_op(&failed)),
        Ok(ReadReply::Data(data, of)) => {
            result.data = data;
            result.stat = Some(stat(&of));
        }
        Ok(ReadReply::Exists(of)) => result.stat = of.as_ref().map(stat),
        Ok(ReadReply::Children(names, of)) => {
            result.children = names;
            result.stat = Some(stat(&of));
        }
        Ok(ReadReply::Acl(list, of)) => {
            result.acl = acl_out(list);
            result.stat = Some(stat(&of));
        }
        Ok(other) => unreachable!("a read of this API was answered with {other:?}"),
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    fn create(acl: Vec<proto::Acl>) -> proto::WriteOp {
        proto::WriteOp {
            op: Some(ProtoOp::Create(proto::Create {
                path: "/a".into(),
                acl,
                ..proto::Create::default()
            })),
        }
    }

    #[test]
    fn a_create_without_a_list_is_open_to_everyone() {
        let ops = vec![create(Vec::new())];
        match write(proto::Write { ops }).expect("valid") {
            Op::Create(create) => assert_eq!(create.acl, [Acl::anyone(acl::ALL)]),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn several_operations_are_a_multi_and_an_empty_one_is_refused() {
        let ops = vec![create(Vec::new()), create(Vec::new())];
        let multi = write(proto::Write { ops }).expect("valid");
        assert!(matches!(multi, Op::Multi(ops) if ops.len() == 2));
        let ops = vec![proto::WriteOp { op: None }];
        let refused = write(proto::Write { ops });
        assert!(matches!(refused, Err(OpError::BadArguments(_))));
    }

    #[test]
    fn a_lone_failure_is_a_result_like_any_other() {
        let path = "/a".to_owned();
        let results = write_results(Err(OpError::NoNode { path })).results;
        let [only] = &results[..] else {
            panic!("{results:?}")
        };
        match &only.result {
            Some(ProtoResult::Error(error)) => assert_eq!(error.code(), proto::Code::NoNode),
            other => panic!("{other:?}"),
        }
    }
}
