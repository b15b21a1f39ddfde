//! One connection to one node: the stream of a session, from its opening on.
//!
//! `session.rs` decides when to open one and what its end means. A connection carries one session
//! stream and nothing else: watch streams have connections of their own, so that a slow reader of
//! changes can never hold up a ping.

use std::time::Duration;

use thiserror::Error;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use zweig_proto::grpc as proto;
use zweig_proto::grpc::ensemble_client::EnsembleClient;
use zweig_proto::grpc::session_request::Request;
use zweig_proto::grpc::session_response::Response;

/// The largest message either side takes, in bytes: a listing of a million children fits.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Requests sent and not yet answered, at most. Fewer than a connection's queue holds, so that
/// queueing one never waits.
pub(super) const MAX_IN_FLIGHT: usize = 1024;

/// An open session stream.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) endpoint: String,
    outgoing: mpsc::Sender<proto::SessionRequest>,
    incoming: Streaming<proto::SessionResponse>,
}

/// Why a node did not open the session.
#[derive(Debug, Error)]
pub(super) enum OpenError {
    /// The session is gone, whichever node is asked.
    #[error("the session has expired")]
    Expired,
    /// The credentials are wrong, whichever node is asked.
    #[error("authentication failed: {0}")]
    AuthFailed(String),
    /// This node could not; another one may.
    #[error("{0}")]
    NotHere(String),
}

impl Connection {
    /// Connects to the node and opens, or resumes, the session that `open` describes.
    pub(super) async fn open(
        endpoint: String,
        open: proto::OpenSession,
    ) -> Result<(Self, proto::SessionOpened), OpenError> {
        let not_here = |what: &dyn std::fmt::Display| OpenError::NotHere(what.to_string());
        let mut client = client(&endpoint, None).await.map_err(|e| not_here(&e))?;
        // Pings and one refused request more than MAX_IN_FLIGHT never fill it.
        let (outgoing, queue) = mpsc::channel(MAX_IN_FLIGHT + 16);
        let first = proto::SessionRequest {
            id: 0,
            trace: None,
            request: Some(Request::Open(open)),
        };
        assert!(outgoing.try_send(first).is_ok(), "the queue is empty");
        let stream = client.session(ReceiverStream::new(queue)).await;
        let mut incoming = stream.map_err(|s| not_here(&said(&s)))?.into_inner();
        let answer = incoming.message().await.map_err(|s| not_here(&said(&s)))?;
        match answer.and_then(|a| a.response) {
            Some(Response::Opened(opened)) => {
                let connection = Self {
                    endpoint,
                    outgoing,
                    incoming,
                };
                Ok((connection, opened))
            }
            Some(Response::Error(error)) => Err(match error.code() {
                proto::Code::SessionExpired => OpenError::Expired,
                proto::Code::AuthFailed => OpenError::AuthFailed(error.message),
                _ => OpenError::NotHere(error.message),
            }),
            Some(_) => Err(not_here(&"the node answered something else than 'opened'")),
            None => Err(not_here(&"the node closed the stream")),
        }
    }

    /// Queues a request; `false` if the connection is broken.
    pub(super) fn send(
        &self,
        id: u64,
        request: Request,
        trace: Option<proto::TraceParent>,
    ) -> bool {
        let request = proto::SessionRequest {
            id,
            trace,
            request: Some(request),
        };
        self.outgoing.try_send(request).is_ok()
    }

    /// The next answer, or why there will be none.
    pub(super) async fn next(&mut self) -> Result<proto::SessionResponse, String> {
        match self.incoming.message().await {
            Ok(Some(response)) => Ok(response),
            Ok(None) => Err("the node ended the stream".into()),
            Err(status) => Err(said(&status)),
        }
    }
}

/// Connects to a node. With `keep_alive`, silence of twice that length breaks the connection.
pub(super) async fn client(
    endpoint: &str,
    keep_alive: Option<Duration>,
) -> Result<EnsembleClient<Channel>, String> {
    let mut target = Endpoint::from_shared(format!("http://{endpoint}"))
        .map_err(|e| e.to_string())?
        .tcp_nodelay(true);
    if let Some(interval) = keep_alive {
        target = target
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(interval)
            .keep_alive_while_idle(true);
    }
    let channel = target.connect().await.map_err(|e| root_cause(&e))?;
    Ok(EnsembleClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES))
}

/// What a status says, for people.
pub(super) fn said(status: &tonic::Status) -> String {
    match status.message() {
        "" => status.code().to_string(),
        message => message.to_owned(),
    }
}

/// The innermost error: "connection refused" rather than "transport error".
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
