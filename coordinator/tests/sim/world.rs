//! Everything outside the nodes: time, faults, deliveries, and the look at what must hold.

use std::hash::{DefaultHasher, Hash, Hasher};

use prost011::Message as _;
use raft::eraftpb::{ConfState, Message};
use zweig_coordinator::consensus::membership::{incarnation_of, server_of};
use zweig_coordinator::consensus::node::{Effects, NodeInput, PeerMessage};
use zweig_coordinator::session::report::grace_ms;

use crate::chance::Chance;
use crate::checks::Checks;
use crate::client::SESSION_TIMEOUT_MS;
use crate::member::{Member, REPORT_PERIOD_MS};
use crate::network::{Cargo, Envelope, Network, Weather};

const FAULTS_MS: u64 = 12_000;
/// Without faults everything must be well after this long.
const HEALING_MS: u64 = 10_000;
const IN_FLIGHT: usize = 60;

/// What came of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    pub trace: u64,
    pub entries: u64,
    pub answers: u64,
    pub refusals: u64,
    pub unknown: u64,
    pub reads: u64,
    pub crashes: u64,
    pub installs: u64,
    pub losses: u64,
    pub expired: u64,
    pub terms: u64,
}

impl Run {
    pub fn add(&mut self, other: &Run) {
        self.trace ^= other.trace;
        self.entries += other.entries;
        self.answers += other.answers;
        self.refusals += other.refusals;
        self.unknown += other.unknown;
        self.reads += other.reads;
        self.crashes += other.crashes;
        self.installs += other.installs;
        self.losses += other.losses;
        self.expired += other.expired;
        self.terms += other.terms;
    }
}

pub struct World {
    chance: Chance,
    now: u64,
    members: Vec<Member>,
    network: Network,
    checks: Checks,
    trace: DefaultHasher,
    run: Run,
}

impl World {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let size = if chance.once_in(4) { 5 } else { 3 };
        let mut members: Vec<_> = (1..=size)
            .map(|id| Member::new(id, chance.next(), chance.below(20_000) as i64 - 10_000))
            .collect();
        for member in &mut members {
            member.start(0, size, &mut chance);
        }
        Self {
            chance,
            now: 0,
            members,
            network: Network::default(),
            checks: Checks::default(),
            trace: DefaultHasher::new(),
            run: Run::default(),
        }
    }

    pub fn run(mut self) -> Run {
        while self.now < FAULTS_MS {
            self.faults();
            self.step(true);
        }
        self.heal();
        let end = self.now + HEALING_MS;
        while self.now < end {
            // Writes stop in the middle of the healing, so that all can come to an end.
            self.step(self.now + HEALING_MS / 2 < end);
        }
        self.look_at_the_end();
        self.run.trace = self.trace.finish();
        self.run.entries = self.checks.last_index();
        self.run.answers = self.checks.answers;
        self.run.expired = self.checks.expired.len() as u64;
        self.run.refusals = self.checks.refusals() as u64;
        self.run
    }

    fn size(&self) -> u64 {
        self.members.len() as u64
    }

    fn any(&mut self) -> usize {
        self.chance.below(self.size()) as usize
    }

    fn faults(&mut self) {
        if self.chance.once_in(700) {
            let at = self.any();
            self.crash(at);
        }
        if self.chance.once_in(1_500) {
            self.lose_disk();
        }
        if self.chance.once_in(1_000) {
            let at = self.any();
            self.members[at].paused_until = self.now + self.chance.below(2_500);
        }
        if self.chance.once_in(900) {
            let (at, low) = (self.any(), self.chance.once_in(2));
            self.members[at].handle(self.now, NodeInput::SpaceLow(low));
        }
        if self.chance.once_in(400) {
            self.cut_links();
        }
        if self.chance.once_in(300) {
            self.network.weather = Weather {
                loss: [0, 0, 5, 20, 100][self.chance.below(5) as usize],
                repeat: [0, 0, 3, 20][self.chance.below(4) as usize],
                delay_ms: [2, 5, 40, 200][self.chance.below(4) as usize],
            };
        }
        if self.chance.once_in(300) {
            let at = self.any();
            self.members[at].sync_ms = [1, 5, 30, 300][self.chance.below(4) as usize];
            self.members[at].apply_ms = [1, 5, 30, 300][self.chance.below(4) as usize];
        }
        for at in 0..self.members.len() {
            if self.members[at].up.is_none() && self.now >= self.members[at].restart_at {
                let size = self.size();
                self.members[at].start(self.now, size, &mut self.chance);
                self.note(("start", at));
            }
        }
    }

    /// As often as raft can bear it: while all members are who they should be. A second loss before the first node
    /// is a voter again may leave no majority that remembers.
    fn lose_disk(&mut self) {
        let at = self.any();
        if self.members[at].up.is_none() || !self.all_are_settled() {
            return;
        }
        self.run.losses += 1;
        self.note(("lose disk", at));
        self.crash(at);
        let seed = self.chance.next();
        self.members[at].lose_disk(seed);
    }

    /// Whether the newest configuration that anybody has applied holds exactly the present incarnations.
    fn all_are_settled(&self) -> bool {
        let ups = self.members.iter().filter_map(|member| member.up.as_ref());
        let Some(newest) = ups.max_by_key(|up| up.machine.applied().index) else {
            return false;
        };
        let mut ids: Vec<u64> = self.members.iter().map(Member::raft_id).collect();
        ids.sort_unstable();
        match newest.machine.conf_state() {
            None => ids.iter().all(|&id| incarnation_of(id) == 0),
            Some(bytes) => {
                let mut conf = ConfState::decode(bytes.as_ref()).unwrap();
                conf.voters.sort_unstable();
                conf.voters == ids && conf.learners.is_empty()
            }
        }
    }

    fn crash(&mut self, at: usize) {
        if self.members[at].up.is_none() {
            return;
        }
        self.run.crashes += 1;
        self.note(("crash", at));
        let id = self.members[at].id;
        self.members[at].crash(&mut self.chance);
        self.members[at].restart_at = self.now + self.chance.below(3_000);
        self.network.forget(id);
        // As after `kill -9`: the sockets close. After a loss of power nobody hears anything.
        if !self.chance.once_in(3) {
            for other in 0..self.members.len() {
                if self.members[other].id != id {
                    self.members[other].handle(self.now, NodeInput::LinkLost(id));
                }
            }
        }
        for other in 1..=self.size() {
            self.network.broken.insert((other, id));
        }
    }

    fn cut_links(&mut self) {
        self.network.cut.clear();
        if self.chance.once_in(3) {
            return;
        }
        let alone = self.chance.below(self.size()) + 1;
        let one_way = self.chance.once_in(3);
        for other in (1..=self.size()).filter(|&other| other != alone) {
            if self.chance.once_in(4) {
                continue;
            }
            self.network.cut.insert((alone, other));
            if !one_way {
                self.network.cut.insert((other, alone));
            }
        }
    }

    fn heal(&mut self) {
        self.network.cut.clear();
        self.network.weather = Weather {
            loss: 0,
            repeat: 0,
            delay_ms: 3,
        };
        let size = self.size();
        for member in &mut self.members {
            member.paused_until = 0;
            member.sync_ms = 3;
            member.apply_ms = 3;
            if member.up.is_none() {
                member.start(self.now, size, &mut self.chance);
            }
            member.handle(self.now, NodeInput::SpaceLow(false));
        }
    }

    fn step(&mut self, writes: bool) {
        self.now += 1;
        self.renew_streams();
        for at in 0..self.members.len() {
            if !self.members[at].is_awake(self.now) {
                continue;
            }
            self.deliver(at);
            self.members[at].run_log(self.now, &mut self.chance);
            self.members[at].run_apply(self.now, &mut self.chance, &mut self.checks);
            self.members[at].tick(self.now);
            self.clients(at, writes);
            if self.members[at].up.as_ref().is_some_and(|up| up.stirred) {
                let effects = self.members[at].effects(self.now);
                self.carry(at, effects, None);
            }
        }
    }

    fn renew_streams(&mut self) {
        let ready: Vec<_> = self
            .network
            .broken
            .difference(&self.network.cut)
            .copied()
            .collect();
        for (from, to) in ready {
            if self.chance.once_in(30) {
                self.network.broken.remove(&(from, to));
                if self.chance.once_in(3) {
                    self.members[from as usize - 1].handle(self.now, NodeInput::LinkLost(to));
                }
                self.members[from as usize - 1].handle(self.now, NodeInput::LinkUp(to));
            }
        }
    }

    fn deliver(&mut self, at: usize) {
        let id = self.members[at].id;
        while let Some(envelope) = self.network.due(self.now, id) {
            let Envelope {
                from,
                sender,
                boot,
                cargo,
                ..
            } = envelope;
            match cargo {
                Cargo::Message(message) => {
                    self.note((from, id, essence(&message)));
                    self.members[at].handle(
                        self.now,
                        NodeInput::Peer {
                            from: sender,
                            boot,
                            message,
                        },
                    );
                }
                Cargo::Checkpoint(message, store) => {
                    let before = self.members[at].effects(self.now);
                    self.carry(at, before, None);
                    let to = message.to;
                    let message = PeerMessage::Raft(message);
                    self.members[at].handle(
                        self.now,
                        NodeInput::Peer {
                            from: sender,
                            boot,
                            message,
                        },
                    );
                    let effects = self.members[at].effects(self.now);
                    self.run.installs += u64::from(effects.install.is_some());
                    self.note(("checkpoint", id, effects.install.is_some()));
                    self.carry(at, effects, Some(store));
                    self.members[from as usize - 1]
                        .handle(self.now, NodeInput::SnapshotSent { to, done: true });
                }
            }
        }
    }

    fn clients(&mut self, at: usize, writes: bool) {
        let now = self.members[at].now(self.now);
        let member = &mut self.members[at];
        let Some(up) = &mut member.up else { return };
        let mut inputs = Vec::new();
        if writes && up.node.in_flight() < IN_FLIGHT && self.chance.once_in(12) {
            inputs.push(NodeInput::Submit(
                up.client.commands(&mut self.chance, now.wall_ms),
            ));
        }
        if self.chance.once_in(50) {
            up.next_reader += 1;
            up.readers
                .insert(up.next_reader, self.checks.answered_index);
            inputs.push(NodeInput::Read(up.next_reader));
        }
        inputs
            .into_iter()
            .for_each(|input| member.handle(self.now, input));
    }

    fn carry(
        &mut self,
        at: usize,
        mut effects: Effects,
        arrived: Option<Box<zweig_coordinator::storage::MemoryStore>>,
    ) {
        let (id, boot) = (self.members[at].id, self.members[at].boot);
        let sender = self.members[at].raft_id();
        assert!(effects.fatal.is_none(), "node {id}: {:?}", effects.fatal);
        for (to, message) in effects.send.drain(..) {
            let cargo = Cargo::Message(message);
            self.network.send(
                self.now,
                &mut self.chance,
                Envelope {
                    from: id,
                    sender,
                    boot,
                    to: server_of(to),
                    cargo,
                },
            );
        }
        for message in effects.snapshots.drain(..) {
            self.send_checkpoint(at, message);
        }
        self.members[at].queue(&mut effects, arrived);
        let Some(up) = &mut self.members[at].up else {
            return;
        };
        for (reader, index) in effects.reads {
            let lowest = up.readers.remove(&reader).unwrap();
            assert!(
                index >= lowest,
                "node {id} may read at {index}, but {lowest} was answered before"
            );
            self.run.reads += 1;
        }
        for reader in effects.reads_failed {
            up.readers.remove(&reader);
        }
        for (requests, _) in effects.not_done {
            for request in requests {
                self.checks.not_done(id, boot, request);
                up.client.unanswered(request);
            }
        }
        for request in effects.unknown {
            self.run.unknown += 1;
            up.client.unanswered(request);
        }
        self.look_at_sessions(at);
    }

    fn send_checkpoint(&mut self, at: usize, message: Message) {
        let (from, boot, to) = (self.members[at].id, self.members[at].boot, message.to);
        let sender = self.members[at].raft_id();
        let store = self.members[at]
            .up
            .as_ref()
            .and_then(|up| up.checkpoint.clone());
        let sent = store.is_some_and(|store| {
            let cargo = Cargo::Checkpoint(Box::new(message), store);
            self.network.send(
                self.now,
                &mut self.chance,
                Envelope {
                    from,
                    sender,
                    boot,
                    to: server_of(to),
                    cargo,
                },
            )
        });
        if !sent {
            self.members[at].handle(self.now, NodeInput::SnapshotSent { to, done: false });
        }
    }

    /// A session that others have seen expire must not be one whose node may still answer its client.
    fn look_at_sessions(&mut self, at: usize) {
        let member = &self.members[at];
        let Some(up) = &member.up else { return };
        let (Some(known), Some(reported_ms)) = (up.client.session, up.node.reported_ms()) else {
            return;
        };
        let grace = grace_ms(u64::from(SESSION_TIMEOUT_MS), REPORT_PERIOD_MS);
        let in_touch = self.now <= reported_ms + grace && reported_ms >= known.since_ms;
        for other in self.members.iter().filter_map(|other| other.up.as_ref()) {
            // Behind the opening, a state without the session has seen its end.
            let ended = other.machine.applied().index >= known.opened_index
                && other.machine.session(known.id).is_none();
            assert!(
                !(ended && in_touch),
                "session {:?} has ended at {}, its node may still answer",
                known.id,
                self.now
            );
        }
    }

    fn look_at_the_end(&mut self) {
        assert!(
            self.all_are_settled(),
            "who lost its disk is no voter again: {}",
            self.forwarding()
        );
        let last = self.checks.last_index();
        for member in &self.members {
            let up = member.up.as_ref().unwrap();
            let status = up.node.status();
            let id = member.id;
            assert_eq!(
                up.machine.applied().index,
                last,
                "node {id} lags at the end: {status:?}"
            );
            assert_eq!(
                up.node.in_flight(),
                0,
                "node {id} still has commands without outcome: {}",
                self.forwarding()
            );
            assert!(
                status.leader.is_some(),
                "node {id} knows no leader: {status:?}"
            );
            assert!(
                up.node
                    .reported_ms()
                    .is_some_and(|at| at + 2_000 > self.now),
                "node {id} is not in touch: {status:?}"
            );
            self.run.terms = self.run.terms.max(status.term);
        }
    }

    fn forwarding(&self) -> String {
        let ups = self.members.iter().filter_map(|member| member.up.as_ref());
        let states = ups.map(|up| format!("{:?}\n{:?}\n", up.node.status(), up.node.forwarding()));
        states.collect()
    }

    fn note(&mut self, what: impl Hash) {
        (self.now, what).hash(&mut self.trace);
    }
}

/// Enough of a message to tell two traces apart.
fn essence(message: &PeerMessage) -> [u64; 5] {
    match message {
        PeerMessage::Raft(raft) => {
            let kind = u64::from(raft.msg_type.unsigned_abs());
            [
                kind,
                raft.term,
                raft.index,
                raft.commit,
                raft.entries.len() as u64,
            ]
        }
        PeerMessage::Forward(run) => [100, run.term, run.first, run.commands.len() as u64, 0],
        PeerMessage::Rewind { boot, term, next } => [101, *boot, *term, *next, 0],
        PeerMessage::Refused {
            boot,
            term,
            numbers,
        } => [102, *boot, *term, numbers.len() as u64, 0],
        PeerMessage::Report(report) => [103, report.sequence, report.sessions.len() as u64, 0, 0],
        PeerMessage::Reported { boot, sequence } => [104, *boot, *sequence, 0, 0],
        PeerMessage::Standing { index, digest, .. } => [105, *index, *digest, 0, 0],
        PeerMessage::Blank { life } => [108, *life, 0, 0, 0],
        PeerMessage::Formed { met } => [109, met.len() as u64, 0, 0, 0],
        PeerMessage::Join => [106, 0, 0, 0, 0],
        PeerMessage::Replaced { id } => [107, *id, 0, 0, 0],
    }
}
