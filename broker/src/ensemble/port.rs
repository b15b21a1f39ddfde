//! The little that a broker needs of the ensemble, as traits: [`Port`] is one session, [`Ports`]
//! opens one. The client library stands behind them in earnest; an ensemble in memory (`fake`)
//! in tests and in simulation.
//!
//! All paths are relative to the chroot. Calls of one port take effect in the order in which they
//! were made; a call that ends in `OutcomeUnknown` can no longer take effect once a later call of
//! the same port was answered.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use tokio::sync::watch;
use zweig_client::ensemble::{
    Batch, ConnectError, Credentials, Ensemble, Error, MultiError, Options, SessionState, Stat,
    WatchItem, WriteOp, WriteResult,
};

use crate::clock;
use crate::config::EnsembleConfig;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Data and stat of a znode, if there is one.
pub type GetResult = Result<Option<(Option<Bytes>, Stat)>, Error>;
/// What becomes of a multi.
pub type MultiResult = Result<Batch<WriteResult>, MultiError>;
/// What becomes of each group of a fenced batch.
pub type GroupResult = Result<Vec<WriteResult>, MultiError>;

/// One session of the ensemble.
pub trait Port: Send + Sync + 'static {
    /// All operations or none.
    fn multi(&self, ops: Vec<WriteOp>) -> BoxFuture<'_, MultiResult>;

    /// If `fence` (path, version) holds: each group, all or nothing in itself, at one zxid.
    fn fenced_batch(
        &self,
        fence: (String, i32),
        groups: Vec<Vec<WriteOp>>,
    ) -> BoxFuture<'_, Result<Batch<GroupResult>, Error>>;

    /// Data and stat of a znode, not older than this call; `None` if there is none.
    fn get(&self, path: String) -> BoxFuture<'_, GetResult>;

    /// Waits until everything committed before this call is applied where this session is served.
    fn sync(&self) -> BoxFuture<'_, Result<(), Error>>;

    /// The whole chroot: as it stands, then every change.
    ///
    /// # Errors
    /// Those of the client library's `watch`.
    fn watch(&self) -> Result<BoxStream<'static, WatchItem>, Error>;

    /// The session's id and password.
    fn credentials(&self) -> Credentials;

    /// The session timeout as granted.
    fn timeout(&self) -> Duration;

    /// The session's state, now and as it changes.
    fn state(&self) -> watch::Receiver<SessionState>;

    /// Whether the session may have ended: too much of its timeout has gone by since the last acknowledged renewal was
    /// sent, or of the shorter one since its connection broke.
    fn in_doubt(&self) -> bool;

    /// Ends the session: its ephemeral znodes go.
    fn close(&self) -> BoxFuture<'_, Result<(), Error>>;
}

/// Opens sessions.
pub trait Ports: Send + Sync + 'static {
    /// Opens a session, or resumes one.
    fn connect(
        &self,
        resume: Option<Credentials>,
    ) -> BoxFuture<'_, Result<Arc<dyn Port>, ConnectError>>;
}

/// Sessions over the network.
#[derive(Clone, Debug)]
pub struct Network {
    /// Where, under which chroot, with which timeouts.
    pub config: EnsembleConfig,
}

impl Network {
    /// A session. An ensemble that starts together with its brokers, or has no quorum for a while, is
    /// waited for, unless the operator set a limit.
    async fn session(&self, options: Options) -> Result<Ensemble, ConnectError> {
        loop {
            match Ensemble::connect(options.clone()).await {
                Err(ConnectError::Unavailable { failures, .. })
                    if self.config.connection_timeout.is_none() =>
                {
                    tracing::warn!(%failures, "no session of the ensemble yet, trying on");
                }
                ended => return ended,
            }
        }
    }
}

impl Network {
    /// The chroot itself may be missing: the ancestors of anything below it.
    async fn make_chroot(&self, ensemble: &Ensemble, limit: Option<Duration>) -> Result<(), Error> {
        if self.config.chroot.is_empty() {
            return Ok(());
        }
        let make = || ensemble.create_parents("/brokers");
        persistently(&self.config.chroot, limit, make).await
    }
}

/// Does what may be done twice, again and again until it is done: an ensemble that has no quorum or no space for a moment is
/// no reason for a broker that starts to end. With a `limit`, not longer than that.
///
/// # Errors
/// Those that waiting does not mend, and the last one when the limit is over.
async fn persistently<F>(
    chroot: &str,
    limit: Option<Duration>,
    mut ask: impl FnMut() -> F,
) -> Result<(), Error>
where
    F: Future<Output = Result<(), Error>>,
{
    let begun = clock::now();
    loop {
        let error = match ask().await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        let over = limit.is_some_and(|limit| clock::now() - begun >= limit);
        if over || !(error.retriable() || error.outcome_unknown()) {
            return Err(error);
        }
        tracing::warn!(chroot, %error, "the chroot is not there yet, trying on");
        tokio::time::sleep(PAUSE).await;
    }
}

impl Ports for Network {
    fn connect(
        &self,
        resume: Option<Credentials>,
    ) -> BoxFuture<'_, Result<Arc<dyn Port>, ConnectError>> {
        Box::pin(async move {
            let mut options = Options::new(self.config.endpoints.iter().cloned());
            options.chroot.clone_from(&self.config.chroot);
            options.session_timeout = self.config.session_timeout;
            options.disconnect_timeout = self.config.disconnect_timeout;
            if let Some(limit) = self.config.connection_timeout {
                options.connect_timeout = limit;
            }
            options.resume = resume;
            let (begun, limit) = (clock::now(), self.config.connection_timeout);
            loop {
                let ensemble = self.session(options.clone()).await?;
                let left = limit.map(|limit| limit.saturating_sub(clock::now() - begun));
                match self.make_chroot(&ensemble, left).await {
                    Ok(()) => return Ok(Arc::new(ensemble) as Arc<dyn Port>),
                    Err(Error::SessionExpired) if options.resume.is_none() => {}
                    Err(Error::NoAuth(path)) => {
                        // Waiting does not mend it.
                        let why = format!("creating the chroot: not allowed on {path}");
                        return Err(ConnectError::AuthFailed(why));
                    }
                    Err(error) => {
                        return Err(ConnectError::Unavailable {
                            waited_ms: u64::try_from((clock::now() - begun).as_millis())
                                .unwrap_or(u64::MAX),
                            failures: format!("creating the chroot: {error}"),
                        });
                    }
                }
            }
        })
    }
}

impl Port for Ensemble {
    fn multi(&self, ops: Vec<WriteOp>) -> BoxFuture<'_, MultiResult> {
        Box::pin(Ensemble::multi(self, ops))
    }

    fn fenced_batch(
        &self,
        fence: (String, i32),
        groups: Vec<Vec<WriteOp>>,
    ) -> BoxFuture<'_, Result<Batch<GroupResult>, Error>> {
        Box::pin(async move { Ensemble::fenced_batch(self, &fence.0, fence.1, groups).await })
    }

    fn get(&self, path: String) -> BoxFuture<'_, GetResult> {
        Box::pin(async move {
            match self.get_linearizable(&path).await {
                Ok(found) => Ok(Some(found)),
                Err(Error::NoNode(_)) => Ok(None),
                Err(error) => Err(error),
            }
        })
    }

    fn sync(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(Ensemble::sync(self))
    }

    fn watch(&self) -> Result<BoxStream<'static, WatchItem>, Error> {
        Ok(Box::pin(Ensemble::watch(self, "/", true)?))
    }

    fn credentials(&self) -> Credentials {
        Ensemble::credentials(self)
    }

    fn timeout(&self) -> Duration {
        Ensemble::timeout(self)
    }

    fn state(&self) -> watch::Receiver<SessionState> {
        Ensemble::state(self)
    }

    fn in_doubt(&self) -> bool {
        Ensemble::in_doubt(self)
    }

    fn close(&self) -> BoxFuture<'_, Result<(), Error>> {
        Box::pin(Ensemble::close(self.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it comes to, and how often it was asked.
    async fn asked(
        limit: Option<Duration>,
        answers: Vec<Result<(), Error>>,
    ) -> (Result<(), Error>, usize) {
        let (mut count, mut answers) = (0, answers.into_iter());
        let ask = || {
            count += 1;
            std::future::ready(
                answers
                    .next()
                    .unwrap_or_else(|| Err(Error::NotDone("no quorum".to_owned()))),
            )
        };
        (persistently("/kafka", limit, ask).await, count)
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_put_off_is_asked_for_again_and_what_is_refused_is_not() {
        let put_off = || Err(Error::NotDone("out of touch".to_owned()));
        let unknown = || Err(Error::OutcomeUnknown("lost".to_owned()));
        let none = || Err(Error::Unavailable("nobody".to_owned()));
        let done = asked(None, vec![put_off(), unknown(), none(), Ok(())]).await;
        assert_eq!(done, (Ok(()), 4));
        let refused = asked(None, vec![put_off(), Err(Error::SessionExpired)]).await;
        assert_eq!(refused, (Err(Error::SessionExpired), 2));
    }

    #[tokio::test]
    async fn a_limit_ends_it() {
        let (ended, count) = asked(Some(Duration::ZERO), Vec::new()).await;
        assert!(ended.is_err_and(|error| error.retriable()));
        assert_eq!(count, 1);
    }
}
