//! Clients and the members that serve them.

use zweig_coordinator::consensus::node::Now;

use super::World;
use crate::agenda::Event;
use crate::clients::Nodes;
use crate::door::Door;
use crate::member::Member;

/// What clients reach.
struct Desks<'a> {
    members: &'a mut [Member],
    now_us: u64,
    stirred: Vec<usize>,
}

impl Nodes for Desks<'_> {
    fn count(&self) -> usize {
        self.members.len()
    }

    fn boot(&self, node: usize) -> u64 {
        let member = &self.members[node];
        member.up.as_ref().map_or(0, |_| member.boot)
    }

    fn asleep_until_us(&self, node: usize) -> Option<u64> {
        let member = &self.members[node];
        let until_us = member.paused_until_us;
        (member.up.is_some() && self.now_us < until_us).then_some(until_us)
    }

    fn door(&mut self, node: usize) -> Option<(&mut Door, Now)> {
        let member = &mut self.members[node];
        let now = member.clock.now(self.now_us);
        member.up.as_mut().map(|up| (&mut up.door, now))
    }

    fn stirred(&mut self, node: usize) {
        self.stirred.push(node);
    }
}

impl World {
    /// Clients act, and hear.
    pub(super) fn clients(&mut self) {
        let now_us = self.env.now_us();
        self.clients.writes = self.env.writes;
        let mut desks = Desks {
            members: &mut self.members,
            now_us,
            stirred: Vec::new(),
        };
        let witness = &mut self.env.witness;
        self.clients.step(now_us, &mut desks, witness);
        let mut stirred = desks.stirred;
        stirred.sort_unstable();
        stirred.dedup();
        stirred.into_iter().for_each(|at| self.settle(at));
        self.clients_due_us = u64::MAX;
    }

    /// The agenda looks at the clients when something is due.
    pub(super) fn plan_clients(&mut self) {
        let next_us = self.clients.next_us().unwrap_or(u64::MAX);
        if next_us < self.clients_due_us {
            self.clients_due_us = next_us;
            self.env.agenda.put(next_us, Event::Clients);
        }
    }

    /// What a member has done reaches its clients; true if that gave its node something to do.
    pub(super) fn serve(&mut self, at: usize) -> bool {
        let now_us = self.env.now_us();
        let mut desks = Desks {
            members: &mut self.members,
            now_us,
            stirred: Vec::new(),
        };
        let witness = &mut self.env.witness;
        self.clients.pump(now_us, at, &mut desks, witness);
        let Some(up) = &mut self.members[at].up else {
            return false;
        };
        let inputs = up.door.link.take_inputs();
        let any = !inputs.is_empty();
        for input in inputs {
            self.members[at].handle(&mut self.env, input);
        }
        any
    }
}
