//! The rules of replication of one partition, as values: no socket, file, clock or channel.
//!
//! | file | rule |
//! | --- | --- |
//! | [`state`] | which part this broker plays, decided from the cluster image alone |
//! | [`isr`] | the in-sync set, and a change of it from proposal to certainty |
//! | [`leader`] | the leader: what followers hold, who is in sync, what is committed |
//! | [`high_watermark`] | the one computation of the high watermark |
//! | [`truncation`] | what a follower must cut before it may append (KIP-101, KIP-279, KIP-595) |
//!
//! [`hosted`] puts a log and a network under these rules.
//!
//! Invariants, each tested by the seeded model in `leader/tests.rs`:
//! - A high watermark never exceeds what any broker holds that the state's znode names as in sync: it
//!   counts over the ISR as written *and* as proposed, and a proposal is forgotten only when it is certain
//!   that it was not written (KIP-497, and design 4.2).
//! - A broker leads only under its current broker epoch, and a follower joins only under its own.
//! - `log_start_offset <= high_watermark <= log_end_offset`.
//!
//! Times are milliseconds of a clock that never goes back; its zero is up to the caller.

pub mod high_watermark;
pub mod hosted;
pub mod isr;
pub mod leader;
pub mod state;
pub mod truncation;
