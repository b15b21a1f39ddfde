//! ZooKeeper's client protocol: jute records in length-prefixed frames.
//!
//! Both directions of every message are here, so that the server, the load generator and the
//! byte-level tests share one codec. `op/` has one file per operation, with its request and its
//! response; a new operation is a file there and a row in [`op_code`].
//!
//! - Used by: `coordinator::wire::zk` (server side), tests and tools (client side).
//! - Invariants: decoding never panics and never allocates more than the frame it reads; an
//!   encoded record decodes to itself; byte layouts are pinned by golden tests.
//! - Not here: what an operation means (`coordinator::state_machine`), sockets, timeouts.
//!
//! Layouts follow `zookeeper.jute` of ZooKeeper 3.9.

pub mod acl;
pub mod connect;
pub mod error_code;
pub mod frame;
pub mod header;
pub mod jute;
pub mod op;
pub mod op_code;
pub mod stat;
pub mod watcher_event;

pub use acl::{Acl, Id, Permissions};
pub use connect::{ConnectRequest, ConnectResponse};
pub use error_code::ErrorCode;
pub use header::{ReplyHeader, RequestHeader, xid};
pub use jute::{DecodeError, Jute, Reader};
pub use op_code::OpCode;
pub use stat::Stat;
pub use watcher_event::WatcherEvent;

#[cfg(test)]
mod tests;
