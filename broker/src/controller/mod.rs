//! The controller: one broker, elected by `/controller`, that decides who leads each partition.
//!
//! The files of this folder are pure: `(image, what changed) -> actions`. [`decide`] is level-
//! triggered: it looks at how things are, never at how they came to be, so that a new controller,
//! a lost answer and a conflicting write all end in the same question asked again from a newer
//! image. `controller::drive` performs the actions by fenced batches.
//!
//! Invariants:
//! - a leader is chosen only among ISR members that kept what they held under the broker epoch the
//!   ISR names them by; otherwise by the rules of [`election`], which say so loudly;
//! - every choice of a leader raises the leader epoch, and so does every state that names an older
//!   epoch of a broker that registered anew: no broker appends twice in one leader epoch;
//! - an action names the version of the znode it was decided from.
//!
//! Not here: paths and JSON (`ensemble::znode`), creating topics (`ensemble::topics`; only the
//! arithmetic is in [`assignment`]). See Kafka's documentation on replication, KIP-279, KIP-841,
//! KIP-903, KIP-966.

pub mod action;
pub mod assignment;
pub mod decide;
pub mod drive;
pub mod election;
pub mod rebalance;
