//! Partitions that leave: deletion, and setting aside.

use std::path::PathBuf;

use super::super::super::TopicPartition;
use super::super::super::error::{FileError, ManagerError};
use super::super::super::format::names;
use super::super::file;
use super::LogManager;

/// Folders that were renamed for removal.
#[derive(Debug, Default)]
pub(super) struct Departures {
    waiting: Vec<(i64, PathBuf)>,
    /// Makes the next name differ from all before.
    serial: u64,
}

impl Departures {
    pub(super) fn leave(&mut self, due_ms: i64, folder: PathBuf) {
        self.waiting.push((due_ms, folder));
    }
}

impl LogManager {
    /// Takes a partition's log away: its folder is renamed now, and removed by `remove_due` once
    /// `file.delete.delay.ms` has passed. False when there is none.
    pub fn delete(&self, partition: &TopicPartition, now_ms: i64) -> Result<bool, ManagerError> {
        let mut departures = self.folders.lock();
        let delay_ms = match self.get(partition) {
            Some(log) => log.config().file_delete_delay_ms,
            None => self.defaults.file_delete_delay_ms,
        };
        let end = names::DELETE_FOLDER;
        let Some(folder) = self.depart(&mut departures, partition, end, now_ms)? else {
            return Ok(false);
        };
        departures.leave(now_ms.saturating_add(delay_ms), folder);
        Ok(true)
    }

    /// Puts a partition's log aside for good, as it is of another topic of the same name. Returns its
    /// new folder, which nothing here touches again; `None` when there is no such log.
    pub fn set_aside(
        &self,
        partition: &TopicPartition,
        now_ms: i64,
    ) -> Result<Option<PathBuf>, ManagerError> {
        let mut departures = self.folders.lock();
        self.depart(&mut departures, partition, names::STRAY_FOLDER, now_ms)
    }

    fn depart(
        &self,
        departures: &mut Departures,
        partition: &TopicPartition,
        end: &str,
        now_ms: i64,
    ) -> Result<Option<PathBuf>, ManagerError> {
        let (open, damaged) = {
            let mut logs = self.logs.write();
            (logs.open.remove(partition), logs.damaged.remove(partition))
        };
        let (dir, folder) = match (open, damaged) {
            (Some(log), _) => {
                log.abandon();
                (log.dir().clone(), log.folder().to_owned())
            }
            (None, Some(damaged)) => (damaged.dir, damaged.folder),
            (None, None) => return Ok(None),
        };
        let to = loop {
            departures.serial += 1;
            let unique = (u128::from(now_ms as u64) << 64) | u128::from(departures.serial);
            let to = dir
                .path()
                .join(names::departed_folder(partition, unique, end));
            if !self.disk.exists(&to) {
                break to;
            }
        };
        // First: with its folder gone, what they say would look like a loss. On a full disk the folder goes all the
        // same, as it may be deleted for its room; whoever makes another log of this name forgets it then.
        match dir.forget(partition) {
            Err(error) if error.is_no_space() => {
                tracing::warn!(%partition, %error, "checkpoints still name a log that goes");
            }
            done => done?,
        }
        file::rename(&*self.disk, &folder, &to)?;
        file::sync_folder(&*self.disk, dir.path())?;
        Ok(Some(to))
    }

    /// Removes deleted partitions' folders, and segment files that retention renamed, once their
    /// time has come. Returns how many folders.
    pub fn remove_due(&self, now_ms: i64) -> Result<usize, ManagerError> {
        for log in self.all() {
            log.remove_due(now_ms)?;
        }
        let (due, later): (Vec<_>, Vec<_>) = {
            let mut departures = self.folders.lock();
            let waiting = std::mem::take(&mut departures.waiting);
            waiting
                .into_iter()
                .partition(|(due_ms, _)| *due_ms <= now_ms)
        };
        self.folders.lock().waiting.extend(later);
        for (_, folder) in &due {
            match self.disk.remove_dir_all(folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(FileError::new("remove", folder, error).into());
                }
                _ => {}
            }
        }
        Ok(due.len())
    }
}
