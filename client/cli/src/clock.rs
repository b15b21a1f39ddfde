//! The one place of the command that reads the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic time.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock of the package"
)]
pub fn now() -> Instant {
    Instant::now()
}

/// Time passed since `then`.
pub fn elapsed(then: Instant) -> Duration {
    now().saturating_duration_since(then)
}

/// Milliseconds since the epoch, for record timestamps; 0 if the system clock stands before it.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock of the package"
)]
pub fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
