//! One node of the ensemble: a replicated tree of znodes, with sessions, ephemerals and watches.
//!
//! Room map, lowest first:
//! - [`octets`]: bounded reading and writing of fields, for every format of this package.
//! - [`tree`], [`session`], [`watch`]: the pure rules of the field.
//! - [`state_machine`]: commands in, outcomes out; the tree's only writer.
//! - [`storage`]: where the state and the raft log are kept.
//! - [`consensus`]: one log of commands for all nodes, replicated by raft.
//! - [`request`]: from a client's request to its answer.

pub mod clock;
pub mod config;
pub mod consensus;
pub mod limits;
pub mod octets;
pub mod request;
pub mod session;
pub mod state_machine;
pub mod storage;
pub mod tree;
pub mod watch;
