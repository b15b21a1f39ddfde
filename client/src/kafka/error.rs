//! What can go wrong when talking to a Kafka broker.
//!
//! [`KafkaError::retriable`] says whether the same request may succeed later without anyone
//! changing it; [`KafkaError::stale_metadata`] says whether to ask for metadata first.

use std::time::Duration;

use kafka_protocol::ResponseError;

/// An operation on a cluster that failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KafkaError {
    /// No broker of the given addresses could be reached.
    #[error("cannot reach a broker at {addresses}: {reason}")]
    Unreachable {
        /// Addresses tried, comma-separated.
        addresses: String,
        /// What the last attempt failed with.
        reason: String,
    },
    /// The connection ended before the answer came. What was asked may have been done.
    #[error("connection to {address} closed: {reason}")]
    Disconnected {
        /// host:port of the broker.
        address: String,
        /// Why it ended.
        reason: String,
    },
    /// No answer in time. What was asked may have been done.
    #[error("{operation} got no answer within {after:?}")]
    TimedOut {
        /// What was asked.
        operation: String,
        /// How long was waited.
        after: Duration,
    },
    /// The broker answered with an error code.
    #[error("{operation}: {code}{}", .message.as_ref().map(|m| format!(" ({m})")).unwrap_or_default())]
    Broker {
        /// What was asked.
        operation: String,
        /// Kafka's error code.
        code: ResponseError,
        /// The broker's own words, if it sent any.
        message: Option<String>,
    },
    /// The two ends share no version of this API.
    #[error(
        "the broker at {address} has no version of API {api_key} this client speaks ({ours_min} to {ours_max})"
    )]
    UnsupportedApi {
        /// host:port of the broker.
        address: String,
        /// Kafka's number of the API.
        api_key: i16,
        /// Lowest version this client speaks.
        ours_min: i16,
        /// Highest version this client speaks.
        ours_max: i16,
    },
    /// A message could not be encoded, or the broker's bytes could not be decoded.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The caller asked for something that cannot be done.
    #[error("{0}")]
    Invalid(String),
    /// The producer or consumer has been closed.
    #[error("already closed")]
    Closed,
}

impl KafkaError {
    /// An error code answered to `operation`.
    pub fn broker(operation: impl Into<String>, code: ResponseError) -> Self {
        Self::Broker {
            operation: operation.into(),
            code,
            message: None,
        }
    }

    /// The broker's error code, if one came.
    pub fn code(&self) -> Option<ResponseError> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// Whether the same request may succeed later.
    pub fn retriable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Disconnected { .. } | Self::TimedOut { .. } => true,
            // A broker that is gone is asked for no longer once the metadata is fresh.
            Self::Broker { code, .. } => code.is_retriable() || is_stale_metadata(*code),
            _ => false,
        }
    }

    /// Whether cached metadata may be what led to this error.
    pub fn stale_metadata(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Disconnected { .. } | Self::TimedOut { .. } => true,
            Self::Broker { code, .. } => is_stale_metadata(*code),
            _ => false,
        }
    }
}

/// Whether an error code says that the client asked the wrong broker.
pub fn is_stale_metadata(code: ResponseError) -> bool {
    matches!(
        code,
        ResponseError::NotLeaderOrFollower
            | ResponseError::LeaderNotAvailable
            | ResponseError::UnknownTopicOrPartition
            | ResponseError::UnknownTopicId
            | ResponseError::InconsistentTopicId
            | ResponseError::FencedLeaderEpoch
            | ResponseError::UnknownLeaderEpoch
            | ResponseError::ReplicaNotAvailable
            | ResponseError::KafkaStorageError
            | ResponseError::BrokerNotAvailable
            | ResponseError::NotController
    )
}

/// `Ok` for code 0, the error otherwise.
///
/// # Errors
/// [`KafkaError::Broker`] for any other code.
pub fn check(operation: impl FnOnce() -> String, code: i16) -> Result<(), KafkaError> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(code) => Err(KafkaError::broker(operation(), code)),
    }
}

/// Like [`check`], with the broker's words.
///
/// # Errors
/// [`KafkaError::Broker`] for any code but 0.
pub fn check_with(
    operation: impl FnOnce() -> String,
    code: i16,
    message: Option<&str>,
) -> Result<(), KafkaError> {
    match ResponseError::try_from_code(code) {
        None => Ok(()),
        Some(code) => Err(KafkaError::Broker {
            operation: operation(),
            code,
            message: message.filter(|m| !m.is_empty()).map(str::to_owned),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Kafka's table calls it final; here it says that a leader's address was not known any more,
    /// and a batch given up for it would be lost in the middle of a fail-over.
    #[test]
    fn a_broker_that_is_gone_is_worth_another_try() {
        let gone = KafkaError::broker("address of broker 2", ResponseError::BrokerNotAvailable);
        assert!(gone.retriable() && gone.stale_metadata());
        let large = KafkaError::broker("produce", ResponseError::MessageTooLarge);
        assert!(!large.retriable() && !large.stale_metadata());
    }
}
