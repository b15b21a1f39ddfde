//! One node of the ensemble: a replicated tree of znodes, with sessions, ephemerals and watches.
//!
//! Room map, lowest first:
//! - [`octets`]: bounded reading and writing of fields, for every format of this package.
//! - [`tree`], [`session`], [`watch`]: the pure rules of the field.
//! - [`state_machine`]: commands in, outcomes out; the tree's only writer.
//! - [`storage`]: where the state and the raft log are kept.
//! - [`consensus`]: one log of commands for all nodes, replicated by raft.
//! - [`request`]: the front door: sessions in order, reads, watches, waiting answers.
//! - [`wire`]: clients' bytes: ZooKeeper's protocol and gRPC on one port.
//! - [`upkeep`]: what a leader sees to from time to time.
//! - [`server`]: builds all of it; [`run`] is all that the binary calls.
//! - [`wipe`]: sets a stopped node's data aside, so that it rejoins.
//! - [`config`], [`limits`], [`clock`], [`metrics`]: settings, bounds, the only clock, counters.
//! - `fuzz`: what a fuzzer runs; in no release.
//! - [`mutants`]: deliberate faults behind a feature, for the simulation.

pub mod clock;
pub mod config;
pub mod consensus;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod limits;
pub mod metrics;
pub mod mutants;
pub mod octets;
pub mod request;
pub mod server;
pub mod session;
pub mod spans;
pub mod state_machine;
pub mod storage;
pub mod tree;
pub mod upkeep;
pub mod watch;
pub mod wipe;
pub mod wire;

pub use config::Config;
pub use server::{RunError, exit_on_panic, run};
