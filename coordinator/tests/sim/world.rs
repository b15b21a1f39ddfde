//! A run: the members, what lies between them, and time. `faults` does to them what the plan says, `calm` ends a
//! stretch of faults and looks whether everything is well again, `links` carries what members tell each other.

mod calm;
mod faults;
mod links;
mod serving;

use prost011::Message as _;
use raft::eraftpb::ConfState;
use zweig_coordinator::consensus::membership::incarnation_of;
use zweig_coordinator::consensus::node::NodeInput;

use crate::agenda::{Event, What};
use crate::chance::Chance;
use crate::clients::Clients;
use crate::clock::Clock;
use crate::env::{Env, Run};
use crate::fault::{End, Step};
use crate::member::Member;
use crate::network::Network;
use crate::plan::Plan;
use crate::trace::Words;

pub struct World {
    plan: Plan,
    env: Env,
    members: Vec<Member>,
    network: Network,
    clients: Clients,
    /// When the agenda will look at the clients.
    clients_due_us: u64,
    healed_us: u64,
    /// Pauses end by then.
    faults_end_us: u64,
    /// Whose disks are lost next, as soon as that may be, and for how long it is down.
    next_loss: Option<(usize, u64)>,
    /// Writes done at each member when the calm began.
    done_before: Vec<u64>,
}

impl World {
    pub fn new(plan: &Plan, words: Words) -> Self {
        let mut env = Env::new(plan.seed, plan.size, plan.tick_ms, words);
        let members = (1..=plan.size).map(|id| {
            let clock = Clock::new(env.chance.below(20_000) as i64 - 10_000, 0);
            Member::new(id, env.chance.next(), clock)
        });
        let members = members.collect();
        let chance = Chance::new(env.chance.next());
        let count = plan.size as usize * (2 + env.chance.below(3) as usize);
        let mut world = Self {
            clients: Clients::new(count, chance),
            clients_due_us: u64::MAX,
            healed_us: 0,
            plan: plan.clone(),
            env,
            members,
            network: Network::new(),
            faults_end_us: 0,
            next_loss: None,
            done_before: Vec::new(),
        };
        for at in 0..world.members.len() {
            world.start(at);
        }
        for (place, (at_ms, _)) in plan.faults.iter().enumerate() {
            let event = Event::Fault(place as u32);
            world.env.agenda.put(1_000 * at_ms, event);
        }
        world.env.agenda.put(0, Event::Phase(0));
        world
    }

    /// Runs to the end of the plan.
    pub fn run(&mut self) -> Run {
        let end_us = 1_000 * self.plan.duration_ms();
        while let Some(event) = self.env.agenda.next(end_us) {
            self.env.run.events += 1;
            self.event(event);
            self.lose_the_next();
            self.plan_clients();
        }
        if !self.plan.phases.is_empty() {
            self.look_at_the_calm();
            let now_us = self.env.now_us();
            self.clients.leave_all(now_us, &mut self.env.witness);
            self.env.witness.at_the_end();
        }
        let (env, mut run) = (&self.env, self.env.run.clone());
        run.trace = env.trace.hash();
        run.simulated_ms = env.now_us() / 1_000;
        run.entries = env.checks.agreement.last_index();
        run.answers = env.checks.agreement.answers;
        run.refusals = env.checks.agreement.refusals();
        run.expired = env.witness.truth.expired;
        run.seen = env.witness.seen.clone();
        (run.seen.changes, run.seen.resumed) = self.clients.followed();
        run.terms = env.checks.promises.newest_term();
        run
    }

    /// The last lines of the trace, and when it ended.
    pub fn tail(&self) -> (u64, Vec<String>) {
        let lines = self.env.trace.tail.iter().cloned().collect();
        (self.env.now_us() / 1_000, lines)
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Arrive(slot) => self.arrive(slot),
            Event::Renew { from, to, stamp } => self.renew(u64::from(from), u64::from(to), stamp),
            Event::Member { at, boot, what } => self.member(at as usize, boot, what),
            Event::Start { at, fall } => {
                let member = &self.members[at as usize];
                if member.up.is_none() && member.fall == fall {
                    self.start(at as usize);
                }
            }
            Event::Fault(place) => {
                let (_, fault) = self.plan.faults[place as usize];
                self.fault(fault);
            }
            Event::Phase(number) => self.phase(number),
            // What was planned before something nearer turned up is of no use any more.
            Event::Clients if self.env.now_us() < self.clients_due_us => {}
            Event::Clients => self.clients(),
        }
    }

    fn member(&mut self, at: usize, boot: u32, what: What) {
        let (member, env) = (&mut self.members[at], &mut self.env);
        if member.up.is_none() || member.boot as u32 != boot {
            return;
        }
        if env.now_us() < member.paused_until_us {
            let event = Event::Member {
                at: at as u8,
                boot,
                what,
            };
            env.agenda.put(member.paused_until_us, event);
            return;
        }
        let failed = match what {
            What::Tick => {
                member.tick(env);
                Ok(())
            }
            What::Round => {
                if let Some(up) = &mut member.up {
                    up.raft.due = true;
                }
                Ok(())
            }
            What::Logged => member.logged(env),
            What::Applied => {
                member.applied(env);
                Ok(())
            }
            What::Flush => {
                member.flush(env);
                Ok(())
            }
            What::Space => member.look_at_space(env),
            What::Clients => {
                member.clients(env);
                Ok(())
            }
            What::LinkLost(server) => {
                let server = u64::from(server);
                member.handle(env, NodeInput::LinkLost(server));
                member.handle(env, NodeInput::Unreachable(server));
                Ok(())
            }
            What::LinkUp(server) => {
                member.handle(env, NodeInput::LinkUp(u64::from(server)));
                Ok(())
            }
        };
        match failed {
            Ok(()) => self.settle(at),
            Err(error) => self.log_failed(at, &error),
        }
    }

    /// Carries out what a member wants done now, serves its clients, and looks whether it ends.
    fn settle(&mut self, at: usize) {
        let round_due = |member: &Member| member.up.as_ref().is_some_and(|up| up.raft.due);
        loop {
            while self.members[at].struck.is_none() && round_due(&self.members[at]) {
                let effects = self.members[at].effects(&mut self.env);
                self.carry(at, effects);
            }
            if self.members[at].struck.is_some() || !self.serve(at) {
                break;
            }
        }
        if let Some(armed) = self.members[at].struck {
            self.env.run.struck += 1;
            let step = armed.step;
            self.end(at, armed.end, armed.down_ms, &format!("at step {step:?}"));
        }
    }

    /// Starts a process; one whose log can't be opened is started again later, or has to be wiped.
    fn start(&mut self, at: usize) {
        let (member, env) = (&mut self.members[at], &mut self.env);
        let id = member.id;
        match member.start(env) {
            Ok(()) => {
                let (raft_id, boot) = (member.raft_id(), member.boot);
                let up = member.up.as_ref();
                let applied = up.map_or(0, |up| up.apply.applied().index);
                env.note(2, &[raft_id, boot, applied], || {
                    format!("{id}: starts as {raft_id:#x}, applied {applied}")
                });
                member.ends_at(Step::Opened);
                self.settle(at);
            }
            Err(error) => self.could_not_start(at, &error),
        }
    }

    /// Whether the newest configuration that anybody has applied holds exactly the present incarnations.
    fn all_are_settled(&self) -> bool {
        let ups = self.members.iter().filter_map(|member| member.up.as_ref());
        let Some(newest) = ups.max_by_key(|up| up.apply.applied().index) else {
            return false;
        };
        let mut ids: Vec<u64> = self.members.iter().map(Member::raft_id).collect();
        ids.sort_unstable();
        match newest.apply.conf_state() {
            None => ids.iter().all(|&id| incarnation_of(id) == 0),
            Some(bytes) => {
                let mut conf = ConfState::decode(bytes.as_slice()).unwrap();
                conf.voters.sort_unstable();
                conf.voters == ids && conf.learners.is_empty()
            }
        }
    }

    /// A process ends, and starts again so much later.
    fn end(&mut self, at: usize, end: End, down_ms: u64, why: &str) {
        let (member, env) = (&mut self.members[at], &mut self.env);
        if member.up.is_none() {
            return;
        }
        let id = member.id;
        if member.up.as_ref().is_some_and(|up| up.apply.bent) {
            member.bent_until_us = Some(env.agenda.now_us);
        }
        match end {
            End::Killed => env.run.kills += 1,
            End::PowerLost => env.run.power_losses += 1,
        }
        env.note(3, &[id, end as u64], || format!("{id}: {end:?} {why}"));
        member.end(env, end);
        env.witness.expiry.node_ends(at);
        self.clients
            .node_ends(env.agenda.now_us, at, end == End::PowerLost);
        let event = Event::Start {
            at: at as u8,
            fall: member.fall,
        };
        env.agenda.put_in(1_000 * down_ms, event);
        self.hear_of_the_end(at, end);
    }
}
