//! The clocks of one machine: both run a little too fast or too slow, and the wall's may be set.

use zweig_coordinator::consensus::node::Now;

const ERA_MS: i64 = 1_700_000_000_000;

/// Of one member; the forward one begins with each of its lives.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// How wrong the wall clock is, milliseconds.
    pub skew_ms: i64,
    /// Millionths by which both run too fast.
    drift: i64,
    /// True time and forward clock when the drift, or this life, began.
    since_us: u64,
    base_us: u64,
}

impl Clock {
    pub fn new(skew_ms: i64, drift: i64) -> Self {
        Self {
            skew_ms,
            drift,
            since_us: 0,
            base_us: 0,
        }
    }

    /// A life begins.
    pub fn boot(&mut self, now_us: u64) {
        (self.since_us, self.base_us) = (now_us, 0);
    }

    /// From now on it drifts otherwise.
    pub fn set_drift(&mut self, now_us: u64, drift: i64) {
        self.base_us = self.forward_us(now_us);
        self.since_us = now_us;
        self.drift = drift;
    }

    fn forward_us(&self, now_us: u64) -> u64 {
        let true_us = now_us.saturating_sub(self.since_us) as i64;
        self.base_us + (true_us + true_us * self.drift / 1_000_000) as u64
    }

    /// What it shows.
    pub fn now(&self, now_us: u64) -> Now {
        let wall_us = now_us as i64 + now_us as i64 * self.drift / 1_000_000;
        Now {
            ms: self.forward_us(now_us) / 1_000,
            wall_ms: ERA_MS + self.skew_ms + wall_us / 1_000,
        }
    }

    /// True time in which it counts so much.
    pub fn true_us(&self, us: u64) -> u64 {
        (us as i64 - us as i64 * self.drift / 1_000_000).max(1) as u64
    }
}
