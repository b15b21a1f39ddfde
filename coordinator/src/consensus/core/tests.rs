//! The traps of raft 0.7.0, one by one. Three cores, one step at a time.

mod fail_over;
mod members;
mod rejoin;

use std::collections::BTreeMap;

use prost011::Message as _;
use raft::eraftpb::{ConfState, Message, MessageType};

use super::*;
use crate::consensus::applier::CheckpointMark;
use crate::consensus::status::Role;

const ELECTION: usize = 10;

struct Node {
    core: Core,
    /// Synced only when the test says so.
    unsynced: Vec<Persist>,
    applied: Vec<Committed>,
    reads: Vec<(Vec<u8>, u64)>,
    install: Option<Install>,
    wants_checkpoint: bool,
}

struct Cluster {
    nodes: BTreeMap<u64, Node>,
    wire: Vec<Message>,
    cut: Vec<u64>,
}

fn config(node: u64) -> CoreConfig {
    let patience = Patience::Fixed(ELECTION + server_of(node) as usize * 3);
    CoreConfig {
        node,
        tick_ms: 5,
        election_ticks: ELECTION,
        heartbeat_ticks: 2,
        patience,
    }
}

fn core(node: u64, voters: &[u64], recovered: Recovered, applied: Position) -> Core {
    let conf_state = ConfState::from((voters.to_vec(), vec![]));
    Core::new(config(node), recovered, conf_state, applied).unwrap()
}

impl Node {
    fn new(core: Core) -> Self {
        Self {
            core,
            unsynced: vec![],
            applied: vec![],
            reads: vec![],
            install: None,
            wants_checkpoint: false,
        }
    }
}

impl Cluster {
    fn new(ids: &[u64]) -> Self {
        let node = |&id: &u64| {
            let core = core(id, ids, Recovered::default(), Position::default());
            (id, Node::new(core))
        };
        Self {
            nodes: ids.iter().map(node).collect(),
            wire: vec![],
            cut: vec![],
        }
    }

    fn at(&mut self, id: u64) -> &mut Node {
        self.nodes.get_mut(&id).unwrap()
    }

    /// Takes outputs; returns the types of what is sent now.
    fn take(&mut self, id: u64) -> Vec<MessageType> {
        let node = self.at(id);
        let outputs = node.core.take_outputs();
        node.unsynced.extend(outputs.persist);
        node.applied.extend(outputs.committed);
        node.reads.extend(outputs.reads);
        node.install = node.install.take().or(outputs.install);
        node.wants_checkpoint |= outputs.wants_checkpoint;
        let messages: Vec<_> = outputs
            .messages
            .into_iter()
            .chain(outputs.snapshots)
            .collect();
        let types = messages.iter().map(Message::get_msg_type).collect();
        self.wire.extend(messages);
        types
    }

    fn sync(&mut self, id: u64) {
        let node = self.at(id);
        if let Some(last) = node.unsynced.drain(..).next_back() {
            node.core.handle(Input::Persisted(last.number));
        }
    }

    fn apply(&mut self, id: u64) {
        let node = self.at(id);
        if let Some(last) = node.applied.last().map(|last| last.index) {
            node.core.handle(Input::Applied(last));
        }
    }

    /// Everything until nothing moves.
    fn settle(&mut self) {
        loop {
            for id in self.nodes.keys().copied().collect::<Vec<_>>() {
                self.take(id);
                self.sync(id);
                self.take(id);
                self.apply(id);
            }
            if self.wire.is_empty() {
                return;
            }
            for message in std::mem::take(&mut self.wire) {
                // To who is not there any more, nothing arrives.
                if !self.cut.contains(&message.from)
                    && !self.cut.contains(&message.to)
                    && let Some(node) = self.nodes.get_mut(&message.to)
                {
                    node.core.handle(Input::Message(Box::new(message)));
                }
            }
        }
    }

    fn tick(&mut self, id: u64, ticks: usize) {
        for _ in 0..ticks {
            self.at(id).core.handle(Input::Tick);
        }
    }

    /// Node 1 leads.
    fn elect(ids: &[u64]) -> Self {
        let mut cluster = Self::new(ids);
        cluster.tick(1, ELECTION + 3);
        cluster.settle();
        assert!(cluster.at(1).core.is_leader());
        cluster
    }

    fn propose(&mut self, id: u64, data: &'static [u8]) {
        let core = &mut self.at(id).core;
        core.propose(core.term(), &Bytes::from_static(data))
            .unwrap();
    }

    fn data(&mut self, id: u64) -> Vec<Vec<u8>> {
        let normal = |entry: &Committed| match &entry.data {
            CommittedData::Normal(data) if !data.is_empty() => Some(data.to_vec()),
            _ => None,
        };
        self.at(id).applied.iter().filter_map(normal).collect()
    }
}

#[test]
fn one_voter_leads_at_once() {
    let mut cluster = Cluster::new(&[1]);
    cluster.settle();
    assert!(cluster.at(1).core.is_leader());
    cluster.propose(1, b"a");
    cluster.settle();
    assert_eq!(cluster.data(1), [b"a"]);
}

#[test]
fn three_agree() {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    cluster.propose(1, b"a");
    cluster.propose(1, b"b");
    cluster.settle();
    cluster.tick(1, 2);
    cluster.settle();
    for id in 1..=3 {
        assert_eq!(cluster.data(id), [b"a", b"b"], "node {id}");
    }
}

/// Trap 1: a Ready without sync queues behind one with, is released with it, and its number is the one that
/// raft hears, or elections hang.
#[test]
fn readies_without_sync_are_released_with_the_sync_before_them() {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    cluster.propose(1, b"a");
    cluster.take(1);
    let append = cluster.wire.iter().find(|m| m.to == 2).cloned().unwrap();
    cluster.wire.clear();
    cluster.at(2).core.handle(Input::Message(Box::new(append)));
    assert_eq!(cluster.take(2), [], "its sync is running");
    cluster.tick(1, 2);
    cluster.take(1);
    let heartbeat = cluster
        .wire
        .iter()
        .find(|m| m.to == 2 && m.get_msg_type() == MessageType::MsgHeartbeat);
    let heartbeat = heartbeat.cloned().unwrap();
    cluster
        .at(2)
        .core
        .handle(Input::Message(Box::new(heartbeat)));
    assert_eq!(
        cluster.take(2),
        [],
        "trap 2: an answer of a follower waits, though it needs no sync itself"
    );
    assert_eq!(cluster.at(2).unsynced.len(), 1);
    cluster.sync(2);
    let released = cluster.take(2);
    assert_eq!(
        released,
        [
            MessageType::MsgAppendResponse,
            MessageType::MsgHeartbeatResponse
        ]
    );
    assert!(cluster.at(2).core.unpersisted.is_empty());
}

#[test]
fn a_vote_leaves_only_after_its_sync() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    let mut vote = Message::default();
    vote.set_msg_type(MessageType::MsgRequestVote);
    (vote.from, vote.to, vote.term) = (1, 2, 5);
    cluster.at(2).core.handle(Input::Message(Box::new(vote)));
    assert_eq!(cluster.take(2), []);
    assert_eq!(cluster.at(2).unsynced[0].hard_state.vote, 1);
    cluster.sync(2);
    assert_eq!(cluster.take(2), [MessageType::MsgRequestVoteResponse]);
}

/// Trap 3: a leader sends before its own sync, but nothing is applied before it.
#[test]
fn nothing_is_applied_before_it_is_persisted_here() {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    cluster.propose(1, b"a");
    assert!(
        cluster.take(1).contains(&MessageType::MsgAppend),
        "in parallel with the own write"
    );
    for message in std::mem::take(&mut cluster.wire) {
        let to = message.to;
        cluster
            .at(to)
            .core
            .handle(Input::Message(Box::new(message)));
    }
    for id in [2, 3] {
        cluster.take(id);
        cluster.sync(id);
        cluster.take(id);
    }
    for message in std::mem::take(&mut cluster.wire) {
        cluster.at(1).core.handle(Input::Message(Box::new(message)));
    }
    cluster.take(1);
    assert_eq!(cluster.at(1).core.committed(), 2, "two followers have it");
    assert_eq!(cluster.data(1), [b""; 0], "the leader itself does not");
    cluster.sync(1);
    cluster.take(1);
    assert_eq!(cluster.data(1), [b"a"]);
}

/// Trap 4: without a leader a read index is dropped silently; with one it is answered, on a follower too.
#[test]
fn read_indexes_are_answered_by_a_confirmed_leader_only() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster
        .at(2)
        .core
        .handle(Input::ReadIndex(b"lost".to_vec()));
    cluster.settle();
    cluster.tick(1, ELECTION + 3);
    cluster.settle();
    cluster.at(2).core.handle(Input::ReadIndex(b"two".to_vec()));
    cluster.at(1).core.handle(Input::ReadIndex(b"one".to_vec()));
    cluster.settle();
    assert_eq!(cluster.at(2).reads, [(b"two".to_vec(), 1)]);
    assert_eq!(cluster.at(1).reads, [(b"one".to_vec(), 1)]);
    cluster.cut = vec![1];
    cluster
        .at(1)
        .core
        .handle(Input::ReadIndex(b"alone".to_vec()));
    cluster.settle();
    assert_eq!(
        cluster.at(1).reads.len(),
        1,
        "a leader that is cut off can't confirm"
    );
}

/// Trap 7: raft panics on contradictions; they are errors here.
#[test]
fn a_log_that_lacks_the_applied_index_is_an_error() {
    let conf_state = ConfState::from((vec![1], vec![]));
    let applied = Position { index: 5, term: 1 };
    let error = Core::new(config(1), Recovered::default(), conf_state, applied)
        .err()
        .unwrap();
    assert!(error.to_string().contains('5'), "{error}");
}

/// Trap 8: raft 0.7 forwards a follower's proposal by itself; ours neither makes nor takes such a thing.
#[test]
fn only_a_leader_proposes_and_forwarded_proposals_are_dropped() {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    let term = cluster.at(2).core.term();
    let refused = cluster.at(2).core.propose(term, &Bytes::from_static(b"x"));
    assert_eq!(refused, Err(ProposeError::NotLeader));
    assert_eq!(
        cluster
            .at(1)
            .core
            .propose(term - 1, &Bytes::from_static(b"x")),
        Err(ProposeError::NotLeader)
    );
    let mut proposal = Message::default();
    proposal.set_msg_type(MessageType::MsgPropose);
    (proposal.from, proposal.to) = (2, 1);
    proposal.entries = vec![Entry {
        data: b"x".to_vec(),
        ..Entry::default()
    }];
    cluster
        .at(1)
        .core
        .handle(Input::Message(Box::new(proposal)));
    cluster.settle();
    assert_eq!(cluster.data(1), [b""; 0]);
}

fn lagging() -> (Cluster, CheckpointMark) {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    cluster.cut = vec![3];
    for _ in 0..5 {
        cluster.propose(1, b"a");
        cluster.settle();
    }
    let at = cluster.at(1).core.view().last();
    cluster.at(1).core.handle(Input::Compact(at.index));
    cluster.cut.clear();
    for _ in 0..3 {
        cluster.tick(1, 2);
        cluster.settle();
    }
    assert!(cluster.at(1).wants_checkpoint);
    let conf_state = ConfState::from((vec![1, 2, 3], vec![])).encode_to_vec();
    (cluster, CheckpointMark { at, conf_state })
}

#[test]
fn a_lagging_follower_gets_a_checkpoint_and_then_the_log() {
    let (mut cluster, mark) = lagging();
    cluster.at(1).core.handle(Input::Checkpoint(mark.clone()));
    cluster.tick(1, 2);
    cluster.settle();
    let install = cluster.at(3).install.take().unwrap();
    assert_eq!(install.mark.at, mark.at);
    assert!(
        cluster.take(3).is_empty(),
        "nothing is promised before it is in place"
    );
    // Ticks and messages while it is installed must neither count nor panic.
    cluster.tick(3, 10 * ELECTION);
    cluster.at(3).core.handle(Input::LinkLost(1));
    cluster.at(3).core.handle(Input::Installed);
    cluster
        .at(1)
        .core
        .handle(Input::SnapshotSent { to: 3, done: true });
    cluster.settle();
    cluster.propose(1, b"b");
    cluster.settle();
    cluster.tick(1, 2);
    cluster.settle();
    assert_eq!(cluster.data(3), [b"b"]);
    assert_eq!(cluster.at(3).core.applied_index(), mark.at.index + 1);
    cluster.tick(3, 3 * ELECTION);
    cluster.settle();
}

#[test]
fn a_failed_transfer_is_tried_again() {
    let (mut cluster, mark) = lagging();
    cluster.at(1).core.handle(Input::Checkpoint(mark.clone()));
    cluster.cut = vec![3];
    cluster.tick(1, 2);
    cluster.settle();
    cluster
        .at(1)
        .core
        .handle(Input::SnapshotSent { to: 3, done: false });
    cluster.cut.clear();
    for _ in 0..3 {
        cluster.tick(1, 2);
        cluster.settle();
    }
    assert!(cluster.at(3).install.is_some());
}
