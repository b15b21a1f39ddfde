//! Our errors as ZooKeeper's codes. The only place that maps them.

use zweig_proto::zk::ErrorCode;

use crate::consensus::NotDone;
use crate::request::RequestError;
use crate::state_machine::OpError;

/// The code of an operation's error.
pub fn of_op(error: &OpError) -> ErrorCode {
    match error {
        OpError::NoNode { .. } => ErrorCode::NO_NODE,
        OpError::NodeExists { .. } => ErrorCode::NODE_EXISTS,
        OpError::BadVersion { .. } | OpError::CreatedAnew { .. } | OpError::Fenced { .. } => {
            ErrorCode::BAD_VERSION
        }
        OpError::NotEmpty { .. } => ErrorCode::NOT_EMPTY,
        OpError::NoChildrenForEphemerals { .. } => ErrorCode::NO_CHILDREN_FOR_EPHEMERALS,
        OpError::InvalidAcl { .. } => ErrorCode::INVALID_ACL,
        OpError::NoAuth { .. } => ErrorCode::NO_AUTH,
        OpError::AuthFailed => ErrorCode::AUTH_FAILED,
        // ZooKeeper closes the connection on a request that is too large; clients then retry for
        // ever. An answer tells them.
        OpError::BadArguments(_) | OpError::TooLarge { .. } => ErrorCode::BAD_ARGUMENTS,
        // ZooKeeper knows no such limit, and its clients no code for it.
        OpError::TooManyWatches => ErrorCode::BAD_ARGUMENTS,
        OpError::SessionExpired { .. } => ErrorCode::SESSION_EXPIRED,
        OpError::SessionMoved { .. } => ErrorCode::SESSION_MOVED,
        OpError::RuntimeInconsistency => ErrorCode::RUNTIME_INCONSISTENCY,
        OpError::NoSpace => ErrorCode::SYSTEM_ERROR,
        OpError::Unimplemented => ErrorCode::UNIMPLEMENTED,
    }
}

/// The code of a request's error; `None` if there is no honest one and the connection must close.
///
/// "Not done, no quorum" is told as a lost connection: the one code that every client retries.
pub fn of_request(error: &RequestError) -> Option<ErrorCode> {
    Some(match error {
        RequestError::Op(error) => of_op(error),
        RequestError::NotDone(NotDone::NoSpace) => ErrorCode::SYSTEM_ERROR,
        RequestError::NotDone(NotDone::TooLarge) => ErrorCode::BAD_ARGUMENTS,
        RequestError::NotDone(NotDone::Overloaded) => ErrorCode::THROTTLED_OP,
        RequestError::NotDone(NotDone::NoQuorum | NotDone::Deadline) => ErrorCode::CONNECTION_LOSS,
        RequestError::NotDone(NotDone::Stopping) | RequestError::OutcomeUnknown => return None,
    })
}
