//! What every part of a run may use: time, chance, the trace, the checks, and what is counted.

use crate::agenda::Agenda;
use crate::chance::Chance;
use crate::checks::Checks;
use crate::checks::witness::{Seen, Witness};
use crate::trace::{Trace, Words};

pub struct Env {
    pub agenda: Agenda,
    pub chance: Chance,
    pub trace: Trace,
    pub checks: Checks,
    pub witness: Witness,
    pub run: Run,
    /// Servers of the ensemble.
    pub size: u64,
    pub tick_ms: u64,
    /// Clients may write just now.
    pub writes: bool,
    /// Mean time between two doings of a member's clients, milliseconds.
    pub load_ms: u64,
    /// Index of the last change of the members that anybody has applied.
    pub members_changed: u64,
}

impl Env {
    pub fn new(seed: u64, size: u64, tick_ms: u64, words: Words) -> Self {
        Self {
            agenda: Agenda::default(),
            chance: Chance::new(seed),
            trace: Trace::new(words),
            checks: Checks::default(),
            witness: Witness::default(),
            run: Run::default(),
            size,
            tick_ms,
            writes: true,
            load_ms: 100,
            members_changed: 0,
        }
    }

    pub fn now_us(&self) -> u64 {
        self.agenda.now_us
    }

    /// Notes that something of `kind` happened; with words for who reads along.
    pub fn note(&mut self, kind: u64, numbers: &[u64], line: impl FnOnce() -> String) {
        self.trace.mix(&[self.agenda.now_us, kind]);
        self.trace.mix(numbers);
        self.trace.say(self.agenda.now_us, line);
    }
}

/// What came of a run. A set of runs in which something never happened proves nothing about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub trace: u64,
    /// True time simulated, milliseconds.
    pub simulated_ms: u64,
    pub events: u64,
    pub messages: u64,
    pub entries: u64,
    pub answers: u64,
    pub refusals: u64,
    pub unknown: u64,
    pub reads: u64,
    pub reads_failed: u64,
    pub kills: u64,
    pub power_losses: u64,
    /// Ends at a step that a fault named.
    pub struck: u64,
    pub pauses: u64,
    pub installs: u64,
    pub torn_checkpoints: u64,
    pub disks_lost: u64,
    pub failed_syncs: u64,
    pub full_disks: u64,
    pub short: u64,
    pub rotten: u64,
    pub bent: u64,
    pub expired: u64,
    pub terms: u64,
    pub calms: u64,
    pub layers_lost: u64,
    pub seen: Seen,
}

impl Run {
    /// Every number by its name.
    pub fn counts(&self) -> [(&'static str, u64); 25] {
        [
            ("simulated_ms", self.simulated_ms),
            ("events", self.events),
            ("messages", self.messages),
            ("entries", self.entries),
            ("answers", self.answers),
            ("refusals", self.refusals),
            ("unknown", self.unknown),
            ("reads", self.reads),
            ("reads_failed", self.reads_failed),
            ("kills", self.kills),
            ("power_losses", self.power_losses),
            ("struck", self.struck),
            ("pauses", self.pauses),
            ("installs", self.installs),
            ("torn_checkpoints", self.torn_checkpoints),
            ("disks_lost", self.disks_lost),
            ("failed_syncs", self.failed_syncs),
            ("full_disks", self.full_disks),
            ("short", self.short),
            ("rotten", self.rotten),
            ("bent", self.bent),
            ("expired", self.expired),
            ("terms", self.terms),
            ("calms", self.calms),
            ("layers_lost", self.layers_lost),
        ]
    }

    pub fn add(&mut self, other: &Run) {
        self.trace ^= other.trace;
        self.simulated_ms += other.simulated_ms;
        self.events += other.events;
        self.messages += other.messages;
        self.entries += other.entries;
        self.answers += other.answers;
        self.refusals += other.refusals;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.reads_failed += other.reads_failed;
        self.kills += other.kills;
        self.power_losses += other.power_losses;
        self.struck += other.struck;
        self.pauses += other.pauses;
        self.installs += other.installs;
        self.torn_checkpoints += other.torn_checkpoints;
        self.disks_lost += other.disks_lost;
        self.failed_syncs += other.failed_syncs;
        self.full_disks += other.full_disks;
        self.short += other.short;
        self.rotten += other.rotten;
        self.bent += other.bent;
        self.expired += other.expired;
        self.terms += other.terms;
        self.calms += other.calms;
        self.layers_lost += other.layers_lost;
        self.seen.add(&other.seen);
    }
}
