//! What the simulation once found, as short as it could be made, and scripts that a person wrote.

use crate::campaign::{attempt, explain};
use crate::env::Run;
use crate::fault::End::{Killed, PowerLost};
use crate::fault::Fault::{CrashAll, FailSync, LoseDisk};
use crate::plan::{Phase, Plan};
use crate::trace::Words;

fn keeps_the_promises(plan: &Plan) -> Run {
    match attempt(plan, Words::Nobody) {
        Ok(run) => run,
        Err(failure) => panic!("{}", explain(plan.seed, plan, &failure)),
    }
}

fn phase(faults_ms: u64) -> Phase {
    Phase {
        faults_ms,
        load_ms: 40,
    }
}

/// A disk fails one sync, the process ends and starts again, and later the power fails: what the page cache showed at
/// the start must be on the disk.
#[test]
fn a_failed_sync_then_a_restart_then_a_loss_of_power() {
    let mut failed = 0;
    for seed in 0..20 {
        let plan = Plan::scripted(seed, 3, &[phase(6_000)])
            .with(1_000, FailSync { at: 0, nth: 1 })
            .with(1_500, FailSync { at: 1, nth: 2 })
            .with(
                3_000,
                CrashAll {
                    end: PowerLost,
                    down_ms: 200,
                },
            )
            .with(
                5_000,
                CrashAll {
                    end: Killed,
                    down_ms: 1,
                },
            );
        failed += keeps_the_promises(&plan).failed_syncs;
    }
    assert!(failed > 20, "{failed}");
}

/// Each member loses its disk, one after the other, while clients write: at the end none of the founders is left.
#[test]
fn every_member_is_replaced_in_turn() {
    let phases = [phase(2_000), phase(2_000), phase(2_000)];
    let lose = |at| LoseDisk { at, down_ms: 100 };
    let plan = Plan::scripted(1, 3, &phases)
        .with(1_000, lose(0))
        .with(11_000, lose(1))
        .with(21_000, lose(2));
    let run = keeps_the_promises(&plan);
    assert_eq!((run.disks_lost, run.calms), (3, 3));
    assert!(run.installs >= 3, "{run:?}");
}
