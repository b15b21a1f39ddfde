//! Our errors as codes of the native API. The only place that maps them.

use zweig_proto::grpc::{Code, Error};

use crate::consensus::{NotDone, ReadIndexError};
use crate::request::{Closed, OpenError, RequestError};
use crate::state_machine::OpError;

fn error(code: Code, message: &(impl ToString + ?Sized)) -> Error {
    Error {
        code: code.into(),
        message: message.to_string(),
    }
}

pub(super) fn of_op(failed: &OpError) -> Error {
    let code = match failed {
        OpError::NoNode { .. } => Code::NoNode,
        OpError::NodeExists { .. } => Code::NodeExists,
        OpError::BadVersion { .. } | OpError::CreatedAnew { .. } => Code::BadVersion,
        OpError::NotEmpty { .. } => Code::NotEmpty,
        OpError::NoChildrenForEphemerals { .. } => Code::NoChildrenForEphemerals,
        OpError::InvalidAcl { .. } => Code::InvalidAcl,
        OpError::NoAuth { .. } => Code::NoAuth,
        OpError::AuthFailed => Code::AuthFailed,
        OpError::BadArguments(_) => Code::BadArguments,
        OpError::SessionExpired { .. } => Code::SessionExpired,
        OpError::SessionMoved { .. } => Code::SessionMoved,
        OpError::TooLarge { .. } | OpError::TooManyWatches => Code::TooLarge,
        OpError::RuntimeInconsistency => Code::RuntimeInconsistency,
        OpError::Fenced { .. } => Code::Fenced,
        OpError::NoSpace => Code::NoSpace,
        OpError::Unimplemented => Code::Unimplemented,
    };
    error(code, failed)
}

pub(super) fn of_not_done(failed: &NotDone) -> Error {
    let code = match failed {
        NotDone::NoSpace => Code::NoSpace,
        NotDone::TooLarge => Code::TooLarge,
        NotDone::NoQuorum | NotDone::Deadline | NotDone::Overloaded | NotDone::Stopping => {
            Code::NotDone
        }
    };
    error(code, failed)
}

pub(super) fn of_request(failed: &RequestError) -> Error {
    match failed {
        RequestError::Op(failed) => of_op(failed),
        RequestError::NotDone(failed) => of_not_done(failed),
        RequestError::OutcomeUnknown => error(Code::OutcomeUnknown, failed),
    }
}

pub(super) fn of_open(failed: &OpenError) -> Error {
    match failed {
        OpenError::Expired => error(Code::SessionExpired, failed),
        OpenError::Request(failed) => of_request(failed),
        OpenError::Behind { .. } | OpenError::OutOfTouch | OpenError::NotIdle => {
            error(Code::NotDone, failed)
        }
    }
}

pub(super) fn of_read_index(failed: ReadIndexError) -> Error {
    match failed {
        ReadIndexError::NoQuorum | ReadIndexError::Stopping => error(Code::NotDone, &failed),
    }
}

/// What a client is told, beside no request of its own, when its stream ends.
pub(super) fn of_closed(why: Closed) -> Error {
    match why {
        Closed::BySession | Closed::Expired => error(Code::SessionExpired, "the session has ended"),
        Closed::Moved => error(
            Code::SessionMoved,
            "another connection has taken the session",
        ),
        Closed::OutcomeUnknown => error(Code::OutcomeUnknown, "a request's outcome is unknown"),
        Closed::NotDone => error(Code::NotDone, "a write before this was not done"),
        Closed::OutOfTouch => out_of_touch(),
        Closed::WatchesTooMuch => of_op(&OpError::TooManyWatches),
        Closed::StateReplaced => error(Code::NotDone, "this node's state was replaced"),
        Closed::Stopping => error(Code::NotDone, "this node is stopping"),
    }
}

pub(super) fn out_of_touch() -> Error {
    error(Code::NotDone, "this node is out of touch with the leader")
}

/// The answer to a write that this node may not tell the outcome of any more.
pub(super) fn unknown() -> Error {
    error(
        Code::OutcomeUnknown,
        "this node lost touch with the leader before the answer left",
    )
}

pub(super) fn bad_arguments(what: &str) -> Error {
    error(Code::BadArguments, what)
}
