//! Keeps this broker in the tree: follows the tree over the session there is, and when that one
//! expires, fences what is led here, registers anew under a new epoch, and goes on.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zweig_client::ensemble::SessionState;

use crate::ensemble::cluster::Cluster;
use crate::ensemble::port::{Port, Ports};
use crate::ensemble::registration::{Registrar, register_anew};
use crate::ensemble::watcher::{DeltaInbox, WatchError, watch};
use crate::metadata::MetadataCache;
use crate::mutants::{self, Mutant};

use super::RunError;

/// Pause before a stream that ended is opened again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is needed to stay in the tree.
pub(super) struct Supervisor {
    pub(super) ports: Arc<dyn Ports>,
    pub(super) registrar: Registrar,
    pub(super) cluster: Cluster,
    pub(super) metadata: Arc<MetadataCache>,
    pub(super) inbox: Arc<DeltaInbox>,
}

impl Supervisor {
    /// Runs until `stop`, or until this broker cannot be in the tree any more. `fence` is called
    /// as soon as the session is known to have expired.
    pub(super) async fn run(
        self,
        fence: impl Fn() + Send + Sync,
        stop: CancellationToken,
    ) -> Result<(), RunError> {
        loop {
            let port = self.cluster.port();
            let expired = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                ended = self.follow(&*port) => {
                    ended?;
                    false
                }
                () = expired(&*port) => true,
            };
            if !expired {
                continue;
            }
            let former = self.cluster.registered();
            tracing::warn!(
                epoch = former.epoch,
                "the session expired; registering anew"
            );
            if !mutants::is(Mutant::ExpiredGoesOn) {
                fence();
            }
            let id = self.cluster.broker_id();
            let registering = register_anew(&*self.ports, &self.registrar, id, former.intact_since);
            let registered = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                registered = registering => registered?,
            };
            tracing::info!(epoch = registered.epoch, "registered anew");
            self.cluster.replace(registered);
        }
    }

    /// Follows the tree; an end of the stream is an error only if it says that this broker must
    /// not go on.
    async fn follow(&self, port: &dyn Port) -> Result<(), RunError> {
        match watch(port, &self.metadata, &self.inbox).await {
            Ok(()) => {}
            Err(error @ WatchError::ForeignController(_)) => return Err(error.into()),
            Err(error) => tracing::warn!(%error, "following the tree"),
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

/// Waits until the ensemble says that the session is gone.
async fn expired(port: &dyn Port) {
    let mut state = port.state();
    let gone = |s: &SessionState| matches!(s, SessionState::Expired | SessionState::Closed);
    if state.wait_for(gone).await.is_err() {
        // The session's task ended without a word: it cannot be told from an expired one.
        tracing::error!("the session's task ended");
    }
}
