//! Fail-over by cause: who stands for election, and when, after the leader's process is gone, or this node has started.
//!
//! A follower whose connection to the leader's process closed campaigns after its rank × 15 ms, the rank being
//! its place behind the old leader in the ring of voters, so that two don't split the vote; and again every
//! 50 ms while no leader is known. A node that starts knows of none, and does the same. Pre-vote makes a false alarm
//! harmless: who still hears the leader refuses.

/// Between two ranks, milliseconds.
const STAGGER_MS: u64 = 15;
/// Between two attempts, milliseconds.
const AGAIN_MS: u64 = 50;

/// Counts ticks until the next attempt.
#[derive(Debug)]
pub struct FailOver {
    tick_ms: u64,
    /// Ticks left; nothing while there is no emergency.
    left: Option<u64>,
}

impl FailOver {
    /// No emergency; `tick_ms` is the length of a tick.
    pub fn new(tick_ms: u64) -> Self {
        Self {
            tick_ms,
            left: None,
        }
    }

    /// The link to `leader` is lost; `INVALID_ID`: none is known.
    pub fn begin(&mut self, voters: &[u64], leader: u64, node: u64) {
        let after = voters
            .iter()
            .filter(|&&id| id > leader)
            .chain(voters.iter().filter(|&&id| id < leader));
        let rank = after.copied().position(|id| id == node).unwrap_or(0) as u64;
        self.left = Some((rank * STAGGER_MS).div_ceil(self.tick_ms));
    }

    /// One tick ran. Whether to campaign now.
    pub fn tick(&mut self, leader_known: bool) -> bool {
        let Some(left) = self.left.as_mut() else {
            return false;
        };
        if leader_known {
            self.left = None;
            return false;
        }
        if *left > 1 {
            *left -= 1;
            return false;
        }
        *left = AGAIN_MS.div_ceil(self.tick_ms);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(node: u64, leader: u64) -> Vec<u64> {
        let mut fail_over = FailOver::new(5);
        fail_over.begin(&[1, 2, 3], leader, node);
        (1..=30).filter(|_| fail_over.tick(false)).collect()
    }

    #[test]
    fn the_ring_behind_the_old_leader_decides_who_is_first() {
        assert_eq!(attempts(3, 2), [1, 11, 21]);
        assert_eq!(attempts(1, 2), [3, 13, 23]);
        assert_eq!(attempts(1, 3), [1, 11, 21]);
        assert_eq!(attempts(2, 3), [3, 13, 23]);
    }

    #[test]
    fn a_known_leader_ends_it() {
        let mut fail_over = FailOver::new(5);
        fail_over.begin(&[1, 2, 3], 1, 2);
        assert!(fail_over.tick(false));
        assert!(!fail_over.tick(true));
        assert!((0..100).all(|_| !fail_over.tick(false)));
    }
}
