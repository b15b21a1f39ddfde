//! Each deliberate mistake of `zweig_broker::mutants` is caught within so many seeds.

use zweig_broker::mutants::{ALL, Mutant, make};

use crate::{faults, in_parallel, run};

const WITHIN: u64 = 200;

/// Mistakes that take a rare order of events, and seeds that have it: each was a fault of this code once.
const RARE: [(Mutant, u64); 1] = [(Mutant::GroupsServedUncommitted, 2297)];

/// The first seed that catches a mistake, and what it found: nothing is wrong with that seed otherwise.
fn caught(mutant: Mutant) -> Option<(u64, String)> {
    let rare = RARE.iter().filter(|(rare, _)| *rare == mutant);
    let seeds = rare.map(|(_, seed)| *seed).chain(1..=WITHIN);
    seeds.into_iter().find_map(|seed| {
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
    let asked = |mutant: &Mutant| {
        let name = format!("{mutant:?}");
        only.as_ref()
            .is_none_or(|only| only.split(',').any(|one| one == name))
    };
    let tried = in_parallel(ALL.into_iter().filter(asked), |mutant| {
        let caught = caught(mutant);
        match &caught {
            Some((seed, wrong)) => {
                let wrong: String = wrong.chars().take(150).collect();
                println!("| `{mutant:?}` | {seed} | {wrong} |");
            }
            None => println!("| `{mutant:?}` | missed | |"),
        }
        caught.is_none().then_some(mutant)
    });
    let missed: Vec<Mutant> = tried.into_iter().flatten().collect();
    assert_eq!(missed, [], "not caught within {WITHIN} seeds");
}
