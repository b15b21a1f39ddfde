//! Lines of the log that are about one client each: so many in a second and no more. A storm of clients must neither
//! hold up a node that writes lines for it, nor hide what else the node says.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// In which at most [`LINES`] are written.
const SECOND: Duration = Duration::from_secs(1);
/// See [`SECOND`].
const LINES: u32 = 100;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Sparing(Mutex<Lines>);

#[derive(Debug, Default)]
struct Lines {
    since: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Sparing {
    /// Whether a line is to be written at this time. Says before it how many were not.
    pub(super) fn may_tell(&self, now: Instant) -> bool {
        let asked = self.ask(now);
        if let Some(lines) = asked.filter(|lines| *lines > 0) {
            tracing::info!(
                lines,
                "were left out, as there were too many about single clients"
            );
        }
        asked.is_some()
    }

    /// Whether a line is to be written; and then, how many were left out since the one before.
    fn ask(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock();
        if lines.since.is_none_or(|since| now >= since + SECOND) {
            (lines.since, lines.written) = (Some(now), 0);
        }
        if lines.written == LINES {
            lines.left_out += 1;
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_is_counted_and_told_by_the_next_line() {
        let (sparing, begin) = (Sparing::default(), crate::clock::now());
        let told = (0..250).filter(|_| sparing.ask(begin) == Some(0)).count();
        assert_eq!(told, 100);
        assert_eq!(sparing.ask(begin + SECOND / 2), None);
        assert_eq!(sparing.ask(begin + SECOND), Some(151));
        assert_eq!(sparing.ask(begin + SECOND), Some(0));
    }
}
