//! What can go wrong, by name; codes of the wire are mapped in `wire.rs` alone.

use thiserror::Error;

/// Why a request did not do what was asked. Paths are relative to the chroot.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The znode, or the parent of the one to create, does not exist.
    #[error("no node {0}")]
    NoNode(String),
    /// The znode to create exists.
    #[error("node {0} exists")]
    NodeExists(String),
    /// The condition on the version does not hold.
    #[error("bad version of {path}: {detail}")]
    BadVersion {
        /// Whose version was asked for.
        path: String,
        /// Expected and found, as the server says it.
        detail: String,
    },
    /// The znode to delete has children.
    #[error("node {0} has children")]
    NotEmpty(String),
    /// The parent is ephemeral.
    #[error("the parent of {0} is ephemeral and may have no children")]
    NoChildrenForEphemerals(String),
    /// The access list is empty, malformed, or names ids that the caller does not have.
    #[error("invalid access list for {0}")]
    InvalidAcl(String),
    /// The access list of the znode does not allow it.
    #[error("not allowed on {0}")]
    NoAuth(String),
    /// The credentials were refused.
    #[error("authentication failed: {0}")]
    AuthFailed(String),
    /// A malformed path or request; nothing was done.
    #[error("bad arguments: {0}")]
    BadArguments(String),
    /// The session has expired: its ephemeral nodes are gone, this handle is of no more use.
    #[error("the session has expired")]
    SessionExpired,
    /// The handle was closed.
    #[error("the session is closed")]
    Closed,
    /// The data or the request is larger than the ensemble accepts.
    #[error("too large: {0}")]
    TooLarge(String),
    /// An operation of a batch that another one's failure kept from being done.
    #[error("not attempted: another operation of the batch failed")]
    NotAttempted,
    /// The fence of a batch did not hold: nothing was done.
    #[error("fenced: {0}")]
    Fenced(String),
    /// Never proposed (no quorum, overload): certainly not done.
    #[error("not done: {0}")]
    NotDone(String),
    /// Sent, and the answer was lost: whether it was done cannot be told.
    #[error("outcome unknown: {0}")]
    OutcomeUnknown(String),
    /// The ensemble lacks disk space; only what frees space is admitted.
    #[error("no space: {0}")]
    NoSpace(String),
    /// No node could be reached in time; certainly not done.
    #[error("no node of the ensemble reached: {0}")]
    Unavailable(String),
    /// The server does not know this request.
    #[error("not supported by the server: {0}")]
    Unimplemented(String),
    /// The server's answer makes no sense.
    #[error("protocol violation: {0}")]
    Protocol(String),
}

impl Error {
    /// Whether the very same request, sent again later, may succeed and cannot be done twice.
    #[must_use]
    pub fn retriable(&self) -> bool {
        matches!(
            self,
            Self::NotDone(_) | Self::Unavailable(_) | Self::NoSpace(_)
        )
    }

    /// Whether the request may have been done all the same: look before sending it again.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Self::OutcomeUnknown(_))
    }
}

/// Why a multi did nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{}{error}", index.map(|i| format!("operation {i}: ")).unwrap_or_default())]
pub struct MultiError {
    /// The operation that failed, counted from 0; `None` if the request failed as a whole.
    pub index: Option<usize>,
    /// Its failure.
    #[source]
    pub error: Error,
}

impl From<Error> for MultiError {
    fn from(error: Error) -> Self {
        Self { index: None, error }
    }
}

impl From<MultiError> for Error {
    fn from(failed: MultiError) -> Self {
        failed.error
    }
}

/// Why no session could be had.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ConnectError {
    /// The options make no sense.
    #[error("bad options: {0}")]
    BadOptions(String),
    /// The session to resume does not exist any more, or its password is wrong.
    #[error("the session to resume has expired")]
    SessionExpired,
    /// The credentials were refused.
    #[error("authentication failed: {0}")]
    AuthFailed(String),
    /// No node granted a session in time; the last failure of each is told.
    #[error("no node of the ensemble granted a session in {waited_ms} ms: {failures}")]
    Unavailable {
        /// How long was tried, in milliseconds.
        waited_ms: u64,
        /// `endpoint: failure`, by `; `.
        failures: String,
    },
}

impl From<ConnectError> for Error {
    fn from(failed: ConnectError) -> Self {
        match failed {
            ConnectError::BadOptions(what) => Self::BadArguments(what),
            ConnectError::SessionExpired => Self::SessionExpired,
            ConnectError::AuthFailed(what) => Self::AuthFailed(what),
            ConnectError::Unavailable { failures, .. } => Self::Unavailable(failures),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_certainly_not_done_may_be_sent_again() {
        assert!(Error::NotDone("no quorum".into()).retriable());
        assert!(Error::Unavailable("refused".into()).retriable());
        assert!(!Error::OutcomeUnknown("broken".into()).retriable());
        assert!(!Error::SessionExpired.retriable());
        assert!(!Error::Fenced("/controller_epoch".into()).retriable());
    }

    #[test]
    fn a_multi_error_names_its_operation() {
        let failed = MultiError {
            index: Some(2),
            error: Error::NoNode("/a".into()),
        };
        assert_eq!(failed.to_string(), "operation 2: no node /a");
        assert_eq!(
            MultiError::from(Error::SessionExpired).to_string(),
            "the session has expired"
        );
    }
}
