//! One connection: requests in, answers out in the same order.
//!
//! ```text
//! socket ─▶ FrameReader ─▶ held (one) ─▶ first poll of the handler ─▶ in flight (FIFO) ─▶ socket
//! ```
//!
//! As in Kafka, a request begins once everything before it is answered: what it reads is what those
//! before it wrote. A produce alone begins behind other produces, as far as `limits` lets it: handlers append at their
//! first poll, so the order of appends is kept, and a producer need not wait for one commit after the
//! other. One request is read ahead, so that a peer that leaves while it waits is noticed.

use super::socket::TcpStream;
use crate::handlers::{self, Context, Frame, Reply, RequestError};
use crate::limits::{MAX_REQUESTS_IN_FLIGHT, MAX_WAITING_ANSWER_BYTES};
use crate::wire::frame::{FrameError, FrameReader};
use bytes::Bytes;
use futures::FutureExt;
use futures::future::{self, BoxFuture, Either};
use futures::stream::{FuturesOrdered, StreamExt};
use std::future::Future;
use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use thiserror::Error;
use tokio::io::AsyncWriteExt;
use tokio_util::sync::CancellationToken;

/// Answers gathered into one write while more are ready, up to about this size.
const WRITE_BATCH_BYTES: usize = 64 * 1024;

/// At a stop, an answer that is being written has so long to get out.
const WRITE_GRACE: Duration = Duration::from_secs(1);

/// How long a peer may take nothing of its answers where idle connections are never closed.
const MAX_STALL: Duration = Duration::from_secs(600);

/// What a connection is told of the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: usize,
    /// `connections.max.idle.ms`: closed after so long without a request, or without taking a byte of an
    /// answer; `None`: never for want of requests.
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
    /// The peer reads no answers.
    #[error("no answer was taken for {0:?}")]
    Stalled(Duration),
    /// The broker stops.
    #[error("the broker stops while an answer is being written")]
    Stopped,
    /// Nothing happened for `connections.max.idle.ms`.
    #[error("idle for {0:?}")]
    Idle(Duration),
}

type Outcome = Result<Reply<Frame>, RequestError>;

type InFlight = Either<future::Ready<Outcome>, BoxFuture<'static, Outcome>>;

/// What has begun and is not answered yet.
#[derive(Default)]
struct Pipeline {
    requests: FuturesOrdered<InFlight>,
    /// Whether all of them let others of their kind begin behind them.
    shared: bool,
    /// Bytes of answers that wait for those before them.
    waiting_bytes: Arc<AtomicUsize>,
}

impl Pipeline {
    /// Whether a request may begin now.
    fn admits(&self, frame: &Bytes) -> bool {
        self.requests.is_empty()
            || self.shared
                && handlers::is_pipelined(frame)
                && self.requests.len() < MAX_REQUESTS_IN_FLIGHT
                && self.waiting_bytes.load(Ordering::Relaxed) < MAX_WAITING_ANSWER_BYTES
    }

    async fn begin(&mut self, context: &Context, frame: Bytes) {
        self.shared = handlers::is_pipelined(&frame);
        let waiting_bytes = Arc::clone(&self.waiting_bytes);
        let handler = handlers::answer(context.clone(), frame);
        let counted = async move {
            let outcome = handler.await;
            waiting_bytes.fetch_add(size(&outcome), Ordering::Relaxed);
            outcome
        };
        self.requests.push_back(start(counted).await);
    }

    async fn next(&mut self) -> Option<Outcome> {
        let outcome = self.requests.next().await?;
        self.waiting_bytes
            .fetch_sub(size(&outcome), Ordering::Relaxed);
        Some(outcome)
    }
}

fn size(outcome: &Outcome) -> usize {
    match outcome {
        Ok(Reply::Answer(frame)) => frame.len(),
        _ => 0,
    }
}

/// Serves one connection until its peer leaves, misbehaves, idles too long, or `shutdown`.
pub async fn run(
    stream: TcpStream,
    context: Context,
    settings: Settings,
    shutdown: CancellationToken,
) -> Result<(), ConnectionError> {
    let (mut source, mut sink) = stream.into_split();
    let mut reader = FrameReader::new(settings.request_max_bytes);
    let mut pipeline = Pipeline::default();
    let mut held: Option<Bytes> = None;
    let max_idle = settings.max_idle.unwrap_or_default();
    loop {
        if let Some(frame) = held.take_if(|frame| pipeline.admits(frame)) {
            pipeline.begin(&context, frame).await;
        }
        let idle = pipeline.requests.is_empty();
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return Ok(()),
            Some(first) = pipeline.next(), if !idle => {
                let (batch, end) = gather(first, &mut pipeline);
                write(&mut sink, batch, settings, &shutdown).await?;
                if let Some(end) = end {
                    return Err(end);
                }
            }
            frame = reader.next(&mut source), if held.is_none() => {
                let Some(frame) = frame? else { return Ok(()) };
                held = Some(frame);
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
fn gather(first: Outcome, pipeline: &mut Pipeline) -> (Vec<Bytes>, Option<ConnectionError>) {
    let (mut batch, mut size, mut next) = (Vec::new(), 0, Some(first));
    while let Some(outcome) = next {
        match outcome {
            Ok(Reply::Answer(frame)) => {
                size += frame.len();
                batch.extend(frame);
            }
            Ok(Reply::Silence) => {}
            Ok(Reply::Close(reason)) => return (batch, Some(ConnectionError::Closed(reason))),
            Err(error) => return (batch, Some(error.into())),
        }
        next = match size < WRITE_BATCH_BYTES {
            true => pipeline.next().now_or_never().flatten(),
            false => None,
        };
    }
    (batch, None)
}

/// Writes answers for as long as the peer takes them, and not much longer than the broker runs.
async fn write(
    sink: &mut (impl AsyncWriteExt + Unpin),
    batch: Vec<Bytes>,
    settings: Settings,
    shutdown: &CancellationToken,
) -> Result<(), ConnectionError> {
    let stop = async {
        shutdown.cancelled().await;
        tokio::time::sleep(WRITE_GRACE).await;
    };
    tokio::select! {
        biased;
        written = write_while_taken(sink, &batch, settings.max_idle.unwrap_or(MAX_STALL)) => written,
        () = stop => Err(ConnectionError::Stopped),
    }
}

async fn write_while_taken(
    sink: &mut (impl AsyncWriteExt + Unpin),
    batch: &[Bytes],
    max_stall: Duration,
) -> Result<(), ConnectionError> {
    let mut slices: Vec<IoSlice<'_>> = batch.iter().map(|piece| IoSlice::new(piece)).collect();
    let mut rest = &mut slices[..];
    // Empty pieces at the beginning go too.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        let taken = tokio::time::timeout(max_stall, sink.write_vectored(rest)).await;
        match taken.map_err(|_| ConnectionError::Stalled(max_stall))? {
            Ok(0) => return Err(ConnectionError::Write(std::io::ErrorKind::WriteZero.into())),
            Ok(taken) => IoSlice::advance_slices(&mut rest, taken),
            Err(error) => return Err(ConnectionError::Write(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(max_idle: Duration) -> Settings {
        Settings {
            request_max_bytes: 1,
            max_idle: Some(max_idle),
        }
    }

    #[tokio::test]
    async fn a_peer_that_does_not_read_holds_up_neither_a_stop_nor_its_connection_for_ever() {
        let (mut sink, peer) = tokio::io::duplex(8);
        let answer = || vec![Bytes::from_static(&[1; 100])];
        let idle = settings(Duration::from_millis(20));
        let running = CancellationToken::new();
        let end = write(&mut sink, answer(), idle, &running).await;
        assert!(matches!(end, Err(ConnectionError::Stalled(_))), "{end:?}");
        let stopped = CancellationToken::new();
        stopped.cancel();
        let idle = settings(Duration::from_secs(600));
        let end = write(&mut sink, answer(), idle, &stopped).await;
        assert!(matches!(end, Err(ConnectionError::Stopped)), "{end:?}");
        drop(peer);
    }

    #[test]
    fn only_a_produce_begins_behind_others_and_not_without_bound() {
        let frame = |key: u8| Bytes::copy_from_slice(&[0, key, 0, 9, 0, 0, 0, 1, 0, 0]);
        let (produce, fetch) = (frame(0), frame(1));
        let mut pipeline = Pipeline::default();
        assert!(pipeline.admits(&fetch));
        let wait = || Either::Right(future::pending().boxed());
        pipeline.requests.push_back(wait());
        pipeline.shared = true;
        assert!(pipeline.admits(&produce) && !pipeline.admits(&fetch));
        let waiting = &pipeline.waiting_bytes;
        waiting.store(MAX_WAITING_ANSWER_BYTES, Ordering::Relaxed);
        assert!(!pipeline.admits(&produce));
        waiting.store(0, Ordering::Relaxed);
        pipeline.shared = false;
        assert!(!pipeline.admits(&produce), "behind something else");
        pipeline.shared = true;
        while pipeline.requests.len() < MAX_REQUESTS_IN_FLIGHT {
            pipeline.requests.push_back(wait());
        }
        assert!(!pipeline.admits(&produce));
    }
}
