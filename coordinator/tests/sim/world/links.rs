//! What members tell each other, and how they hear of each other's ends.

use std::sync::Arc;

use raft::eraftpb::Message;
use zweig_coordinator::consensus::core::Install;
use zweig_coordinator::consensus::membership::server_of;
use zweig_coordinator::consensus::node::{Effects, NodeInput, PeerMessage};
use zweig_coordinator::mutants::{self, Mutant};
use zweig_coordinator::state_machine::{Entry, Op};
use zweig_coordinator::storage::MemoryStore;

use super::World;
use crate::agenda::{Event, What};
use crate::fault::{End, Step};
use crate::member::Up;
use crate::member::apply_side::ApplyWork;
use crate::member::log_side::LogWork;
use crate::member::raft_side::checkpoint_folder;
use crate::network::{Cargo, Envelope};
use crate::trace::describe;

/// Entries that a leader may have proposed and not committed: its own bound, and what it found there when it began.
const UNCOMMITTED: u64 = 320;

impl World {
    /// Carries out what a member wants done, in the order of `driver`.
    pub(super) fn carry(&mut self, at: usize, mut effects: Effects) {
        if let Some(fatal) = effects.fatal.take() {
            self.gives_up(at, &fatal);
            return;
        }
        assert!(
            effects.install.is_none(),
            "a checkpoint is installed only when one has arrived"
        );
        self.carry_all(at, &mut effects);
    }

    /// False when the process ends on the way.
    fn carry_all(&mut self, at: usize, effects: &mut Effects) -> bool {
        for (to, message) in effects.send.drain(..) {
            self.send(at, to, message);
            if self.members[at].ends_at(Step::Sent) {
                return false;
            }
        }
        self.note_expiries(at, effects);
        if !self.members[at].carry_within(&mut self.env, effects) {
            return false;
        }
        for message in effects.snapshots.drain(..) {
            self.send_checkpoint(at, message);
        }
        let member = &mut self.members[at];
        if let Some(up) = &member.up {
            let core = up.raft.node.core();
            if core.is_leader() {
                let uncommitted = core.last_index() - core.committed();
                assert!(
                    uncommitted <= UNCOMMITTED,
                    "leader {} has {uncommitted} entries in flight",
                    member.id
                );
                let promises = &mut self.env.checks.promises;
                promises.leads(member.raft_id(), core.term());
            }
        }
        if let Some(sent_us) = member.news_of_touch() {
            self.env.witness.expiry.reported(at, sent_us);
        }
        true
    }

    /// A leader writes that sessions have expired.
    fn note_expiries(&mut self, at: usize, effects: &Effects) {
        let leads = |up: &Up| up.raft.node.core().is_leader();
        if !self.members[at].up.as_ref().is_some_and(leads) {
            return;
        }
        let entries = effects.persist.iter().flat_map(|persist| &persist.entries);
        for entry in entries.filter(|entry| !entry.data.is_empty()) {
            let Ok(decoded) = Entry::decode(entry.data.clone().into()) else {
                continue;
            };
            for command in decoded.commands {
                if command.op == Op::ExpireSession {
                    let hold = (command.session.0, command.attach);
                    let (now_us, at) = (self.env.agenda.now_us, (entry.index, entry.term));
                    self.env.witness.expiry.proposed(now_us, at, hold);
                }
            }
        }
    }

    fn envelope(&self, at: usize, to: u64, cargo: Cargo) -> Envelope {
        let (member, to) = (&self.members[at], server_of(to));
        Envelope {
            from: member.id,
            sender: member.raft_id(),
            boot: member.boot,
            to,
            to_boot: self.members[to as usize - 1].boot,
            cargo,
        }
    }

    fn send(&mut self, at: usize, to: u64, message: PeerMessage) {
        if let PeerMessage::Raft(raft) = &message {
            self.env.checks.promises.sent(raft);
        }
        let envelope = self.envelope(at, to, Cargo::Message(message));
        let env = &mut self.env;
        let sent = self
            .network
            .send(&mut env.agenda, &mut env.chance, envelope);
        // The sender may know that the stream is broken, or believe that it stands.
        if !sent && env.chance.once_in(2) {
            let unreachable = NodeInput::Unreachable(server_of(to));
            self.members[at].handle(&mut self.env, unreachable);
        }
    }

    fn send_checkpoint(&mut self, at: usize, message: Message) {
        let (member, to) = (&self.members[at], message.to);
        let announced = member
            .up
            .as_ref()
            .and_then(|up| up.raft.checkpoints.announced_by(&message));
        let store = announced.and_then(|number| member.folders.get(&checkpoint_folder(number)));
        let sent = store.is_some_and(|store| {
            let cargo = Cargo::Checkpoint(Box::new(message), Arc::new(store));
            let envelope = self.envelope(at, to, cargo);
            let env = &mut self.env;
            self.network
                .send(&mut env.agenda, &mut env.chance, envelope)
        });
        if !sent {
            let failed = NodeInput::SnapshotSent { to, done: false };
            self.members[at].handle(&mut self.env, failed);
        }
    }

    pub(super) fn arrive(&mut self, slot: u32) {
        let Some(envelope) = self.network.look(slot) else {
            return;
        };
        let (at, to_boot) = (envelope.to as usize - 1, envelope.to_boot);
        let member = &self.members[at];
        let is_there = member.up.is_some() && member.boot == to_boot;
        if is_there && self.env.now_us() < member.paused_until_us {
            let event = Event::Arrive(slot);
            self.env.agenda.put(member.paused_until_us, event);
            return;
        }
        let Some(envelope) = self.network.take(slot) else {
            return;
        };
        let Envelope { from, sender, .. } = envelope;
        let arrives = is_there && !self.network.is_cut(from, envelope.to);
        match envelope.cargo {
            Cargo::Message(message) if arrives => {
                let id = member.id;
                self.env.run.messages += 1;
                self.env.trace.mix(&[self.env.agenda.now_us, sender, id]);
                self.env.trace.message(&message);
                self.env.trace.say(self.env.agenda.now_us, || {
                    format!("{from} -> {id}: {}", describe(&message))
                });
                let boot = envelope.boot;
                let peer = NodeInput::Peer {
                    from: sender,
                    boot,
                    message,
                };
                self.members[at].handle(&mut self.env, peer);
                self.settle(at);
            }
            Cargo::Message(_) => {
                let env = &mut self.env;
                self.network
                    .tear(&mut env.agenda, &mut env.chance, from, envelope.to);
            }
            Cargo::Checkpoint(message, store) => {
                let torn = self.network.weather.torn_checkpoints;
                let is_torn = torn > 0 && self.env.chance.once_in(torn);
                self.env.run.torn_checkpoints += u64::from(!arrives || is_torn);
                let receipt = Cargo::Receipt(message.to, arrives && !is_torn);
                if arrives && !is_torn {
                    self.checkpoint_arrives(at, (sender, envelope.boot), message, store);
                }
                let mut receipt = self.envelope(at, from, receipt);
                receipt.to_boot = envelope.boot;
                let env = &mut self.env;
                self.network.put(&mut env.agenda, &mut env.chance, receipt);
            }
            Cargo::Receipt(to, done) if is_there => {
                let sent = NodeInput::SnapshotSent { to, done };
                self.members[at].handle(&mut self.env, sent);
                self.settle(at);
            }
            Cargo::Receipt(..) => {}
        }
    }

    /// A checkpoint lies aside: raft decides whether it is installed.
    fn checkpoint_arrives(
        &mut self,
        at: usize,
        (from, boot): (u64, u64),
        message: Box<Message>,
        store: Arc<MemoryStore>,
    ) {
        // What came before must not be mistaken for what comes of this.
        let before = self.members[at].effects(&mut self.env);
        self.carry(at, before);
        let index = message.get_snapshot().get_metadata().index;
        let peer = NodeInput::Peer {
            from,
            boot,
            message: PeerMessage::Raft(message),
        };
        self.members[at].handle(&mut self.env, peer);
        let mut effects = self.members[at].effects(&mut self.env);
        if let Some(fatal) = effects.fatal.take() {
            self.gives_up(at, &fatal);
            return;
        }
        let install = effects.install.take();
        let (id, wanted) = (self.members[at].id, install.is_some());
        self.env.note(4, &[id, index, u64::from(wanted)], || {
            format!("{id}: a checkpoint of index {index} arrived, installed: {wanted}")
        });
        let goes_on = self.carry_all(at, &mut effects);
        if let Some(install) = install.filter(|_| goes_on) {
            self.env.run.installs += 1;
            let (member, env) = (&mut self.members[at], &mut self.env);
            if mutants::is(Mutant::ResetBeforeInstalled)
                && let Some(up) = &mut member.up
            {
                let early = Install {
                    mark: install.mark.clone(),
                    hard_state: install.hard_state.clone(),
                };
                up.log.queue.push_back(LogWork::ResetEarly(early));
                member.log_on(env);
                if let Err(error) = member.logged(env) {
                    return self.log_failed(at, &error);
                }
                if member.ends_at(Step::StateInstalled) {
                    self.settle(at);
                    return;
                }
            }
            if let Some(up) = &mut member.up {
                let install = ApplyWork::Install(install, store);
                up.apply.queue.push_back(install);
            }
            member.apply_on(env);
        }
        self.settle(at);
    }

    /// A process has ended: its sockets close, unless the machine lost power.
    pub(super) fn hear_of_the_end(&mut self, at: usize, end: End) {
        let id = self.members[at].id;
        for other in (0..self.members.len()).filter(|&other| other != at) {
            let (member, env) = (&self.members[other], &mut self.env);
            self.network
                .tear(&mut env.agenda, &mut env.chance, member.id, id);
            if end == End::Killed && member.up.is_some() {
                let us = 20 + env.chance.below(500);
                member.later(env, us, What::LinkLost(id as u8));
            }
        }
    }

    /// A broken stream is set up again.
    pub(super) fn renew(&mut self, from: u64, to: u64, stamp: u32) {
        let env = &mut self.env;
        let renewed = self
            .network
            .renew(&mut env.agenda, &mut env.chance, (from, to, stamp));
        let member = &self.members[from as usize - 1];
        if renewed && member.up.is_some() {
            if env.chance.once_in(3) {
                member.later(env, 0, What::LinkLost(to as u8));
            }
            member.later(env, 0, What::LinkUp(to as u8));
        }
    }
}
