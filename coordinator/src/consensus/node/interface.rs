//! What goes into a node and what comes out of it.

use std::collections::BTreeMap;

use raft::eraftpb::Message;

use crate::consensus::applier::{CheckpointMark, Committed, Fatal, Feedback, LiveSession, NotDone};
use crate::consensus::core::{Install, Persist};
use crate::request::forward::Forward;
use crate::session::report::{Heard, Left, Report};
use crate::state_machine::Command;

/// The time at which something is handled.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// Milliseconds of a clock that only moves forward.
    pub ms: u64,
    /// Milliseconds since 1970.
    pub wall_ms: i64,
}

/// What nodes tell each other.
#[derive(Clone, Debug, PartialEq)]
pub enum PeerMessage {
    /// A message of raft.
    Raft(Box<Message>),
    /// Commands for the leader.
    Forward(Forward),
    /// To the origin (with that boot nonce): send again from this number.
    Rewind {
        /// Boot nonce of the receiver.
        boot: u64,
        /// The term of the numbers.
        term: u64,
        /// The next number that the leader takes.
        next: u64,
    },
    /// To the origin: these numbers were refused for want of space.
    Refused {
        /// Boot nonce of the receiver.
        boot: u64,
        /// The term of the numbers.
        term: u64,
        /// Which.
        numbers: Vec<u64>,
    },
    /// Sessions that a node heard from, and whose clients have left.
    Report(Report),
    /// From a node that is new, to all: it does not know yet whether its ensemble is.
    Blank {
        /// Drawn at random with its folder.
        life: u64,
    },
    /// To a node that is new: the sender is not.
    Formed {
        /// With whom the sender began: lives by N. Nobody, if it joined.
        met: BTreeMap<u64, u64>,
    },
    /// To the leader: let the sender in, in the place of its former incarnation.
    Join,
    /// To a former incarnation, which has to stop: a later one is the member now.
    Replaced {
        /// Its raft id.
        id: u64,
    },
    /// The leader has taken a report, and still led afterwards.
    Reported {
        /// Boot nonce of the receiver.
        boot: u64,
        /// Which report.
        sequence: u64,
        /// Every session that the leader had begun to expire by then ends at this index, or before, and what was
        /// committed seconds ago stands before it. So the acknowledgement counts for who has applied that far.
        index: u64,
    },
    /// How the sender stands, told to everyone once per report period.
    Standing {
        /// Its newest applied index.
        index: u64,
        /// Its state's digest behind that.
        digest: u64,
        /// Its disk is nearly full.
        space_low: bool,
    },
}

/// What happens to a node.
#[derive(Debug)]
pub enum NodeInput {
    /// A tick of raft's time ran.
    Tick,
    /// Commands of this node's clients, in order, each with `origin.request` unique within the boot.
    Submit(Vec<Command>),
    /// A message of another node, in the given life of it.
    Peer {
        /// The sender's raft id.
        from: u64,
        /// The sender's boot nonce.
        boot: u64,
        /// What it says.
        message: PeerMessage,
    },
    /// The stream to that server stands again.
    LinkUp(u64),
    /// The connection to that server's process closed.
    LinkLost(u64),
    /// A message to that server was dropped.
    Unreachable(u64),
    /// A local reader, by a name of the caller's.
    Read(u64),
    /// The log thread has synced up to this number.
    Persisted(u64),
    /// The apply thread has applied up to there.
    Applied {
        /// Index of the last entry.
        index: u64,
        /// Its term.
        term: u64,
        /// What the entries meant.
        feedback: Feedback,
        /// Index up to which the state is durable.
        flushed: u64,
    },
    /// The checkpoint of [`Effects::install`] is in place, and the log reset behind it.
    Installed {
        /// What it holds.
        mark: CheckpointMark,
        /// All sessions in it.
        sessions: Vec<LiveSession>,
        /// Its digest.
        digest: u64,
    },
    /// The checkpoint asked for exists.
    Checkpoint(CheckpointMark),
    /// A checkpoint was sent, or could not be.
    SnapshotSent {
        /// To whom.
        to: u64,
        /// Whether it has arrived.
        done: bool,
    },
    /// Sessions heard from; given when `Node::wants_heard` says so.
    Heard(Heard),
    /// A client has ended its connection here.
    Left(Left),
    /// The disk is nearly full, or no longer is.
    SpaceLow(bool),
}

/// What the state holds when a node starts.
#[derive(Clone, Copy, Debug)]
pub struct Start<'a> {
    /// Term of the last applied entry.
    pub term: u64,
    /// Digest of the state.
    pub digest: u64,
    /// All sessions.
    pub sessions: &'a [LiveSession],
}

/// What a node wants done, in the order of the fields.
#[derive(Debug, Default)]
pub struct Effects {
    /// This node has to end; nothing else of these is done.
    pub fatal: Option<Fatal>,
    /// To send, in order per receiver: a raft id, of which the server is what counts.
    pub send: Vec<(u64, PeerMessage)>,
    /// To send with the newest checkpoint.
    pub snapshots: Vec<Message>,
    /// For the log thread.
    pub persist: Vec<Persist>,
    /// For the apply thread.
    pub committed: Vec<Committed>,
    /// For the apply thread, then the log thread; behind everything before.
    pub install: Option<Install>,
    /// Readers that may read once this index is applied.
    pub reads: Vec<(u64, u64)>,
    /// Readers that got no index in time.
    pub reads_failed: Vec<u64>,
    /// Requests that were certainly not done.
    pub not_done: Vec<(Vec<u64>, NotDone)>,
    /// Requests of which nobody knows.
    pub unknown: Vec<u64>,
    /// To make a checkpoint.
    pub make_checkpoint: bool,
    /// To remove the checkpoint.
    pub drop_checkpoint: bool,
    /// To cut the log up to this index.
    pub cut: Option<u64>,
}

/// Settings of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// This node's raft id.
    pub node: u64,
    /// Every server of zoo.cfg by its N, this one included, and whether it votes.
    pub servers: BTreeMap<u64, bool>,
    /// With whom this node began: their lives by N, its own included.
    pub met: BTreeMap<u64, u64>,
    /// Its boot nonce.
    pub boot: u64,
    /// Length of a tick, milliseconds.
    pub tick_ms: u64,
    /// Between two reports, milliseconds.
    pub report_period_ms: u64,
    /// How long commands wait for a leader, milliseconds.
    pub forward_deadline_ms: u64,
    /// How long readers wait, milliseconds.
    pub read_index_deadline_ms: u64,
    /// Bytes of commands in one entry.
    pub entry_bytes: usize,
    /// Bytes of applied entries kept for followers that lag.
    pub log_reserve_bytes: u64,
}
