//! Follows the watch stream of one session and stores the images folded from it. One task per
//! session; it ends with the session, and the next one begins with the whole subtree.

use futures::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::Notify;
use zweig_client::ensemble::Error;

use crate::metadata::{Delta, MetadataCache};

use super::fold::{Fold, Folded};
use super::port::Port;

/// What changed since it was last taken; whoever is slow finds several deltas merged. Bounded by
/// the size of the cluster.
#[derive(Debug, Default)]
pub struct DeltaInbox {
    delta: Mutex<Delta>,
    arrived: Notify,
}

impl DeltaInbox {
    /// Takes what has gathered; empty if nothing has.
    pub fn take(&self) -> Delta {
        std::mem::take(&mut self.delta.lock())
    }

    /// Puts back, or adds.
    pub fn put(&self, delta: Delta) {
        self.delta.lock().merge(delta);
        self.arrived.notify_one();
    }

    /// Waits for a delta; may wake without one.
    pub async fn arrived(&self) {
        self.arrived.notified().await;
    }
}

/// Why a watcher ended.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The stream could not be opened.
    #[error("the tree cannot be watched: {0}")]
    Refused(#[from] Error),
    /// The stream ended: no server serves it any more.
    #[error("the watch stream ended")]
    Ended,
    /// A broker of another implementation became controller.
    #[error("/controller is now held by broker {0} of another implementation")]
    ForeignController(i32),
}

/// Folds the stream into the cache until it ends.
///
/// # Errors
/// [`WatchError`] says why it ended; it always does so with one.
pub async fn watch(
    port: &dyn Port,
    cache: &MetadataCache,
    inbox: &DeltaInbox,
) -> Result<(), WatchError> {
    let mut items = port.watch()?;
    let mut fold = Fold::default();
    // Of images that were older than the one in the cache: this node lagged behind.
    let mut pending = Delta::default();
    while let Some(item) = items.next().await {
        let Some(folded) = fold.push(item) else {
            continue;
        };
        let Folded {
            image,
            delta,
            problems,
        } = folded;
        for problem in problems {
            tracing::error!(%problem, "a znode cannot be read and is left out");
        }
        if let Some(broker) = image.foreign_controller() {
            return Err(WatchError::ForeignController(broker));
        }
        pending.merge(delta);
        let changed = !pending.is_empty();
        if cache.store(image, changed) && changed {
            inbox.put(std::mem::take(&mut pending));
        }
    }
    Err(WatchError::Ended)
}
