//! Every mutant of `zweig_coordinator::mutants` must be caught within [`SEEDS`] seeds, by whichever check.

use zweig_coordinator::mutants::{MUTANTS, Mutant, choose};

use crate::campaign::{Failure, SECONDS, attempt};
use crate::plan::Plan;
use crate::trace::Words;

/// Seeds that each mutant may live through.
const SEEDS: u64 = 200;

/// The first seed that breaks it, and how.
fn caught(mutant: Mutant) -> Option<(u64, Failure)> {
    (1..=SEEDS).find_map(|seed| {
        choose(Some(mutant));
        let failure = attempt(&Plan::of_seed(seed, SECONDS), Words::Nobody).err();
        choose(None);
        Some((seed, failure?))
    })
}

/// `ZWEIG_SIM_MUTANT=name` looks at one alone.
#[test]
fn mutants_are_caught() {
    let only = std::env::var("ZWEIG_SIM_MUTANT").ok();
    let wanted = |mutant: &&Mutant| {
        only.as_ref()
            .is_none_or(|name| *name == format!("{mutant:?}"))
    };
    let mut survivors = Vec::new();
    println!("| mutant | seed | caught by |\n| --- | --- | --- |");
    for &mutant in MUTANTS.iter().filter(wanted) {
        match caught(mutant) {
            Some((seed, failure)) => {
                let message = failure.message.lines().next().unwrap_or_default();
                let short: String = message.chars().take(120).collect();
                println!("| `{mutant:?}` | {seed} | {short} ({}) |", failure.place);
            }
            None => {
                println!("| `{mutant:?}` | - | SURVIVES |");
                survivors.push(mutant);
            }
        }
    }
    assert!(survivors.is_empty(), "not caught: {survivors:?}");
}
