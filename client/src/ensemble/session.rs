//! The asking side of one session; `keeper.rs` is the task that answers.
//!
//! ```text
//!            granted                    broken, silent, moved
//!  connect ──────────▶ Connected ◀───────────────────────────▶ Disconnected
//!                          │               re-attached               │
//!              close       │                                         │ told so by a node
//!  Closed ◀────────────────┴─────────────────▶ Expired ◀─────────────┘
//! ```
//!
//! Handles queue what they ask ([`Ask`]); the task sends it, many at a time, and hands out the
//! answers by their id. When a connection breaks, a write in flight ends as unknown, everything
//! else goes back to the front of the queue. Nothing waits for a connection longer than the
//! request timeout. The task ends with the session, or when the last handle is gone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use zweig_proto::grpc as proto;
use zweig_proto::grpc::session_request::Request;
use zweig_proto::grpc::session_response::Response;

use super::connection::MAX_IN_FLIGHT;
use super::error::{ConnectError, Error};
use super::keeper::Keeper;
use super::options::{Credentials, Options};
use crate::clock;

/// Whether the session is alive and connected, as far as this client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionState {
    /// A node serves it.
    Connected,
    /// No node does; it may be alive, and is resumed as soon as possible.
    Disconnected,
    /// The ensemble ended it. Final.
    Expired,
    /// Its owner ended it. Final.
    Closed,
}

/// What is known of the session from outside its task.
#[derive(Debug, Clone)]
pub(super) struct Vitals {
    pub(super) credentials: Credentials,
    pub(super) timeout: Duration,
    pub(super) endpoint: String,
    pub(super) last_renewal_sent: Instant,
    pub(super) last_renewal_sent_boot_time: Duration,
    /// On the clock of the boot time: when the connection broke, until there is another.
    pub(super) disconnected_since: Option<Duration>,
}

impl Vitals {
    /// Whether the session may end soon, or has: more than two thirds of one of its timeouts are over.
    pub(super) fn in_doubt(
        &self,
        boot_time: Duration,
        disconnect_timeout: Option<Duration>,
    ) -> bool {
        let silent = boot_time.saturating_sub(self.last_renewal_sent_boot_time);
        let hung_up = self.disconnected_since.zip(disconnect_timeout);
        silent > self.timeout * 2 / 3
            || hung_up
                .is_some_and(|(since, timeout)| boot_time.saturating_sub(since) > timeout * 2 / 3)
    }
}

/// The asking side.
#[derive(Debug)]
pub(super) struct Handle {
    asks: mpsc::Sender<Ask>,
    state: watch::Receiver<SessionState>,
    vitals: Arc<Mutex<Vitals>>,
    options: Arc<Options>,
}

/// What becomes of a request whose connection broke before its answer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnBreak {
    AskAgain,
    Unknown,
}

pub(super) struct Ask {
    pub(super) request: Request,
    /// Of the code that asks.
    pub(super) trace: Option<proto::TraceParent>,
    pub(super) on_break: OnBreak,
    /// When it has waited too long to be sent.
    pub(super) expires: Instant,
    pub(super) reply: oneshot::Sender<Result<(i64, Response), Error>>,
}

impl Handle {
    pub(super) async fn connect(options: Options) -> Result<Self, ConnectError> {
        let options = Arc::new(options);
        let (asks, queue) = mpsc::channel(MAX_IN_FLIGHT);
        let (state_out, state) = watch::channel(SessionState::Disconnected);
        let vitals = Arc::new(Mutex::new(Vitals {
            credentials: options.resume.unwrap_or(Credentials {
                session: 0,
                password: [0; 16],
            }),
            timeout: options.session_timeout,
            endpoint: String::new(),
            last_renewal_sent: clock::now(),
            last_renewal_sent_boot_time: clock::boot_time(),
            disconnected_since: None,
        }));
        Keeper::new(Arc::clone(&options), queue, Arc::clone(&vitals), state_out)
            .start()
            .await?;
        Ok(Self {
            asks,
            state,
            vitals,
            options,
        })
    }

    pub(super) fn vitals(&self) -> Vitals {
        self.vitals.lock().clone()
    }

    pub(super) fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    pub(super) fn options(&self) -> &Arc<Options> {
        &self.options
    }

    /// Sends a request that changes something: once, or not at all.
    pub(super) async fn write(&self, request: Request) -> Result<(i64, Response), Error> {
        self.ask(request, OnBreak::Unknown).await
    }

    /// Sends a request that may be repeated.
    pub(super) async fn read(&self, request: Request) -> Result<(i64, Response), Error> {
        self.ask(request, OnBreak::AskAgain).await
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        let close = Request::Close(proto::CloseSession {});
        match self.ask(close, OnBreak::AskAgain).await {
            // Whoever ended it, it is over.
            Ok(_) | Err(Error::Closed | Error::SessionExpired) => Ok(()),
            Err(failed) => Err(failed),
        }
    }

    async fn ask(&self, request: Request, on_break: OnBreak) -> Result<(i64, Response), Error> {
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            request,
            trace: current_trace(),
            on_break,
            expires: clock::now() + self.options.request_timeout,
            reply,
        };
        if self.asks.send(ask).await.is_err() {
            return Err(self.over());
        }
        answer.await.unwrap_or_else(|_| Err(self.over()))
    }

    /// Why the task is gone.
    fn over(&self) -> Error {
        match *self.state.borrow() {
            SessionState::Expired => Error::SessionExpired,
            _ => Error::Closed,
        }
    }
}

/// Where the code running now is in a trace of OpenTelemetry, if that one is followed.
fn current_trace() -> Option<proto::TraceParent> {
    let context = Context::current();
    let span = context.span().span_context().clone();
    (span.is_valid() && span.is_sampled()).then(|| proto::TraceParent {
        trace: Bytes::copy_from_slice(&span.trace_id().to_bytes()),
        span: Bytes::copy_from_slice(&span.span_id().to_bytes()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Renewed at 10 s, with a timeout of 9 s.
    fn vitals(disconnected_since: Option<Duration>) -> Vitals {
        Vitals {
            credentials: Credentials {
                session: 1,
                password: [0; 16],
            },
            timeout: 9 * SECOND,
            endpoint: String::new(),
            last_renewal_sent: clock::now(),
            last_renewal_sent_boot_time: 10 * SECOND,
            disconnected_since,
        }
    }

    #[test]
    fn a_session_is_in_doubt_behind_two_thirds_of_either_timeout() {
        let connected = vitals(None);
        assert!(!connected.in_doubt(16 * SECOND, Some(SECOND)));
        assert!(connected.in_doubt(17 * SECOND, Some(SECOND)));
        let broken = vitals(Some(11 * SECOND));
        let soon = Some(3 * SECOND);
        assert!(!broken.in_doubt(13 * SECOND, soon));
        assert!(broken.in_doubt(14 * SECOND, soon));
        assert!(!broken.in_doubt(14 * SECOND, None), "none was asked for");
    }
}
