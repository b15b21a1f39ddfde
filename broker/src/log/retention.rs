//! Which segments may go, by `retention.ms`, `retention.bytes` and the log's start offset.
//!
//! Pure: `store::log` describes its segments, this says how many of the oldest to delete. A segment
//! goes as a whole, oldest first; no record at or above the high watermark goes. Topics whose policy is only `compact` lose nothing here, except what lies before the
//! start offset.

use super::config::LogConfig;

/// A closed or active segment, as far as retention cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentFacts {
    /// First offset it can hold.
    pub base_offset: i64,
    /// First offset of the next segment, or the log's end.
    pub next_offset: i64,
    /// Bytes of its log file.
    pub size_bytes: u64,
    /// Largest timestamp in it, the file's time of change where it has none.
    pub largest_timestamp_ms: i64,
}

/// How many of the oldest segments may go. `segments` holds all, the active one last; where that one
/// may go too, the caller puts an empty one behind it first.
pub fn deletable(
    segments: &[SegmentFacts],
    config: &LogConfig,
    log_start_offset: i64,
    high_watermark: i64,
    now_ms: i64,
) -> usize {
    let by_time = config.cleanup_policy.delete && config.retention_ms >= 0;
    let by_size = config.cleanup_policy.delete && config.retention_bytes >= 0;
    let total: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
    let mut excess = total.saturating_sub(config.retention_bytes.max(0) as u64);
    for (at, segment) in segments.iter().enumerate() {
        let active = at + 1 == segments.len();
        if segment.next_offset > high_watermark || (active && segment.size_bytes == 0) {
            return at;
        }
        let passed = !active && segment.next_offset <= log_start_offset;
        let age_ms = now_ms.saturating_sub(segment.largest_timestamp_ms);
        let old = by_time && age_ms > config.retention_ms;
        let surplus = by_size && excess > 0 && excess >= segment.size_bytes;
        if !(passed || old || surplus) {
            return at;
        }
        excess = excess.saturating_sub(segment.size_bytes);
    }
    segments.len()
}

#[cfg(test)]
mod tests {
    use super::super::config::CleanupPolicy;
    use super::*;

    fn segments(count: i64) -> Vec<SegmentFacts> {
        (0..count)
            .map(|at| SegmentFacts {
                base_offset: at * 10,
                next_offset: at * 10 + 10,
                size_bytes: 100,
                largest_timestamp_ms: at * 1000,
            })
            .collect()
    }

    fn keep_all() -> LogConfig {
        LogConfig {
            retention_ms: -1,
            retention_bytes: -1,
            ..LogConfig::default()
        }
    }

    #[test]
    fn by_time_size_and_start_offset() {
        let all = segments(5);
        assert_eq!(deletable(&all, &keep_all(), 0, 50, i64::MAX), 0);
        let time = LogConfig {
            retention_ms: 1000,
            ..keep_all()
        };
        assert_eq!(deletable(&all, &time, 0, 50, 2001), 2);
        let size = LogConfig {
            retention_bytes: 250,
            ..keep_all()
        };
        assert_eq!(deletable(&all, &size, 0, 50, 0), 2);
        assert_eq!(deletable(&all, &keep_all(), 25, 50, 0), 2);
        assert_eq!(deletable(&all, &keep_all(), 30, 50, 0), 3);
    }

    #[test]
    fn the_active_segment_last_and_nothing_above_the_high_watermark() {
        let mut all = segments(5);
        let none = LogConfig {
            retention_bytes: 0,
            retention_ms: 0,
            ..keep_all()
        };
        assert_eq!(deletable(&all, &none, 0, 50, i64::MAX), 5);
        assert_eq!(deletable(&all, &keep_all(), 50, 50, i64::MAX), 4);
        all[4].size_bytes = 0;
        assert_eq!(deletable(&all, &none, 0, 50, i64::MAX), 4);
        assert_eq!(deletable(&all, &none, 0, 29, i64::MAX), 2);
        assert_eq!(deletable(&[], &none, 0, 0, 0), 0);
    }

    #[test]
    fn compacted_topics_keep_their_records() {
        let config = LogConfig {
            retention_bytes: 0,
            retention_ms: 0,
            cleanup_policy: CleanupPolicy {
                delete: false,
                compact: true,
            },
            ..LogConfig::default()
        };
        assert_eq!(deletable(&segments(5), &config, 0, 50, i64::MAX), 0);
    }
}
