//! A follower's connection to a leader: Kafka's Fetch, one request at a time.

use crate::net::socket::TcpStream;
use crate::wire::codec;
use crate::wire::frame::{FrameError, FrameReader};
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, FetchRequest, FetchResponse, RequestHeader, ResponseHeader,
};
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;

/// The version spoken between brokers: topic ids, and the follower's broker epoch.
pub(super) const FETCH_VERSION: i16 = 17;

/// Bytes of an answer: as many as a frame can have. A batch larger than what was asked for comes whole, and what asks
/// for less than the leader's topics hold would never get on. Memory is taken as the bytes arrive.
const MAX_ANSWER_BYTES: usize = i32::MAX as usize;

/// Why a leader could not be asked.
#[derive(Debug, Error)]
pub enum LeaderConnectionError {
    /// The leader is not registered now, or not under the listener between brokers.
    #[error("broker {0} is not registered")]
    NotRegistered(i32),
    /// No connection came about.
    #[error("can't connect to {address}: {source}")]
    Connect {
        /// Host and port.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The request could not be written.
    #[error("write failed: {0}")]
    Write(std::io::Error),
    /// The answer is no frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The answer is no answer to a fetch.
    #[error(transparent)]
    Codec(#[from] codec::RequestError),
    /// The leader closed the connection.
    #[error("closed by the leader")]
    Closed,
    /// The answer belongs to another request.
    #[error("answer to request {found}, expected {expected}")]
    OutOfStep {
        /// Correlation id of the answer.
        found: i32,
        /// Correlation id of the request.
        expected: i32,
    },
    /// No answer within `replica.socket.timeout.ms`.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
}

/// One connection. After an error it is of no use.
#[derive(Debug)]
pub struct LeaderConnection {
    stream: TcpStream,
    reader: FrameReader,
    client_id: String,
    correlation_id: i32,
    limit: Duration,
}

impl LeaderConnection {
    /// Connects to `address` (host:port). No step takes longer than `limit`.
    pub async fn open(
        address: String,
        broker_id: i32,
        limit: Duration,
    ) -> Result<Self, LeaderConnectionError> {
        let connecting = timeout(limit, TcpStream::connect(&address)).await;
        let stream = match connecting.map_err(|_| LeaderConnectionError::TimedOut(limit))? {
            Ok(stream) => stream,
            Err(source) => return Err(LeaderConnectionError::Connect { address, source }),
        };
        stream
            .set_nodelay(true)
            .map_err(LeaderConnectionError::Write)?;
        let reader = FrameReader::new(MAX_ANSWER_BYTES);
        Ok(Self {
            stream,
            reader,
            client_id: format!("broker-{broker_id}-fetcher"),
            correlation_id: 0,
            limit,
        })
    }

    /// Sends one fetch and waits for its answer.
    pub async fn fetch(
        &mut self,
        request: &FetchRequest,
    ) -> Result<FetchResponse, LeaderConnectionError> {
        let limit = self.limit;
        timeout(limit, self.exchange(request))
            .await
            .unwrap_or(Err(LeaderConnectionError::TimedOut(limit)))
    }

    async fn exchange(
        &mut self,
        request: &FetchRequest,
    ) -> Result<FetchResponse, LeaderConnectionError> {
        self.correlation_id = self.correlation_id.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(ApiKey::Fetch as i16)
            .with_request_api_version(FETCH_VERSION)
            .with_correlation_id(self.correlation_id)
            .with_client_id(Some(codec::text(self.client_id.clone())));
        let frame = codec::encode_request(&header, request)?;
        self.stream
            .write_all(&frame)
            .await
            .map_err(LeaderConnectionError::Write)?;
        let mut answer: Bytes = self
            .reader
            .next(&mut self.stream)
            .await?
            .ok_or(LeaderConnectionError::Closed)?;
        let header: ResponseHeader = codec::decode(
            &mut answer,
            ApiKey::Fetch.response_header_version(FETCH_VERSION),
        )?;
        if header.correlation_id != self.correlation_id {
            let (found, expected) = (header.correlation_id, self.correlation_id);
            return Err(LeaderConnectionError::OutOfStep { found, expected });
        }
        Ok(codec::decode(&mut answer, FETCH_VERSION)?)
    }
}
