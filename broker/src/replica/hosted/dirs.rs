//! The log directories of this broker as they look from outside.

use super::ReplicaManager;
use crate::disk::Space;
use crate::log::TopicPartition;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// A replica in a log directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaView {
    /// Its partition.
    pub name: TopicPartition,
    /// Bytes of its segments.
    pub size_bytes: u64,
    /// As Kafka counts it: how far its end is behind its own high watermark. That is 0, but for a moment.
    pub lag: i64,
}

/// A log directory.
#[derive(Debug)]
pub struct DirView {
    /// Where it is.
    pub path: PathBuf,
    /// The room of its file system, or why that can't be told.
    pub space: io::Result<Space>,
    /// What is hosted in it and online, by name.
    pub replicas: Vec<ReplicaView>,
}

impl ReplicaManager {
    /// The log directories, in the order of `log.dirs`. Asks the file system.
    #[must_use]
    pub fn dirs(&self) -> Vec<DirView> {
        let mut hosted = BTreeMap::<PathBuf, Vec<ReplicaView>>::new();
        for partition in self.online() {
            let log = partition.log();
            let Some(dir) = log.folder().parent() else {
                continue;
            };
            hosted
                .entry(dir.to_path_buf())
                .or_default()
                .push(ReplicaView {
                    name: partition.name().clone(),
                    size_bytes: log.size_bytes(),
                    lag: (partition.high_watermark() - log.log_end_offset()).max(0),
                });
        }
        let dirs = self.logs.dirs().into_iter();
        let view = dirs.map(|path| DirView {
            space: self.logs.disk().space(&path),
            replicas: hosted.remove(&path).unwrap_or_default(),
            path,
        });
        view.collect()
    }
}
