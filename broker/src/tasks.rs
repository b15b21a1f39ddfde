//! Tasks and blocking work. Every spawn of this package passes through here, so that the simulator can bind what
//! one broker runs to one machine: all of it is dropped at its await points when that machine crashes, and none
//! of it is polled while the machine stands still. Without the simulator this is tokio, and nothing else.

use std::future::Future;

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinHandle};

/// Binds a future to the broker that makes it.
pub fn bound<F>(future: F) -> impl Future<Output = F::Output> + Send + 'static
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    #[cfg(feature = "sim")]
    return crate::sim::bound(future);
    #[cfg(not(feature = "sim"))]
    future
}

/// A task on the caller's runtime.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(bound(future))
}

/// A task on a certain runtime.
pub fn spawn_on<F>(runtime: &Handle, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    runtime.spawn(bound(future))
}

/// Runs work that waits for a disk, where no task waits for it.
///
/// # Errors
/// If the work panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(feature = "sim")]
    let work = match crate::sim::slowly(work).await {
        crate::sim::Slowly::Done(done) => return Ok(done),
        crate::sim::Slowly::NotSimulated(work) => work,
    };
    tokio::task::spawn_blocking(work).await
}

/// As [`blocking`], and nobody waits for its end.
pub fn begin_blocking(runtime: &Handle, work: impl FnOnce() + Send + 'static) {
    #[cfg(feature = "sim")]
    if crate::sim::machine().is_some() {
        let slow = async move {
            // Only work outside of a simulation comes back.
            let _ = crate::sim::slowly(work).await;
        };
        drop(spawn_on(runtime, slow));
        return;
    }
    drop(runtime.spawn_blocking(work));
}
