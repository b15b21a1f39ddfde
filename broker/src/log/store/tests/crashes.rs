//! Crashes between any two file operations, and within them.

use super::seeds;
use super::world::World;
use crate::disk::memory::Loss;

/// Says where a test was when it failed.
pub struct Told<'a>(pub std::fmt::Arguments<'a>);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}

/// A killed process, a power cut that takes all it can, and two that take anything.
const LOSSES: [Loss; 4] = [Loss::Nothing, Loss::Everything, Loss::Some, Loss::Some];

/// A world that stood still after so many operations of its history.
fn stopped(seed: u64, steps: usize, after: u64) -> World {
    let mut world = World::new(seed);
    world.disk.trace();
    world.disk.freeze_after(after);
    world.run(steps);
    world
}

pub fn operations(seed: u64, steps: usize) -> u64 {
    let mut world = World::new(seed);
    let before = world.disk.operations();
    assert!(world.run(steps));
    world.disk.operations() - before
}

/// Crashes in several ways, recovers, goes on, is killed, and recovers again.
fn crash_in_every_way(world: &World, after: u64) {
    for (way, loss) in LOSSES.into_iter().enumerate() {
        let told = format!(
            "ZWEIG_LOG_SEED={}, after operation {after}, way {way}: {loss:?}\n{}",
            world.seed,
            last_lines(world)
        );
        let _told = Told(format_args!("{told}"));
        let mut world = world.fork(after * LOSSES.len() as u64 + way as u64);
        world.crash(loss);
        world.reopen().unwrap();
        assert!(world.run(3));
        world.crash(Loss::Nothing);
        world.reopen().unwrap();
    }
}

fn last_lines(world: &World) -> String {
    let lines = world.disk.traced();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

#[test]
fn a_crash_at_every_operation_of_a_short_history() {
    for seed in seeds(30) {
        for after in 0..=operations(seed, 14) {
            crash_in_every_way(&stopped(seed, 14, after), after);
        }
    }
}

/// A long history, with crashes at a few of its operations.
pub fn crashes_of(seed: u64, steps: usize) {
    let operations = operations(seed, steps);
    for at in 0..3 {
        let after = operations * (seed % 7 + 7 * at + 1) / 28;
        crash_in_every_way(&stopped(seed, steps, after), after);
    }
}

#[test]
fn crashes_in_long_histories() {
    for seed in seeds(300) {
        crashes_of(seed, 80);
    }
}

#[test]
fn recovery_can_be_interrupted_at_every_operation() {
    for seed in seeds(60) {
        let operations = operations(seed, 25);
        let after = operations * (seed % 5 + 1) / 5;
        let crashed = stopped(seed, 25, after);
        for (way, loss) in LOSSES.into_iter().enumerate() {
            let mut lost = crashed.fork(way as u64);
            lost.crash(loss);
            for stop in 0..3 {
                let told = format!(
                    "ZWEIG_LOG_SEED={seed}, after operation {after}, way {way}: {loss:?}, \
                    then after {stop} of recovery\n{}",
                    last_lines(&crashed)
                );
                let _told = Told(format_args!("{told}"));
                let mut world = lost.fork(stop);
                world.disk.freeze_after(stop);
                if world.reopen().is_ok() {
                    break;
                }
                assert!(world.disk.is_frozen());
                world.crash(LOSSES[(stop % LOSSES.len() as u64) as usize]);
                world.reopen().unwrap();
                assert!(world.run(2));
                world.crash(Loss::Some);
                world.reopen().unwrap();
            }
        }
    }
}
