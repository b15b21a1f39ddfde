//! A whole ensemble in one thread from one seed: the real forwarder, raft, raft log and state machine of three
//! (or five) nodes, over a network that loses, repeats, reorders and cuts, and disks that lose what was not
//! synced, or all of it: then the node joins anew. Time is a number that the loop raises by a millisecond.
//!
//! Checked in every run: all nodes apply the same entries and reach the same digest at each index; each command
//! stands in the log at most once, in its node's order, and never if its client heard that it was not done; what
//! a client has an answer of is never lost; a read index covers every answer given before it was asked for; no
//! session ends while its node may still answer; and when the faults end, everything goes on, with every node a voter.
//!
//! `ZWEIG_SIM_SEEDS=from..to cargo test --test sim` runs other seeds, `ZWEIG_SIM_SEED=n` prints one run.

#![allow(clippy::unwrap_used)] // a test: what fails, panics

mod chance;
mod checks;
mod client;
mod member;
mod network;
mod world;

use std::ops::Range;

use world::{Run, World};

/// Few enough for every change, many enough to bite.
const SEEDS: Range<u64> = 1..17;

fn seeds() -> Range<u64> {
    let read = |name: &str| std::env::var(name).ok();
    if let Some(seed) = read("ZWEIG_SIM_SEED").and_then(|seed| seed.parse().ok()) {
        return seed..seed + 1;
    }
    let given = read("ZWEIG_SIM_SEEDS").and_then(|range| {
        let (from, to) = range.split_once("..")?;
        Some(from.parse().ok()?..to.parse().ok()?)
    });
    given.unwrap_or(SEEDS)
}

fn run(seed: u64) -> Run {
    // Printed only when it fails.
    println!("seed {seed}");
    World::new(seed).run()
}

#[test]
fn every_seed_keeps_the_promises() {
    let mut all = Run::default();
    for seed in seeds() {
        let one = run(seed);
        println!("seed {seed}: {one:?}");
        all.add(&one);
    }
    println!("{all:?}");
    // A run in which nothing happens proves nothing.
    assert!(
        all.answers > 0 && all.crashes > 0 && all.terms > 0,
        "{all:?}"
    );
    if seeds() == SEEDS {
        assert!(
            all.installs > 0 && all.losses > 0 && all.reads > 0 && all.expired > 0,
            "{all:?}"
        );
    }
}

#[test]
fn one_seed_is_one_trace() {
    for seed in [7, 4_242] {
        let (first, second) = (run(seed), run(seed));
        assert_eq!(first, second, "seed {seed}");
    }
}
