//! Each deliberate mistake of `zweig_broker::mutants` is caught within so many seeds.

use zweig_broker::mutants::{ALL, Mutant, make};

use crate::{faults, run};

const WITHIN: u64 = 200;

/// The first seed that catches a mistake, and what it found: nothing is wrong with that seed otherwise.
fn caught(mutant: Mutant) -> Option<(u64, String)> {
    (1..=WITHIN).find_map(|seed| {
        let plan = faults::plan(seed);
        let run = |made| {
            make(made);
            let outcome = run::run(seed, &plan, false);
            make(None);
            outcome.wrong.into_iter().next()
        };
        let wrong = run(Some(mutant))?;
        run(None).is_none().then_some((seed, wrong))
    })
}

#[test]
fn mutants_are_caught() {
    let only = std::env::var("ZWEIG_SIM_MUTANT").ok();
    let mut missed = Vec::new();
    for mutant in ALL {
        if only
            .as_ref()
            .is_some_and(|only| *only != format!("{mutant:?}"))
        {
            continue;
        }
        match caught(mutant) {
            Some((seed, wrong)) => {
                let wrong: String = wrong.chars().take(150).collect();
                println!("| `{mutant:?}` | {seed} | {wrong} |");
            }
            None => missed.push(mutant),
        }
    }
    assert_eq!(missed, [], "not caught within {WITHIN} seeds");
}
