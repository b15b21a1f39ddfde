//! A produce with `acks=all`: all its appends wait for their high watermarks together.

use crate::replica::hosted::{Committing, Partition, PartitionError};
use futures::future::join_all;
use std::sync::Arc;
use tokio::time::Instant;

/// Waits for each append to be committed, or not, until the deadline. Outcomes come in the order given; `ended` is told of each by
/// its place, as soon as it is there.
pub async fn committed(
    appends: &[(Arc<Partition>, Committing)],
    deadline: Instant,
    ended: impl Fn(usize, &Result<(), PartitionError>),
) -> Vec<Result<(), PartitionError>> {
    let ended = &ended;
    let one = |at: usize| async move {
        let (partition, append) = &appends[at];
        let outcome = partition.committed(append, deadline).await;
        ended(at, &outcome);
        outcome
    };
    match appends {
        [] => Vec::new(),
        [_] => vec![one(0).await],
        many => join_all((0..many.len()).map(one)).await,
    }
}
