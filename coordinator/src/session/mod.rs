//! Sessions: what a client keeps while its connections come and go.
//!
//! A session is replicated state and changes by commands alone; its deadline is the leader's volatile
//! knowledge and no part of it. Called by `state_machine`; holds no clock.
pub mod expiry_queue;
pub mod report;
mod state;
mod table;

pub use state::{Password, SessionId, SessionState};
pub use table::SessionTable;
