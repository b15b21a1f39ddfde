//! What consensus asks of the rest of the node, and what it tells it.

use std::path::Path;

use bytes::Bytes;

use crate::session::SessionId;
use crate::storage::raft_log::Position;

/// The replicated state, as the apply thread drives it.
pub trait Applier: Send + 'static {
    /// The last applied index and its term; at start, what the durable state holds.
    fn applied(&self) -> Position;
    /// The last ConfState given to [`Applier::apply`] or installed; nothing before the first one.
    fn conf_state(&self) -> Option<Vec<u8>>;
    /// Applies entries in order, each exactly one index after the one before.
    ///
    /// # Errors
    /// Whatever leaves this replica unable to go on; the process ends.
    fn apply(&mut self, entries: Vec<Committed>) -> Result<Feedback, Fatal>;
    /// Digest of the state behind the last applied entry: the same on every node that applied the same.
    fn digest(&self) -> u64;
    /// All sessions that live now.
    fn sessions(&self) -> Vec<LiveSession>;
    /// Index up to which the state survives a loss of power; the log is cut no further.
    fn flushed_index(&self) -> u64;
    /// Writes the present state into `folder`, which does not exist yet.
    ///
    /// # Errors
    /// When it can't be written; the process ends.
    fn checkpoint(&mut self, folder: &Path) -> Result<CheckpointMark, Fatal>;
    /// Replaces the state by the checkpoint in `folder`, durably and at once; the folder is consumed.
    ///
    /// # Errors
    /// When it can't; the process ends.
    fn install(&mut self, folder: &Path) -> Result<CheckpointMark, Fatal>;
}

/// One entry that a majority holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its raft index.
    pub index: u64,
    /// The term of the leader that wrote it.
    pub term: u64,
    /// What it holds.
    pub data: CommittedData,
}

/// Content of a [`Committed`] entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommittedData {
    /// A `state_machine::Entry`, or nothing: a leader's first entry.
    Normal(Bytes),
    /// The ConfState in force from here on, to be kept in the same batch as the applied index.
    Conf(Bytes),
}

/// What the applied entries mean to this node's volatile knowledge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Feedback {
    /// `origin.request` of every outcome whose origin is this node and this boot, in order.
    pub own: Vec<u64>,
    /// Sessions that were opened, taken or ended, in order.
    pub sessions: Vec<SessionUpdate>,
    /// The state's digest behind each entry, in order.
    pub digests: Vec<u64>,
}

/// A session that lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// Its id.
    pub session: SessionId,
    /// Its attach number.
    pub attach: u64,
    /// Its timeout, milliseconds.
    pub timeout_ms: u32,
}

/// One change to the set of live sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionUpdate {
    /// Opened, or attached anew.
    Live(LiveSession),
    /// Closed or expired.
    Gone(SessionId),
}

/// What a checkpoint holds, read from the checkpoint itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointMark {
    /// Index and term of the last entry in it.
    pub at: Position,
    /// Its ConfState, as given to [`Applier::apply`]; empty when it had none yet.
    pub conf_state: Vec<u8>,
}

/// This replica can't go on; the process has to end.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub struct Fatal {
    /// The operation that failed, and why.
    pub what: String,
}

impl Fatal {
    /// Says what failed.
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

/// Why a command was certainly not done, and will not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotDone {
    /// No leader within the forward deadline.
    #[error("not done: no quorum")]
    NoQuorum,
    /// Its own deadline went by before it was sent.
    #[error("not done: its deadline passed")]
    Deadline,
    /// Too many commands wait already.
    #[error("not done: too many commands wait")]
    Overloaded,
    /// The leader's disk is nearly full.
    #[error("not done: the leader's disk is nearly full")]
    NoSpace,
    /// The command is larger than an entry may be.
    #[error("not done: the command is too large")]
    TooLarge,
    /// This node is stopping.
    #[error("not done: this node is stopping")]
    Stopping,
}

/// Told of commands that will have no outcome here. Called on the raft thread: must only queue.
pub trait Unanswered: Send + Sync + 'static {
    /// These requests were certainly not done.
    fn not_done(&self, requests: &[u64], why: NotDone);
    /// Nobody can tell whether these were done: their connections close.
    fn unknown(&self, requests: &[u64]);
    /// The process has to end; nothing works after this.
    fn fatal(&self, fatal: &Fatal);
}
