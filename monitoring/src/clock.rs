//! The only place that reads the clock, for the times of spans: none is made where time is not real.

use std::time::SystemTime;

/// The time of day.
#[must_use]
pub fn now() -> SystemTime {
    #[expect(clippy::disallowed_methods, reason = "the one place")]
    SystemTime::now()
}
