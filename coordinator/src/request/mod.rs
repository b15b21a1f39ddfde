//! From a client's request to its answer, whatever protocol it came in.
//!
//! - `forward`: how commands reach the leader, exactly once.

pub mod forward;
