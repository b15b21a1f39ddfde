//! What opening the log directories finds: how the last broker ended, and the logs themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::super::TopicPartition;
use super::super::super::error::{FileError, ManagerError, OpenError};
use super::super::super::format::{clean_shutdown, names};
use super::super::dir::{Checkpoint, LogDir};
use super::super::file;
use super::super::log::Log;
use super::super::recovery::{self, Hints};
use super::{DamagedLog, LogManager, Stop};

/// A partition's folder that is to be opened.
#[derive(Debug)]
struct Found {
    partition: TopicPartition,
    folder: PathBuf,
    hints: Hints,
}

impl LogManager {
    pub(super) fn open_dir(
        &mut self,
        dir: &Arc<LogDir>,
        clean: bool,
        now_ms: i64,
    ) -> Result<(), ManagerError> {
        let starts = dir.offsets(Checkpoint::LogStarts);
        let marks = dir.offsets(Checkpoint::HighWatermarks);
        let mut found = Vec::new();
        let all = file::list(&**dir.disk(), dir.path())?;
        for name in &all {
            let folder = dir.path().join(name);
            if !self.disk.is_folder(&folder) {
                continue;
            }
            if name.ends_with(names::DELETE_FOLDER) {
                self.folders.get_mut().leave(now_ms, folder);
                continue;
            }
            let Some(partition) = names::parse_partition_folder(name) else {
                tracing::info!(folder = %folder.display(), "not a partition's folder, left alone");
                continue;
            };
            let hints = Hints {
                clean,
                recovery_point: dir.recovery_point(&partition),
                unsynced_lost: !self.same_boot && dir.recovery_points_known(),
                log_start: starts.get(&partition).copied().unwrap_or(0).max(0),
                log_start_exact: starts.contains_key(&partition),
                high_watermark: marks.get(&partition).copied(),
                cut_damage: false,
            };
            self.refuse_twice(&partition, &folder)?;
            found.push(Found {
                partition,
                folder,
                hints,
            });
        }
        for (partition, end) in gone(dir, &marks, &found, &all) {
            tracing::error!(%partition, end, "the folder of this log is gone");
            self.logs.get_mut().gone.insert(partition, end);
        }
        self.high_watermarks.extend(marks);
        self.open_all(dir, found, now_ms)
    }

    fn refuse_twice(
        &mut self,
        partition: &TopicPartition,
        second: &Path,
    ) -> Result<(), ManagerError> {
        let logs = self.logs.get_mut();
        let first = logs.open.get(partition).map(|log| log.folder());
        let damaged = || logs.damaged.get(partition).map(|log| log.folder.as_path());
        match first.or_else(damaged) {
            None => Ok(()),
            Some(first) => Err(ManagerError::Twice {
                partition: partition.clone(),
                first: first.to_owned(),
                second: second.to_owned(),
            }),
        }
    }

    /// Opens logs on as many threads as the disk bears: after a crash each may read much.
    fn open_all(
        &mut self,
        dir: &Arc<LogDir>,
        found: Vec<Found>,
        now_ms: i64,
    ) -> Result<(), ManagerError> {
        let defaults = &self.defaults;
        let waiting = Mutex::new(found.into_iter());
        let done = Mutex::new(Vec::new());
        let work = || {
            loop {
                let Some(next) = waiting.lock().next() else {
                    return;
                };
                let (config, dir) = (defaults.clone(), Arc::clone(dir));
                let Found {
                    partition,
                    folder,
                    hints,
                } = &next;
                let log = recovery::load(folder, partition, config, dir, *hints, now_ms);
                done.lock().push((next, log));
            }
        };
        match self.disk.parallelism() {
            1 => work(),
            threads => std::thread::scope(|scope| {
                for _ in 0..threads {
                    scope.spawn(work);
                }
            }),
        }
        for (
            Found {
                partition, folder, ..
            },
            log,
        ) in done.into_inner()
        {
            self.keep(dir, partition, folder, log)?;
        }
        Ok(())
    }

    fn keep(
        &mut self,
        dir: &Arc<LogDir>,
        partition: TopicPartition,
        folder: PathBuf,
        log: Result<Log, OpenError>,
    ) -> Result<(), ManagerError> {
        let logs = self.logs.get_mut();
        match log {
            Ok(log) => {
                logs.open.insert(partition, Arc::new(log));
            }
            Err(OpenError::Log(error)) => return Err(error.into()),
            Err(error) => {
                tracing::error!(%partition, %error, "log is offline");
                let dir = Arc::clone(dir);
                let damaged = DamagedLog { dir, folder, error };
                logs.damaged.insert(partition, damaged);
            }
        }
        Ok(())
    }
}

/// Partitions of which a checkpoint tells records, with the end it tells, but whose folder is neither here nor
/// renamed for deletion.
fn gone(
    dir: &LogDir,
    marks: &BTreeMap<TopicPartition, i64>,
    found: &[Found],
    names: &[String],
) -> BTreeMap<TopicPartition, i64> {
    let here: BTreeSet<&TopicPartition> = found.iter().map(|found| &found.partition).collect();
    let mut ends = dir.offsets(Checkpoint::RecoveryPoints);
    for (partition, mark) in marks {
        let end = ends.entry(partition.clone()).or_default();
        *end = (*end).max(*mark);
    }
    ends.retain(|partition, end| {
        let departed = format!("{}.", names::partition_folder(partition));
        let departed = |name: &String| name.starts_with(&departed);
        *end > 0 && !here.contains(partition) && !names.iter().any(departed)
    });
    ends
}

/// Reads the clean-stop marker and takes it away, durably.
pub(super) fn take_stop(dir: &LogDir) -> Result<Stop, FileError> {
    let path = dir.path().join(names::CLEAN_SHUTDOWN);
    let Some(text) = file::read_text(&**dir.disk(), &path)? else {
        let used = file::list(&**dir.disk(), dir.path())?
            .iter()
            .any(|name| names::parse_partition_folder(name).is_some());
        return Ok(if used { Stop::Unclean } else { Stop::Fresh });
    };
    file::remove(&**dir.disk(), &path)?;
    file::sync_folder(&**dir.disk(), dir.path())?;
    let broker_epoch = clean_shutdown::decode(&text);
    Ok(Stop::Clean { broker_epoch })
}

/// All directories must have ended well, in the same epoch.
pub(super) fn combine(stops: &[Stop]) -> Stop {
    let mut all = Stop::Fresh;
    for &stop in stops {
        all = match (all, stop) {
            (Stop::Fresh, stop) | (stop, Stop::Fresh) => stop,
            (
                Stop::Clean { broker_epoch: one },
                Stop::Clean {
                    broker_epoch: other,
                },
            ) => {
                let broker_epoch = if one == other { one } else { None };
                Stop::Clean { broker_epoch }
            }
            _ => Stop::Unclean,
        };
    }
    all
}
