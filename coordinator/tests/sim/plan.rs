//! What a run will be: how many members, how busy their clients, which faults and when. Drawn from a seed, or written
//! by hand.

use crate::chance::Chance;
use crate::fault::{End, Fault, STEPS, Ways};
use crate::network::Weather;

/// A stretch of faults, and the calm behind it at whose end everything must be well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    pub faults_ms: u64,
    /// Mean time between two doings of a member's clients, milliseconds.
    pub load_ms: u64,
}

/// Everything must be well when no fault happened for so long ...
pub const CALM_MS: u64 = 8_000;
/// ... of which clients write nothing in the last part, so that all can come to an end.
pub const QUIET_MS: u64 = 3_000;

/// A whole run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Of everything that the plan does not say.
    pub seed: u64,
    pub size: u64,
    pub tick_ms: u64,
    pub phases: Vec<Phase>,
    /// Milliseconds from the beginning, in order.
    pub faults: Vec<(u64, Fault)>,
}

impl Plan {
    /// A run without faults, to be filled by hand.
    pub fn scripted(seed: u64, size: u64, phases: &[Phase]) -> Self {
        Self {
            seed,
            size,
            tick_ms: 10,
            phases: phases.to_vec(),
            faults: Vec::new(),
        }
    }

    /// With that fault, later than all before it.
    pub fn with(mut self, at_ms: u64, fault: Fault) -> Self {
        assert!(self.faults.last().is_none_or(|(last, _)| *last <= at_ms));
        self.faults.push((at_ms, fault));
        self
    }

    /// How long it lasts, milliseconds.
    pub fn duration_ms(&self) -> u64 {
        let phases = self.phases.iter();
        phases.map(|phase| phase.faults_ms + CALM_MS).sum()
    }

    /// The run of a seed, of at least `seconds`.
    pub fn of_seed(seed: u64, seconds: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x7a77_6569_6700);
        let mut plan = Self {
            seed,
            size: if chance.once_in(4) { 5 } else { 3 },
            tick_ms: [5, 10, 20, 20][chance.below(4) as usize],
            phases: Vec::new(),
            faults: Vec::new(),
        };
        let mut begin_ms = 0;
        while begin_ms < 1_000 * seconds {
            let phase = Phase {
                faults_ms: [6_000, 12_000, 15_000, 24_000][chance.below(4) as usize],
                load_ms: [30, 100, 300, 1_000][chance.below(4) as usize],
            };
            plan.phases.push(phase);
            fill(&mut plan, &mut chance, begin_ms, phase.faults_ms);
            begin_ms += phase.faults_ms + CALM_MS;
        }
        plan
    }
}

/// Kinds of faults, and how often each is drawn beside the others.
const KINDS: [(Kind, u64); 18] = [
    (Kind::Crash, 8),
    (Kind::CrashAll, 2),
    (Kind::CrashAt, 8),
    (Kind::Pause, 4),
    (Kind::Pace, 4),
    (Kind::Weather, 5),
    (Kind::Alone, 5),
    (Kind::Split, 3),
    (Kind::SlowLink, 3),
    (Kind::Mend, 4),
    (Kind::LoseDisk, 3),
    (Kind::LoseTwo, 1),
    (Kind::FailSync, 2),
    (Kind::Space, 2),
    (Kind::Rot, 2),
    (Kind::Bend, 1),
    (Kind::SetClock, 2),
    (Kind::Drift, 2),
];

#[derive(Clone, Copy)]
enum Kind {
    Crash,
    CrashAll,
    CrashAt,
    Pause,
    Pace,
    Weather,
    Alone,
    Split,
    SlowLink,
    Mend,
    LoseDisk,
    LoseTwo,
    FailSync,
    Space,
    Rot,
    Bend,
    SetClock,
    Drift,
}

/// Each stretch has its own few kinds: one in which everything happens at once hides what some of it would do.
fn fill(plan: &mut Plan, chance: &mut Chance, begin_ms: u64, faults_ms: u64) {
    let kinds: Vec<(Kind, u64)> = KINDS.into_iter().filter(|_| chance.once_in(2)).collect();
    let total: u64 = kinds.iter().map(|(_, weight)| weight).sum();
    let mean_ms = [150, 400, 1_000, 2_500][chance.below(4) as usize];
    let mut at_ms = begin_ms;
    if total == 0 {
        return;
    }
    loop {
        at_ms += 1 + chance.below(2 * mean_ms);
        if at_ms >= begin_ms + faults_ms {
            return;
        }
        let mut drawn = chance.below(total);
        let kind = kinds.iter().find(|(_, weight)| {
            let hit = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            hit
        });
        if let Some((kind, _)) = kind {
            plan.faults.push((at_ms, draw(*kind, chance)));
        }
    }
}

fn end(chance: &mut Chance) -> End {
    if chance.once_in(2) {
        End::PowerLost
    } else {
        End::Killed
    }
}

fn draw(kind: Kind, chance: &mut Chance) -> Fault {
    let at = chance.below(5) as u8;
    let mut of = |choices: &[u64]| choices[chance.below(choices.len() as u64) as usize];
    match kind {
        Kind::Crash => Fault::Crash {
            at,
            down_ms: of(&[0, 50, 300, 1_000, 3_000]),
            end: end(chance),
        },
        Kind::CrashAll => Fault::CrashAll {
            down_ms: of(&[1, 100, 1_500]),
            end: end(chance),
        },
        Kind::CrashAt => Fault::CrashAt {
            at,
            nth: 1 + of(&[0, 0, 0, 1, 3, 9]) as u8,
            down_ms: of(&[0, 50, 300, 1_500]),
            step: STEPS[chance.below(STEPS.len() as u64) as usize],
            end: end(chance),
        },
        Kind::Pause => Fault::Pause {
            at,
            ms: of(&[20, 200, 700, 2_500, 5_000]),
        },
        Kind::Pace => Fault::Pace {
            at,
            sync_ms: of(&[0, 2, 20, 200, 600]),
            apply_ms: of(&[0, 2, 20, 200, 600]),
            flush_ms: of(&[20, 100, 1_000, 8_000]),
        },
        Kind::Weather => Fault::Weather(Weather {
            loss: of(&[0, 0, 5, 20, 100]),
            repeat: of(&[0, 0, 3, 20]),
            delay_ms: of(&[1, 5, 40, 200]),
            in_order: of(&[0, 1]) == 1,
            torn_checkpoints: of(&[0, 2, 5]),
        }),
        Kind::Alone => Fault::Alone {
            at,
            but: of(&[0, 1, 2, 3, 4, 9, 9, 9]) as u8,
            ways: [Ways::Both, Ways::Both, Ways::From, Ways::To][of(&[0, 1, 2, 3]) as usize],
        },
        Kind::Split => Fault::Split {
            mask: of(&[1, 2, 3, 4, 5, 6, 9, 10, 12, 17, 18, 20]) as u8,
        },
        Kind::SlowLink => Fault::SlowLink {
            from: at,
            to: of(&[0, 1, 2, 3, 4]) as u8,
            ms: of(&[0, 20, 150, 600]),
        },
        other => draw_of_machine(other, at, chance),
    }
}

/// Faults of one machine's disks, memory and clocks, and the end of those of links.
fn draw_of_machine(kind: Kind, at: u8, chance: &mut Chance) -> Fault {
    let mut of = |choices: &[u64]| choices[chance.below(choices.len() as u64) as usize];
    match kind {
        Kind::LoseDisk => Fault::LoseDisk {
            at,
            down_ms: of(&[0, 300, 2_000]),
        },
        Kind::LoseTwo => Fault::LoseTwo {
            first: at,
            second: of(&[0, 1, 2, 3, 4]) as u8,
            down_ms: of(&[0, 300, 2_000]),
        },
        Kind::FailSync => Fault::FailSync {
            at,
            nth: 1 + of(&[0, 1, 4]) as u8,
        },
        Kind::Space => Fault::Space {
            at,
            kilobytes: of(&[40, 70, 100, 130, 100_000]),
        },
        Kind::Rot => Fault::Rot {
            at,
            place: chance.next(),
        },
        Kind::Bend => Fault::Bend { at },
        Kind::SetClock => Fault::SetClock {
            at,
            ms: of(&[0, 1, 100, 5_000, 3_600_000]) as i64 * [1, -1][chance.below(2) as usize],
        },
        Kind::Drift => Fault::Drift {
            at,
            millionths: of(&[0, 100, 5_000, 20_000]) as i64 * [1, -1][chance.below(2) as usize],
        },
        _ => Fault::Mend,
    }
}
