//! The broker's side of the ensemble: its registration, the watch stream from which the cluster's
//! image is folded, and the writes that brokers make there themselves.
//!
//! - `port`: what is needed of the client library, as traits.
//! - `znode`: paths and contents.
//! - `fold`: watch items into images (pure); `watcher`: the task around it.
//! - `memory`: what of its registration a broker keeps in its log directory.
//! - `played`: the tree of an ensemble in memory, for `fake` (tests) and for the simulator.
//! - `registration`: how it comes to stand in the tree; `cluster`, `topics` and `elections`: what it writes.
//!
//! Used by `server`, by `controller::drive`, and through [`cluster::Cluster`] by handlers and
//! replicas. Goes to the network through `zweig-client` alone.

pub mod cluster;
pub mod elections;
#[cfg(test)]
pub mod fake;
pub mod fold;
pub mod memory;
#[cfg(any(test, feature = "sim"))]
pub mod played;
pub mod port;
pub mod registration;
pub mod topics;
pub mod watcher;
pub mod znode;
