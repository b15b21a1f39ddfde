//! Whole log directories on a disk that loses, tears, refuses and stops, against a model.
//!
//! `world` takes random steps with a `LogManager` and knows what has to be there; `check` compares all that can be
//! read, and what indexes, leader epochs and producer state say, with that. A test fails with its seed in the message:
//! `ZWEIG_LOG_SEED=n` runs that seed alone.

mod check;
mod crashes;
mod found;
mod full;
mod holes;
mod model;
mod world;

/// The seeds a test runs: `count` of them, or the one that was asked for.
fn seeds(count: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("ZWEIG_LOG_SEED").ok();
    match asked.and_then(|text| text.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    }
}
