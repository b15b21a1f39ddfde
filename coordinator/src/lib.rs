//! One node of the ensemble: a replicated tree of znodes, with sessions, ephemerals and watches.

pub mod clock;
pub mod config;
pub mod limits;
