//! The one place of the command that reads the clock.

use std::time::{Duration, Instant};

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
