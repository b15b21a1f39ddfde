//! A session as its broker holds it: calls that wait for each other, renewals, and the door to a new one.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use zweig_broker::ensemble::port::{GetResult, GroupResult, MultiResult, Port, Ports};
use zweig_broker::sim;
use zweig_client::ensemble::{
    Batch, ConnectError, Credentials, Error, SessionState, WatchItem, WriteOp,
};

use super::stream::stream;
use super::{Answer, Call, REQUEST_TIMEOUT, SESSION_TIMEOUT, SimEnsemble};

struct Asked {
    call: Call,
    at: Instant,
    answer: oneshot::Sender<Answer>,
}

/// One session, as its broker holds it.
pub struct SimPort {
    ensemble: SimEnsemble,
    session: i64,
    calls: mpsc::UnboundedSender<Asked>,
    state: watch::Receiver<SessionState>,
    renewed: Arc<Mutex<Duration>>,
    broker: i32,
}

fn since_boot() -> Duration {
    sim::with(|world| world.since_boot()).unwrap_or_default()
}

impl SimPort {
    async fn call(&self, call: Call) -> Answer {
        let (answer, answered) = oneshot::channel();
        let at = Instant::now();
        match *self.state.borrow() {
            SessionState::Expired => return call.failed(Error::SessionExpired),
            SessionState::Closed => return call.failed(Error::Closed),
            SessionState::Connected | SessionState::Disconnected => {}
        }
        let asked = Asked { call, at, answer };
        if self.calls.send(asked).is_err() {
            return Answer::Done(Err(Error::SessionExpired));
        }
        match answered.await {
            Ok(answer) => answer,
            Err(_) => std::future::pending().await,
        }
    }
}

/// The way of one session's requests to the tree, and back.
async fn carry(
    ensemble: SimEnsemble,
    (session, attach, broker): (i64, u64, i32),
    mut calls: mpsc::UnboundedReceiver<Asked>,
) {
    let (back, answers) = mpsc::unbounded_channel();
    tokio::spawn(bring_back(answers));
    while let Some(Asked { call, at, answer }) = calls.recv().await {
        sleep_until(at + ensemble.call_delay(broker)).await;
        let answer_at = |ensemble: &SimEnsemble| Instant::now() + ensemble.call_delay(broker);
        if !ensemble.reachable(broker) {
            // Not sent yet: certainly not done. Or sent into a link that was about to go.
            if ensemble.chance(2) == 0 || call.is_read() {
                let limit = (at + REQUEST_TIMEOUT).saturating_duration_since(Instant::now());
                let back_in_time = timeout(limit, ensemble.until_reachable(broker))
                    .await
                    .is_ok();
                if !back_in_time {
                    let failed = call.failed(Error::Unavailable("no node reached".to_owned()));
                    let _ = back.send((Instant::now(), answer, failed));
                    continue;
                }
            } else {
                let failed = call.failed(Error::OutcomeUnknown("the connection broke".to_owned()));
                let _ = back.send((answer_at(&ensemble), answer, failed));
                if ensemble.chance(2) == 0 {
                    ensemble.inner.lock().counts.requests_lost += 1;
                } else {
                    // It hangs somewhere, and takes effect before whatever comes after it.
                    ensemble.until_reachable(broker).await;
                    sleep(ensemble.delay()).await;
                    ensemble.apply(session, attach, &call);
                    ensemble.inner.lock().counts.answers_lost += 1;
                }
                continue;
            }
        }
        let spoiled = ensemble.inner.lock().spoiled;
        let draw = if call.is_read() {
            1000
        } else {
            ensemble.chance(1000)
        };
        let unknown = || call.failed(Error::OutcomeUnknown("the answer was lost".to_owned()));
        if draw < spoiled[0] {
            ensemble.apply(session, attach, &call);
            ensemble.inner.lock().counts.answers_lost += 1;
            let _ = back.send((answer_at(&ensemble), answer, unknown()));
        } else if draw < spoiled[0] + spoiled[1] {
            ensemble.inner.lock().counts.requests_lost += 1;
            let _ = back.send((answer_at(&ensemble), answer, unknown()));
        } else if draw < spoiled.iter().sum() {
            ensemble.inner.lock().counts.refused += 1;
            let refused = call.failed(Error::NotDone("no quorum".to_owned()));
            let _ = back.send((answer_at(&ensemble), answer, refused));
        } else {
            let done = ensemble.apply(session, attach, &call);
            let at = answer_at(&ensemble);
            let lost = !ensemble.reachable(broker) && !call.is_read();
            let done = if lost { unknown() } else { done };
            let _ = back.send((at, answer, done));
        }
    }
}

async fn bring_back(
    mut answers: mpsc::UnboundedReceiver<(Instant, oneshot::Sender<Answer>, Answer)>,
) {
    while let Some((at, answer, value)) = answers.recv().await {
        sleep_until(at).await;
        // Nobody waits any more, perhaps.
        let _ = answer.send(value);
    }
}

/// Keeps a session alive, from the broker's side.
async fn renew(
    ensemble: SimEnsemble,
    (session, attach, broker): (i64, u64, i32),
    state: watch::Sender<SessionState>,
    renewed: Arc<Mutex<Duration>>,
) {
    loop {
        let sent = since_boot();
        sleep(ensemble.delay()).await;
        if ensemble.reachable(broker) {
            let alive = {
                let mut inner = ensemble.inner.lock();
                let alive = inner
                    .sessions
                    .get_mut(&session)
                    .filter(|s| s.attach == attach);
                if let Some(session) = alive {
                    session.deadline = Instant::now() + SESSION_TIMEOUT;
                    true
                } else {
                    false
                }
            };
            sleep(ensemble.delay()).await;
            if ensemble.reachable(broker) {
                if !alive {
                    let told = state.send_if_modified(|state| {
                        let closed = *state == SessionState::Closed;
                        if !closed {
                            *state = SessionState::Expired;
                        }
                        !closed
                    });
                    if told {
                        ensemble.tell_of_end(session, broker);
                    }
                    return;
                }
                *renewed.lock() = sent;
                set_state(&state, SessionState::Connected);
                sleep(SESSION_TIMEOUT / 3).await;
                continue;
            }
        }
        set_state(&state, SessionState::Disconnected);
        sleep(Duration::from_millis(300)).await;
    }
}

fn set_state(state: &watch::Sender<SessionState>, new: SessionState) {
    state.send_if_modified(|state| {
        let changed = *state != new && *state != SessionState::Closed;
        if changed {
            *state = new;
        }
        changed
    });
}

impl Port for SimPort {
    fn multi(&self, ops: Vec<WriteOp>) -> BoxFuture<'_, MultiResult> {
        async {
            match self.call(Call::Multi(ops)).await {
                Answer::Multi(result) => result,
                _ => Err(Error::SessionExpired.into()),
            }
        }
        .boxed()
    }

    fn fenced_batch(
        &self,
        fence: (String, i32),
        groups: Vec<Vec<WriteOp>>,
    ) -> BoxFuture<'_, Result<Batch<GroupResult>, Error>> {
        async {
            match self.call(Call::Batch(fence, groups)).await {
                Answer::Batch(result) => result,
                _ => Err(Error::SessionExpired),
            }
        }
        .boxed()
    }

    fn get(&self, path: String) -> BoxFuture<'_, GetResult> {
        async {
            match self.call(Call::Get(path)).await {
                Answer::Get(result) => result,
                _ => Err(Error::SessionExpired),
            }
        }
        .boxed()
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        async {
            match self.call(Call::Sync).await {
                Answer::Done(result) => result,
                _ => Err(Error::SessionExpired),
            }
        }
        .boxed()
    }

    fn watch(&self) -> Result<BoxStream<'static, WatchItem>, Error> {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(stream(self.ensemble.clone(), self.broker, sender));
        Ok(UnboundedReceiverStream::new(receiver).boxed())
    }

    fn credentials(&self) -> Credentials {
        Credentials {
            session: self.session,
            password: [7; 16],
        }
    }

    fn timeout(&self) -> Duration {
        SESSION_TIMEOUT
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        self.state.clone()
    }

    fn in_doubt(&self) -> bool {
        since_boot().saturating_sub(*self.renewed.lock()) > self.timeout() * 2 / 3
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        async {
            match self.call(Call::Close).await {
                Answer::Done(result) => result,
                _ => Err(Error::SessionExpired),
            }
        }
        .boxed()
    }
}

/// The door of one broker.
pub struct Door {
    /// The ensemble.
    pub ensemble: SimEnsemble,
    /// Whose link leads there.
    pub broker: i32,
}

impl Ports for Door {
    fn connect(
        &self,
        resume: Option<Credentials>,
    ) -> BoxFuture<'_, Result<Arc<dyn Port>, ConnectError>> {
        let ensemble = self.ensemble.clone();
        let broker = self.broker;
        async move {
            let sent = since_boot();
            loop {
                sleep(ensemble.delay()).await;
                ensemble.until_reachable(broker).await;
                let granted = ensemble.attach(broker, resume.as_ref())?;
                sleep(ensemble.delay()).await;
                // A session granted in vain ends by its timeout; one resumed is resumed again.
                if ensemble.reachable(broker) {
                    return Ok(ensemble.port(granted, sent));
                }
            }
        }
        .boxed()
    }
}

impl SimEnsemble {
    /// Notes that a broker hears of the end of its session; of a former life's, which it closed itself, it may hear
    /// later.
    fn tell_of_end(&self, session: i64, broker: i32) {
        let now = self.trace.ms();
        let mut inner = self.inner.lock();
        if inner.latest.get(&broker) == Some(&session) {
            inner.told.insert(broker, now);
        }
    }

    fn port(&self, granted: (i64, u64, i32), sent: Duration) -> Arc<dyn Port> {
        let (calls, asked) = mpsc::unbounded_channel();
        tokio::spawn(carry(self.clone(), granted, asked));
        let (sender, state) = watch::channel(SessionState::Connected);
        let renewed = Arc::new(Mutex::new(sent));
        let keeping = renew(self.clone(), granted, sender, renewed.clone());
        drop(tokio::spawn(sim::bound(keeping)));
        Arc::new(SimPort {
            ensemble: self.clone(),
            session: granted.0,
            calls,
            state,
            renewed,
            broker: granted.2,
        })
    }
}
