//! What this broker knows of the cluster: one immutable [`Image`] as of one zxid, held in a
//! [`MetadataCache`] that readers look into without ever waiting.
//!
//! `ensemble::watcher` folds the ensemble's watch stream into images and stores them here; the
//! handlers, the replicas, the groups and the controller read them. Nothing else writes.
//!
//! Invariants: an image is complete as of its zxid (it is stored only at an end mark of the watch
//! stream), the zxids of stored images never fall, and two images share all they have in common,
//! so that one ISR change among 100,000 partitions copies a few tree nodes and no more.
//!
//! The paths and JSON texts that images are made from belong to `ensemble::znode`.

mod cache;
mod delta;
mod image;

pub use cache::{MetadataCache, News, WaitError};
pub use delta::Delta;
pub use image::{
    AskedElection, Broker, Configs, ControllerNode, ElectionKind, Endpoint, Image, LogEnd, Map,
    Partition, PartitionState, Topic, VersionedEpoch,
};
