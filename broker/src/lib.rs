//! One broker: it keeps partitions of topics as logs on its disk, replicates them among its peers,
//! and serves them in Kafka's own wire protocol. The ensemble is reached over the network, through
//! `zweig-client`, like any other user would.
//!
//! The room map. Rooms marked `*` are pure: no socket, file, clock or channel.
//!
//! | room | job |
//! | --- | --- |
//! | `clock` | the only clock |
//! | `chance` | ids that nobody else draws |
//! | `config` | `server.properties`: keys, defaults, checks |
//! | `controller` * | who leads which partition; `controller::drive` performs what it decides |
//! | `disk` | the file operations of everything below, behind a trait |
//! | `ensemble` | registration, znodes, the watch stream folded into images |
//! | `fuzz` | what the fuzzer runs; in no release |
//! | `group` * | consumer groups: members, generations, committed offsets |
//! | `handlers` | one file per API of Kafka's protocol, one row each in the registry |
//! | `limits` | hard bounds |
//! | `log` | Kafka's disk format: segments, indexes, recovery, retention |
//! | `metadata` * | the cluster as one immutable image, and the cell in which it is swapped |
//! | `metrics` | counters; `server::scrape` tells them to Prometheus |
//! | `mutants` | deliberate mistakes for the simulator to find; a feature, else nothing |
//! | `net` | listeners and connections |
//! | `purgatory` | requests that wait: for acks, for bytes |
//! | `replica` * | the rules of replication; `replica::hosted` puts logs under them |
//! | `server` | builds the rooms, starts them, stops them in reverse order |
//! | `shard` | the groups of each led partition of `__consumer_offsets`: load, serve, append |
//! | `tasks` | every spawn, so that a simulator can hold a broker in its hand (`sim`, a feature) |
//! | `wire` | Kafka's frames and messages, bytes to values and back |

pub mod chance;
#[allow(
    clippy::disallowed_methods,
    reason = "the one place that reads the clocks"
)]
pub mod clock;
pub mod config;
pub mod controller;
pub mod disk;
pub mod ensemble;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod group;
pub mod handlers;
pub mod limits;
pub mod log;
pub mod metadata;
pub mod metrics;
pub mod mutants;
pub mod net;
pub mod purgatory;
pub mod replica;
pub mod server;
pub mod shard;
#[cfg(feature = "sim")]
pub mod sim;
pub mod spans;
pub mod tasks;
pub mod wire;

pub use server::{RunError, run};
