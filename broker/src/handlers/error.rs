//! The rooms' errors as Kafka's codes. No other file names a code for them.

use super::cluster_admin::AdminError;
use crate::group::GroupError;
use crate::log::{AppendError, LogError, ReadError};
use crate::replica::hosted::PartitionError;
use crate::replica::leader::RefusedFetch;
use kafka_protocol::ResponseError;

/// Something that has a code in Kafka's protocol.
pub trait KafkaError {
    /// The error as clients know it.
    fn response_error(&self) -> ResponseError;

    /// Its code on the wire.
    fn code(&self) -> i16 {
        self.response_error().code()
    }
}

impl KafkaError for PartitionError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::Unknown => ResponseError::UnknownTopicOrPartition,
            Self::UnknownTopicId => ResponseError::UnknownTopicId,
            Self::WrongTopicId => ResponseError::InconsistentTopicId,
            Self::Offline(_) => ResponseError::KafkaStorageError,
            Self::NotLeader => ResponseError::NotLeaderOrFollower,
            Self::FencedLeaderEpoch { .. } => ResponseError::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch { .. } => ResponseError::UnknownLeaderEpoch,
            Self::NotEnoughReplicas { .. } => ResponseError::NotEnoughReplicas,
            Self::NotEnoughReplicasAfterAppend { .. } => {
                ResponseError::NotEnoughReplicasAfterAppend
            }
            Self::TimedOut => ResponseError::RequestTimedOut,
            Self::OffsetNotAvailable => ResponseError::OffsetNotAvailable,
            Self::UnknownEpochEnd(_) => ResponseError::OffsetOutOfRange,
            Self::Follower(error) => error.response_error(),
            Self::Append(error) => error.response_error(),
            Self::Read(error) => error.response_error(),
            Self::Log(error) => error.response_error(),
        }
    }
}

impl KafkaError for RefusedFetch {
    fn response_error(&self) -> ResponseError {
        match self {
            // As Kafka: the follower asks again, by when an image may know it.
            Self::NotAReplica(_) => ResponseError::UnknownTopicOrPartition,
            Self::StaleBrokerEpoch { .. } => ResponseError::StaleBrokerEpoch,
        }
    }
}

impl KafkaError for AppendError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::Corrupt(_) => ResponseError::CorruptMessage,
            Self::InvalidRecord(_) => ResponseError::InvalidRecord,
            Self::UnsupportedCompression(_) => ResponseError::UnsupportedCompressionType,
            Self::RecordTooLarge { .. } => ResponseError::MessageTooLarge,
            Self::RecordBatchTooLarge { .. } => ResponseError::RecordListTooLarge,
            Self::InvalidTimestamp { .. } => ResponseError::InvalidTimestamp,
            Self::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
            Self::InvalidProducerEpoch { .. } => ResponseError::InvalidProducerEpoch,
            Self::InvalidTxnState(_) | Self::Transactional => ResponseError::InvalidTxnState,
            Self::TransactionCoordinatorFenced { .. } => {
                ResponseError::TransactionCoordinatorFenced
            }
            Self::UnexpectedOffset { .. } => ResponseError::UnknownServerError,
            Self::StaleLeaderEpoch { .. } => ResponseError::NotLeaderOrFollower,
            Self::Log(error) => error.response_error(),
        }
    }
}

impl KafkaError for ReadError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            Self::Corrupt(_) => ResponseError::CorruptMessage,
            Self::Storage(_) => ResponseError::KafkaStorageError,
        }
    }
}

impl KafkaError for LogError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::NoSpace(_) | Self::Fatal(_) => ResponseError::KafkaStorageError,
            Self::OutOfRange { .. } => ResponseError::OffsetOutOfRange,
            Self::Closed(_) => ResponseError::NotLeaderOrFollower,
        }
    }
}

impl KafkaError for AdminError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::TopicExists(_) => ResponseError::TopicAlreadyExists,
            Self::UnknownTopic(_) => ResponseError::UnknownTopicOrPartition,
            Self::InvalidName(_) => ResponseError::InvalidTopicException,
            Self::InvalidPartitions(_) => ResponseError::InvalidPartitions,
            Self::InvalidReplicationFactor(_) => ResponseError::InvalidReplicationFactor,
            Self::InvalidAssignment(_) => ResponseError::InvalidReplicaAssignment,
            Self::Contradiction => ResponseError::InvalidRequest,
            Self::InvalidConfig(_) => ResponseError::InvalidConfig,
            Self::DeletionDisabled => ResponseError::TopicDeletionDisabled,
            Self::NotDone(_) | Self::OutcomeUnknown(_) => ResponseError::RequestTimedOut,
        }
    }
}

impl KafkaError for GroupError {
    fn response_error(&self) -> ResponseError {
        match self {
            Self::UnknownMember => ResponseError::UnknownMemberId,
            Self::FencedInstance => ResponseError::FencedInstanceId,
            Self::IllegalGeneration => ResponseError::IllegalGeneration,
            Self::RebalanceInProgress => ResponseError::RebalanceInProgress,
            Self::InconsistentProtocol => ResponseError::InconsistentGroupProtocol,
            Self::InvalidSessionTimeout => ResponseError::InvalidSessionTimeout,
            Self::InvalidGroupId => ResponseError::InvalidGroupId,
            Self::MemberIdRequired => ResponseError::MemberIdRequired,
            Self::MaxSizeReached => ResponseError::GroupMaxSizeReached,
            Self::NotAvailable => ResponseError::CoordinatorNotAvailable,
            Self::NotCoordinator => ResponseError::NotCoordinator,
            Self::LoadInProgress => ResponseError::CoordinatorLoadInProgress,
            Self::MetadataTooLarge => ResponseError::OffsetMetadataTooLarge,
            Self::CommitTooLarge => ResponseError::InvalidCommitOffsetSize,
            Self::NonEmpty => ResponseError::NonEmptyGroup,
            Self::NotFound => ResponseError::GroupIdNotFound,
            Self::UnknownPartition => ResponseError::UnknownTopicOrPartition,
        }
    }
}
