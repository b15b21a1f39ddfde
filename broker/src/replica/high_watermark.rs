//! The high watermark: the offset below which every in-sync replica holds every record.

use crate::mutants::{self, Mutant};

/// The new high watermark: the smallest of the ends that count, but never less than before and never
/// more than the leader's own end. An end of `None` is a replica that has told nothing yet: nothing
/// moves until it does.
#[must_use]
pub fn advance(current: i64, own_end: i64, others: impl IntoIterator<Item = Option<i64>>) -> i64 {
    if mutants::is(Mutant::HighWatermarkOfFastest) {
        let told = others.into_iter().flatten().max();
        return current.max(told.map_or(own_end, |end| end.min(own_end)));
    }
    let mut smallest = own_end;
    for end in others {
        match end {
            Some(end) => smallest = smallest.min(end),
            None => return current,
        }
    }
    current.max(smallest)
}

/// A follower's high watermark: the leader's, as far as its own log reaches.
#[must_use]
pub fn of_follower(current: i64, leader_high_watermark: i64, log_end: i64) -> i64 {
    current.max(leader_high_watermark).min(log_end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smallest_end_counts_and_it_never_goes_back() {
        assert_eq!(advance(3, 10, []), 10);
        assert_eq!(advance(3, 10, [Some(7), Some(5)]), 5);
        assert_eq!(advance(3, 10, [Some(2)]), 3);
        assert_eq!(advance(3, 10, [Some(7), None]), 3);
        assert_eq!(of_follower(3, 9, 5), 5);
        assert_eq!(of_follower(3, 2, 5), 3);
    }
}
