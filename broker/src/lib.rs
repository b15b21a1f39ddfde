//! Placeholder, filled by the next commits.

pub mod handlers;
pub mod limits;
pub mod log;
pub mod net;
pub mod replica;
