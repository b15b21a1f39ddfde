//! Many runs: on how many threads, which seeds, until when; and what happens when one fails.

use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zweig_coordinator::clock::now;

use crate::env::Run;
use crate::plan::Plan;
use crate::shrink::shrink;
use crate::trace::Words;
use crate::world::World;

/// Shortest run, simulated seconds.
pub const SECONDS: u64 = 60;

/// Why a run failed, and what came before.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The check, by its place in the source.
    pub place: String,
    pub message: String,
    /// Simulated time then, milliseconds.
    pub at_ms: u64,
    pub tail: Vec<String>,
}

thread_local! {
    static CAUGHT: std::cell::RefCell<Option<(String, String)>> = const { std::cell::RefCell::new(None) };
    static QUIET: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// From now on a panic of a run is kept, not printed.
fn keep_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let former = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !QUIET.get() {
                former(info);
                return;
            }
            let place = info.location().map_or_else(String::new, |location| {
                format!("{}:{}", location.file(), location.line())
            });
            let message = match info.payload().downcast_ref::<&str>() {
                Some(text) => (*text).to_owned(),
                None => info
                    .payload()
                    .downcast_ref::<String>()
                    .cloned()
                    .unwrap_or_default(),
            };
            CAUGHT.set(Some((place, message)));
        }));
    });
}

/// Runs a plan.
///
/// # Errors
/// What was broken.
pub fn attempt(plan: &Plan, words: Words) -> Result<Run, Failure> {
    keep_panics();
    let before = QUIET.replace(true);
    let mut world = None;
    let result = panic::catch_unwind(AssertUnwindSafe(|| {
        world.insert(World::new(plan, words)).run()
    }));
    QUIET.set(before);
    result.map_err(|_| {
        let (place, message) = CAUGHT.take().unwrap_or_default();
        let (at_ms, tail) = world.as_ref().map_or((0, Vec::new()), World::tail);
        Failure {
            place,
            message,
            at_ms,
            tail,
        }
    })
}

/// Says all about a failed seed, with a short history that fails in the same way.
pub fn explain(seed: u64, plan: &Plan, failure: &Failure) -> String {
    let (short, failure) = shrink(plan, failure);
    let mut text = format!(
        "seed {seed} fails at {}\n  {}\n  after {} ms, reproduced by:\n{}\nlast steps:\n",
        failure.place,
        failure.message,
        failure.at_ms,
        short.as_script()
    );
    for line in &failure.tail {
        text.push_str("  ");
        text.push_str(line);
        text.push('\n');
    }
    let command = "cargo test -p zweig-coordinator --test sim every_seed -- --nocapture";
    text.push_str(&format!("again: ZWEIG_SIM_SEED={seed} {command}\n"));
    text
}

/// Runs seeds on `threads` threads, until the seeds or `minutes` are used up, or one fails.
pub fn campaign(seeds: Range<u64>, minutes: Option<u64>, threads: usize) -> Run {
    let next = AtomicU64::new(seeds.start);
    let stop = AtomicBool::new(false);
    let all = Mutex::new(Run::default());
    let failed = Mutex::new(None);
    let began = now();
    let deadline = minutes.map(|minutes| began + Duration::from_secs(60 * minutes));
    let work = || {
        while !stop.load(Ordering::Relaxed) && deadline.is_none_or(|end| now() < end) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let plan = Plan::of_seed(seed, SECONDS);
            match attempt(&plan, Words::Nobody) {
                Ok(run) => all.lock().unwrap().add(&run),
                Err(failure) => {
                    stop.store(true, Ordering::Relaxed);
                    println!("seed {seed} fails: {} ({})", failure.message, failure.place);
                    failed.lock().unwrap().get_or_insert((seed, plan, failure));
                }
            }
            tell(seed, &seeds, began, &all.lock().unwrap());
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(work);
        }
    });
    if let Some((seed, plan, failure)) = failed.into_inner().unwrap() {
        panic!("{}", explain(seed, &plan, &failure));
    }
    all.into_inner().unwrap()
}

/// Says now and then how far it is.
fn tell(seed: u64, seeds: &Range<u64>, began: Instant, all: &Run) {
    let done = seed - seeds.start + 1;
    if done.is_multiple_of(100) {
        let seconds = began.elapsed().as_secs_f64();
        println!(
            "{done} seeds from {}, {:.1} seeds/s, {:.0} simulated seconds per second",
            seeds.start,
            done as f64 / seconds,
            all.simulated_ms as f64 / 1_000.0 / seconds
        );
    }
}
