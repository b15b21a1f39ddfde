//! What a leader sees to from time to time, with commands like any client's.
//!
//! - The bound of a znode's data is the one that its file says, if it says one (`jute.maxbuffer`).
//! - A container that has had children and has none is deleted (`znode.container.checkIntervalMs`).
//!
//! Called by `server`; asks the front door. Whoever leads no more does no harm: each command is decided
//! in `apply`, by what the state is then.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::consensus::{NotDone, Role};
use crate::request::FrontDoor;
use crate::state_machine::Op;
use crate::storage::{Store, StoreError};

/// How often a leader compares the replicated bound with its own file.
const LIMIT_PERIOD: Duration = Duration::from_millis(500);

/// Containers looked at in one turn under the publication lock, and deleted by one submission.
const CONTAINERS_PER_TURN: usize = 256;

/// Between two such turns: about ten thousand containers per minute are deleted at most, as in ZooKeeper.
const CONTAINER_PAUSE: Duration = Duration::from_millis(1500);

/// Starts the tasks; they end with `shutdown`.
pub(crate) fn start(
    door: &FrontDoor,
    config: &Config,
    shutdown: &CancellationToken,
) -> Vec<JoinHandle<()>> {
    let mut tasks = Vec::new();
    if let Some(wanted) = config.max_data_bytes {
        tasks.push(until(shutdown, keep_limits(door.clone(), wanted)));
    }
    let containers = check_containers(door.clone(), config.container_check);
    tasks.push(until(shutdown, containers));
    tasks
}

/// A turn that is broken off has left nothing half done.
fn until(
    shutdown: &CancellationToken,
    turns: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        shutdown.run_until_cancelled(turns).await;
    })
}

async fn keep_limits(door: FrontDoor, wanted: u32) {
    loop {
        keep_limit(&door, wanted);
        door.clock().sleep(LIMIT_PERIOD).await;
    }
}

/// Deletes containers that are done, for ever.
pub async fn check_containers(door: FrontDoor, period: Duration) {
    loop {
        delete_containers(&door).await;
        door.clock().sleep(period).await;
    }
}

fn leads(door: &FrontDoor) -> bool {
    door.status().role == Role::Leader
}

fn keep_limit(door: &FrontDoor, wanted: u32) {
    let present = door.read(|state| state.max_data_bytes());
    if present == wanted || !leads(door) {
        return;
    }
    tracing::info!(
        present,
        wanted,
        "the bound of a znode's data changes, bytes"
    );
    let max_data_bytes = wanted;
    if let Err(not_done) = door.propose(vec![Op::SetLimits { max_data_bytes }]) {
        tracing::info!(%not_done, "once more in a moment");
    }
}

async fn delete_containers(door: &FrontDoor) {
    if !leads(door) {
        return;
    }
    let containers = match door.read(|state| state.containers()) {
        Ok(containers) => containers,
        Err(error) => {
            tracing::error!(%error, "the containers cannot be read");
            return;
        }
    };
    for paths in containers.chunks(CONTAINERS_PER_TURN) {
        match delete_of(door, paths) {
            Ok(0) => {}
            Ok(deleted) => {
                tracing::debug!(deleted, "containers without children");
                door.clock().sleep(CONTAINER_PAUSE).await;
            }
            Err(Failed::Store(error)) => tracing::error!(%error, "a container cannot be read"),
            Err(Failed::NotDone(not_done)) => {
                tracing::info!(%not_done, "containers stay until the next time");
                return;
            }
        }
    }
}

enum Failed {
    Store(StoreError),
    NotDone(NotDone),
}

/// Asks to delete those of these containers that are done; how many.
fn delete_of(door: &FrontDoor, paths: &[std::sync::Arc<str>]) -> Result<usize, Failed> {
    let done = door.read(|state| -> Result<Vec<Op>, StoreError> {
        let mut done = Vec::new();
        for path in paths {
            let node = state.store().node(path)?;
            if node.is_some_and(|node| node.is_done_container()) {
                let path = path.to_string();
                done.push(Op::DeleteContainer { path });
            }
        }
        Ok(done)
    });
    let done = done.map_err(Failed::Store)?;
    let count = done.len();
    if count > 0 {
        door.propose(done).map_err(Failed::NotDone)?;
    }
    Ok(count)
}
