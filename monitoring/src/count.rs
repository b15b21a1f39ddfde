//! What is counted while nobody looks: a relaxed atomic per number.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Only grows, from 0 at the start of the process.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    /// How many.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of a histogram's buckets, microseconds; one bucket more is for what is longer.
pub const BOUNDS_US: [u64; 15] = [
    250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

const BUCKETS: usize = BOUNDS_US.len() + 1;

/// How long things took. Two additions for each.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Durations {
    /// How many took no longer than each of [`BOUNDS_US`].
    pub at_most: [u64; BOUNDS_US.len()],
    /// How many there are.
    pub count: u64,
    /// How long all of them took together, microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Something took so long.
    pub fn observe(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was observed so far. What is observed meanwhile may be in the sum and not in the count.
    pub fn get(&self) -> Durations {
        let mut count = 0;
        let mut at_most = [0; BOUNDS_US.len()];
        for (bucket, total) in self.buckets.iter().zip(&mut at_most) {
            count += bucket.load(Ordering::Relaxed);
            *total = count;
        }
        Durations {
            at_most,
            count: count + self.buckets[BOUNDS_US.len()].load(Ordering::Relaxed),
            sum_us: self.sum_us.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_in_every_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for us in [0, 250, 251, 10_000_000, 10_000_001] {
            histogram.observe(Duration::from_micros(us));
        }
        let seen = histogram.get();
        assert_eq!(seen.at_most[0], 2, "up to and with the bound");
        assert_eq!(seen.at_most[1], 3);
        assert_eq!(seen.at_most[BOUNDS_US.len() - 1], 4);
        assert_eq!(seen.count, 5);
        assert_eq!(seen.sum_us, 20_000_502);
    }

    #[test]
    fn bounds_grow() {
        assert!(BOUNDS_US.windows(2).all(|pair| pair[0] < pair[1]));
    }
}
