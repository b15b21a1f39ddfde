//! A broker whose disk stays full hands its leaderships over, where others are in sync: producers that it would
//! go on refusing are served there. It asks as a broker does that stops, and takes that back once there is room;
//! then it catches up and joins the in-sync replicas again.
//!
//! If nobody else can lead a partition, the election leaves it here, and it can still be read.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::ensemble::cluster::Cluster;
use crate::metadata::MetadataCache;
use crate::replica::hosted::ReplicaManager;

/// So long a directory may be full before leaderships move: retention, or an operator, may make room.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Asks for relief while some log directory stays full, until `stop`.
pub(super) async fn run(
    cluster: Cluster,
    metadata: Arc<MetadataCache>,
    replicas: Arc<ReplicaManager>,
    stop: CancellationToken,
) {
    let mut asked = false;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let full_for = replicas.full_for();
        let full = full_for.is_some_and(|passed| passed >= PATIENCE);
        // A new registration knows nothing of what the former one asked.
        let told = metadata.image().is_stopping(cluster.broker_id());
        let done = match (full, asked) {
            (true, _) if !told => {
                if !asked {
                    tracing::error!(
                        ?full_for,
                        "the disk stays full: leaderships go to other replicas in sync"
                    );
                }
                asked = true;
                cluster.ask_relief().await
            }
            (false, true) if full_for.is_none() => {
                tracing::info!("there is room again: this broker may lead again");
                let ended = cluster.end_relief().await;
                asked = ended.is_err();
                ended
            }
            _ => Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "asking for relief, or taking it back");
        }
    }
}
