//! The task behind the handles of one session: finds nodes, sends, answers, pings.
//!
//! `run` alternates between [`Keeper::serve`] (on a connection) and [`Keeper::reconnect`] (looking
//! for one). Who waits for what is decided in one place each: `take_back` says what becomes of
//! requests when a connection breaks, `drop_expired` of those that found none.
//!
//! Silence: a ping goes out each third of the timeout, and a connection on which nothing was heard
//! for two thirds is given up, which leaves a third to be re-attached elsewhere. With a disconnect timeout a broken
//! connection has to be replaced within that: the first round over the nodes has no more time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};
use zweig_proto::grpc as proto;
use zweig_proto::grpc::session_request::Request;
use zweig_proto::grpc::session_response::Response;

use super::connection::{Connection, OpenError};
use super::error::{ConnectError, Error};
use super::flight::Flight;
use super::options::{Credentials, Options};
use super::retry::{Backoff, Ring, generator};
use super::session::{Ask, OnBreak, SessionState, Vitals};
use super::wire;
use crate::clock;

/// Requests that wait for a connection, at most; more are refused.
const MAX_WAITING: usize = 16 * 1024;

/// How a connection, or the search for one, ended.
enum End {
    /// Find another one.
    Broken(String),
    /// The session is over.
    Final(SessionState),
    /// Nobody holds a handle any more.
    Abandoned,
}

pub(super) struct Keeper {
    options: Arc<Options>,
    ring: Ring,
    backoff: Backoff,
    queue: mpsc::Receiver<Ask>,
    /// Taken from the queue, not sent yet; oldest first, so expiring first.
    waiting: VecDeque<Ask>,
    vitals: Arc<Mutex<Vitals>>,
    state: watch::Sender<SessionState>,
    last_zxid: i64,
    next_id: u64,
}

impl Keeper {
    pub(super) fn new(
        options: Arc<Options>,
        queue: mpsc::Receiver<Ask>,
        vitals: Arc<Mutex<Vitals>>,
        state: watch::Sender<SessionState>,
    ) -> Self {
        let mut rng = generator(options.seed);
        Self {
            ring: Ring::new(options.endpoints.clone(), &mut rng),
            backoff: Backoff::new(Duration::from_millis(50), Duration::from_secs(1), rng),
            options,
            queue,
            waiting: VecDeque::new(),
            vitals,
            state,
            last_zxid: 0,
            next_id: 1,
        }
    }

    /// Returns once a node has granted the session; the task then goes on by itself.
    pub(super) async fn start(mut self) -> Result<(), ConnectError> {
        let connection = self.first_connection().await?;
        self.state.send_replace(SessionState::Connected);
        tokio::spawn(self.run(connection));
        Ok(())
    }

    async fn run(mut self, mut connection: Connection) {
        let end = loop {
            self.state.send_replace(SessionState::Connected);
            let session = self.session();
            match self.serve(connection).await {
                End::Broken(why) => {
                    tracing::info!(session, why, "connection to the ensemble broke");
                    self.vitals.lock().disconnected_since = Some(clock::boot_time());
                    self.state.send_replace(SessionState::Disconnected);
                }
                end => break end,
            }
            match self.reconnect().await {
                Ok(next) => connection = next,
                Err(end) => break end,
            }
        };
        let (state, error) = match end {
            End::Final(SessionState::Expired) => (SessionState::Expired, Error::SessionExpired),
            _ => (SessionState::Closed, Error::Closed),
        };
        tracing::debug!(session = self.session(), ?state, "session over");
        self.state.send_replace(state);
        self.queue.close();
        while let Ok(ask) = self.queue.try_recv() {
            self.waiting.push_back(ask);
        }
        for ask in self.waiting {
            let _ = ask.reply.send(Err(error.clone()));
        }
    }

    fn session(&self) -> i64 {
        self.vitals.lock().credentials.session
    }

    // ---- finding a node ----

    async fn first_connection(&mut self) -> Result<Connection, ConnectError> {
        let began = clock::now();
        let mut failures: BTreeMap<String, String> = BTreeMap::new();
        loop {
            for _ in 0..self.ring.len() {
                let endpoint = self.ring.advance();
                let left = self
                    .options
                    .connect_timeout
                    .saturating_sub(clock::now().saturating_duration_since(began));
                let patience = self.attempt_timeout(None).min(left);
                match self.attempt(endpoint.clone(), patience).await {
                    Ok(opened) => {
                        return self.adopt(opened).map_err(|why| unavailable(began, &why));
                    }
                    Err(OpenError::Expired) => return Err(ConnectError::SessionExpired),
                    Err(OpenError::AuthFailed(why)) => return Err(ConnectError::AuthFailed(why)),
                    Err(OpenError::NotHere(why)) => {
                        tracing::debug!(endpoint, why, "no session there");
                        failures.insert(endpoint, why);
                    }
                }
            }
            let wait = self.backoff.wait();
            if clock::now().saturating_duration_since(began) + wait >= self.options.connect_timeout
            {
                let each = failures.iter().map(|(at, why)| format!("{at}: {why}"));
                return Err(unavailable(began, &each.collect::<Vec<_>>().join("; ")));
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn reconnect(&mut self) -> Result<Connection, End> {
        let mut hurry = self.options.disconnect_timeout;
        loop {
            for _ in 0..self.ring.len() {
                let endpoint = self.ring.advance();
                let attempt = self.attempt(endpoint.clone(), self.attempt_timeout(hurry));
                match self.meanwhile(attempt).await? {
                    Ok(opened) => match self.adopt(opened) {
                        Ok(connection) => return Ok(connection),
                        Err(why) => tracing::warn!(endpoint, why, "refused the node's answer"),
                    },
                    Err(OpenError::Expired) => return Err(End::Final(SessionState::Expired)),
                    Err(failed) => tracing::debug!(endpoint, %failed, "not re-attached there"),
                }
            }
            // Who is slow may still answer who waits for longer.
            hurry = hurry.map(|round| round * 2);
            let wait = tokio::time::sleep(self.backoff.wait());
            self.meanwhile(wait).await?;
        }
    }

    /// One attempt on one node; owns all it needs, so that requests can be queued meanwhile.
    fn attempt(
        &self,
        endpoint: String,
        patience: Duration,
    ) -> impl Future<Output = Result<Opened, OpenError>> + use<> {
        let credentials = self.vitals.lock().credentials;
        let open = proto::OpenSession {
            timeout_ms: u32::try_from(self.options.session_timeout.as_millis()).unwrap_or(u32::MAX),
            session: credentials.session,
            password: if credentials.session == 0 {
                bytes::Bytes::new()
            } else {
                bytes::Bytes::copy_from_slice(&credentials.password)
            },
            last_zxid_seen: self.last_zxid,
            auth: wire::auth_out(&self.options.auth),
            disconnect_timeout_ms: self.options.disconnect_timeout.map_or(0, |timeout| {
                u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX)
            }),
        };
        async move {
            let sent = clock::now();
            let sent_boot_time = clock::boot_time();
            match timeout(patience, Connection::open(endpoint, open)).await {
                Ok(opened) => opened.map(|(connection, grant)| Opened {
                    connection,
                    grant,
                    sent,
                    sent_boot_time,
                }),
                Err(_) => Err(OpenError::NotHere(format!(
                    "no session within {} ms",
                    patience.as_millis()
                ))),
            }
        }
    }

    /// How long one node may take to answer, so that each can be tried within the timeout, and within `hurry`.
    fn attempt_timeout(&self, hurry: Option<Duration>) -> Duration {
        let nodes = u32::try_from(self.ring.len()).unwrap_or(u32::MAX);
        let session = self.vitals.lock().timeout;
        let round = hurry.map_or(session, |hurry| hurry.min(session));
        (round / nodes).clamp(Duration::from_millis(250), Duration::from_secs(5))
    }

    fn adopt(&mut self, opened: Opened) -> Result<Connection, String> {
        let grant = opened.grant;
        let password: Result<[u8; 16], _> = grant.password.as_ref().try_into();
        let (Ok(password), true) = (password, grant.session != 0 && grant.timeout_ms != 0) else {
            return Err(format!("a grant that makes no sense: {grant:?}"));
        };
        let mut vitals = self.vitals.lock();
        let known = vitals.credentials.session;
        if known != 0 && known != grant.session {
            return Err(format!(
                "asked for session {known:#x}, got {:#x}",
                grant.session
            ));
        }
        *vitals = Vitals {
            credentials: Credentials {
                session: grant.session,
                password,
            },
            timeout: Duration::from_millis(grant.timeout_ms.into()),
            endpoint: opened.connection.endpoint.clone(),
            last_renewal_sent: opened.sent,
            last_renewal_sent_boot_time: opened.sent_boot_time,
            disconnected_since: None,
        };
        self.backoff.reset();
        tracing::debug!(
            session = grant.session,
            endpoint = opened.connection.endpoint,
            attach = grant.attach,
            "session attached"
        );
        Ok(opened.connection)
    }

    /// Lets `work` go on while requests queue up, and fails those that have waited too long.
    async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> Result<T, End> {
        tokio::pin!(work);
        loop {
            let expires = self.waiting.front().map(|ask| ask.expires);
            tokio::select! {
                done = &mut work => return Ok(done),
                ask = self.queue.recv() => match ask {
                    Some(ask) => self.wait_in_line(ask),
                    None => return Err(End::Abandoned),
                },
                () = until(expires), if expires.is_some() => self.drop_expired(),
            }
        }
    }

    fn wait_in_line(&mut self, ask: Ask) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back(ask);
        } else {
            let why = format!("{MAX_WAITING} requests wait for a connection already");
            let _ = ask.reply.send(Err(Error::Unavailable(why)));
        }
    }

    fn drop_expired(&mut self) {
        let now = clock::now();
        while let Some(ask) = self.waiting.pop_front_if(|ask| ask.expires <= now) {
            let why = format!(
                "no connection within {} ms",
                self.options.request_timeout.as_millis()
            );
            let _ = ask.reply.send(Err(Error::Unavailable(why)));
        }
    }

    // ---- on a connection ----

    async fn serve(&mut self, mut connection: Connection) -> End {
        let timeout = self.vitals.lock().timeout;
        let mut flight = Flight::default();
        let mut last_heard = clock::now();
        let mut next_ping = last_heard + timeout / 3;
        let end = loop {
            if let Some(end) = self.send_waiting(&connection, &mut flight) {
                break end;
            }
            let room = flight.has_room() && self.waiting.is_empty();
            tokio::select! {
                answer = connection.next() => match answer {
                    Ok(answer) => {
                        last_heard = clock::now();
                        if let Some(end) = self.answered(&mut flight, answer) {
                            break end;
                        }
                    }
                    Err(why) => break End::Broken(why),
                },
                ask = self.queue.recv(), if room => match ask {
                    Some(ask) => self.waiting.push_back(ask),
                    None => break End::Abandoned,
                },
                () = until(Some(next_ping)) => {
                    let ping = Request::Ping(proto::Ping {});
                    if !flight.send(&connection, &mut self.next_id, ping, None) {
                        break End::Broken("the stream is closed".into());
                    }
                    next_ping = clock::now() + timeout / 3;
                }
                () = until(Some(last_heard + timeout * 2 / 3)) => {
                    let why = format!("silent for {} ms", (timeout * 2 / 3).as_millis());
                    break End::Broken(why);
                }
            }
        };
        self.take_back(flight, &end);
        end
    }

    fn send_waiting(&mut self, connection: &Connection, flight: &mut Flight) -> Option<End> {
        while flight.has_room()
            && let Some(ask) = self.waiting.pop_front()
        {
            if ask.reply.is_closed() {
                continue; // Its asker gave up before it was sent.
            }
            let request = ask.request.clone();
            if !flight.send(connection, &mut self.next_id, request, Some(ask)) {
                return Some(End::Broken("the stream is closed".into()));
            }
        }
        None
    }

    fn answered(&mut self, flight: &mut Flight, answer: proto::SessionResponse) -> Option<End> {
        let Some(sent) = flight.sent.remove(&answer.id) else {
            // The stream as a whole is refused, or the node is confused: either way, leave it.
            return Some(match answer.response {
                Some(Response::Error(error)) if error.code() == proto::Code::SessionExpired => {
                    End::Final(SessionState::Expired)
                }
                Some(Response::Error(error)) => End::Broken(error.message),
                _ => End::Broken(format!("an answer to request {}, never sent", answer.id)),
            });
        };
        self.last_zxid = self.last_zxid.max(answer.zxid);
        let code = match &answer.response {
            Some(Response::Error(error)) => error.code(),
            _ => proto::Code::Unspecified,
        };
        match code {
            proto::Code::SessionExpired => {
                if let Some(ask) = sent.ask {
                    let _ = ask.reply.send(Err(Error::SessionExpired));
                }
                return Some(End::Final(SessionState::Expired));
            }
            // Refused without effect: to be asked again once this client has attached anew.
            proto::Code::SessionMoved => {
                flight.moved = true;
                flight.returned.extend(sent.ask.map(|ask| (answer.id, ask)));
            }
            _ => {
                let mut vitals = self.vitals.lock();
                // A node that is out of touch may say so, and renews nothing.
                let renewed = !matches!(code, proto::Code::NotDone | proto::Code::OutcomeUnknown);
                if renewed && sent.at >= vitals.last_renewal_sent {
                    vitals.last_renewal_sent = sent.at;
                    vitals.last_renewal_sent_boot_time = sent.at_boot_time;
                }
                drop(vitals);
                if let Some(ask) = sent.ask {
                    let closed = matches!(ask.request, Request::Close(_));
                    let missing = || Error::Protocol("an empty answer".into());
                    let response = answer.response.ok_or_else(missing);
                    let _ = ask
                        .reply
                        .send(response.map(|response| (answer.zxid, response)));
                    if closed && code == proto::Code::Unspecified {
                        return Some(End::Final(SessionState::Closed));
                    }
                }
            }
        }
        let drained = flight.moved && flight.sent.is_empty();
        drained.then(|| End::Broken("the session moved to another connection".into()))
    }

    /// Whatever was in flight fails as unknown, or waits for the next connection.
    fn take_back(&mut self, flight: Flight, end: &End) {
        let mut again = flight.returned;
        for (id, sent) in flight.sent {
            let Some(ask) = sent.ask else { continue };
            match (end, ask.on_break) {
                (_, OnBreak::AskAgain) => {
                    again.insert(id, ask);
                }
                (End::Broken(why), OnBreak::Unknown) => {
                    let why = format!("sent, then the connection broke: {why}");
                    let _ = ask.reply.send(Err(Error::OutcomeUnknown(why)));
                }
                (_, OnBreak::Unknown) => {
                    let why = "sent, then the session ended".to_owned();
                    let _ = ask.reply.send(Err(Error::OutcomeUnknown(why)));
                }
            }
        }
        for ask in again.into_values().rev() {
            self.waiting.push_front(ask);
        }
    }
}

struct Opened {
    connection: Connection,
    grant: proto::SessionOpened,
    sent: Instant,
    sent_boot_time: Duration,
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant.into()).await,
        None => std::future::pending().await,
    }
}

fn unavailable(began: Instant, failures: &str) -> ConnectError {
    let waited = clock::now().saturating_duration_since(began);
    ConnectError::Unavailable {
        waited_ms: u64::try_from(waited.as_millis()).unwrap_or(u64::MAX),
        failures: failures.to_owned(),
    }
}
