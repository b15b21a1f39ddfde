//! Performs what the controller decides. One task per broker:
//!
//! ```text
//!   no controller ──▶ stand for election ──▶ image shows who won
//!   this session ───▶ term: decide ─▶ fenced batches ─▶ image reaches their zxid ─▶ decide …
//!   another one ────▶ wait for the image to change
//! ```
//!
//! A term is one election, named by the czxid of `/controller`. It acts only from images that show
//! that very znode, so the image has reached the zxid of the election. Every write is fenced by
//! the version of `/controller_epoch` in those images and conditional on what it was decided from;
//! what fails is decided again from an image that has reached the batch's zxid.
//!
//! Nothing is decided while a batch is on its way: an image never lags behind our own writes when
//! we look at it.

mod batch;
mod candidacy;
mod perform;

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use zweig_client::ensemble::SessionState;

use crate::config::ControllerConfig;
use crate::ensemble::cluster::Cluster;
use crate::ensemble::watcher::DeltaInbox;
use crate::metadata::{Delta, Image, MetadataCache};
use crate::metrics::Metrics;

use super::action::Action;
use super::decide::Controller;

use perform::{Performed, perform};

/// Pause after a write that was refused or whose fate is unknown, before things are looked at
/// again.
const PAUSE: Duration = Duration::from_millis(100);
/// How long to wait for news before looking whether the session still lives.
const LOOK: Duration = Duration::from_secs(1);

/// The controller's hands.
pub struct Drive {
    /// Session and broker id.
    pub cluster: Cluster,
    /// Images.
    pub metadata: Arc<MetadataCache>,
    /// What changed in them.
    pub inbox: Arc<DeltaInbox>,
    /// Settings.
    pub config: ControllerConfig,
    /// Where it is counted what records may have cost.
    pub metrics: Arc<Metrics>,
}

/// One election that this broker won.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term {
    session: i64,
    czxid: i64,
    epoch: i32,
    fence: i32,
}

impl Drive {
    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut changed = self.metadata.changed();
        loop {
            changed.mark_seen();
            let port = self.cluster.port();
            let image = self.metadata.image();
            let registered = image.broker_epoch(self.cluster.broker_id());
            // An image may be behind the end of the session: then there is nothing to do but wait for a newer one.
            if let Some(term) = self.term(&image).filter(|_| self.alive()) {
                tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    () = self.lead(term) => {}
                }
                continue;
            }
            if image.controller.is_none() && registered == Some(self.cluster.broker_epoch()) {
                let stood = candidacy::stand(&*port, &image, self.cluster.broker_id()).await;
                if let Err(error) = stood {
                    tracing::warn!(%error, "standing for controller failed");
                }
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                _ = tokio::time::timeout(LOOK, changed.changed()) => {}
            }
        }
    }

    /// The term this broker is in by an image, if it is the controller.
    fn term(&self, image: &Image) -> Option<Term> {
        let controller = image.controller?;
        let fence = image.controller_epoch?;
        let session = self.cluster.port().credentials().session;
        let ours = image.controller_marker == Some(controller.czxid);
        (controller.session == session && ours).then_some(Term {
            session,
            czxid: controller.czxid,
            epoch: fence.epoch,
            fence: fence.version,
        })
    }

    /// Acts as controller until an image says that another one is, or the session ends.
    async fn lead(&self, term: Term) {
        tracing::info!(epoch = term.epoch, "this broker is the controller");
        let controller = Controller {
            epoch: term.epoch,
            unclean_default: self.config.unclean_leader_election,
        };
        let mut redo = Delta::everything();
        let mut rebalance = tokio::time::interval(self.config.leader_imbalance_check_interval);
        rebalance.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        rebalance.reset();
        let mut balance = false;
        loop {
            // First the delta, then the image: the image is then never older.
            redo.merge(self.inbox.take());
            let image = self.metadata.image();
            if self.term(&image) != Some(term) || !self.alive() {
                tracing::info!(
                    epoch = term.epoch,
                    "this broker is no longer the controller"
                );
                return;
            }
            let mut actions = controller.decide(&image, &redo);
            if std::mem::take(&mut balance) && actions.is_empty() {
                let percentage = self.config.leader_imbalance_percentage;
                actions = controller.rebalance(&image, percentage);
            }
            redo = Delta::default();
            if actions.is_empty() {
                tokio::select! {
                    biased;
                    () = self.inbox.arrived() => {}
                    _ = rebalance.tick() => balance = self.config.auto_leader_rebalance,
                    () = tokio::time::sleep(LOOK) => {}
                }
                continue;
            }
            redo = self.act(term, &actions).await;
        }
    }

    fn alive(&self) -> bool {
        let state = *self.cluster.port().state().borrow();
        matches!(state, SessionState::Connected | SessionState::Disconnected)
    }

    /// Performs actions, waits until the image shows them, and returns what is to be decided
    /// again.
    async fn act(&self, term: Term, actions: &[Action]) -> Delta {
        log(actions);
        let unclean = actions.iter().filter(|action| action.may_lose_records());
        self.metrics.unclean_elections.add(unclean.count() as u64);
        let port = self.cluster.port();
        let Performed {
            redo,
            zxid,
            troubled,
        } = perform(&*port, term.fence, actions).await;
        if troubled {
            tokio::time::sleep(PAUSE).await;
        }
        // The stream may be of another node that is behind.
        while self.alive() {
            let reached = |image: &Image| image.zxid >= zxid;
            if self.metadata.wait_for(LOOK, reached).await.is_ok() {
                break;
            }
        }
        redo
    }
}

fn log(actions: &[Action]) {
    use super::action::Why;
    for action in actions {
        match action {
            Action::SetState {
                topic,
                partition,
                state,
                why,
                ..
            } => {
                let (leader, epoch) = (state.leader.unwrap_or(-1), state.leader_epoch);
                match why {
                    Why::LongestLog => tracing::error!(
                        %topic, partition, leader, epoch,
                        "no replica can vouch for its log; the longest one leads. Records that \
                         were acknowledged may be lost if power failed on all replicas at once"
                    ),
                    Why::Unclean => tracing::error!(
                        %topic, partition, leader, epoch,
                        "a replica out of sync leads, as {topic} allows or an operator asked; records are lost"
                    ),
                    Why::NoLeader => {
                        tracing::warn!(%topic, partition, isr = ?state.isr, "no replica may lead");
                    }
                    _ => tracing::info!(
                        %topic, partition, leader, epoch, isr = ?state.isr, ?why, "new state"
                    ),
                }
            }
            Action::CreateState {
                topic, partition, ..
            } => tracing::debug!(%topic, partition, "creating the partition"),
            other => tracing::info!(action = ?other, "as controller"),
        }
    }
}

#[cfg(test)]
mod tests;
