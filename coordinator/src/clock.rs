//! The only clock of this package. Everything else is handed the time, or a [`Clock`].
#![allow(clippy::disallowed_methods, reason = "this is the one clock")]

use std::pin::Pin;
use std::time::{Duration, Instant, SystemTime};

/// A point in time that only moves forward; for measuring how long something took.
pub fn now() -> Instant {
    Instant::now()
}

/// Milliseconds since 1970 by the system's clock, which may jump.
pub fn wall_clock_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.unwrap_or(Duration::ZERO).as_millis()).unwrap_or(i64::MAX)
}

/// Ends when some time has gone by.
pub type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Time for what waits: the system's, or a simulation's.
pub trait Clock: Send + Sync {
    /// As [`now`].
    fn now(&self) -> Instant;
    /// As [`wall_clock_ms`].
    fn wall_clock_ms(&self) -> i64;
    /// Ends after `length`.
    fn sleep(&self, length: Duration) -> Sleep;
}

/// What `future` comes to, unless that takes longer than `length`.
pub async fn timeout<F: Future>(
    clock: &dyn Clock,
    length: Duration,
    future: F,
) -> Option<F::Output> {
    tokio::select! {
        biased;
        output = future => Some(output),
        () = clock.sleep(length) => None,
    }
}

/// The system's.
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        now()
    }

    fn wall_clock_ms(&self) -> i64 {
        wall_clock_ms()
    }

    fn sleep(&self, length: Duration) -> Sleep {
        Box::pin(tokio::time::sleep(length))
    }
}
