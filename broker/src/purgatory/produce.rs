//! A produce with `acks=all`: all its appends wait for their high watermarks together.

use crate::replica::hosted::{Committing, Partition, PartitionError};
use futures::future::join_all;
use std::sync::Arc;
use tokio::time::Instant;

/// Waits for each append to be committed, or not, until the deadline. Outcomes come in the order given.
pub async fn committed(
    appends: &[(Arc<Partition>, Committing)],
    deadline: Instant,
) -> Vec<Result<(), PartitionError>> {
    match appends {
        [] => Vec::new(),
        [(partition, append)] => vec![partition.committed(append, deadline).await],
        many => {
            join_all(
                many.iter()
                    .map(|(partition, append)| partition.committed(append, deadline)),
            )
            .await
        }
    }
}
