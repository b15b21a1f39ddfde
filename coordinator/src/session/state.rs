//! One session as every node knows it.
//!
//! ```text
//!            open                attach (right password)
//!   (none) ────────▶ Live, attach 1 ────────▶ Live, attach n+1
//!                      │ close, or expiry meant for the present attach number
//!                      ▼
//!                    (none), all its ephemerals gone in the same transaction
//! ```
//! Invariant: `attach` only grows, and a command that carries a lower one has no effect. So a write
//! held back at a former node cannot land after the client has moved on.

/// The id of a session, chosen by the node where it was opened (that node's id in the top byte).
/// 0 stands for no session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub i64);

impl SessionId {
    /// No session: commands that need none.
    pub const NONE: SessionId = SessionId(0);

    /// The owner of containers, as in ZooKeeper; no session has this id, since the lower bytes of none
    /// are all 0.
    pub const CONTAINER: SessionId = SessionId(i64::MIN);
}

impl std::fmt::Display for SessionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// What a client shows to attach to its session again.
pub type Password = [u8; 16];

/// A live session.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionState {
    /// Without a sign of life for this long the leader expires it; milliseconds.
    pub timeout_ms: u32,
    /// Chosen by the node where it was opened.
    pub password: Password,
    /// How many times a connection has taken the session: 1 from the opening one.
    pub attach: u64,
}

impl std::fmt::Debug for SessionState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionState")
            .field("timeout_ms", &self.timeout_ms)
            .field("attach", &self.attach)
            .finish_non_exhaustive()
    }
}
