//! All logs of a broker: the log directories, their locks and checkpoints, and which partition's
//! log is where.
//!
//! Called by `server` (open, identity, shut down), `replica` (get, create, delete, set aside, high
//! watermarks) and the broker's timers (`flush_dirty`, `retention_pass`, `checkpoint_offsets`,
//! `remove_due`). It has no thread of its own.
//!
//! Opening takes the clean-stop marker away first, so that a crash from then on is seen as one.
//! Logs that can't be opened are kept by name with the reason: they are never served nor replaced.

mod folders;
mod opening;
mod passes;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::super::config::LogConfig;
use super::super::error::{FileError, ManagerError, OpenError};
use super::super::format::meta_properties::{self, MetaProperties};
use super::super::format::{names, partition_metadata};
use super::super::{TopicId, TopicPartition};
use super::dir::{Checkpoint, LogDir};
use super::file::{self, Durability};
use super::log::Log;
use super::recovery::{self, Hints, Recovered};
use crate::disk::Disk;

/// Records and two indexes of its first segment.
const FILES_OF_A_LOG: usize = 3;

/// How the broker that used the log directories before ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// There was none.
    Fresh,
    /// Everything was flushed and closed.
    Clean {
        /// The broker epoch it ended in, where it was noted.
        broker_epoch: Option<i64>,
    },
    /// It crashed: unflushed records may be gone.
    Unclean,
}

/// Whose log directories these are: `meta.properties`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// `cluster.id`, as in the ensemble.
    pub cluster_id: String,
    /// `broker.id`.
    pub broker_id: i32,
}

/// A log that could not be opened.
#[derive(Debug, Clone)]
struct DamagedLog {
    dir: Arc<LogDir>,
    folder: PathBuf,
    error: OpenError,
}

#[derive(Debug, Default)]
struct Logs {
    open: BTreeMap<TopicPartition, Arc<Log>>,
    damaged: BTreeMap<TopicPartition, DamagedLog>,
    /// Partitions of which a checkpoint tells records, and there is no folder.
    gone: BTreeMap<TopicPartition, i64>,
}

/// See the module.
#[derive(Debug)]
pub struct LogManager {
    disk: Arc<dyn Disk>,
    dirs: Vec<Arc<LogDir>>,
    defaults: LogConfig,
    previous_stop: Stop,
    /// No power was lost since the broker before this one: see `open`.
    same_boot: bool,
    high_watermarks: BTreeMap<TopicPartition, i64>,
    logs: RwLock<Logs>,
    /// Serialises everything that creates, renames or removes a partition's folder.
    folders: Mutex<folders::Departures>,
}

impl LogManager {
    /// Locks the directories and opens every log in them. `former_boot` is what [`Disk::boot_id`] was for the broker that
    /// used them before, empty if nobody knows: where it is the same still, no power was lost since.
    pub fn open(
        disk: Arc<dyn Disk>,
        dirs: &[PathBuf],
        defaults: LogConfig,
        former_boot: &str,
        now_ms: i64,
    ) -> Result<LogManager, ManagerError> {
        if dirs.is_empty() {
            return Err(ManagerError::NoDirectory);
        }
        let same_boot = !former_boot.is_empty() && former_boot == disk.boot_id();
        let mut manager = LogManager {
            disk,
            dirs: Vec::new(),
            defaults,
            previous_stop: Stop::Fresh,
            same_boot,
            high_watermarks: BTreeMap::new(),
            logs: RwLock::default(),
            folders: Mutex::default(),
        };
        for path in dirs {
            let dir = LogDir::open(Arc::clone(&manager.disk), path)?;
            manager.dirs.push(Arc::new(dir));
        }
        let stops: Vec<Stop> = manager
            .dirs
            .iter()
            .map(|dir| opening::take_stop(dir))
            .collect::<Result<_, _>>()?;
        manager.previous_stop = opening::combine(&stops);
        let dirs = manager.dirs.clone();
        for (dir, stop) in dirs.iter().zip(stops) {
            let clean = matches!(stop, Stop::Clean { .. });
            manager.open_dir(dir, clean, now_ms)?;
        }
        Ok(manager)
    }

    /// How the broker before this one ended.
    pub fn previous_stop(&self) -> Stop {
        self.previous_stop
    }

    /// The disk they are on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The log directories, as configured.
    pub fn dirs(&self) -> Vec<PathBuf> {
        let paths = self.dirs.iter().map(|dir| dir.path().to_owned());
        paths.collect()
    }

    /// Whose directories these are, if one of them says so.
    pub fn identity(&self) -> Result<Option<Identity>, ManagerError> {
        for dir in &self.dirs {
            let properties = read_properties(&*self.disk, dir.path())?;
            if let (Some(cluster_id), Some(broker_id)) =
                (properties.cluster_id, properties.broker_id)
            {
                return Ok(Some(Identity {
                    cluster_id,
                    broker_id,
                }));
            }
        }
        Ok(None)
    }

    /// Makes the directories this broker's; refused where they are another's.
    pub fn set_identity(&self, identity: &Identity) -> Result<(), ManagerError> {
        for dir in &self.dirs {
            let mut properties = read_properties(&*self.disk, dir.path())?;
            let known = properties.clone();
            let cluster_id = properties
                .cluster_id
                .get_or_insert(identity.cluster_id.clone());
            let broker_id = *properties.broker_id.get_or_insert(identity.broker_id);
            if *cluster_id != identity.cluster_id || broker_id != identity.broker_id {
                return Err(ManagerError::WrongIdentity {
                    path: dir.path().to_owned(),
                    found: format!("{broker_id} of cluster {cluster_id}"),
                    configured: format!(
                        "{} of cluster {}",
                        identity.broker_id, identity.cluster_id
                    ),
                });
            }
            if properties != known {
                let text = meta_properties::encode(&properties);
                let path = dir.path().join(names::META_PROPERTIES);
                file::replace(&*self.disk, &path, text.as_bytes(), Durability::Synced)?;
            }
        }
        Ok(())
    }

    /// A partition's log, if it is here and open.
    pub fn get(&self, partition: &TopicPartition) -> Option<Arc<Log>> {
        self.logs.read().open.get(partition).cloned()
    }

    /// All open logs.
    pub fn all(&self) -> Vec<Arc<Log>> {
        self.logs.read().open.values().cloned().collect()
    }

    /// Logs that could not be opened, and why.
    pub fn damaged(&self) -> Vec<(TopicPartition, OpenError)> {
        let logs = self.logs.read();
        let damaged = logs.damaged.iter();
        damaged
            .map(|(partition, log)| (partition.clone(), log.error.clone()))
            .collect()
    }

    /// What speaks against these logs holding all they once held, by partition: damage, holes, folders that are gone.
    pub fn losses(&self) -> Vec<(TopicPartition, String)> {
        let logs = self.logs.read();
        let damaged = logs
            .damaged
            .iter()
            .map(|(partition, log)| (partition.clone(), log.error.to_string()));
        let elsewhere = |partition: &TopicPartition| {
            logs.open.contains_key(partition) || logs.damaged.contains_key(partition)
        };
        let gone = logs
            .gone
            .iter()
            .filter(|(partition, _)| !elsewhere(partition));
        let gone = gone.map(|(partition, end)| {
            let loss = format!("its folder is gone, which held records up to {end}");
            (partition.clone(), loss)
        });
        // Before an image is there, the topics' own settings are not known.
        let compacted = |log: &Log| {
            log.config().cleanup_policy.compact || log.topic_partition().topic.starts_with("__")
        };
        let open = logs.open.iter().filter_map(|(partition, log)| {
            let recovered = Recovered {
                hole: log.recovered().hole.filter(|_| !compacted(log)),
                ..*log.recovered()
            };
            Some((partition.clone(), recovered.loss(self.same_boot)?))
        });
        damaged.chain(gone).chain(open).collect()
    }

    /// The high watermarks as they were checkpointed before this start.
    pub fn high_watermarks(&self) -> BTreeMap<TopicPartition, i64> {
        self.high_watermarks.clone()
    }

    /// A partition's log with that topic's settings, created where there is none: in the log
    /// directory that has the fewest.
    pub fn get_or_create(
        &self,
        partition: &TopicPartition,
        topic_id: TopicId,
        overrides: &BTreeMap<String, String>,
        now_ms: i64,
    ) -> Result<Arc<Log>, OpenError> {
        let config = self.config_for(partition, overrides);
        let _one_at_a_time = self.folders.lock();
        if let Some(damaged) = self.logs.read().damaged.get(partition) {
            return Err(damaged.error.clone());
        }
        if let Some(log) = self.get(partition) {
            if let Some((from, to)) = log.recovered().hole
                && !config.cleanup_policy.compact
            {
                return Err(self.take_offline(&log, from, to));
            }
            return self.checked(log, topic_id, config, now_ms);
        }
        if let Some(files) = self.disk.open_files(FILES_OF_A_LOG)
            && !files.has_room()
        {
            return Err(OpenError::TooManyFiles {
                partition: partition.clone(),
                limit: files.limit,
            });
        }
        let dir = self.emptiest_dir();
        let folder = dir.path().join(names::partition_folder(partition));
        // A partition of this name that was here before, or in another directory, is no measure for the new one.
        for dir in &self.dirs {
            dir.forget(partition)?;
        }
        self.disk
            .create_dir_all(&folder)
            .map_err(|error| FileError::new("create", &folder, error))?;
        write_topic_id(&*self.disk, &folder, topic_id)?;
        let log = load_again(&dir, &folder, partition, config, false, now_ms)?;
        let log = Arc::new(log);
        let mut logs = self.logs.write();
        logs.open.insert(partition.clone(), Arc::clone(&log));
        Ok(log)
    }

    /// Opens a damaged log by cutting it where the damage begins. The caller has made sure that a
    /// peer holds what is lost, or that the loss is accepted.
    pub fn cut_damaged(
        &self,
        partition: &TopicPartition,
        now_ms: i64,
    ) -> Result<Option<Arc<Log>>, OpenError> {
        let _one_at_a_time = self.folders.lock();
        let Some(damaged) = self.logs.read().damaged.get(partition).cloned() else {
            return Ok(None);
        };
        let DamagedLog { dir, folder, .. } = damaged;
        let config = self.defaults.clone();
        let log = Arc::new(load_again(&dir, &folder, partition, config, true, now_ms)?);
        dir.lower(partition, log.log_end_offset())?;
        let mut logs = self.logs.write();
        logs.damaged.remove(partition);
        logs.open.insert(partition.clone(), Arc::clone(&log));
        Ok(Some(log))
    }

    /// A topic's settings on top of the broker's; those that can't be used are passed over.
    pub fn config_for(
        &self,
        partition: &TopicPartition,
        overrides: &BTreeMap<String, String>,
    ) -> LogConfig {
        let (config, errors) = self.defaults.with_usable_overrides(overrides);
        for error in errors {
            tracing::warn!(%partition, %error, "topic setting passed over");
        }
        config
    }

    fn checked(
        &self,
        log: Arc<Log>,
        topic_id: TopicId,
        config: LogConfig,
        now_ms: i64,
    ) -> Result<Arc<Log>, OpenError> {
        let partition = log.topic_partition().clone();
        match log.topic_id() {
            Some(found) if found == topic_id => {
                log.set_config(config);
                Ok(log)
            }
            Some(found) => Err(OpenError::WrongTopicId {
                partition,
                found,
                asked: topic_id,
            }),
            None => {
                // A folder of a Kafka that knew no topic ids: it is this topic's from now on.
                log.close()?;
                write_topic_id(&*self.disk, log.folder(), topic_id)?;
                let (dir, folder) = (log.dir(), log.folder());
                let point = log.log_end_offset();
                let hints = Hints {
                    clean: true,
                    recovery_point: point,
                    unsynced_lost: false,
                    log_start: log.log_start_offset(),
                    log_start_exact: false,
                    high_watermark: None,
                    cut_damage: false,
                };
                let dir = Arc::clone(dir);
                let log = recovery::load(folder, &partition, config, dir, hints, now_ms)?;
                let log = Arc::new(log);
                let mut logs = self.logs.write();
                logs.open.insert(partition, Arc::clone(&log));
                Ok(log)
            }
        }
    }

    /// A log that lacks segments is as one with a damaged batch: offline until someone asks for the cut.
    fn take_offline(&self, log: &Log, from: i64, to: i64) -> OpenError {
        let partition = log.topic_partition().clone();
        let error = OpenError::Damaged {
            partition: partition.clone(),
            offset: from,
            reason: format!("no segment holds the offsets {from}..{to}"),
        };
        log.abandon();
        let damaged = DamagedLog {
            dir: Arc::clone(log.dir()),
            folder: log.folder().to_owned(),
            error: error.clone(),
        };
        let mut logs = self.logs.write();
        logs.open.remove(&partition);
        logs.damaged.insert(partition, damaged);
        error
    }

    fn emptiest_dir(&self) -> Arc<LogDir> {
        let logs = self.logs.read();
        let folders = logs.open.values().map(|log| log.dir());
        let folders: Vec<_> = folders
            .chain(logs.damaged.values().map(|log| &log.dir))
            .collect();
        let count = |dir: &&Arc<LogDir>| folders.iter().filter(|one| Arc::ptr_eq(one, dir)).count();
        let dir = self.dirs.iter().min_by_key(count);
        Arc::clone(dir.expect("there is at least one directory"))
    }
}

fn load_again(
    dir: &Arc<LogDir>,
    folder: &Path,
    partition: &TopicPartition,
    config: LogConfig,
    cut_damage: bool,
    now_ms: i64,
) -> Result<Log, OpenError> {
    let log_start = match cut_damage {
        true => dir.offset(Checkpoint::LogStarts, partition),
        false => None,
    };
    let hints = Hints {
        clean: false,
        recovery_point: dir.recovery_point(partition),
        unsynced_lost: false,
        log_start: log_start.unwrap_or(0),
        log_start_exact: log_start.is_some(),
        high_watermark: None,
        cut_damage,
    };
    let hints = match cut_damage {
        true => Hints {
            recovery_point: 0,
            ..hints
        },
        false => hints,
    };
    recovery::load(folder, partition, config, Arc::clone(dir), hints, now_ms)
}

fn write_topic_id(disk: &dyn Disk, folder: &Path, topic_id: TopicId) -> Result<(), FileError> {
    let path = folder.join(names::PARTITION_METADATA);
    let text = partition_metadata::encode(topic_id);
    file::replace(disk, &path, text.as_bytes(), Durability::Synced)
}

fn read_properties(disk: &dyn Disk, dir: &Path) -> Result<MetaProperties, ManagerError> {
    let path = dir.join(names::META_PROPERTIES);
    let text = file::read_text(disk, &path)?.unwrap_or_default();
    meta_properties::decode(&text).map_err(|error| ManagerError::BadFile {
        path,
        reason: error.0,
    })
}
