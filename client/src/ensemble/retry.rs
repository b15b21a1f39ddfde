//! Which node to try next, and when. Chance comes from a seed.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};

/// The nodes of an ensemble in an order of one's own, so that clients spread over them.
#[derive(Debug)]
pub(super) struct Ring {
    endpoints: Vec<String>,
    next: usize,
}

impl Ring {
    pub(super) fn new(mut endpoints: Vec<String>, rng: &mut StdRng) -> Self {
        assert!(!endpoints.is_empty(), "options were validated");
        endpoints.shuffle(rng);
        Self { endpoints, next: 0 }
    }

    /// The next node in turn.
    pub(super) fn advance(&mut self) -> String {
        let endpoint = self.endpoints[self.next].clone();
        self.next = (self.next + 1) % self.endpoints.len();
        endpoint
    }

    pub(super) fn len(&self) -> usize {
        self.endpoints.len()
    }
}

/// Waits that double from `first` to `longest`, each drawn from its upper half.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    longest: Duration,
    current: Duration,
    rng: StdRng,
}

impl Backoff {
    pub(super) fn new(first: Duration, longest: Duration, rng: StdRng) -> Self {
        assert!(!first.is_zero() && first <= longest, "a wait that can grow");
        Self {
            first,
            longest,
            current: first,
            rng,
        }
    }

    /// How long to wait before the next round.
    pub(super) fn wait(&mut self) -> Duration {
        let full = self.current;
        self.current = (full * 2).min(self.longest);
        full.mul_f64(self.rng.random_range(0.5..=1.0))
    }

    /// To be called when a round succeeded.
    pub(super) fn reset(&mut self) {
        self.current = self.first;
    }
}

/// The generator of a seed; without one, of a seed that the system gives and the log tells.
pub(super) fn generator(seed: Option<u64>) -> StdRng {
    let seed = seed.unwrap_or_else(|| StdRng::from_os_rng().random());
    tracing::debug!(seed, "order of nodes and jitter");
    StdRng::seed_from_u64(seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_order_and_each_node_has_its_turn() {
        let names = || (0..5).map(|n| format!("n{n}:1")).collect::<Vec<_>>();
        let turn = |seed| {
            let mut ring = Ring::new(names(), &mut StdRng::seed_from_u64(seed));
            (0..5).map(|_| ring.advance()).collect::<Vec<_>>()
        };
        assert_eq!(turn(7), turn(7));
        let mut sorted = turn(7);
        sorted.sort();
        assert_eq!(sorted, names());
        assert!((0..20).any(|seed| turn(seed) != turn(7)));
    }

    #[test]
    fn waits_grow_to_their_bound_and_begin_again() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(50), ms(400), StdRng::seed_from_u64(1));
        for full in [50, 100, 200, 400, 400] {
            let wait = backoff.wait();
            assert!(
                wait >= ms(full / 2) && wait <= ms(full),
                "{wait:?} of {full}"
            );
        }
        backoff.reset();
        assert!(backoff.wait() <= ms(50));
    }
}
