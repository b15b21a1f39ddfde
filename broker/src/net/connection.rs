//! One connection: requests in, answers out in the same order.
//!
//! ```text
//! socket ─▶ FrameReader ─▶ first poll of the handler ─▶ in flight (FIFO) ─▶ socket
//!              paused while MAX_REQUESTS_IN_FLIGHT are in flight
//! ```

use crate::handlers::{self, Context, Frame, Reply, RequestError};
use crate::limits::MAX_REQUESTS_IN_FLIGHT;
use crate::wire::frame::{FrameError, FrameReader};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{self, BoxFuture, Either};
use futures::stream::{FuturesOrdered, StreamExt};
use std::future::Future;
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

/// Answers gathered into one write while more are ready, up to about this size.
const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// What a connection is told of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `connections.max.idle.ms`: closed after so long without a request; `None`: never.
    pub max_idle: Option<Duration>,
}

/// Why a connection was closed by this side.
#[derive(Debug, Error)]
pub enum ConnectionError {
    /// The bytes are no frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame is no request we serve.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The answer could not be written.
    #[error("write failed: {0}")]
    Write(std::io::Error),
    /// The protocol's own answer is a closed connection.
    #[error("{0}")]
    Closed(String),
    /// Nothing happened for `connections.max.idle.ms`.
    #[error("idle for {0:?}")]
    Idle(Duration),
}

type Outcome = Result<Reply<Frame>, RequestError>;

type InFlight = Either<future::Ready<Outcome>, BoxFuture<'static, Outcome>>;

/// Serves one connection until its peer leaves, misbehaves, idles too long, or `shutdown`.
pub async fn run(
    stream: TcpStream,
    context: Context,
    settings: Settings,
    shutdown: CancellationToken,
) -> Result<(), ConnectionError> {
    let (mut source, mut sink) = stream.into_split();
    let mut reader = FrameReader::new(settings.request_max_bytes);
    let mut in_flight = FuturesOrdered::<InFlight>::new();
    let max_idle = settings.max_idle.unwrap_or_default();
    loop {
        let idle = in_flight.is_empty();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            Some(first) = in_flight.next(), if !idle => {
                let (batch, end) = gather(first, &mut in_flight);
                write(&mut sink, batch).await.map_err(ConnectionError::Write)?;
                if let Some(end) = end {
                    return Err(end);
                }
            }
            frame = reader.next(&mut source), if in_flight.len() < MAX_REQUESTS_IN_FLIGHT => {
                let Some(frame) = frame? else { return Ok(()) };
                in_flight.push_back(start(handlers::answer(context.clone(), frame)).await);
            }
            () = tokio::time::sleep(max_idle), if idle && settings.max_idle.is_some() => {
                return Err(ConnectionError::Idle(max_idle));
            }
        }
    }
}

/// Polls a handler once before anything behind it is read.
async fn start(handler: impl Future<Output = Outcome> + Send + 'static) -> InFlight {
    let mut handler = handler.boxed();
    let first = future::poll_fn(|cx| std::task::Poll::Ready(handler.as_mut().poll(cx))).await;
    match first {
        std::task::Poll::Ready(outcome) => Either::Left(future::ready(outcome)),
        std::task::Poll::Pending => Either::Right(handler),
    }
}

/// The answers of `first` and of those behind it that are ready already, within one batch; and why the connection
/// ends after them, if it does.
fn gather(
    first: Outcome,
    in_flight: &mut FuturesOrdered<InFlight>,
) -> (Vec<Bytes>, Option<ConnectionError>) {
    let (mut batch, mut size, mut next) = (Vec::new(), 0, Some(first));
    while let Some(outcome) = next {
        match outcome {
            Ok(Reply::Answer(frame)) => {
                size += frame.len();
                batch.push(frame);
            }
            Ok(Reply::Silence) => {}
            Ok(Reply::Close(reason)) => return (batch, Some(ConnectionError::Closed(reason))),
            Err(error) => return (batch, Some(error.into())),
        }
        next = match size < WRITE_BATCH_BYTES {
            true => in_flight.next().now_or_never().flatten(),
            false => None,
        };
    }
    (batch, None)
}

async fn write(sink: &mut (impl AsyncWriteExt + Unpin), batch: Vec<Bytes>) -> std::io::Result<()> {
    match <[Bytes; 1]>::try_from(batch) {
        Ok([single]) => sink.write_all(&single).await,
        Err(batch) => sink.write_all(&batch.concat()).await,
    }
}
