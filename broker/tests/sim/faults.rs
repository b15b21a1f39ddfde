//! What goes wrong, and when: drawn from the seed before the run begins, so that a failing run can be tried again with
//! fewer faults.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Faults begin no later than this; all have ended a while after.
pub const FAULTS_END_MS: u64 = 46_000;

/// How many kinds there are.
pub const KINDS: usize = 21;

/// One kind of fault. Times are in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// kill -9, and started again so much later.
    Kill { broker: i32, down: u64 },
    /// The power goes for so long; of what was not synced, some or all is lost.
    PowerLoss { broker: i32, down: u64, all: bool },
    /// The power of all brokers goes.
    Blackout { down: u64, all: bool },
    /// The disk is full for so long.
    FullDisk { broker: i32, lasts: u64 },
    /// The next fsync fails.
    FailSync { broker: i32 },
    /// A clean stop, and started again so much after its end.
    Stop { broker: i32, down: u64 },
    /// SIGSTOP for so long.
    Pause { broker: i32, lasts: u64 },
    /// No way to the ensemble, though to everyone else.
    CutEnsemble { broker: i32, lasts: u64 },
    /// The ensemble has no quorum.
    EnsembleOut { lasts: u64 },
    /// One direction between two brokers.
    CutLink { from: i32, to: i32, lasts: u64 },
    /// No way to anyone, though to the ensemble.
    Isolate { broker: i32, lasts: u64 },
    /// No way to anyone at all.
    CutAll { broker: i32, lasts: u64 },
    /// Every chunk between two brokers takes so much longer.
    SlowLink {
        from: i32,
        to: i32,
        by: u64,
        lasts: u64,
    },
    /// All connections of a broker break.
    Reset { broker: i32 },
    /// The ensemble ends the session of a living broker.
    Expire { broker: i32 },
    /// Its wall clock jumps.
    Jump { broker: i32, by: i64 },
    /// File work takes up to so much longer.
    SlowDisk { broker: i32, by: u64, lasts: u64 },
    /// Its view of the tree lags by so much.
    Lag { broker: i32, by: u64, lasts: u64 },
    /// Of a thousand writes so many lose their answer, as many their request, as many are refused.
    Spoil { each: u32, lasts: u64 },
    /// The topic `churn` is deleted, and created again.
    Churn,
    /// Leadership goes to the first replica again.
    Prefer,
}

/// A fault and when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the start.
    pub at: u64,
    /// What.
    pub fault: Fault,
}

/// The faults of a seed.
pub fn plan(seed: u64) -> Vec<Event> {
    let mut chance = StdRng::seed_from_u64(seed ^ 0x666c_7473);
    let count = chance.random_range(3..16);
    let mut events: Vec<Event> = (0..count)
        .map(|_| Event {
            at: chance.random_range(4_000..FAULTS_END_MS),
            fault: draw(&mut chance),
        })
        .collect();
    if chance.random_range(0..3) == 0 {
        cluster_in_time(&mut events, &mut chance);
    }
    events.sort_by_key(|event| event.at);
    events
}

/// Some faults come at once.
fn cluster_in_time(events: &mut [Event], chance: &mut StdRng) {
    let middle = chance.random_range(8_000..30_000);
    for event in events {
        event.at = middle + chance.random_range(0..6_000);
    }
}

fn draw(chance: &mut StdRng) -> Fault {
    let broker = chance.random_range(1..=3);
    let other = (broker + chance.random_range(0..2)) % 3 + 1;
    let lasts = match chance.random_range(0..3) {
        0 => chance.random_range(100..1_500),
        1 => chance.random_range(1_500..8_000),
        _ => chance.random_range(6_000..14_000),
    };
    match chance.random_range(0..30) {
        24..27 => Fault::PowerLoss {
            broker,
            down: chance.random_range(50..6_000),
            all: chance.random_range(0..3) == 0,
        },
        27 => Fault::Blackout {
            down: chance.random_range(500..6_000),
            all: chance.random_range(0..2) == 0,
        },
        28 => Fault::FullDisk { broker, lasts },
        29 => Fault::FailSync { broker },
        0..4 => Fault::Kill {
            broker,
            down: chance.random_range(50..6_000),
        },
        4..6 => Fault::Stop {
            broker,
            down: chance.random_range(50..6_000),
        },
        6..8 => Fault::Pause { broker, lasts },
        8..10 => Fault::CutEnsemble { broker, lasts },
        10 => Fault::EnsembleOut { lasts },
        11 => Fault::CutLink {
            from: broker,
            to: other,
            lasts,
        },
        12 => Fault::Isolate { broker, lasts },
        13 => Fault::CutAll { broker, lasts },
        14 => Fault::SlowLink {
            from: broker,
            to: other,
            by: chance.random_range(20..800),
            lasts,
        },
        15 => Fault::Reset { broker },
        16 => Fault::Expire { broker },
        17 => Fault::Jump {
            broker,
            by: chance.random_range(-100_000..100_000),
        },
        18 => Fault::SlowDisk {
            broker,
            by: chance.random_range(50..2_000),
            lasts,
        },
        19 => Fault::Lag {
            broker,
            by: chance.random_range(50..3_000),
            lasts,
        },
        20..22 => Fault::Spoil {
            each: chance.random_range(10..200),
            lasts,
        },
        22 => Fault::Churn,
        _ => Fault::Prefer,
    }
}

/// The fewest of some faults with which a run still fails.
pub fn shrink(events: &[Event], mut fails: impl FnMut(&[Event]) -> bool) -> Vec<Event> {
    let mut kept: Vec<Event> = events.to_vec();
    let mut part = kept.len().div_ceil(2);
    while part >= 1 {
        let mut at = 0;
        let mut smaller = false;
        while at < kept.len() {
            let without: BTreeSet<usize> = (at..(at + part).min(kept.len())).collect();
            let rest: Vec<Event> = kept
                .iter()
                .enumerate()
                .filter(|(index, _)| !without.contains(index))
                .map(|(_, event)| *event)
                .collect();
            if fails(&rest) {
                kept = rest;
                smaller = true;
            } else {
                at += part;
            }
        }
        if part == 1 && !smaller {
            break;
        }
        if !smaller {
            part = part.div_ceil(2).min(part - 1);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shrinking_leaves_what_it_takes_to_fail() {
        let events: Vec<Event> = (0..13)
            .map(|at| Event {
                at,
                fault: Fault::Prefer,
            })
            .collect();
        let fails = |some: &[Event]| {
            let has = |at| some.iter().any(|event| event.at == at);
            has(3) && has(11)
        };
        let left: Vec<u64> = shrink(&events, fails).iter().map(|e| e.at).collect();
        assert_eq!(left, [3, 11]);
    }
}
