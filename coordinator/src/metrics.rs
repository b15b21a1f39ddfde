//! Counters of one node, as `mntr` names them. Cheap enough to be counted always.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Since the node started.
#[derive(Debug)]
pub struct Metrics {
    packets_received: AtomicU64,
    packets_sent: AtomicU64,
    latency_count: AtomicU64,
    latency_sum_us: AtomicU64,
    latency_min_us: AtomicU64,
    latency_max_us: AtomicU64,
}

/// How long requests took from their arrival to the write of their answer, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// The shortest.
    pub min_ms: u64,
    /// The mean.
    pub avg_ms: f64,
    /// The longest.
    pub max_ms: u64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            packets_received: AtomicU64::new(0),
            packets_sent: AtomicU64::new(0),
            latency_count: AtomicU64::new(0),
            latency_sum_us: AtomicU64::new(0),
            latency_min_us: AtomicU64::new(u64::MAX),
            latency_max_us: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    /// So many frames came in.
    pub fn received(&self, packets: u64) {
        self.packets_received.fetch_add(packets, Ordering::Relaxed);
    }

    /// So many frames went out.
    pub fn sent(&self, packets: u64) {
        self.packets_sent.fetch_add(packets, Ordering::Relaxed);
    }

    /// A request was answered after `took`.
    pub fn answered(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency_count.fetch_add(1, Ordering::Relaxed);
        self.latency_sum_us.fetch_add(us, Ordering::Relaxed);
        self.latency_min_us.fetch_min(us, Ordering::Relaxed);
        self.latency_max_us.fetch_max(us, Ordering::Relaxed);
    }

    /// Counts from 0 again.
    pub fn reset(&self) {
        let Self {
            packets_received,
            packets_sent,
            latency_count,
            latency_sum_us,
            latency_min_us,
            latency_max_us,
        } = self;
        let zero = [
            packets_received,
            packets_sent,
            latency_count,
            latency_sum_us,
            latency_max_us,
        ];
        for counter in zero {
            counter.store(0, Ordering::Relaxed);
        }
        latency_min_us.store(u64::MAX, Ordering::Relaxed);
    }

    /// Frames that came in.
    pub fn packets_received(&self) -> u64 {
        self.packets_received.load(Ordering::Relaxed)
    }

    /// Frames that went out.
    pub fn packets_sent(&self) -> u64 {
        self.packets_sent.load(Ordering::Relaxed)
    }

    /// Of all requests so far; zeros before the first.
    pub fn latency(&self) -> Latency {
        let count = self.latency_count.load(Ordering::Relaxed);
        if count == 0 {
            return Latency {
                min_ms: 0,
                avg_ms: 0.0,
                max_ms: 0,
            };
        }
        let sum_us = self.latency_sum_us.load(Ordering::Relaxed);
        Latency {
            min_ms: self.latency_min_us.load(Ordering::Relaxed) / 1000,
            avg_ms: sum_us as f64 / count as f64 / 1000.0,
            max_ms: self.latency_max_us.load(Ordering::Relaxed) / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_of_all_requests() {
        let metrics = Metrics::default();
        assert_eq!(metrics.latency().max_ms, 0);
        metrics.answered(Duration::from_millis(2));
        metrics.answered(Duration::from_millis(4));
        let latency = metrics.latency();
        assert_eq!((latency.min_ms, latency.max_ms), (2, 4));
        assert!((latency.avg_ms - 3.0).abs() < 1e-9);
        metrics.reset();
        metrics.answered(Duration::from_millis(7));
        let latency = metrics.latency();
        assert_eq!((latency.min_ms, latency.max_ms), (7, 7));
    }
}
