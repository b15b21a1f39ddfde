//! What must hold in every run.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use zweig_coordinator::consensus::{Committed, CommittedData};
use zweig_coordinator::state_machine::{Entry, Origin};

pub type Request = (u64, u64, u64);

/// Everything that any node ever applied, and what clients were told.
#[derive(Default)]
pub struct Checks {
    /// Entry by index: its term and content. The first node to apply it decides; all others must agree.
    log: BTreeMap<u64, (u64, CommittedData)>,
    /// Digest of the state after each index.
    digests: BTreeMap<u64, String>,
    /// Highest request in the log per (node, boot).
    newest: BTreeMap<(u64, u64), u64>,
    requests: BTreeSet<Request>,
    not_done: BTreeSet<Request>,
    /// Highest index of which some client has an answer.
    pub answered_index: u64,
    pub answers: u64,
    /// Sessions whose timeout went by.
    pub expired: BTreeSet<i64>,
}

fn request(origin: &Origin) -> Request {
    (origin.node, origin.boot, origin.request)
}

impl Checks {
    /// A node is about to apply an entry.
    pub fn applied(&mut self, node: u64, committed: &Committed) {
        if let Some((term, data)) = self.log.get(&committed.index) {
            assert!(
                (*term, data) == (committed.term, &committed.data),
                "node {node} applies another entry {} than others did (terms {} and {term})",
                committed.index,
                committed.term
            );
            return;
        }
        let last = self.log.last_key_value().map_or(0, |(&index, _)| index);
        assert_eq!(
            committed.index,
            last + 1,
            "node {node} applies ahead of a gap"
        );
        self.log
            .insert(committed.index, (committed.term, committed.data.clone()));
        let CommittedData::Normal(data) = &committed.data else {
            return;
        };
        if data.is_empty() {
            return;
        }
        let entry = Entry::decode(data.clone()).unwrap();
        if entry.term != committed.term {
            return;
        }
        for command in entry
            .commands
            .iter()
            .filter(|command| command.origin != Origin::default())
        {
            let (node, boot, number) = request(&command.origin);
            let newest = self.newest.entry((node, boot)).or_default();
            assert!(
                *newest < number,
                "request {number} of node {node} stands in the log behind {newest}"
            );
            *newest = number;
            self.requests.insert((node, boot, number));
            assert!(
                !self.not_done.contains(&(node, boot, number)),
                "request {number} of node {node} was said not to be done"
            );
        }
    }

    /// The state of a node after `index`.
    pub fn digest(&mut self, node: u64, index: u64, digest: &impl Debug) {
        let digest = format!("{digest:?}");
        let known = self.digests.entry(index).or_insert_with(|| digest.clone());
        assert_eq!(*known, digest, "node {node} differs at index {index}");
    }

    /// A client has the outcome of its request.
    pub fn answered(&mut self, node: u64, boot: u64, number: u64, index: u64) {
        assert!(self.requests.contains(&(node, boot, number)));
        assert!(
            !self.not_done.contains(&(node, boot, number)),
            "request {number} of node {node} is done and not done"
        );
        self.answered_index = self.answered_index.max(index);
        self.answers += 1;
    }

    /// A client was told that its request was certainly not done.
    pub fn not_done(&mut self, node: u64, boot: u64, number: u64) {
        let done = self.requests.contains(&(node, boot, number));
        assert!(
            !done,
            "request {number} of node {node} stands in the log, its client hears that it was not done"
        );
        self.not_done.insert((node, boot, number));
    }

    pub fn last_index(&self) -> u64 {
        self.log.last_key_value().map_or(0, |(&index, _)| index)
    }

    pub fn refusals(&self) -> usize {
        self.not_done.len()
    }
}
