//! raft-rs as a state machine without I/O: inputs in, [`Outputs`] out.
//!
//! The order of one `Ready`, written down once:
//! 1. its entries go into the view, where raft reads them back, before it is advanced;
//! 2. what it sends as a leader may leave at once, in parallel with the own write;
//! 3. everything else it sends promises something (votes, acknowledgements), and waits in `unpersisted` until
//!    the log thread has synced; a `Ready` that needs no sync queues behind the last one that does, and is
//!    released with it; that a change of members is committed needs one;
//! 4. committed entries go out at once: raft offers only what is persisted here.
//!
//! A `Ready` with a snapshot stops the machine: ticks and messages are dropped until [`Input::Installed`].
//! That is what keeps `hup` from reading entries that neither the log nor the snapshot has.
//!
//! Absent on purpose: proposals of followers (raft 0.7 would forward them; a `MsgPropose` that arrives is
//! dropped), leadership transfer by message, reads by lease.

mod configuration;
mod interface;
mod knowledge;
#[cfg(test)]
#[allow(clippy::field_reassign_with_default)] // raft's messages have too many fields to spell out
mod tests;

use std::collections::VecDeque;

use bytes::Bytes;
use raft::eraftpb::{ConfChangeV2, ConfState, Entry, EntryType, HardState, Message, MessageType};
use raft::{Config, INVALID_ID, RawNode, ReadOnlyOption, Ready, SnapshotStatus, StateRole};

use super::applier::{Committed, CommittedData, Fatal};
use super::campaign::FailOver;
use super::membership::server_of;
use super::view::LogView;
use crate::mutants::{self, Mutant};
use crate::storage::raft_log::{Position, Recovered};

pub use interface::{CoreConfig, Input, Install, Outputs, Patience, Persist, ProposeError};

/// With more committed entries to apply a node does not stand for election at once.
const UNAPPLIED_ENTRIES: u64 = 256;
/// Bytes of entries in one message.
const MESSAGE_BYTES: u64 = 1 << 20;
/// Messages of entries on their way to one follower.
const MESSAGES_IN_FLIGHT: usize = 256;
/// Bytes of entries that are proposed and not committed.
const UNCOMMITTED_BYTES: u64 = 256 << 20;
/// Bytes of committed entries handed out at once.
const COMMITTED_BYTES: u64 = 4 << 20;

struct Unpersisted {
    number: u64,
    needs_sync: bool,
    messages: Vec<Message>,
}

/// One node's raft.
pub struct Core {
    config: CoreConfig,
    raw: RawNode<LogView>,
    unpersisted: VecDeque<Unpersisted>,
    installing: Option<Ready>,
    /// Applied index heard while installing counts for nothing.
    applied: u64,
    /// The last committed entry that was given out to be applied.
    handed_out: u64,
    hard_state: HardState,
    first_conf_state: ConfState,
    fail_over: FailOver,
    out: Outputs,
}

impl Core {
    /// Starts from what the log and the state hold. The caller has made sure that the log contains `applied`,
    /// or has been reset to it.
    ///
    /// # Errors
    /// When the log and the applied index contradict each other.
    pub fn new(
        config: CoreConfig,
        recovered: Recovered,
        conf_state: ConfState,
        applied: Position,
    ) -> Result<Self, Fatal> {
        let mut hard_state = recovered.hard_state;
        hard_state.commit = hard_state.commit.max(applied.index);
        let first_conf_state = conf_state.clone();
        let view = LogView::new(
            hard_state.clone(),
            conf_state,
            recovered.base,
            recovered.entries,
        );
        if applied.index < view.base().index || hard_state.commit > view.last().index {
            return Err(Fatal::new(format!(
                "the state is applied up to {}, committed is {}, but the raft log holds {} to {}",
                applied.index,
                hard_state.commit,
                view.base().index + 1,
                view.last().index
            )));
        }
        let raw = RawNode::new(
            &raft_config(&config, applied.index),
            view,
            &super::logger::logger(),
        )
        .map_err(|e| Fatal::new(format!("raft refused to start: {e}")))?;
        let mut core = Self {
            config,
            raw,
            unpersisted: VecDeque::new(),
            installing: None,
            applied: applied.index,
            handed_out: applied.index,
            hard_state,
            first_conf_state,
            fail_over: FailOver::new(config.tick_ms),
            out: Outputs::default(),
        };
        core.hide_first_entry();
        core.draw_patience();
        if core.raw.raft.promotable() && core.voters() == [config.node] {
            core.campaign();
        }
        Ok(core)
    }

    /// Takes one input.
    pub fn handle(&mut self, input: Input) {
        if self.installing.is_some() {
            match input {
                Input::Installed => self.finish_install(),
                Input::SnapshotSent { .. } | Input::CheckpointGone => {}
                _ => return,
            }
            self.collect();
            self.draw_patience();
            return;
        }
        match input {
            Input::Tick => self.tick(),
            Input::Message(message) => self.message(*message),
            Input::Persisted(number) => self.persisted(number),
            Input::Applied(index) => self.applied(index),
            Input::LinkLost(node) => self.link_lost(node),
            Input::Unreachable(server) => {
                for id in self.incarnations(server) {
                    self.raw.report_unreachable(id);
                }
            }
            Input::ReadIndex(context) => self.raw.read_index(context),
            Input::Installed => {}
            Input::Checkpoint(mark) => {
                self.raw.mut_store().snapshot =
                    configuration::snapshot(&mark, &self.first_conf_state);
            }
            Input::CheckpointGone => self.raw.mut_store().snapshot = None,
            Input::SnapshotSent { to, done } => {
                let status = if done {
                    SnapshotStatus::Finish
                } else {
                    SnapshotStatus::Failure
                };
                self.raw.report_snapshot(to, status);
            }
            Input::Compact(index) => {
                let index = index.min(self.raw.raft.raft_log.applied());
                self.raw.mut_store().compact(index);
            }
            Input::Started => {
                self.fail_over
                    .begin(&self.voters(), INVALID_ID, self.config.node);
            }
            Input::Transfer(to) => {
                if self.is_leader() {
                    self.raw.transfer_leader(to);
                }
            }
        }
        // A snapshot must not share its Ready with entries that came behind it.
        if self.raw.snap().is_some() {
            self.collect();
        }
        self.draw_patience();
    }

    /// Raft draws its election timeout from chance that has no seed, with each new term and role.
    fn draw_patience(&mut self) {
        let Patience::Seeded(seed) = self.config.patience else {
            return;
        };
        let raft = &mut self.raw.raft;
        let mut word = seed;
        for part in [raft.term, raft.leader_id, raft.state as u64] {
            word = (word ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            word ^= word >> 29;
        }
        let ticks = self.config.election_ticks;
        let chance = usize::try_from(word % ticks as u64).unwrap_or(0);
        raft.set_randomized_election_timeout(ticks + chance);
    }

    /// Proposes one entry in `term`, in this very step.
    ///
    /// # Errors
    /// When this node does not lead that term, or takes nothing now.
    pub fn propose(&mut self, term: u64, data: &Bytes) -> Result<(), ProposeError> {
        if !self.leads(term) {
            return Err(ProposeError::NotLeader);
        }
        self.raw
            .propose(Vec::new(), data.to_vec())
            .map_err(|_| ProposeError::Busy)?;
        if mutants::is(Mutant::AnsweredBeforeCommit) {
            self.commit_early(term, data.clone());
        }
        Ok(())
    }

    /// The mutant: what is proposed counts as committed, if all before it does.
    fn commit_early(&mut self, term: u64, data: Bytes) {
        let index = self.last_index();
        if index == self.handed_out + 1 {
            self.handed_out = index;
            let data = CommittedData::Normal(data);
            self.out.committed.push(Committed { index, term, data });
        }
    }

    /// Proposes a change of the members, alone in its entry.
    ///
    /// # Errors
    /// When this node does not lead, or an earlier change is not applied yet.
    pub fn propose_conf_change(&mut self, change: &ConfChangeV2) -> Result<(), ProposeError> {
        if self.installing.is_some() || !self.is_leader() {
            return Err(ProposeError::NotLeader);
        }
        // Raft would turn a change that it can't take now into an empty entry.
        if self.raw.raft.has_pending_conf() || (self.is_joint() && !change.changes.is_empty()) {
            return Err(ProposeError::Busy);
        }
        self.raw
            .propose_conf_change(Vec::new(), change.clone())
            .map_err(|_| ProposeError::Busy)
    }

    /// Whether voters with an equally long log are to refuse this node, so that one of them leads.
    pub fn set_reluctant(&mut self, reluctant: bool) {
        // A node of term 0 must not be made to refuse: raft 0.7 panics then. Its log is empty.
        let reluctant = reluctant && self.last_index() > 0;
        self.raw.raft.set_priority(-i64::from(reluctant));
    }

    /// What is to be done since the last call.
    pub fn take_outputs(&mut self) -> Outputs {
        self.collect();
        if self.raw.store().wants_snapshot.take() {
            self.out.wants_checkpoint = true;
        }
        std::mem::take(&mut self.out)
    }

    fn tick(&mut self) {
        self.raw.tick();
        if self
            .fail_over
            .tick(self.leader().is_some() || self.raw.raft.state == StateRole::Leader)
        {
            // A candidate's votes may be on their way to the disk: let it be.
            if self.raw.raft.state != StateRole::Candidate {
                self.campaign();
            }
        }
        if self.is_leader() && self.is_joint() {
            // Raft leaves joint state by itself only if the leader that entered it has seen that applied.
            // It is refused, and tried again, while that change is not applied.
            let _ = self.propose_conf_change(&ConfChangeV2::default());
        }
    }

    fn campaign(&mut self) {
        // Raft would copy all that is not applied yet, to look for changes of members. Its own patience goes on.
        let committed = self.raw.raft.raft_log.committed;
        let is_close = committed <= self.applied + UNAPPLIED_ENTRIES;
        if self.raw.raft.promotable() && is_close {
            // An error means that it can't stand just now, such as a pending change of members.
            let _ = self.raw.campaign();
        }
    }

    fn message(&mut self, message: Message) {
        if message.to != self.config.node
            || matches!(
                message.get_msg_type(),
                MessageType::MsgPropose | MessageType::MsgTransferLeader
            )
        {
            return;
        }
        // A log from its beginning does not say who the first members were: only a checkpoint does.
        if self.is_stranger()
            && message.get_msg_type() == MessageType::MsgAppend
            && message.index == 0
        {
            return;
        }
        // What is left are peers that this node no longer, or does not yet, know.
        let _ = self.raw.step(message);
    }

    fn link_lost(&mut self, server: u64) {
        let raft = &mut self.raw.raft;
        let leader = raft.leader_id;
        if raft.state != StateRole::Follower || server_of(leader) != server || !raft.promotable() {
            return;
        }
        // Otherwise our own lease, and by the same rule that of the others, swallows pre-votes.
        raft.become_follower(raft.term, INVALID_ID);
        self.fail_over
            .begin(&self.voters(), leader, self.config.node);
    }

    fn applied(&mut self, index: u64) {
        if index > self.applied {
            self.applied = index;
            self.raw.advance_apply_to(index);
            self.hide_first_entry();
        }
    }

    fn persisted(&mut self, number: u64) {
        let mut highest = None;
        while let Some(front) = self.unpersisted.front()
            && (front.number <= number || (highest.is_some() && !front.needs_sync))
        {
            highest = Some(front.number);
            if let Some(done) = self.unpersisted.pop_front() {
                self.out.messages.extend(done.messages);
            }
        }
        if let Some(highest) = highest {
            self.raw.on_persist_ready(highest);
        }
    }

    fn collect(&mut self) {
        while self.installing.is_none() && self.raw.has_ready() {
            let ready = self.raw.ready();
            self.process(ready);
        }
    }

    fn process(&mut self, mut ready: Ready) {
        if let Some(hard_state) = ready.hs() {
            self.hard_state = hard_state.clone();
        }
        self.out.reads.extend(
            ready
                .take_read_states()
                .into_iter()
                .map(|read| (read.request_ctx, read.index)),
        );
        for message in ready.take_messages() {
            self.send(message);
        }
        let number = ready.number();
        // A restart finds the members as of the last entry that the disk says is committed. Raft does not ask for a sync
        // of that alone, but former members, who may be gone for good, would be asked for their votes again.
        let changed = changes_members(ready.committed_entries());
        let needs_sync = ready.must_sync() || (changed && !mutants::is(Mutant::ChangeUnsynced));
        let mut messages = ready.take_persisted_messages();
        if mutants::is(Mutant::PromisedBeforePersisted) {
            self.out.messages.append(&mut messages);
        }
        if ready.snapshot().get_metadata().index != 0 {
            assert!(
                ready.entries().is_empty(),
                "a snapshot shares its Ready with entries"
            );
            self.unpersisted.push_back(Unpersisted {
                number,
                needs_sync,
                messages,
            });
            self.out.install = Some(self.install(ready.snapshot()));
            self.installing = Some(ready);
            return;
        }
        let entries = ready.take_entries();
        let committed = ready.take_committed_entries();
        let previous_term = self.append(&entries);
        self.raw.advance_append_async(ready);
        if needs_sync {
            self.unpersisted.push_back(Unpersisted {
                number,
                needs_sync,
                messages,
            });
            let hard_state = self.hard_state.clone();
            self.out.persist.push(Persist {
                number,
                hard_state,
                previous_term,
                entries,
            });
        } else if self.unpersisted.is_empty() {
            self.out.messages.extend(messages);
            self.raw.on_persist_ready(number);
        } else {
            self.unpersisted.push_back(Unpersisted {
                number,
                needs_sync,
                messages,
            });
        }
        for entry in committed {
            self.commit(entry);
        }
    }

    fn append(&mut self, entries: &[Entry]) -> u64 {
        let Some(first) = entries.first() else {
            return 0;
        };
        let view = self.raw.mut_store();
        view.append(entries);
        if first.index == view.base().index + 1 {
            return view.base().term;
        }
        view.entry(first.index - 1).map_or(0, |before| before.term)
    }

    fn send(&mut self, message: Message) {
        if message.get_msg_type() == MessageType::MsgSnapshot {
            self.out.snapshots.push(message);
        } else {
            self.out.messages.push(message);
        }
    }

    fn commit(&mut self, entry: Entry) {
        if mutants::is(Mutant::AnsweredBeforeCommit) && entry.index <= self.handed_out {
            return;
        }
        self.handed_out = entry.index;
        let data = match entry.get_entry_type() {
            EntryType::EntryNormal => CommittedData::Normal(entry.data.into()),
            EntryType::EntryConfChangeV2 | EntryType::EntryConfChange => {
                self.change_members(entry.index, &entry.data)
            }
        };
        self.out.committed.push(Committed {
            index: entry.index,
            term: entry.term,
            data,
        });
    }
}

/// Whether one of these entries says who the members are.
fn changes_members(committed: &[Entry]) -> bool {
    committed
        .iter()
        .any(|entry| entry.get_entry_type() != EntryType::EntryNormal)
}

fn raft_config(config: &CoreConfig, applied: u64) -> Config {
    let (shortest, longest) = match config.patience {
        Patience::Random | Patience::Seeded(_) => {
            (config.election_ticks, 2 * config.election_ticks)
        }
        Patience::Fixed(ticks) => (ticks, ticks + 1),
    };
    Config {
        id: config.node,
        election_tick: config.election_ticks,
        heartbeat_tick: config.heartbeat_ticks,
        min_election_tick: shortest,
        max_election_tick: longest,
        applied,
        max_size_per_msg: MESSAGE_BYTES,
        max_inflight_msgs: MESSAGES_IN_FLIGHT,
        max_uncommitted_size: UNCOMMITTED_BYTES,
        max_committed_size_per_ready: COMMITTED_BYTES,
        check_quorum: true,
        pre_vote: true,
        read_only_option: match mutants::is(Mutant::ReadIndexUnconfirmed) {
            true => ReadOnlyOption::LeaseBased,
            false => ReadOnlyOption::Safe,
        },
        ..Config::default()
    }
}
