//! What goes wrong, and when: drawn from the seed before the run begins, so that a failing run can be tried again with
//! fewer faults.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Faults begin no later than this; all have ended a while after.
pub const FAULTS_END_MS: u64 = 46_000;

/// How many kinds there are.
pub const KINDS: usize = 24;

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
    /// No way to the other brokers, though to clients; nor to the ensemble, perhaps.
    CutPeers {
        broker: i32,
        ensemble: bool,
        lasts: u64,
    },
    /// Its calls of the ensemble, and their answers, take up to so much longer.
    SlowEnsemble { broker: i32, by: u64, lasts: u64 },
    /// Another controller is elected, though the former one lives; that one's view of the tree lags by so much.
    Depose { by: u64, lasts: u64 },
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
    if chance.random_range(0..2) == 0 {
        events.extend(story(&mut chance));
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

/// Faults that are worse together: each is a way in which clusters came to harm.
fn story(chance: &mut StdRng) -> Vec<Event> {
    let first = chance.random_range(6_000..30_000);
    let soon = first + chance.random_range(20..2_500);
    let late = first + chance.random_range(4_000..9_000);
    let faults = match chance.random_range(0..2) {
        0 => story_of_leaders(chance),
        _ => story_of_losses(chance),
    };
    let times = [first, soon, late];
    let events = faults.into_iter().map(|(when, fault)| Event {
        at: times[when],
        fault,
    });
    events.collect()
}

/// Somebody does not know that another one leads. Each fault comes first, soon after, or late: 0, 1, 2.
fn story_of_leaders(chance: &mut StdRng) -> Vec<(usize, Fault)> {
    let (broker, other) = two(chance);
    let by = chance.random_range(2_000..8_000);
    let down = chance.random_range(50..4_000);
    let lasts = 12_000;
    match chance.random_range(0..3) {
        // A controller that does not know that there is another one has something to decide.
        0 => vec![
            (0, Fault::Depose { by, lasts }),
            (1, Fault::Kill { broker, down }),
            (1, Fault::Prefer),
        ],
        // A leader does not hear of its successor.
        1 => vec![
            (0, Fault::Lag { broker, by, lasts }),
            (1, Fault::Prefer),
            (1, Fault::Reset { broker: other }),
        ],
        // A follower hears late from a leader that is no more.
        _ => {
            let (from, to, by) = (broker, other, 700);
            let slow = Fault::SlowLink {
                from,
                to,
                by,
                lasts,
            };
            vec![(0, slow), (1, Fault::Expire { broker }), (2, Fault::Prefer)]
        }
    }
}

/// Something is lost before anyone noticed. As above.
fn story_of_losses(chance: &mut StdRng) -> Vec<(usize, Fault)> {
    let (broker, other) = two(chance);
    let down = chance.random_range(50..4_000);
    let (by, lasts, all) = (1_500, 12_000, true);
    match chance.random_range(0..3) {
        // The power goes everywhere while the disks are slow.
        0 => {
            let slow = |broker| (0, Fault::SlowDisk { broker, by, lasts });
            let blackout = Fault::Blackout { down, all };
            vec![slow(broker), slow(other), (1, blackout)]
        }
        // Whoever lost something is back at once, and then another one goes.
        1 => {
            let loss = Fault::PowerLoss {
                broker,
                down: 60,
                all,
            };
            let broker = other;
            vec![(0, loss), (1, Fault::Kill { broker, down })]
        }
        // A leader that clients alone reach, and that takes long to learn what became of its writes.
        _ => {
            let cut = Fault::CutPeers {
                broker,
                ensemble: false,
                lasts: 6_000,
            };
            let slow = Fault::SlowEnsemble { broker, by, lasts };
            vec![(0, slow), (1, cut), (2, Fault::Kill { broker, down })]
        }
    }
}

fn two(chance: &mut StdRng) -> (i32, i32) {
    let broker = chance.random_range(1..=3);
    (broker, (broker + chance.random_range(0..2)) % 3 + 1)
}

fn draw(chance: &mut StdRng) -> Fault {
    let (broker, other) = two(chance);
    let lasts = match chance.random_range(0..3) {
        0 => chance.random_range(100..1_500),
        1 => chance.random_range(1_500..8_000),
        _ => chance.random_range(6_000..14_000),
    };
    let fault = match chance.random_range(0..37) {
        0..18 => draw_of_machines(chance, broker, lasts),
        18..27 => draw_of_links(chance, (broker, other), lasts),
        _ => None,
    };
    fault.unwrap_or_else(|| draw_of_ensemble(chance, broker, lasts))
}

fn draw_of_machines(chance: &mut StdRng, broker: i32, lasts: u64) -> Option<Fault> {
    let down = chance.random_range(50..6_000);
    Some(match chance.random_range(0..18) {
        0..4 => Fault::Kill { broker, down },
        4..6 => Fault::Stop { broker, down },
        6..8 => Fault::Pause { broker, lasts },
        8..11 => Fault::PowerLoss {
            broker,
            down,
            all: chance.random_range(0..3) == 0,
        },
        11 => Fault::Blackout {
            down: down.max(500),
            all: chance.random_range(0..2) == 0,
        },
        12 => Fault::FullDisk { broker, lasts },
        13 => Fault::FailSync { broker },
        14 => Fault::Jump {
            broker,
            by: chance.random_range(-100_000..100_000),
        },
        15 => Fault::SlowDisk {
            broker,
            by: chance.random_range(50..2_000),
            lasts,
        },
        _ => return None,
    })
}

fn draw_of_links(chance: &mut StdRng, (from, to): (i32, i32), lasts: u64) -> Option<Fault> {
    let broker = from;
    Some(match chance.random_range(0..9) {
        0 => Fault::CutLink { from, to, lasts },
        1 => Fault::Isolate { broker, lasts },
        2 => Fault::CutAll { broker, lasts },
        3..6 => Fault::CutPeers {
            broker,
            ensemble: chance.random_range(0..2) == 0,
            lasts,
        },
        6 => Fault::SlowLink {
            from,
            to,
            by: chance.random_range(20..800),
            lasts,
        },
        7 => Fault::Reset { broker },
        _ => return None,
    })
}

fn draw_of_ensemble(chance: &mut StdRng, broker: i32, lasts: u64) -> Fault {
    let by = chance.random_range(50..6_000);
    match chance.random_range(0..13) {
        0..2 => Fault::CutEnsemble { broker, lasts },
        2 => Fault::EnsembleOut { lasts },
        3 => Fault::Expire { broker },
        4 => Fault::Lag { broker, by, lasts },
        5..7 => Fault::Spoil {
            each: chance.random_range(10..200),
            lasts,
        },
        7..9 => Fault::SlowEnsemble {
            broker,
            by: by / 3,
            lasts,
        },
        9..11 => Fault::Depose { by, lasts },
        11 => Fault::Churn,
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
