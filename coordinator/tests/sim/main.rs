//! A whole ensemble in one thread from one seed: the real forwarder, raft, raft log, overlay and state machine of
//! three or five members, over a network that loses, delays, repeats, reorders and cuts, on disks that lose and tear
//! what was not synced, fail, fill up and rot, with clocks that drift and jump. Time is a number that jumps to whatever
//! is due next.
//!
//! A run is a [`plan::Plan`]: stretches of faults, each followed by a calm at whose end everything must be well.
//! `checks` says what must hold; `clients` what members are asked.
//!
//! `ZWEIG_SIM_SEED=n` prints one run, `ZWEIG_SIM_SEEDS=from..to` runs other seeds, `ZWEIG_SIM_MINUTES=m` goes on with
//! fresh ones; `scripts/simulate` does all that on every core.

#![allow(clippy::unwrap_used)] // a test: what fails, panics

mod agenda;
mod campaign;
mod chance;
mod checks;
mod clients;
mod clock;
mod door;
mod env;
mod fault;
#[path = "../../../client/src/history/mod.rs"]
#[allow(dead_code)] // the client's own, of which this uses a part
mod history;
mod member;
mod network;
mod plan;
mod shrink;
mod trace;
mod world;

#[cfg(feature = "mutants")]
mod mutants;
mod regressions;

use std::ops::Range;

use campaign::{SECONDS, attempt, campaign, explain};
use env::Run;
use plan::Plan;
use trace::Words;

/// Few enough for every change, many enough to bite.
const SEEDS: Range<u64> = 1..61;

/// A number from the environment.
fn given(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn given_seeds() -> Option<Range<u64>> {
    let range = std::env::var("ZWEIG_SIM_SEEDS").ok()?;
    let (from, to) = range.split_once("..")?;
    Some(from.parse().ok()?..to.parse().ok()?)
}

/// One seed, in words.
fn print_one(seed: u64) {
    let plan = Plan::of_seed(seed, SECONDS);
    println!("{}", plan.as_script());
    match attempt(&plan, Words::Print) {
        Ok(run) => println!("seed {seed}: {run:?}"),
        Err(failure) => panic!("{}", explain(seed, &plan, &failure)),
    }
}

#[test]
fn every_seed_keeps_the_promises() {
    if let Some(seed) = given("ZWEIG_SIM_SEED") {
        return print_one(seed);
    }
    let minutes = given("ZWEIG_SIM_MINUTES");
    let seeds = given_seeds().or(minutes.map(|_| fresh()));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = given("ZWEIG_SIM_THREADS").map_or(cores, |threads| threads as usize);
    let all = campaign(seeds.clone().unwrap_or(SEEDS), minutes, threads);
    println!("{all:?}");
    if seeds.is_none() {
        // What never happened proves nothing.
        for (name, count) in all.counts().into_iter().chain(all.seen.counts()) {
            assert!(count > 0, "{name} is 0: {all:?}");
        }
    }
}

/// Seeds that nobody has run yet, most likely.
fn fresh() -> Range<u64> {
    let from = zweig_coordinator::clock::wall_clock_ms() as u64 * 1_000;
    println!("fresh seeds from {from}");
    from..u64::MAX
}

#[test]
fn one_seed_is_one_trace() {
    for seed in [7, 4_242] {
        let run = || attempt(&Plan::of_seed(seed, SECONDS), Words::Nobody);
        let (first, second): (Run, Run) = (run().unwrap(), run().unwrap());
        assert_eq!(first, second, "seed {seed}");
    }
}
