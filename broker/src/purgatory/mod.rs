//! Where requests wait: a produce for its records to be committed, a fetch for enough bytes.
//!
//! Waiting is a future that registers with the partitions it looks at, and looks again when one of them
//! changed ([`crate::replica::hosted::wake`]). Partitions publish; they never call in here. A deadline ends
//! every wait; when a connection ends, its waits are dropped with it. A fetch that names its partitions once and is told what
//! changed of them has a [`session`].
//!
//! Called by `handlers`; calls `replica::hosted`.

pub mod fetch;
pub mod produce;
pub mod session;
