//! Whether a node whose folder is new begins an ensemble or comes to one that exists; without I/O.
//!
//! ```text
//!          all the others are new as well, or a majority is and PATIENCE went by
//!  blank ──────────────────────────────────────────────────────────────▶ founder, incarnation 0
//!    │  a founder knows that I was new together with it                      ▲
//!    ├───────────────────────────────────────────────────────────────────────┘
//!    │  there is a node that began without me, and in PATIENCE none that began with me
//!    └──────────────────────────────────────────────────────────────────▶ joiner, as a new incarnation
//! ```
//!
//! A new folder may be that of a node that voted and acknowledged, and lost it all. So it takes part under its
//! first identity only where nobody can remember anything: among a majority that is as new. Everywhere else it
//! comes in through a change of the members, which is safe in either case; nobody has to tell which it is. A life,
//! drawn at random with the folder, is what nodes are recognised by; founders remember with whom they began, and
//! who becomes one on their word takes over what they remember.
//!
//! What this can't tell from a beginning is an ensemble in which a majority has empty disks: no data is left there
//! that a majority would know of.

use std::collections::BTreeMap;

/// With a majority that is new, the rest is waited for this long, milliseconds: who comes later has to join, and
/// until it has, the others can't spare anyone.
pub const PATIENCE_MS: u64 = 1_000;
/// Between two times that a new node tells the others so, milliseconds.
const TELL_MS: u64 = 50;
/// Who was not heard of for so long is not counted, milliseconds.
const FRESH_MS: u64 = 500;

/// What a new node becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A founder, together with these lives by N, its own included.
    Found(BTreeMap<u64, u64>),
    /// A joiner.
    Join,
}

/// A node that does not know yet what it is.
#[derive(Debug)]
pub struct Founding {
    server: u64,
    life: u64,
    /// Every server of zoo.cfg, and whether it votes.
    servers: BTreeMap<u64, bool>,
    /// Others that are new: their lives, and when they said so.
    met: BTreeMap<u64, (u64, u64)>,
    majority_since_ms: Option<u64>,
    told_ms: Option<u64>,
    /// With whom a founder began that knows this node.
    began_with: Option<BTreeMap<u64, u64>>,
    /// Since when a node is known that began without this one.
    without_since_ms: Option<u64>,
}

impl Founding {
    /// The node of `server`, in that life, among `servers`, with whether each votes.
    pub fn new(server: u64, life: u64, servers: BTreeMap<u64, bool>) -> Self {
        Self {
            server,
            life,
            servers,
            met: BTreeMap::new(),
            majority_since_ms: None,
            told_ms: None,
            began_with: None,
            without_since_ms: None,
        }
    }

    /// Another node is new as well, in that life.
    pub fn met(&mut self, server: u64, life: u64, now_ms: u64) {
        if server != self.server && self.servers.contains_key(&server) {
            self.met.insert(server, (life, now_ms));
        }
    }

    /// Another node is not new: it began with these.
    pub fn answered(&mut self, met: &BTreeMap<u64, u64>, now_ms: u64) {
        if met.get(&self.server) == Some(&self.life) {
            self.began_with = Some(met.clone());
        } else {
            self.without_since_ms.get_or_insert(now_ms);
        }
    }

    /// Whether it is time to tell all others that this node is new.
    pub fn tells(&mut self, now_ms: u64) -> bool {
        let due = self
            .told_ms
            .is_none_or(|told_ms| now_ms >= told_ms + TELL_MS);
        if due {
            self.told_ms = Some(now_ms);
        }
        due
    }

    /// What this node is, once that is decided.
    pub fn decide(&mut self, now_ms: u64) -> Option<Decision> {
        if let Some(met) = &self.began_with {
            return Some(Decision::Found(met.clone()));
        }
        if let Some(since_ms) = self.without_since_ms {
            // Whoever began with this node may be about to answer.
            return (now_ms >= since_ms + PATIENCE_MS).then_some(Decision::Join);
        }
        let met = self.met.iter();
        let lately = met.filter(|(_, (_, ms))| now_ms < ms + FRESH_MS);
        let mut lives: BTreeMap<u64, u64> =
            lately.map(|(&server, &(life, _))| (server, life)).collect();
        lives.insert(self.server, self.life);
        if self.servers.keys().all(|server| lives.contains_key(server)) {
            return Some(Decision::Found(lives));
        }
        let voters = || self.servers.iter().filter(|(_, votes)| **votes);
        let new = voters().filter(|(server, _)| lives.contains_key(server));
        if new.count() <= voters().count() / 2 {
            self.majority_since_ms = None;
            return None;
        }
        let since_ms = *self.majority_since_ms.get_or_insert(now_ms);
        (now_ms >= since_ms + PATIENCE_MS).then_some(Decision::Found(lives))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn founding(server: u64, voters: u64, observers: u64) -> Founding {
        let servers = (1..=voters + observers).map(|server| (server, server <= voters));
        Founding::new(server, 10 * server, servers.collect())
    }

    fn found(lives: &[(u64, u64)]) -> Option<Decision> {
        Some(Decision::Found(lives.iter().copied().collect()))
    }

    #[test]
    fn one_alone_founds_at_once() {
        assert_eq!(founding(1, 1, 0).decide(0), found(&[(1, 10)]));
    }

    #[test]
    fn when_all_are_new_nobody_waits() {
        let mut one = founding(1, 3, 0);
        assert_eq!(one.decide(0), None);
        one.met(2, 20, 5);
        assert_eq!(one.decide(5), None);
        one.met(3, 30, 9);
        assert_eq!(one.decide(9), found(&[(1, 10), (2, 20), (3, 30)]));
    }

    #[test]
    fn a_majority_waits_for_the_rest_only_so_long() {
        let mut one = founding(1, 3, 0);
        for now_ms in (1_000..1_000 + PATIENCE_MS).step_by(50) {
            one.met(2, 20, now_ms);
            assert_eq!(one.decide(now_ms), None, "{now_ms}");
        }
        let now_ms = 1_000 + PATIENCE_MS;
        one.met(2, 20, now_ms);
        assert_eq!(one.decide(now_ms), found(&[(1, 10), (2, 20)]));
    }

    #[test]
    fn a_minority_waits_for_ever() {
        let mut one = founding(1, 5, 0);
        for now_ms in (0..100_000).step_by(50) {
            one.met(2, 20, now_ms);
            assert_eq!(one.decide(now_ms), None, "{now_ms}");
        }
    }

    #[test]
    fn who_fell_silent_is_not_counted() {
        let mut one = founding(1, 3, 0);
        one.met(2, 20, 0);
        assert_eq!(one.decide(0), None);
        assert_eq!(one.decide(FRESH_MS + PATIENCE_MS), None);
        one.met(2, 21, 5_000);
        assert_eq!(one.decide(5_000), None, "the patience begins anew");
    }

    #[test]
    fn observers_are_no_majority() {
        let mut observer = founding(3, 2, 2);
        observer.met(4, 40, 0);
        assert_eq!(observer.decide(0), None);
        assert_eq!(observer.decide(PATIENCE_MS), None);
    }

    #[test]
    fn where_others_began_without_it_it_joins() {
        let mut three = founding(3, 3, 0);
        three.met(2, 20, 0);
        three.answered(&[(1, 10), (3, 29)].into(), 0);
        assert_eq!(three.decide(PATIENCE_MS - 1), None);
        assert_eq!(three.decide(PATIENCE_MS), Some(Decision::Join));
    }

    #[test]
    fn who_knows_of_an_ensemble_begins_none() {
        let mut three = founding(3, 3, 0);
        three.answered(&BTreeMap::new(), 0);
        three.met(1, 10, 0);
        three.met(2, 20, 0);
        assert_eq!(
            three.decide(0),
            None,
            "all are new, and yet one has answered"
        );
        assert_eq!(three.decide(PATIENCE_MS), Some(Decision::Join));
    }

    #[test]
    fn with_whom_a_founder_began_is_a_founder() {
        let mut three = founding(3, 3, 0);
        three.answered(&BTreeMap::new(), 0);
        three.answered(&[(1, 10), (3, 30)].into(), 5);
        assert_eq!(three.decide(9_999), found(&[(1, 10), (3, 30)]));
    }

    #[test]
    fn strangers_do_not_count() {
        let mut one = founding(1, 3, 0);
        one.met(7, 70, 0);
        one.met(1, 10, 0);
        assert_eq!(one.decide(0), None);
        assert_eq!(one.decide(PATIENCE_MS), None);
    }

    /// Ensembles that start in any order, over links that take their time, and kills in between.
    #[test]
    fn whatever_the_order_one_ensemble_begins() {
        for seed in 0..100 {
            let mut world = World::new(seed);
            world.run();
            world.check(seed);
        }
    }

    struct Starting {
        life: u64,
        starts_ms: u64,
        founding: Option<Founding>,
        decided: Option<Decision>,
    }

    enum Said {
        Blank(u64),
        Formed(BTreeMap<u64, u64>),
    }

    struct World {
        chance: u64,
        nodes: BTreeMap<u64, Starting>,
        wire: Vec<(u64, u64, u64, Said)>,
    }

    impl World {
        fn new(seed: u64) -> Self {
            let mut world = Self {
                chance: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
                nodes: BTreeMap::new(),
                wire: Vec::new(),
            };
            let size = [3, 5][world.below(2) as usize];
            let spread_ms = [50, 700, 3_000][world.below(3) as usize];
            for server in 1..=size {
                let node = Starting {
                    life: 1_000 + server,
                    starts_ms: world.below(spread_ms),
                    founding: None,
                    decided: None,
                };
                world.nodes.insert(server, node);
            }
            world
        }

        fn below(&mut self, limit: u64) -> u64 {
            self.chance ^= self.chance << 13;
            self.chance ^= self.chance >> 7;
            self.chance ^= self.chance << 17;
            self.chance % limit
        }

        fn run(&mut self) {
            let servers: BTreeMap<u64, bool> =
                self.nodes.keys().map(|&server| (server, true)).collect();
            for now_ms in 0..20_000 {
                self.deliver(now_ms);
                for &server in servers.keys() {
                    let killed = self.below(2_000) == 0;
                    let Some(node) = self.nodes.get_mut(&server) else {
                        continue;
                    };
                    if now_ms < node.starts_ms || node.decided.is_some() {
                        continue;
                    }
                    if killed {
                        // `kill -9` before anything was decided: the life is on the disk, what was heard is not.
                        node.founding = None;
                    }
                    let founding = node.founding.get_or_insert_with(|| {
                        Founding::new(server, 1_000 + server, servers.clone())
                    });
                    let (tells, life) = (founding.tells(now_ms), node.life);
                    node.decided = founding.decide(now_ms);
                    for &to in servers.keys().filter(|&&to| tells && to != server) {
                        let delay_ms = 1 + self.below(20);
                        self.wire
                            .push((now_ms + delay_ms, server, to, Said::Blank(life)));
                    }
                }
            }
        }

        fn deliver(&mut self, now_ms: u64) {
            let (due, later) = std::mem::take(&mut self.wire)
                .into_iter()
                .partition(|(at_ms, ..)| *at_ms <= now_ms);
            self.wire = later;
            let due: Vec<_> = due;
            for (_, from, to, said) in due {
                let delay_ms = 1 + self.below(20);
                let Some(node) = self.nodes.get_mut(&to) else {
                    continue;
                };
                match (&node.decided, &mut node.founding, said) {
                    (None, Some(founding), Said::Blank(life)) => founding.met(from, life, now_ms),
                    (None, Some(founding), Said::Formed(met)) => founding.answered(&met, now_ms),
                    (Some(decided), _, Said::Blank(_)) => {
                        let met = match decided {
                            Decision::Found(met) => met.clone(),
                            Decision::Join => BTreeMap::new(),
                        };
                        self.wire
                            .push((now_ms + delay_ms, to, from, Said::Formed(met)));
                    }
                    _ => {}
                }
            }
        }

        fn check(&self, seed: u64) {
            let founders = self
                .nodes
                .values()
                .filter(|node| matches!(node.decided, Some(Decision::Found(_))));
            let count = founders.count();
            assert!(
                self.nodes.values().all(|node| node.decided.is_some()),
                "seed {seed}: not all are decided"
            );
            assert!(
                count > self.nodes.len() / 2,
                "seed {seed}: {count} founders are no majority"
            );
        }
    }
}
