//! Stretches of faults, and what must be well at the end of the calm behind each.

use super::World;
use crate::agenda::Event;
use crate::member::BRISK;
use crate::network::FAIR;
use crate::plan::{CALM_MS, QUIET_MS};

/// What was applied somewhere this long ago is applied everywhere.
const LAG_US: u64 = 300_000;

impl World {
    /// Each phase has three beginnings: of its faults, of its calm, and of the end of writes.
    pub(super) fn phase(&mut self, number: u32) {
        let (place, beginning) = ((number / 3) as usize, number % 3);
        let Some(&phase) = self.plan.phases.get(place) else {
            return;
        };
        let next_ms = match beginning {
            0 => {
                if place > 0 {
                    self.look_at_the_calm();
                }
                self.env.writes = true;
                self.env.load_ms = phase.load_ms;
                self.faults_end_us = self.env.now_us() + 1_000 * phase.faults_ms;
                phase.faults_ms
            }
            1 => {
                self.heal();
                CALM_MS - QUIET_MS
            }
            _ => {
                self.env.writes = false;
                QUIET_MS
            }
        };
        let event = Event::Phase(number + 1);
        self.env.agenda.put_in(1_000 * next_ms, event);
    }

    fn heal(&mut self) {
        let now_us = self.env.now_us();
        self.env.trace.say(now_us, || "CALM".to_owned());
        self.network.heal();
        self.network.weather = FAIR;
        self.next_loss = None;
        for at in 0..self.members.len() {
            let member = &mut self.members[at];
            member.paused_until_us = 0;
            member.pace = BRISK;
            member.armed = None;
            member.disk.set_capacity(u64::MAX);
            member.disk.succeed();
            if member.up.is_none() {
                self.start(at);
            }
        }
        self.healed_us = now_us;
        self.done_before = self.members.iter().map(|member| member.done()).collect();
    }

    pub(super) fn look_at_the_calm(&mut self) {
        self.env.run.calms += 1;
        let now_us = self.env.now_us();
        self.env.trace.say(now_us, || "all must be well".to_owned());
        assert!(
            self.all_are_settled(),
            "who lost its disk is no voter again: {}",
            self.states()
        );
        let (healed_us, witness) = (self.healed_us, &self.env.witness);
        witness.expiry.at_the_end(now_us, healed_us, &witness.truth);
        // A session may expire at any time, and is on its way then.
        let last = witness.truth.index_at(now_us - LAG_US);
        for (at, member) in self.members.iter().enumerate() {
            let id = member.id;
            let Some(up) = &member.up else {
                panic!("member {id} is not up");
            };
            let status = up.raft.node.status();
            let applied = up.apply.applied().index;
            assert!(applied >= last, "member {id} lags: {status:?}");
            assert_eq!(
                up.raft.node.in_flight(),
                0,
                "member {id} still has commands without outcome: {}",
                self.states()
            );
            assert!(
                status.leader.is_some(),
                "member {id} knows no leader: {status:?}"
            );
            let now_ms = member.now(&self.env).ms;
            let reported_ms = up.raft.node.reported_ms();
            assert!(
                reported_ms.is_some_and(|at| at + 2_000 > now_ms),
                "member {id} is not in touch: {status:?}"
            );
            let before = self.done_before.get(at).copied().unwrap_or(0);
            assert!(
                member.done() > before,
                "no write through member {id} was done: {}",
                self.states()
            );
            assert!(!up.apply.bent, "member {id} goes on with another state");
            up.door.audit(id);
        }
    }

    fn states(&self) -> String {
        let ups = self.members.iter().filter_map(|member| member.up.as_ref());
        let states = ups.map(|up| {
            let node = &up.raft.node;
            format!("{:?}\n{:?}\n", node.status(), node.forwarding())
        });
        states.collect()
    }
}
