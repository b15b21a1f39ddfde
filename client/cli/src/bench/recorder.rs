//! What was measured, as it is measured: a histogram per kind of operation, and a count per slice of time.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Of a run's time line.
pub const SLICE: Duration = Duration::from_millis(100);
/// Nothing is told apart above it.
const LONGEST: Duration = Duration::from_secs(600);
const QUANTILES: [f64; 9] = [0.0, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999, 1.0];

/// An empty histogram of nanoseconds, three digits exact (HdrHistogram).
pub fn histogram() -> Histogram<u64> {
    let longest = u64::try_from(LONGEST.as_nanos()).unwrap_or(u64::MAX);
    Histogram::new_with_bounds(1, longest, 3).expect("the bounds are constants, and fit")
}

/// Records, and bytes of their keys and values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Volume {
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

impl AddAssign for Volume {
    fn add_assign(&mut self, other: Self) {
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// What one thread measured.
#[derive(Debug, Clone, Default)]
pub struct Recorder {
    kinds: BTreeMap<&'static str, Histogram<u64>>,
    slices: Vec<u64>,
    /// What was moved.
    pub volume: Volume,
    /// Refused for a while, and sent again.
    pub refused: u64,
    /// Without an answer because their connection was lost.
    pub unknown: u64,
    /// Connections that were lost.
    pub lost_connections: u64,
    /// Seconds of processor time that the servers used; of a whole run, so threads leave it open and [`Self::merge`] alone.
    pub server_cpu_seconds: Option<f64>,
}

impl Recorder {
    /// An answer that came `since_start` after measuring began, and took `latency`.
    pub fn record(&mut self, kind: &'static str, since_start: Duration, latency: Duration) {
        self.latencies(kind, [latency]);
        self.count(since_start, 1);
    }

    /// Latencies that are told without being counted in the run's time line.
    pub fn latencies(&mut self, kind: &'static str, latencies: impl IntoIterator<Item = Duration>) {
        let histogram = self.kinds.entry(kind).or_insert_with(histogram);
        for latency in latencies {
            let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            histogram.saturating_record(nanos);
        }
    }

    /// Counts in the run's time line what came `since_start` after measuring began.
    pub fn count(&mut self, since_start: Duration, count: u64) {
        let slice =
            usize::try_from(since_start.as_nanos() / SLICE.as_nanos()).unwrap_or(usize::MAX);
        // Bounded by the time of the run; anything else is a clock that jumped, and not worth the memory.
        if slice < 1 << 20 {
            if slice >= self.slices.len() {
                self.slices.resize(slice + 1, 0);
            }
            self.slices[slice] += count;
        }
    }

    /// Takes in what another thread measured.
    pub fn merge(&mut self, other: &Recorder) {
        for (kind, theirs) in &other.kinds {
            let ours = self.kinds.entry(kind).or_insert_with(histogram);
            ours.add(theirs)
                .expect("all histograms have the same bounds");
        }
        if self.slices.len() < other.slices.len() {
            self.slices.resize(other.slices.len(), 0);
        }
        for (ours, theirs) in self.slices.iter_mut().zip(&other.slices) {
            *ours += theirs;
        }
        self.volume += other.volume;
        self.refused += other.refused;
        self.unknown += other.unknown;
        self.lost_connections += other.lost_connections;
    }

    /// Answers, all kinds together.
    pub fn operations(&self) -> u64 {
        self.kinds.values().map(Histogram::len).sum()
    }

    /// Answers, or records, in each [`SLICE`].
    pub fn slices(&self) -> &[u64] {
        &self.slices
    }

    /// The longest time in which nothing was answered, to a [`SLICE`], within `length`.
    pub fn longest_silence(&self, length: Duration) -> Duration {
        let slices = usize::try_from(length.as_nanos() / SLICE.as_nanos()).unwrap_or(usize::MAX);
        let (mut longest, mut current) = (0, 0);
        for slice in 0..slices.min(1 << 20) {
            let silent = self.slices.get(slice).is_none_or(|&answers| answers == 0);
            current = if silent { current + 1 } else { 0 };
            longest = longest.max(current);
        }
        SLICE * longest
    }

    /// Per kind, and over all kinds if there are several.
    pub fn summaries(&self, length: Duration) -> Vec<Summary> {
        let mut summaries: Vec<Summary> = self
            .kinds
            .iter()
            .map(|(kind, histogram)| Summary::of(kind, histogram, length))
            .collect();
        if self.kinds.len() > 1 {
            let mut all = histogram();
            for histogram in self.kinds.values() {
                all.add(histogram)
                    .expect("all histograms have the same bounds");
            }
            summaries.push(Summary::of("all", &all, length));
        }
        summaries
    }
}

/// Rates and latencies of one kind of operation.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The kind, or "all".
    pub kind: String,
    /// Answers.
    pub operations: u64,
    /// Answers per second.
    pub per_second: f64,
    /// Of the latencies, in microseconds.
    pub mean_us: f64,
    /// Pairs of a share (0 to 1) and the latency in microseconds that so many did not exceed.
    pub quantiles_us: Vec<(f64, f64)>,
}

impl Summary {
    fn of(kind: &str, histogram: &Histogram<u64>, length: Duration) -> Self {
        let operations = histogram.len();
        Self {
            kind: kind.to_owned(),
            operations,
            per_second: as_f64(operations) / length.as_secs_f64(),
            mean_us: histogram.mean() / 1e3,
            quantiles_us: QUANTILES
                .iter()
                .map(|&share| (share, as_f64(histogram.value_at_quantile(share)) / 1e3))
                .collect(),
        }
    }

    /// The latency in microseconds that this share did not exceed, if it is one of those that are kept.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let kept = self
            .quantiles_us
            .iter()
            .find(|(of, _)| (of - share).abs() < 1e-9);
        kept.map(|(_, us)| *us)
    }
}

/// For rates and means, where the last of 53 bits does not matter.
#[allow(clippy::cast_precision_loss, reason = "figures for people")]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn threads_are_added_up() {
        let (mut one, mut other) = (Recorder::default(), Recorder::default());
        one.record("read", ms(10), ms(1));
        other.record("read", ms(20), ms(3));
        other.record("write", ms(350), ms(9));
        one.merge(&other);
        assert_eq!(one.operations(), 3);
        assert_eq!(one.slices(), [2, 0, 0, 1]);
        let summaries = one.summaries(ms(1000));
        let kinds: Vec<&str> = summaries.iter().map(|s| s.kind.as_str()).collect();
        assert_eq!(kinds, ["read", "write", "all"]);
        assert!((summaries[2].per_second - 3.0).abs() < 1e-9);
        let median = summaries[2].quantile(0.5).expect("the median is kept");
        assert!((2_990.0..3_010.0).contains(&median), "{median}");
    }

    #[test]
    fn silence_counts_up_to_the_end() {
        let mut recorder = Recorder::default();
        recorder.record("write", ms(50), ms(1));
        recorder.record("write", ms(450), ms(1));
        assert_eq!(recorder.longest_silence(ms(500)), ms(300));
        assert_eq!(recorder.longest_silence(ms(1500)), ms(1000));
    }
}
