//! Partitions on this broker: each one a log under the rules of `replica`.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`partition`] | one log, the part this broker plays in it, and who waits for it to move |
//! | [`leading`] | what a leader does: append, read, answer offsets, change the ISR |
//! | [`following`] | what a follower does with a leader's answer: append, cut, raise its high watermark |
//! | [`manager`] | all partitions; makes them what an image says |
//! | [`fetcher`] | one task per leader: fetches for all partitions followed there |
//! | [`counting`] | what partitions count, and how they look from outside |
//! | `dirs` | the log directories as they look from outside |
//! | `leaving` | what becomes of logs that are no longer assigned here |
//! | [`leader_connection`] | the fetcher's connection: Kafka's Fetch over a socket |
//! | [`maintenance`] | what happens by the clock: checkpoints, retention, lagging followers |
//! | `offline` | logs that can't be opened: tried again, and not led |
//! | `room` | which log directories are full, and for how long |
//! | `seen` | what an image says of this broker's partitions |
//! | [`wake`] | how waiters hear that offsets moved |
//!
//! Called by `handlers`, `purgatory`, `shard` and `server`; calls `log` and, through [`StateWriter`], the ensemble.
//!
//! Locks: a partition's part and its appends are under one lock, so that nothing is appended under a
//! leadership that ended; it is never held across an `await`. File calls under it go to the page cache.
//! `fsync` runs on the blocking pool alone; a log that can't be trusted after an error ends the process
//! ([`FatalHook`]).
//!
//! In fsync mode (`flush.messages=1`) appends are followed by a flush on that pool, one at a time per partition, each
//! covering all that was appended meanwhile; a follower flushes before its next fetch, so that its fetch
//! offset tells what is on its disk.

pub mod counting;
mod dirs;
pub mod fetcher;
pub mod following;
pub mod leader_connection;
pub mod leading;
mod leaving;
pub mod maintenance;
pub mod manager;
mod offline;
pub mod partition;
mod room;
mod seen;
pub mod wake;

pub use dirs::{DirView, ReplicaView};
pub use leading::{
    Committing, FetchedRecords, FollowerRead, FoundOffset, OffsetLookup, ReadFrom, Reader,
};
pub use manager::{Leaderships, ReplicaManager};
pub use partition::{Partition, PartitionError};

use super::isr::{Proposal, WriteEnd};
use crate::config;
use crate::log::{TopicId, TopicPartition};
use futures::future::BoxFuture;
use std::sync::Arc;
use zweig_monitoring::Tracer;

/// How sure this broker is of its registration (design 4.2, fencing).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// The session lives.
    Sure,
    /// No renewal was acknowledged for long: serve on, but change no ISR.
    InDoubt,
    /// The session is known to have ended: lead nothing.
    Expired,
}

/// What hosted partitions ask of the ensemble.
pub trait StateWriter: Send + Sync + 'static {
    /// How sure this broker is of its registration, as of now.
    fn certainty(&self) -> Certainty;

    /// Epoch of the current registration; `None` while there is none.
    fn broker_epoch(&self) -> Option<i64>;

    /// Writes a change of the ISR into the state's znode, on condition of its version, and that it is still that of
    /// the topic of this id.
    fn write_isr(
        &self,
        partition: TopicPartition,
        topic_id: TopicId,
        proposal: Proposal,
    ) -> BoxFuture<'static, WriteEnd>;
}

/// Told of an error after which this process can't be trusted with its logs; does not return to business.
pub type FatalHook = Arc<dyn Fn(&str) + Send + Sync>;

/// Settings of this room.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// The id this broker registered under.
    pub broker_id: i32,
    /// `inter.broker.listener.name`: by which of a leader's endpoints it is fetched from.
    pub inter_broker_listener: String,
    /// Replication.
    pub replica: config::ReplicaConfig,
    /// Housekeeping of logs.
    pub log: config::LogSettings,
    /// Of batches that are followed.
    pub tracer: Tracer,
}

impl HostConfig {
    /// This room's part of a broker's settings.
    #[must_use]
    pub fn new(broker_id: i32, config: &config::Config) -> Self {
        let inter_broker_listener = config.inter_broker_listener.clone();
        Self {
            broker_id,
            inter_broker_listener,
            replica: config.replica,
            log: config.log,
            tracer: Tracer::off(),
        }
    }

    /// The same, telling of batches that are followed.
    #[must_use]
    pub fn traced(self, tracer: Tracer) -> Self {
        Self { tracer, ..self }
    }
}
