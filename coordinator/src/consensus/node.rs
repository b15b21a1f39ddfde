//! One node's share of consensus, without I/O: raft, the forwarder, the leader's batches, read indexes,
//! session reports and expiry.
//!
//! `driver` and the simulation run exactly this: [`Node::handle`] for each thing that happened, then one
//! [`Node::effects`] for what is to be done. Times come in as [`Now`]; chance there is none but raft's own.

mod interface;
mod joining;
mod leading;
mod standing;

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::agreement::Agreement;
use super::applier::{CheckpointMark, Feedback, LiveSession, NotDone, SessionUpdate};
use super::core::{Core, Input};
use super::membership::server_of;
use super::propose::Batcher;
use super::read_index::Reads;
use super::status::{MemberStatus, Status};
use crate::mutants::{self, Mutant};
use crate::request::forward::{Forwarder, Intake, Window};
use crate::session::expiry_queue::ExpiryQueue;
use crate::session::report::{Heard, Reporter};
use crate::state_machine::Command;

use joining::Joining;
use standing::Short;

pub use interface::{Effects, NodeConfig, NodeInput, Now, PeerMessage, Start};

/// The largest command.
pub const COMMAND_BYTES: usize = 64 << 20;
/// An unused checkpoint is kept this long for whoever asks next, milliseconds.
const CHECKPOINT_KEPT_MS: u64 = 10_000;
/// Deadlines are looked at this often, milliseconds.
const DEADLINE_CHECK_MS: u64 = 50;
/// A node that differs from the leader waits this many report periods for others to agree with it.
const AGREEMENT_PERIODS: u64 = 10;

#[derive(Debug)]
enum Reader {
    Local(u64),
    /// A report waits for the proof that this node led when it took it.
    Report(Taken),
}

/// A report that this node took as the leader of `term`.
#[derive(Debug)]
struct Taken {
    node: u64,
    boot: u64,
    sequence: u64,
    term: u64,
}

#[derive(Debug, Default)]
struct Checkpoint {
    making: bool,
    made: Option<(CheckpointMark, u64)>,
    transfers: usize,
}

/// One node of the ensemble.
pub struct Node {
    config: NodeConfig,
    core: Core,
    forwarder: Forwarder,
    intake: Intake,
    batcher: Batcher,
    reads: Reads<Reader>,
    reporter: Reporter,
    expiry: ExpiryQueue,
    agreement: Agreement,
    /// When the others are told how this node stands.
    standing_at_ms: u64,
    ticks: u64,
    /// Term and leader as last seen.
    known: Option<(u64, u64)>,
    led_term: Option<u64>,
    /// The own first entry of this term is applied: sessions may expire.
    armed: bool,
    leaderless_since_ms: u64,
    checked_ms: u64,
    short: Short,
    member: bool,
    /// Something to the leader was dropped: the stream begins again with the next check.
    resend: bool,
    checkpoint: Checkpoint,
    joining: Joining,
    now: Now,
    out: Effects,
}

impl Node {
    /// Starts over a state as `start` tells of it.
    pub fn new(config: NodeConfig, core: Core, start: Start<'_>, now: Now) -> Self {
        let mut expiry = ExpiryQueue::new(config.tick_ms);
        for live in start.sessions {
            expiry.live(live.session, live.attach, live.timeout_ms, 0);
        }
        let patience_ms = AGREEMENT_PERIODS * config.report_period_ms;
        Self {
            agreement: Agreement::new(core.applied_index(), start.digest, patience_ms),
            standing_at_ms: now.ms,
            member: core.is_member(),
            core,
            forwarder: Forwarder::new(Window::default(), start.term),
            intake: Intake::default(),
            batcher: Batcher::new(config.entry_bytes),
            reads: Reads::new(config.node, config.boot),
            reporter: Reporter::new(config.report_period_ms),
            expiry,
            ticks: 0,
            known: None,
            led_term: None,
            armed: false,
            leaderless_since_ms: now.ms,
            checked_ms: now.ms,
            short: Short::default(),
            resend: false,
            checkpoint: Checkpoint::default(),
            joining: Joining::default(),
            now,
            out: Effects::default(),
            config,
        }
    }

    /// Takes one input.
    pub fn handle(&mut self, now: Now, input: NodeInput) {
        self.now = now;
        match input {
            NodeInput::Tick => self.tick(),
            NodeInput::Submit(commands) => self.submit(&commands),
            NodeInput::Peer {
                from,
                boot,
                message,
            } => self.peer(from, boot, message),
            NodeInput::LinkUp(server) => {
                let leader = self.forwarder.sent_to();
                if server_of(leader) == server {
                    self.forwarder.link_renewed(leader);
                }
            }
            NodeInput::LinkLost(server) => {
                self.agreement.lost(server);
                self.core.handle(Input::LinkLost(server));
            }
            NodeInput::Unreachable(server) => {
                self.core.handle(Input::Unreachable(server));
                self.resend |= server_of(self.forwarder.sent_to()) == server;
            }
            NodeInput::Read(reader) => {
                self.reads.push(
                    Reader::Local(reader),
                    now.ms + self.config.read_index_deadline_ms,
                );
            }
            NodeInput::Persisted(number) => self.core.handle(Input::Persisted(number)),
            NodeInput::Applied {
                index,
                term,
                feedback,
                flushed,
            } => self.applied(index, term, &feedback, flushed),
            NodeInput::Installed {
                mark,
                sessions,
                digest,
            } => self.installed(&mark, &sessions, digest),
            NodeInput::Checkpoint(mark) => {
                self.checkpoint.making = false;
                self.checkpoint.made = Some((mark.clone(), now.ms));
                self.core.handle(Input::Checkpoint(mark));
            }
            NodeInput::SnapshotSent { to, done } => {
                self.checkpoint.transfers = self.checkpoint.transfers.saturating_sub(1);
                self.core.handle(Input::SnapshotSent { to, done });
            }
            NodeInput::Heard(heard) => self.report(heard),
            NodeInput::Left(left) => self.reporter.left(left),
            NodeInput::SpaceLow(low) => self.space_changed(low),
        }
    }

    /// Everything that is to be done since the last call.
    pub fn effects(&mut self, now: Now) -> Effects {
        self.now = now;
        self.follow_leadership();
        self.forward();
        self.propose();
        if let Some(context) = self.reads.poll(now.ms) {
            self.core.handle(Input::ReadIndex(context));
        }
        let outputs = self.core.take_outputs();
        self.out.send.extend(
            outputs
                .messages
                .into_iter()
                .map(|m| (m.to, PeerMessage::Raft(Box::new(m)))),
        );
        self.checkpoint.transfers += outputs.snapshots.len();
        self.out.snapshots.extend(outputs.snapshots);
        self.out.persist.extend(outputs.persist);
        self.out.committed.extend(outputs.committed);
        self.out.install = self.out.install.take().or(outputs.install);
        for (context, index) in outputs.reads {
            self.read_answered(&context, index);
        }
        if outputs.wants_checkpoint && !self.checkpoint.making {
            self.checkpoint.making = true;
            self.out.make_checkpoint = true;
        }
        // Becoming leader, or losing that, may have come out of the very last step.
        self.follow_leadership();
        std::mem::take(&mut self.out)
    }

    /// Whether the sessions heard from since the last report are wanted now.
    pub fn wants_heard(&self, now: Now) -> bool {
        self.known.is_some() && self.reporter.is_due(now.ms)
    }

    /// When the last report that the leader acknowledged was sent.
    pub fn reported_ms(&self) -> Option<u64> {
        self.reporter.acknowledged_sent_ms()
    }

    /// Commands of this node that have no outcome yet.
    pub fn in_flight(&self) -> usize {
        self.forwarder.len()
    }

    /// The state of forwarding, for whoever looks for a command that is stuck.
    pub fn forwarding(&self) -> impl std::fmt::Debug {
        (&self.forwarder, &self.intake)
    }

    /// Whether commands find no leader for so long that new ones are refused.
    pub fn refuses(&self, now: Now) -> bool {
        self.known.is_none() && now.ms >= self.leaderless_since_ms + self.config.forward_deadline_ms
    }

    /// Raft.
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Raft, for changes of the members.
    pub fn core_mut(&mut self) -> &mut Core {
        &mut self.core
    }

    /// What this node knows.
    pub fn status(&self) -> Status {
        Status {
            node: server_of(self.config.node),
            role: self.core.role(),
            term: self.core.term(),
            leader: self.core.leader().map(server_of),
            committed: self.core.committed(),
            applied: self.core.applied_index(),
            first_index: self.core.view().base().index + 1,
            last_index: self.core.last_index(),
            space_low: self.short.own,
            members: by_server(self.core.members()),
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        self.ticks += 1;
        self.core.handle(Input::Tick);
        self.follow_leadership();
        for (node, boot, next) in self.intake.rewinds() {
            let Some(term) = self.led_term else { break };
            self.answer(node, boot, PeerMessage::Rewind { boot, term, next });
        }
        if self.armed {
            self.expire_sessions();
        }
        if now.ms >= self.checked_ms + DEADLINE_CHECK_MS {
            self.checked_ms = now.ms;
            self.check_deadlines();
        }
        self.leave_leading_to_others();
        self.ask_to_be_let_in();
    }

    fn check_deadlines(&mut self) {
        let now = self.now;
        self.compare_states();
        self.tell_standing();
        if std::mem::take(&mut self.resend) {
            self.forwarder.link_renewed(self.forwarder.sent_to());
        }
        let late = self.forwarder.expire(now.wall_ms);
        self.not_done(late, NotDone::Deadline);
        if self.refuses(now) {
            let given_up = self.forwarder.give_up();
            self.not_done(given_up, NotDone::NoQuorum);
        }
        for reader in self.reads.expire(now.ms) {
            if let Reader::Local(reader) = reader {
                self.out.reads_failed.push(reader);
            }
        }
        let unused = self.checkpoint.transfers == 0;
        let old = |made_ms: &u64| now.ms >= made_ms + CHECKPOINT_KEPT_MS;
        if self
            .checkpoint
            .made
            .take_if(|(_, made_ms)| unused && old(made_ms))
            .is_some()
        {
            self.core.handle(Input::CheckpointGone);
            self.out.drop_checkpoint = true;
        }
    }

    fn submit(&mut self, commands: &[Command]) {
        for command in commands {
            let mut bytes = BytesMut::new();
            command.encode(&mut bytes);
            if bytes.len() > COMMAND_BYTES {
                self.not_done(vec![command.origin.request], NotDone::TooLarge);
            } else {
                self.forwarder
                    .submit(command.origin.request, command.deadline_ms, bytes.freeze());
            }
        }
    }

    fn peer(&mut self, from: u64, boot: u64, message: PeerMessage) {
        if !self.admits(from, &message) {
            return;
        }
        match message {
            PeerMessage::Join => self.let_in(from),
            PeerMessage::Replaced { id } if id == self.config.node => self.end_replaced(),
            PeerMessage::Raft(message) if message.from == from => {
                self.core.handle(Input::Message(message))
            }
            PeerMessage::Forward(run) => self.offer((from, boot), &run),
            PeerMessage::Rewind { boot, term, next } if boot == self.config.boot => {
                self.forwarder.rewind(term, next)
            }
            PeerMessage::Refused {
                boot,
                term,
                numbers,
            } if boot == self.config.boot => {
                let refused = self.forwarder.refused(term, &numbers);
                self.not_done(refused, NotDone::NoSpace);
            }
            PeerMessage::Report(report) => self.take_report(from, boot, &report),
            PeerMessage::Reported {
                boot,
                sequence,
                index,
            } if boot == self.config.boot => {
                self.reporter.acknowledged(sequence, index);
                self.reporter.applied(self.core.applied_index());
            }
            PeerMessage::Standing {
                index,
                digest,
                space_low,
            } => {
                self.agreement.heard((from, boot), index, digest);
                self.short.set_peer(from, space_low);
            }
            // For a former life of this node, or in another's name.
            _ => {}
        }
    }

    fn follow_leadership(&mut self) {
        let known = self.core.leader().map(|leader| (self.core.term(), leader));
        if known != self.known {
            self.known = known;
            self.leaderless_since_ms = self.now.ms;
            self.reporter.leader_changed();
            self.forwarder.set_target(known);
        }
        let led = self.core.is_leader().then(|| self.core.term());
        if led != self.led_term {
            self.led_term = led;
            self.armed = false;
            if !mutants::is(Mutant::FormerBatchProposed) {
                self.batcher.clear();
            }
            self.expiry.disarm();
            if led.is_some() {
                self.begin_to_lead();
            }
        }
        self.intake.set_term(led);
        if std::mem::replace(&mut self.member, self.core.is_member()) && !self.member {
            let unknown = self.forwarder.lose_track(0);
            self.out.unknown.extend(unknown);
        }
    }

    fn forward(&mut self) {
        while let Some((leader, run)) = self.forwarder.poll() {
            if leader == self.config.node {
                self.offer((leader, self.config.boot), &run);
            } else {
                self.out.send.push((leader, PeerMessage::Forward(run)));
            }
        }
    }

    /// Sends to a node, which may be this one.
    fn answer(&mut self, node: u64, boot: u64, message: PeerMessage) {
        if node != self.config.node {
            self.out.send.push((node, message));
        } else if boot == self.config.boot {
            self.peer(node, boot, message);
        }
    }

    fn applied(&mut self, index: u64, term: u64, feedback: &Feedback, flushed: u64) {
        for update in &feedback.sessions {
            match *update {
                SessionUpdate::Live(live) => {
                    self.expiry
                        .live(live.session, live.attach, live.timeout_ms, self.ticks);
                }
                SessionUpdate::Gone(session) => self.expiry.gone(session),
            }
        }
        self.agreement.applied(index, &feedback.digests);
        let refused = self.forwarder.applied(term, &feedback.own);
        self.not_done(refused, NotDone::NoSpace);
        self.core.handle(Input::Applied(index));
        self.reporter.applied(index);
        if !self.armed && self.led_term == Some(term) && self.core.leads(term) {
            self.armed = true;
            self.expiry.arm(self.ticks);
        }
        self.cut(flushed);
    }

    fn installed(&mut self, mark: &CheckpointMark, sessions: &[LiveSession], digest: u64) {
        self.agreement.installed(mark.at.index, digest);
        let unknown = self.forwarder.lose_track(mark.at.term);
        self.out.unknown.extend(unknown);
        self.expiry.clear();
        for live in sessions {
            self.expiry
                .live(live.session, live.attach, live.timeout_ms, self.ticks);
        }
        self.core.handle(Input::Installed);
        self.reporter.applied(mark.at.index);
    }

    fn report(&mut self, heard: Heard) {
        let report = self.reporter.report(self.now.ms, heard);
        match self.known {
            Some((_, leader)) if leader == self.config.node => {
                self.take_report(leader, self.config.boot, &report);
            }
            Some((_, leader)) => self.out.send.push((leader, PeerMessage::Report(report))),
            None => {}
        }
    }

    fn read_answered(&mut self, context: &[u8], index: u64) {
        for reader in self.reads.answered(context) {
            match reader {
                Reader::Local(reader) => self.out.reads.push((reader, index)),
                Reader::Report(report) => self.acknowledge(report),
            }
        }
    }

    fn not_done(&mut self, requests: Vec<u64>, why: NotDone) {
        if !requests.is_empty() {
            self.out.not_done.push((requests, why));
        }
    }
}

/// Users know servers, not their incarnations: of several, the newest counts.
fn by_server(members: Vec<MemberStatus>) -> Vec<MemberStatus> {
    let mut servers = BTreeMap::new();
    // In the order of the raft ids, so that a later incarnation replaces an earlier one.
    for member in members {
        let node = server_of(member.node);
        servers.insert(node, MemberStatus { node, ..member });
    }
    servers.into_values().collect()
}
