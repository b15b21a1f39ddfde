//! What happened in a run: a hash of all of it, and, if somebody wants to read it, words.

use std::collections::VecDeque;

use raft::eraftpb::Message;
use zweig_coordinator::consensus::node::PeerMessage;

/// Lines kept of the end of a run.
const TAIL: usize = 120;

/// Who reads along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Words {
    Nobody,
    /// The last lines, when the run fails.
    Tail,
    /// Everything, at once.
    Print,
}

pub struct Trace {
    hash: u64,
    words: Words,
    pub tail: VecDeque<String>,
}

impl Trace {
    pub fn new(words: Words) -> Self {
        Self {
            hash: 0x243f_6a88_85a3_08d3,
            words,
            tail: VecDeque::new(),
        }
    }

    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Takes numbers in.
    pub fn mix(&mut self, numbers: &[u64]) {
        for &number in numbers {
            let mixed = (self.hash ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            self.hash = mixed ^ (mixed >> 29);
        }
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(&[u64::from_le_bytes(*word)]);
        }
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(&[u64::from_le_bytes(last), bytes.len() as u64]);
    }

    /// Something that is worth a line.
    pub fn say(&mut self, now_us: u64, line: impl FnOnce() -> String) {
        if self.words == Words::Nobody {
            return;
        }
        let (seconds, us) = (now_us / 1_000_000, now_us % 1_000_000);
        let line = format!("{seconds:3}.{us:06} {}", line());
        if self.words == Words::Print {
            println!("{line}");
        }
        if self.tail.len() == TAIL {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// A message reaches a member: every field of it counts.
    pub fn message(&mut self, message: &PeerMessage) {
        match message {
            PeerMessage::Raft(raft) => self.raft(raft),
            PeerMessage::Forward(run) => {
                self.mix(&[100, run.term, run.base, run.first]);
                run.commands.iter().for_each(|command| self.bytes(command));
            }
            PeerMessage::Rewind { boot, term, next } => self.mix(&[101, *boot, *term, *next]),
            PeerMessage::Refused {
                boot,
                term,
                numbers,
            } => {
                self.mix(&[102, *boot, *term]);
                self.mix(numbers);
            }
            PeerMessage::Report(report) => {
                self.mix(&[103, report.sequence]);
                for (session, attach) in &report.sessions {
                    self.mix(&[session.0 as u64, *attach]);
                }
            }
            PeerMessage::Reported {
                boot,
                sequence,
                index,
            } => self.mix(&[104, *boot, *sequence, *index]),
            PeerMessage::Standing {
                index,
                digest,
                space_low,
            } => self.mix(&[105, *index, *digest, u64::from(*space_low)]),
            PeerMessage::Join => self.mix(&[106]),
            PeerMessage::Replaced { id } => self.mix(&[107, *id]),
            PeerMessage::Blank { life } => self.mix(&[108, *life]),
            PeerMessage::Formed { met } => {
                self.mix(&[109]);
                met.iter()
                    .for_each(|(server, life)| self.mix(&[*server, *life]));
            }
        }
    }

    fn raft(&mut self, raft: &Message) {
        self.mix(&[
            u64::from(raft.msg_type.unsigned_abs()),
            raft.from,
            raft.to,
            raft.term,
            raft.log_term,
            raft.index,
            raft.commit,
            raft.commit_term,
            raft.reject_hint,
            raft.request_snapshot,
            u64::from(raft.reject),
            raft.get_snapshot().get_metadata().index,
        ]);
        self.bytes(&raft.context);
        for entry in &raft.entries {
            self.mix(&[entry.index, entry.term]);
            self.bytes(&entry.data);
        }
    }
}

/// One line for a message.
pub fn describe(message: &PeerMessage) -> String {
    match message {
        PeerMessage::Raft(raft) => {
            let reject = if raft.reject { " REJECT" } else { "" };
            let entries = match raft.entries.as_slice() {
                [] => String::new(),
                [first, .., last] => format!(" entries {}..={}", first.index, last.index),
                [one] => format!(" entry {}", one.index),
            };
            format!(
                "{:?} term {} index {} log term {} commit {}{entries}{reject}",
                raft.get_msg_type(),
                raft.term,
                raft.index,
                raft.log_term,
                raft.commit
            )
        }
        PeerMessage::Forward(run) => format!(
            "Forward term {} base {} numbers {}..{}",
            run.term,
            run.base,
            run.first,
            run.first + run.commands.len() as u64
        ),
        other => format!("{other:?}"),
    }
}
