//! A disk without room, and one that fails: what the log answers, and what is left.

use super::crashes::{Told, operations};
use super::seeds;
use super::world::{Refused, Step, World};
use crate::disk::memory::{Fault, Loss, Operation};

/// Runs until the disk refuses, if it does before the steps are done.
fn run_until_refused(world: &mut World, steps: usize) -> Option<Refused> {
    for _ in 0..steps {
        let step = world.random_step();
        if let Err(refused) = world.take(&step).and_then(|()| world.after(&step)) {
            // A broker that can't stop in good order stops all the same. And of a log that found no room while it
            // started over the old files may be gone: nothing is promised of it until that is tried again (`proof.md`).
            if matches!(step, Step::CleanStop) || world.starting_over() {
                world.manager = None;
            }
            return Some(refused);
        }
    }
    None
}

#[test]
fn a_disk_that_fills_up_at_any_operation_heals() {
    for seed in seeds(40) {
        for after in 0..operations(seed, 14) {
            let told = format!("ZWEIG_LOG_SEED={seed}, full after {after}");
            let _told = Told(format_args!("{told}"));
            let mut world = World::new(seed);
            world.disk.trace();
            world.disk.fill_after(after);
            match run_until_refused(&mut world, 14) {
                None => {}
                Some(Refused::NoSpace(_)) if world.manager.is_some() && after % 2 == 0 => {
                    world.reconcile();
                    // Still full: what needs no room goes on.
                    for _ in 0..3 {
                        match run_until_refused(&mut world, 1) {
                            None => {}
                            Some(Refused::NoSpace(_)) if world.manager.is_some() => {
                                world.reconcile()
                            }
                            Some(Refused::NoSpace(_)) => break,
                            Some(other) => panic!("{other:?}"),
                        }
                    }
                }
                Some(Refused::NoSpace(_)) => {}
                Some(other) => panic!("{other:?}"),
            }
            world.disk.set_capacity(u64::MAX);
            if world.manager.is_some() && after % 4 == 0 {
                // Room again: everything works as if nothing had been.
                assert!(world.run(4));
            }
            let loss = [Loss::Nothing, Loss::Some, Loss::Everything][after as usize % 3];
            world.crash(loss);
            world.reopen().unwrap();
            assert!(world.run(3));
        }
    }
}

#[test]
fn a_disk_that_fails_ends_the_process_and_what_was_flushed_is_kept() {
    let kinds = [
        Operation::Sync,
        Operation::SyncFolder,
        Operation::Write,
        Operation::Rename,
        Operation::SetSize,
        Operation::Remove,
        Operation::Create,
    ];
    let mut refused = 0;
    for seed in seeds(60) {
        for operation in kinds {
            for after in (0..40).step_by(3) {
                let told = format!("ZWEIG_LOG_SEED={seed}, {operation:?} {after} fails");
                let _told = Told(format_args!("{told}"));
                let mut world = World::new(seed);
                world.disk.fail(Fault {
                    after,
                    ..Fault::broken(operation, "")
                });
                match run_until_refused(&mut world, 20) {
                    None => continue,
                    Some(Refused::Fatal(_)) => refused += 1,
                    Some(other) => panic!("{other:?}"),
                }
                world.crash([Loss::Some, Loss::Nothing, Loss::Everything][after as usize % 3]);
                world.reopen().unwrap();
                assert!(world.run(3));
                // What the next life relied on is there, whatever the failed sync left in the page cache.
                world.crash(Loss::Everything);
                world.reopen().unwrap();
            }
        }
    }
    // Else most of the faults never came.
    assert!(refused > 20, "{refused}");
}
