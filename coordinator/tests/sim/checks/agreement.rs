//! One log and one state for all members, and every command in it at most once, in its member's order.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use zweig_coordinator::consensus::{Committed, CommittedData};
use zweig_coordinator::state_machine::{Entry, Origin};

/// Member, boot and number.
pub type Request = (u64, u64, u64);

/// What the first member that applied an entry found there.
struct Applied {
    term: u64,
    content: u64,
    digest: Option<u64>,
}

/// Everything that any member ever applied, and what clients were told.
#[derive(Default)]
pub struct Agreement {
    /// By index, from 1.
    log: Vec<Applied>,
    /// Highest request in the log per member and boot.
    newest: HashMap<(u64, u64), u64>,
    requests: HashSet<Request>,
    not_done: HashSet<Request>,
    /// Highest index of which some client has an answer.
    pub answered_index: u64,
    pub answers: u64,
}

fn content(data: &CommittedData) -> u64 {
    let mut hasher = DefaultHasher::new();
    match data {
        CommittedData::Normal(bytes) => (0, bytes).hash(&mut hasher),
        CommittedData::Conf(bytes) => (1, bytes).hash(&mut hasher),
    }
    hasher.finish()
}

impl Agreement {
    /// A member is about to apply an entry.
    pub fn applied(&mut self, member: u64, entry: &Committed) {
        let (index, term) = (entry.index, entry.term);
        let content = content(&entry.data);
        if let Some(first) = self.log.get(index as usize - 1) {
            assert!(
                (first.term, first.content) == (term, content),
                "member {member} applies another entry {index} than others did (terms {term} and {})",
                first.term
            );
            return;
        }
        assert_eq!(
            index,
            self.last_index() + 1,
            "member {member} applies ahead of a gap"
        );
        let digest = None;
        self.log.push(Applied {
            term,
            content,
            digest,
        });
        self.take_in(entry);
    }

    fn take_in(&mut self, entry: &Committed) {
        let CommittedData::Normal(data) = &entry.data else {
            return;
        };
        if data.is_empty() {
            return;
        }
        let decoded = Entry::decode(data.clone()).unwrap();
        if decoded.term != entry.term {
            return;
        }
        let commands = decoded.commands.iter();
        for command in commands.filter(|command| command.origin != Origin::default()) {
            let Origin {
                node,
                boot,
                request,
            } = command.origin;
            let newest = self.newest.entry((node, boot)).or_default();
            assert!(
                *newest < request,
                "request {request} of member {node} stands in the log behind {newest}"
            );
            *newest = request;
            self.requests.insert((node, boot, request));
            assert!(
                !self.not_done.contains(&(node, boot, request)),
                "request {request} of member {node} was said not to be done"
            );
        }
    }

    /// The state of a member behind `index`.
    pub fn digest(&mut self, member: u64, index: u64, digest: u64) {
        let known = &mut self.log[index as usize - 1].digest;
        let first = *known.get_or_insert(digest);
        assert_eq!(
            first, digest,
            "member {member} has another state at index {index}"
        );
    }

    /// A client has the outcome of its request.
    pub fn answered(&mut self, request: Request, index: u64) {
        let (member, _, number) = request;
        assert!(
            self.requests.contains(&request),
            "request {number} of member {member} is answered and not in the log"
        );
        assert!(
            !self.not_done.contains(&request),
            "request {number} of member {member} is done and not done"
        );
        self.answered_index = self.answered_index.max(index);
        self.answers += 1;
    }

    /// A client was told that its request was certainly not done.
    pub fn not_done(&mut self, request: Request) {
        let (member, _, number) = request;
        assert!(
            !self.requests.contains(&request),
            "request {number} of member {member} stands in the log, its client hears that it was not done"
        );
        self.not_done.insert(request);
    }

    pub fn last_index(&self) -> u64 {
        self.log.len() as u64
    }

    pub fn refusals(&self) -> u64 {
        self.not_done.len() as u64
    }
}
