//! The threads around a [`Node`], and how they hand work on.
//!
//! ```text
//!        handle ──events──▶ raft thread ──persist──▶ log thread ──persisted──▶ raft thread
//!                             ▲  │   └──committed──▶ apply thread ──applied──▶ raft thread
//!                             └──┴──messages── sockets of the other nodes
//! ```
//!
//! The raft thread takes whatever is queued, then carries out one [`Effects`]; the log thread takes whatever
//! is queued and makes it one record and one fdatasync; the apply thread takes whatever is committed. So
//! batches form behind each of them while it is busy, and nobody waits for one.
//!
//! The event queue has no bound of its own. What feeds it has: commands by `commands_in_flight`, the other two threads
//! by the work they were given. What other nodes say is in no queue: a round reads a bounded part of it (`transport`),
//! and the rest waits in the sockets.
//!
//! Ticks that were missed are not made up for: a process that was paused must not see its whole absence as
//! silence of the others.

mod apply;
mod beginning;
mod identity;
mod inbox;
mod log;
mod peers;
mod raft;
mod start;

use std::path::PathBuf;
use std::sync::Arc;

use ::raft::eraftpb::ConfChangeV2;
use tokio::sync::{oneshot, watch};

use super::applier::{CheckpointMark, Committed, Fatal, LiveSession, Unanswered};
use super::bulk::Arrived;
use super::core::{Install, Persist, ProposeError};
use super::handle::{ReadIndexError, Shared};
use super::node::NodeInput;
use super::status::Status;
use super::transport::Arrival;
use crate::storage::raft_log::Space;

pub use inbox::Events;
pub use start::start;

/// What reaches the raft thread.
pub enum Event {
    /// From the handle.
    Submit(Vec<crate::state_machine::Command>),
    /// From the handle: a reader.
    Read(oneshot::Sender<Result<u64, ReadIndexError>>),
    /// From the handle: a client has ended its connection.
    Left(crate::session::report::Left),
    /// From the handle.
    ChangeMembers(Box<ConfChangeV2>, oneshot::Sender<Result<(), ProposeError>>),
    /// From the tasks that dial and accept.
    Socket(Arrival),
    /// From the bulk port.
    Arrived(Arrived),
    /// From the log thread: everything up to this number is durable.
    Persisted(u64),
    /// From the log thread: the log is reset behind an installed checkpoint.
    Installed {
        mark: CheckpointMark,
        sessions: Vec<LiveSession>,
        digest: u64,
    },
    /// From the log thread: the disk is nearly full, or no longer is.
    Space(Space),
    /// From the apply thread, and from transfers.
    Node(Box<NodeInput>),
    /// Another thread can't go on.
    Failed,
    /// From the handle: hand over leadership if `gently`, then end.
    Stop {
        gently: bool,
        stopped: Option<oneshot::Sender<()>>,
    },
}

/// Work for the log thread.
pub enum LogJob {
    Persist(Vec<Persist>),
    Cut(u64),
    Reset {
        install: Install,
        sessions: Vec<LiveSession>,
        digest: u64,
    },
}

/// Work for the apply thread.
pub enum ApplyJob {
    Apply(Vec<Committed>),
    Install { install: Install, folder: PathBuf },
    Checkpoint(PathBuf),
}

/// What [`start`] hands to the handle.
pub struct Running {
    pub events: Events,
    pub shared: Arc<Shared>,
    pub status: watch::Receiver<Arc<Status>>,
}

/// Runs a thread's body; a panic or an error ends the node.
fn spawn(
    name: String,
    unanswered: Arc<dyn Unanswered>,
    events: Events,
    body: impl FnOnce() -> Result<(), Fatal> + Send + 'static,
) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            let fatal = match result {
                Ok(Ok(())) => return,
                Ok(Err(fatal)) => fatal,
                Err(panic) => Fatal::new(format!(
                    "thread {name} panicked: {}",
                    panic_text(panic.as_ref())
                )),
            };
            unanswered.fatal(&fatal);
            // The raft thread must not go on alone; it may be the one that ended.
            let _ = events.send(Event::Failed);
        })?;
    Ok(())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned())
}
