//! The broker's only clock. Everything else is told the time; shells that must look at it look
//! here, so that a search for this file's functions finds every place where time enters.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Milliseconds since 1970, UTC; for record timestamps and retention. May jump.
#[must_use]
pub fn wall_ms() -> i64 {
    #[cfg(feature = "sim")]
    if let Some(ms) = crate::sim::with(|world| world.wall_ms()) {
        return ms;
    }
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Never goes back; stands still while the machine is suspended. For deadlines of this process.
#[must_use]
pub fn now() -> Instant {
    #[cfg(feature = "sim")]
    if crate::sim::machine().is_some() {
        return tokio::time::Instant::now().into_std();
    }
    Instant::now()
}

/// Time since the machine was started, suspension included. For judging how old knowledge that
/// came from others is, above all the renewal of the broker's session.
#[must_use]
pub fn since_boot() -> Duration {
    #[cfg(feature = "sim")]
    if let Some(since) = crate::sim::with(|world| world.since_boot()) {
        return since;
    }
    let time = clock_gettime(ClockId::Boottime);
    let secs = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(secs, nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_run() {
        let (wall, boot) = (wall_ms(), since_boot());
        assert!(wall > 1_600_000_000_000);
        assert!(boot > Duration::ZERO && since_boot() >= boot);
    }
}
