//! The only clock of this package. Everything else is handed the time.
#![allow(clippy::disallowed_methods, reason = "this is the one clock")]

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
