//! One connection: requests in, answers out in the same order.
//!
//! ```text
//! socket ─▶ FrameReader ─▶ first poll of the handler ─▶ in flight (FIFO) ─▶ socket
//!              paused while MAX_REQUESTS_IN_FLIGHT are in flight
//! ```

use super::frame::{FrameError, FrameReader};
use crate::handlers::{self, Answer, Context, RequestError};
use crate::limits::MAX_REQUESTS_IN_FLIGHT;
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
    /// `connections.max.idle.ms`: closed after so long without a byte in or out.
    pub max_idle: Duration,
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
    /// Nothing happened for `connections.max.idle.ms`.
    #[error("idle for {0:?}")]
    Idle(Duration),
}

type InFlight = Either<
    future::Ready<Result<Answer, RequestError>>,
    BoxFuture<'static, Result<Answer, RequestError>>,
>;

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
    loop {
        let idle = in_flight.is_empty();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            Some(answer) = in_flight.next(), if !idle => {
                write(&mut sink, gather(answer?, &mut in_flight)?).await.map_err(ConnectionError::Write)?;
            }
            frame = reader.next(&mut source), if in_flight.len() < MAX_REQUESTS_IN_FLIGHT => {
                let Some(frame) = frame? else { return Ok(()) };
                in_flight.push_back(start(handlers::answer(context.clone(), frame)).await);
            }
            () = tokio::time::sleep(settings.max_idle), if idle => {
                return Err(ConnectionError::Idle(settings.max_idle));
            }
        }
    }
}

/// Polls a handler once before anything behind it is read.
async fn start(
    handler: impl Future<Output = Result<Answer, RequestError>> + Send + 'static,
) -> InFlight {
    let mut handler = handler.boxed();
    let first = future::poll_fn(|cx| std::task::Poll::Ready(handler.as_mut().poll(cx))).await;
    match first {
        std::task::Poll::Ready(answer) => Either::Left(future::ready(answer)),
        std::task::Poll::Pending => Either::Right(handler),
    }
}

/// `first` and the answers behind it that are ready already, within one batch.
fn gather(
    first: Answer,
    in_flight: &mut FuturesOrdered<InFlight>,
) -> Result<Vec<Bytes>, RequestError> {
    let mut batch: Vec<Bytes> = first.into_iter().collect();
    let mut size: usize = batch.iter().map(Bytes::len).sum();
    while size < WRITE_BATCH_BYTES {
        let Some(Some(answer)) = in_flight.next().now_or_never() else {
            break;
        };
        let Some(answer) = answer? else { continue };
        size += answer.len();
        batch.push(answer);
    }
    Ok(batch)
}

async fn write(sink: &mut (impl AsyncWriteExt + Unpin), batch: Vec<Bytes>) -> std::io::Result<()> {
    match <[Bytes; 1]>::try_from(batch) {
        Ok([single]) => sink.write_all(&single).await,
        Err(batch) => sink.write_all(&batch.concat()).await,
    }
}
