//! Whole brokers, clients and an ensemble in one thread, from one seed, in virtual time. See `docs/proof.md`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `net` | connections with delay, cuts, resets |
//! | `ensemble` | the ensemble as its port promises it |
//! | `node` | one broker: started, stopped, killed, paused |
//! | `client`, `producers`, `consumers`, `groups` | small Kafka clients |
//! | `history`, `commits` | what clients saw, and what may not be |
//! | `inspect` | what may not be inside of the brokers |
//! | `states` | what may not become of partitions' states in the tree |
//! | `faults` | what goes wrong and when; shrinking |
//! | `run` | one run of one seed |
//!
//! `ZWEIG_SIM_SEED=n` runs one seed and prints what happens; `ZWEIG_SIM_SEEDS=from..to` runs some;
//! `ZWEIG_SIM_MINUTES=m` runs fresh ones until the time is over; `ZWEIG_SIM_THREADS=n` says how many at a time.

#![allow(
    clippy::disallowed_methods,
    reason = "a test may look at the clock, to say how fast it was"
)]

mod client;
mod commits;
mod consumers;
mod ensemble;
mod faults;
mod groups;
mod history;
mod inspect;
mod log;
mod net;
mod node;
mod panics;
mod producers;
mod run;
mod states;
mod topics;
mod trace;

#[cfg(feature = "mutants")]
mod mutants;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use run::Outcome;

/// Seeds that every test run tries.
const FIXED: std::ops::Range<u64> = 1..41;

/// What these find is known and open (`docs/proof.md`). None at present.
const OPEN: [u64; 0] = [];

/// Runs a seed on a thread of its own, and says what it was if it failed.
fn run_seed(seed: u64, print: bool) -> Outcome {
    run::run(seed, &faults::plan(seed), print)
}

/// Tells of a failure: the seed, what is wrong, and the fewest faults it takes.
fn explain(seed: u64, outcome: &Outcome) -> String {
    let plan = faults::plan(seed);
    let least = faults::shrink(&plan, |some| !run::run(seed, some, false).wrong.is_empty());
    let faults: Vec<String> = least
        .iter()
        .map(|event| format!("  {:>6} ms  {:?}", event.at, event.fault))
        .collect();
    format!(
        "seed {seed}: {}\n{} of {} faults suffice:\n{}\nagain, with a trace: ZWEIG_SIM_SEED={seed}",
        outcome.wrong.join("\n  "),
        least.len(),
        plan.len(),
        faults.join("\n")
    )
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// How many seeds run at a time: each is a world of its own.
fn threads() -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let wanted = number("ZWEIG_SIM_THREADS").and_then(|n| usize::try_from(n).ok());
    wanted.unwrap_or(cores).max(1)
}

/// Does some work for each item, some items at a time; what came of them, in order.
fn in_parallel<T: Send, R: Send>(
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let items = Mutex::new(items.enumerate());
    let done = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let next = items.lock().next();
                    let Some((index, item)) = next else { return };
                    let result = work(item);
                    done.lock().insert(index, result);
                }
            });
        }
    });
    done.into_inner().into_values().collect()
}

#[test]
fn seeds() {
    if let Some(seed) = number("ZWEIG_SIM_SEED") {
        let begun = Instant::now();
        let outcome = run_seed(seed, true);
        println!("{outcome:#?}");
        println!("{:?} in {:?}", outcome.simulated, begun.elapsed());
        assert!(outcome.wrong.is_empty(), "{}", explain(seed, &outcome));
        return;
    }
    let (seeds, until) = asked();
    let begun = Instant::now();
    let fixed = seeds == FIXED;
    let (mut simulated, mut failed, mut ran) = (Duration::ZERO, Vec::new(), 0);
    let mut happened = Happened::default();
    let open = |seed: &u64| fixed && OPEN.contains(seed);
    let wanted = seeds.filter(|seed| !open(seed));
    let in_time = wanted.take_while(|_| until.is_none_or(|until| Instant::now() <= until));
    in_parallel(in_time, |seed| {
        let outcome = run_seed(seed, false);
        if !outcome.wrong.is_empty() {
            println!("{}", explain(seed, &outcome));
        }
        (seed, outcome)
    })
    .into_iter()
    .for_each(|(seed, outcome)| {
        ran += 1;
        simulated += outcome.simulated;
        happened.note(&faults::plan(seed), &outcome.tally);
        if !outcome.wrong.is_empty() {
            failed.push(seed);
        }
    });
    let real = begun.elapsed();
    println!(
        "{ran} seeds, {} simulated seconds in {:.1} s: {:.0} a second; failed: {failed:?}",
        simulated.as_secs(),
        real.as_secs_f64(),
        simulated.as_secs_f64() / real.as_secs_f64()
    );
    println!("{happened:?}");
    assert!(failed.is_empty(), "failed: {failed:?}");
    if fixed {
        happened.check();
    }
}

/// That the fixed seeds are worth something.
#[derive(Debug, Default)]
struct Happened {
    faults: BTreeMap<String, u32>,
    sums: BTreeMap<&'static str, u64>,
    longest_recovery_ms: u64,
}

impl Happened {
    fn note(&mut self, plan: &[faults::Event], tally: &run::Tally) {
        for event in plan {
            let text = format!("{:?}", event.fault);
            let kind = text.split(' ').next().unwrap_or_default().to_owned();
            *self.faults.entry(kind).or_default() += 1;
        }
        let ensemble = tally.ensemble;
        let counts = [
            ("writes", ensemble.writes),
            ("answers lost", ensemble.answers_lost),
            ("requests lost", ensemble.requests_lost),
            ("refused", ensemble.refused),
            ("expired", ensemble.expired),
            ("streams begun anew", ensemble.resets),
            ("conflicts", ensemble.conflicts),
            ("chunks", tally.net.0),
            ("broken connections", tally.net.1),
            ("acknowledged", tally.clients.0),
            ("seen", tally.clients.1),
            ("commits", tally.group.0),
            ("refused commits", tally.group.1),
            ("generations", tally.group.2),
            ("lives", tally.lives),
            ("elections", tally.elections),
        ];
        for (what, count) in counts {
            *self.sums.entry(what).or_default() += count;
        }
        self.longest_recovery_ms = self.longest_recovery_ms.max(tally.recovery_ms);
    }

    fn check(&self) {
        assert_eq!(self.faults.len(), faults::KINDS, "{:?}", self.faults);
        for (what, sum) in &self.sums {
            assert!(*sum > 0, "no {what} in all the fixed seeds");
        }
    }
}

/// Which seeds are asked for, and until when.
fn asked() -> (std::ops::Range<u64>, Option<Instant>) {
    if let Some(minutes) = number("ZWEIG_SIM_MINUTES") {
        let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
        let first = since.map_or(1, |since| u64::try_from(since.as_millis()).unwrap_or(1));
        println!("fresh seeds from {first} on");
        let until = Instant::now() + Duration::from_secs(60 * minutes);
        return (first..u64::MAX, Some(until));
    }
    let text = std::env::var("ZWEIG_SIM_SEEDS").unwrap_or_default();
    let range = text.split_once("..").and_then(|(from, to)| {
        let (from, to) = (from.trim().parse().ok()?, to.trim().parse().ok()?);
        Some(from..to)
    });
    (range.unwrap_or(FIXED), None)
}

#[test]
fn one_seed_is_one_trace() {
    for seed in [3, 4, 5] {
        let first = run_seed(seed, false);
        let second = run_seed(seed, false);
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert!(first.trace.1 > 1_000, "nothing happened: {first:?}");
    }
}
