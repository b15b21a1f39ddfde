//! What the simulation once found, as short as it could be made, and scripts that a person wrote.

use crate::campaign::{attempt, explain};
use crate::env::Run;
use crate::fault::End::{Killed, PowerLost};
use crate::fault::Fault::{
    Alone, Crash, CrashAll, CrashAt, FailSync, LoseDisk, LoseTwo, Pace, SlowLink,
};
use crate::fault::{Step, Ways};
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

/// Hardly anybody writes.
fn idle(faults_ms: u64) -> Phase {
    Phase {
        faults_ms,
        load_ms: 2_000,
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
    // A disk is lost only in a moment in which raft can bear it, as not every one is.
    let all = (0..400).step_by(20).find_map(|later| {
        let plan = Plan::scripted(1, 3, &phases)
            .with(1_000 + later, lose(0))
            .with(11_000 + later, lose(1))
            .with(21_000 + later, lose(2));
        let run = keeps_the_promises(&plan);
        (run.disks_lost == 3).then_some(run)
    });
    let run = all.expect("three disks were lost in one of these runs");
    assert_eq!(run.calms, 3);
    assert!(run.installs >= 3, "{run:?}");
}

/// A member has just become a voter in place of one whose disk was lost when another loses its disk, and the rest is
/// killed before anybody has written anything else: what is left must know who the members are.
#[test]
fn a_change_of_members_is_remembered_as_soon_as_it_is_synced() {
    for seed in 0..9 {
        let two = LoseTwo {
            first: seed as u8,
            second: 1 + seed as u8 / 3,
            down_ms: 100,
        };
        // A disk is lost only in a moment in which raft can bear it, as not every one is.
        let kills = (1_000..1_400).step_by(20).find_map(|at| {
            let plan = Plan::scripted(seed, 3, &[idle(4_000)]).with(at, two);
            let run = keeps_the_promises(&plan);
            (run.disks_lost == 2).then_some(run.kills)
        });
        assert_eq!(kills, Some(2), "{two:?}");
    }
}

/// One of three is away, or hears nothing, or is not heard, for 15 s: the others go on, whoever it is.
#[test]
fn a_minority_that_is_away_stops_nobody() {
    for at in 0..3 {
        let alone = |ways| Alone { at, but: 9, ways };
        let away = Crash {
            at,
            end: PowerLost,
            down_ms: 15_000,
        };
        for fault in [away, alone(Ways::Both), alone(Ways::From), alone(Ways::To)] {
            let plan = Plan::scripted(at.into(), 3, &[phase(17_000)]).with(2_000, fault);
            let run = keeps_the_promises(&plan);
            // Two members with a request of two or three commands each 40 ms, for more than 20 s.
            assert!(run.answers > 1_000, "{fault:?}: {run:?}");
        }
    }
}

/// A member that lags needs a checkpoint; it, or its leader, ends at each step of getting one.
#[test]
fn checkpoints_survive_an_end_at_each_step() {
    let mut installs = 0;
    let mut struck = 0;
    for (seed, step) in (0..).zip([
        Step::CheckpointMade,
        Step::StateInstalled,
        Step::LogReset,
        Step::Cut,
        Step::Opened,
    ]) {
        for end in [Killed, PowerLost] {
            let mut plan = Plan::scripted(seed, 3, &[phase(18_000)]).with(
                1_000,
                Crash {
                    at: 0,
                    end,
                    down_ms: 9_000,
                },
            );
            for (nth, at) in (1..).zip([0, 1, 2]) {
                let strike = CrashAt {
                    at,
                    step,
                    nth,
                    end,
                    down_ms: 50,
                };
                plan = plan.with(9_900, strike);
            }
            let run = keeps_the_promises(&plan);
            installs += run.installs;
            struck += run.struck;
        }
    }
    assert!(installs >= 10 && struck >= 10, "{installs} {struck}");
}

/// A slow disk at the leader and a slow way to it make nobody forget what was promised, and are no reason to elect.
#[test]
fn slowness_alone_elects_nobody_for_long() {
    for at in 0..3 {
        let plan = Plan::scripted(at.into(), 3, &[phase(15_000)])
            .with(
                2_000,
                Pace {
                    at,
                    sync_ms: 200,
                    apply_ms: 100,
                    flush_ms: 1_000,
                },
            )
            .with(
                2_000,
                SlowLink {
                    from: at,
                    to: (at + 1) % 3,
                    ms: 100,
                },
            );
        let run = keeps_the_promises(&plan);
        assert!(run.terms <= 4, "{run:?}");
    }
}
