//! Values of this API to messages of the wire and back; the only place that knows the codes.

use zweig_proto::grpc as proto;
use zweig_proto::grpc::write_op::Op;
use zweig_proto::grpc::write_result::Result as ResultOf;

use super::chroot::Chroot;
use super::error::{Error, MultiError};
use super::node::{Acl, Created, Permissions, Stat, WriteOp, WriteResult};
use super::options::Auth;
use super::watch::ChangeKind;

/// Any version, on the wire.
const ANY_VERSION: i32 = -1;

pub(super) fn stat(stat: &proto::Stat) -> Stat {
    Stat {
        czxid: stat.czxid,
        mzxid: stat.mzxid,
        ctime_ms: stat.ctime_ms,
        mtime_ms: stat.mtime_ms,
        version: stat.version,
        cversion: stat.cversion,
        aversion: stat.aversion,
        ephemeral_owner: stat.ephemeral_owner,
        data_length: stat.data_length,
        num_children: stat.num_children,
        pzxid: stat.pzxid,
    }
}

pub(super) fn needed_stat(from: Option<&proto::Stat>) -> Result<Stat, Error> {
    from.map(stat)
        .ok_or_else(|| Error::Protocol("an answer without its stat".into()))
}

pub(super) fn acl_out(acl: &[Acl]) -> Vec<proto::Acl> {
    acl.iter()
        .map(|entry| proto::Acl {
            permissions: entry.permissions.0,
            id: Some(proto::AuthId {
                scheme: entry.scheme.clone(),
                id: entry.id.clone(),
            }),
        })
        .collect()
}

pub(super) fn acl_in(acl: Vec<proto::Acl>) -> Vec<Acl> {
    acl.into_iter()
        .map(|entry| {
            let id = entry.id.unwrap_or_default();
            Acl {
                permissions: Permissions(entry.permissions),
                scheme: id.scheme,
                id: id.id,
            }
        })
        .collect()
}

pub(super) fn change_kind(kind: proto::change::Kind) -> ChangeKind {
    use proto::change::Kind;
    match kind {
        Kind::Created => ChangeKind::Created,
        Kind::Data => ChangeKind::Data,
        Kind::Deleted => ChangeKind::Deleted,
        Kind::Acl => ChangeKind::Acl,
    }
}

pub(super) fn auth_out(auth: &[Auth]) -> Vec<proto::AuthId> {
    auth.iter()
        .map(|auth| proto::AuthId {
            scheme: auth.scheme.clone(),
            id: auth.id.clone(),
        })
        .collect()
}

pub(super) fn write_out(chroot: &Chroot, op: &WriteOp) -> Result<proto::WriteOp, Error> {
    let op = match op {
        WriteOp::Create {
            path,
            data,
            mode,
            acl,
        } => Op::Create(proto::Create {
            path: if mode.sequential() {
                chroot.full_sequential(path)?
            } else {
                chroot.full(path)?
            },
            data: data.clone(),
            acl: acl_out(acl),
            ephemeral: mode.ephemeral(),
            sequential: mode.sequential(),
        }),
        WriteOp::Delete { path, version } => Op::Delete(proto::Delete {
            path: chroot.full(path)?,
            version: version.unwrap_or(ANY_VERSION),
        }),
        WriteOp::Set {
            path,
            data,
            version,
        } => Op::SetData(proto::SetData {
            path: chroot.full(path)?,
            data: data.clone(),
            version: version.unwrap_or(ANY_VERSION),
        }),
        WriteOp::SetAcl { path, acl, version } => Op::SetAcl(proto::SetAcl {
            path: chroot.full(path)?,
            acl: acl_out(acl),
            version: version.unwrap_or(ANY_VERSION),
        }),
        WriteOp::Check { path, version } => Op::Check(proto::Check {
            path: chroot.full(path)?,
            version: version.unwrap_or(ANY_VERSION),
        }),
        WriteOp::CheckCreated { path, czxid } => Op::CheckCreated(proto::CheckCreated {
            path: chroot.full(path)?,
            czxid: *czxid,
        }),
    };
    Ok(proto::WriteOp { op: Some(op) })
}

pub(super) fn writes_out(chroot: &Chroot, ops: &[WriteOp]) -> Result<proto::Write, MultiError> {
    let mut wire = Vec::with_capacity(ops.len());
    for (index, op) in ops.iter().enumerate() {
        wire.push(write_out(chroot, op).map_err(|error| MultiError {
            index: Some(index),
            error,
        })?);
    }
    Ok(proto::Write { ops: wire })
}

/// The results of one all-or-nothing write, or the failure that it is to be blamed on.
pub(super) fn results_in(
    chroot: &Chroot,
    ops: &[WriteOp],
    results: Vec<proto::WriteResult>,
) -> Result<Vec<WriteResult>, MultiError> {
    if let Some(failed) = first_failure(ops, &results) {
        return Err(failed);
    }
    if results.len() != ops.len() {
        return Err(Error::Protocol(format!(
            "{} operations were answered by {} results",
            ops.len(),
            results.len()
        ))
        .into());
    }
    let mut done = Vec::with_capacity(results.len());
    for result in results {
        done.push(result_in(chroot, result)?);
    }
    Ok(done)
}

/// The operation that failed, rather than one that was not attempted because of it.
fn first_failure(ops: &[WriteOp], results: &[proto::WriteResult]) -> Option<MultiError> {
    let mut not_attempted = None;
    for (index, result) in results.iter().enumerate() {
        let Some(ResultOf::Error(failure)) = &result.result else {
            continue;
        };
        let failed = MultiError {
            index: Some(index),
            error: error(failure, ops.get(index).map_or("", WriteOp::path)),
        };
        if failed.error != Error::NotAttempted {
            return Some(failed);
        }
        not_attempted.get_or_insert(failed);
    }
    not_attempted
}

fn result_in(chroot: &Chroot, result: proto::WriteResult) -> Result<WriteResult, Error> {
    match result.result {
        Some(ResultOf::Path(path)) => Ok(WriteResult::Created(Created {
            path: chroot.strip(&path)?,
            stat: needed_stat(result.stat.as_ref())?,
        })),
        Some(ResultOf::Done(_)) => Ok(result
            .stat
            .as_ref()
            .map_or(WriteResult::Done, |s| WriteResult::Stat(stat(s)))),
        Some(ResultOf::Error(failure)) => Err(error(&failure, "")),
        None => Err(Error::Protocol("an operation without a result".into())),
    }
}

/// The error of a code; `path` is what the request was about, relative to the chroot.
pub(super) fn error(failure: &proto::Error, path: &str) -> Error {
    use proto::Code;
    let path = path.to_owned();
    let message = failure.message.clone();
    match failure.code() {
        Code::NoNode => Error::NoNode(path),
        Code::NodeExists => Error::NodeExists(path),
        Code::BadVersion => Error::BadVersion {
            path,
            detail: message,
        },
        Code::NotEmpty => Error::NotEmpty(path),
        Code::NoChildrenForEphemerals => Error::NoChildrenForEphemerals(path),
        Code::InvalidAcl => Error::InvalidAcl(path),
        Code::NoAuth => Error::NoAuth(path),
        Code::AuthFailed => Error::AuthFailed(message),
        Code::BadArguments => Error::BadArguments(message),
        Code::SessionExpired => Error::SessionExpired,
        Code::TooLarge => Error::TooLarge(message),
        Code::RuntimeInconsistency => Error::NotAttempted,
        Code::Fenced => Error::Fenced(message),
        // The server applied it without effect: the session has moved to another connection.
        Code::NotDone | Code::SessionMoved => Error::NotDone(message),
        Code::OutcomeUnknown => Error::OutcomeUnknown(message),
        Code::NoSpace => Error::NoSpace(message),
        Code::Unimplemented => Error::Unimplemented(message),
        Code::Unspecified => Error::Protocol(format!("code {}: {message}", failure.code)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Code;

    fn failure(code: Code) -> proto::WriteResult {
        proto::WriteResult {
            result: Some(ResultOf::Error(proto::Error {
                code: code.into(),
                message: "m".into(),
            })),
            stat: None,
        }
    }

    fn done() -> proto::WriteResult {
        proto::WriteResult {
            result: Some(ResultOf::Done(proto::Empty {})),
            stat: None,
        }
    }

    #[test]
    fn a_failed_multi_is_blamed_on_the_operation_that_failed() {
        let ops = [
            WriteOp::check("/a", None),
            WriteOp::delete("/b", None),
            WriteOp::check("/c", None),
        ];
        let answer = vec![
            failure(Code::RuntimeInconsistency),
            failure(Code::NotEmpty),
            failure(Code::RuntimeInconsistency),
        ];
        let failed = results_in(&Chroot::default(), &ops, answer).expect_err("failed");
        assert_eq!(failed.index, Some(1));
        assert_eq!(failed.error, Error::NotEmpty("/b".into()));
    }

    #[test]
    fn results_must_match_the_operations() {
        let ops = [WriteOp::check("/a", None), WriteOp::check("/b", None)];
        let failed = results_in(&Chroot::default(), &ops, vec![done()]).expect_err("one missing");
        assert!(matches!(failed.error, Error::Protocol(_)));
        let both = results_in(&Chroot::default(), &ops, vec![done(), done()]);
        assert_eq!(both, Ok(vec![WriteResult::Done, WriteResult::Done]));
    }

    #[test]
    fn the_operation_at_fault_is_named_before_anything_is_sent() {
        let ops = [WriteOp::check("/a", None), WriteOp::delete("b", None)];
        let failed = writes_out(&Chroot::default(), &ops).expect_err("a bad path");
        assert_eq!(failed.index, Some(1));
    }

    #[test]
    fn an_unknown_code_is_not_taken_for_success() {
        let odd = proto::Error {
            code: 9999,
            message: "new".into(),
        };
        assert!(matches!(error(&odd, "/a"), Error::Protocol(_)));
    }
}
