//! What raft ids say to each other must not contradict itself, whatever they forgot in between.

use std::collections::HashMap;

use raft::eraftpb::{Message, MessageType};

#[derive(Default)]
pub struct Promises {
    /// By term: who leads.
    leaders: HashMap<u64, u64>,
    /// By raft id and term: who has its vote.
    votes: HashMap<(u64, u64), u64>,
}

impl Promises {
    /// A raft id leads a term.
    pub fn leads(&mut self, id: u64, term: u64) {
        let leader = *self.leaders.entry(term).or_insert(id);
        assert_eq!(leader, id, "two leaders of term {term}");
    }

    /// A message leaves.
    pub fn sent(&mut self, message: &Message) {
        if message.get_msg_type() == MessageType::MsgRequestVoteResponse && !message.reject {
            let (id, term) = (message.from, message.term);
            let vote = *self.votes.entry((id, term)).or_insert(message.to);
            assert_eq!(vote, message.to, "{id:#x} votes twice in term {term}");
        }
    }

    /// The newest term that anybody led.
    pub fn newest_term(&self) -> u64 {
        self.leaders.keys().max().copied().unwrap_or(0)
    }
}
