//! Makes a failing run short: as few faults as fail at the same check, as few members, as little load.

use crate::campaign::{Failure, attempt};
use crate::fault::Fault;
use crate::plan::{Phase, Plan};
use crate::trace::Words;

/// Runs that may be spent on it.
const ATTEMPTS: usize = 250;

struct Shrinker {
    best: Plan,
    failure: Failure,
    left: usize,
}

/// A short plan that fails as `plan` does, and how.
pub fn shrink(plan: &Plan, failure: &Failure) -> (Plan, Failure) {
    let mut shrinker = Shrinker {
        best: plan.clone(),
        failure: failure.clone(),
        left: ATTEMPTS,
    };
    shrinker.cut_the_end();
    shrinker.simplify();
    shrinker.drop_faults();
    shrinker.simplify();
    shrinker.drop_faults();
    let Shrinker { best, failure, .. } = shrinker;
    match attempt(&best, Words::Tail) {
        Err(last) => (best, last),
        Ok(_) => (best, failure),
    }
}

impl Shrinker {
    /// Whether this plan fails at the same check; then it is the best one.
    fn takes(&mut self, plan: Plan) -> bool {
        if self.left == 0 || plan == self.best {
            return false;
        }
        self.left -= 1;
        match attempt(&plan, Words::Nobody) {
            Err(failure) if failure.place == self.failure.place => {
                (self.best, self.failure) = (plan, failure);
                true
            }
            _ => false,
        }
    }

    /// What comes behind the failure is not needed.
    fn cut_the_end(&mut self) {
        let end_ms = self.failure.at_ms;
        let mut plan = self.best.clone();
        plan.faults.retain(|(at_ms, _)| *at_ms <= end_ms);
        let mut begin_ms = 0;
        plan.phases.retain(|phase| {
            let needed = begin_ms <= end_ms;
            begin_ms += phase.faults_ms + crate::plan::CALM_MS;
            needed
        });
        self.takes(plan);
    }

    fn simplify(&mut self) {
        for phase in 0..self.best.phases.len() {
            for load_ms in [400, 100] {
                let mut plan = self.best.clone();
                let Some(Phase { load_ms: load, .. }) = plan.phases.get_mut(phase) else {
                    return;
                };
                *load = load_ms.max(*load);
                if self.takes(plan) {
                    break;
                }
            }
        }
        if self.best.size > 3 {
            let mut plan = self.best.clone();
            plan.size = 3;
            self.takes(plan);
        }
    }

    /// Delta debugging: halves, quarters, ... single faults are left out.
    fn drop_faults(&mut self) {
        let mut length = self.best.faults.len().div_ceil(2);
        while length > 0 {
            let mut from = 0;
            let mut dropped = false;
            while from < self.best.faults.len() {
                let to = (from + length).min(self.best.faults.len());
                let mut plan = self.best.clone();
                plan.faults.drain(from..to);
                if self.takes(plan) {
                    dropped = true;
                } else {
                    from = to;
                }
            }
            if !(dropped && length == 1) {
                length /= 2;
            }
        }
    }
}

impl Plan {
    /// The plan as the text of a test.
    pub fn as_script(&self) -> String {
        let phases: Vec<String> = self.phases.iter().map(|p| format!("{p:?}")).collect();
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(at_ms, fault)| format!("        ({at_ms}, {}),\n", script(fault)))
            .collect();
        format!(
            "    Plan {{\n        seed: {}, size: {}, tick_ms: {},\n        phases: vec![{}],\n        faults: vec![\n{}        ],\n    }}",
            self.seed,
            self.size,
            self.tick_ms,
            phases.join(", "),
            faults.concat()
        )
    }
}

fn script(fault: &Fault) -> String {
    format!("{fault:?}")
}
