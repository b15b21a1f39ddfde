//! The one place of this package that reads the clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// The monotonic time. Taken from tokio, so that a paused test clock governs it too.
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock of the package"
)]
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Time since the machine booted, which goes on while it is suspended.
#[must_use]
pub fn boot_time() -> Duration {
    let now = clock_gettime(ClockId::Boottime);
    Duration::new(
        now.tv_sec.unsigned_abs(),
        u32::try_from(now.tv_nsec).unwrap_or_default(),
    )
}

/// Milliseconds since the epoch, for record timestamps; 0 if the system clock stands before it.
#[must_use]
#[allow(
    clippy::disallowed_methods,
    reason = "this is the clock of the package"
)]
pub fn unix_ms() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
