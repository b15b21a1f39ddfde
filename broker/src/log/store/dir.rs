//! A log directory: its lock, and the checkpoint of how far its logs are flushed.
//!
//! The recovery points are written here in one place because truncation must lower a log's point
//! *before* it cuts: otherwise a crash could leave a point above records that were written again
//! since, and recovery would not look at them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::TopicPartition;
use super::super::error::{FileError, ManagerError};
use super::super::format::{names, offset_checkpoint};
use super::file::{self, Durability};
use crate::disk::{Disk, Lock};

/// See the module. Dropping it lets go of the lock.
#[derive(Debug)]
pub struct LogDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    _lock: Box<dyn Lock>,
    /// What the checkpoint file says.
    recovery_points: Mutex<BTreeMap<TopicPartition, i64>>,
}

impl LogDir {
    /// Creates the directory where it isn't there, and locks it.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<LogDir, ManagerError> {
        disk.create_dir_all(path)
            .map_err(|error| FileError::new("create", path, error))?;
        let lock_path = path.join(names::LOCK);
        let lock = disk
            .lock(&lock_path)
            .map_err(|error| FileError::new("lock", &lock_path, error))?;
        let lock = lock.ok_or_else(|| ManagerError::Locked(path.to_owned()))?;
        let mut dir = LogDir {
            disk,
            path: path.to_owned(),
            _lock: lock,
            recovery_points: Mutex::default(),
        };
        dir.recovery_points = Mutex::new(dir.read_offsets(names::RECOVERY_POINT_CHECKPOINT)?);
        Ok(dir)
    }

    /// The disk it is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A checkpoint's offsets. One that isn't there or can't be read is empty, as after a first
    /// start: everything is checked then.
    pub fn read_offsets(&self, name: &str) -> Result<BTreeMap<TopicPartition, i64>, FileError> {
        let path = self.path.join(name);
        let Some(text) = file::read_text(&*self.disk, &path)? else {
            return Ok(BTreeMap::new());
        };
        Ok(offset_checkpoint::decode(&text).unwrap_or_else(|error| {
            tracing::warn!(path = %path.display(), %error, "checkpoint can't be read, passed over");
            BTreeMap::new()
        }))
    }

    /// Replaces a checkpoint.
    pub fn write_offsets(
        &self,
        name: &str,
        offsets: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), FileError> {
        let text = offset_checkpoint::encode(offsets);
        let path = self.path.join(name);
        file::replace(&*self.disk, &path, text.as_bytes(), Durability::Synced)
    }

    /// Up to which offset a log was flushed when the checkpoint was written; 0 when unknown.
    pub fn recovery_point(&self, partition: &TopicPartition) -> i64 {
        let points = self.recovery_points.lock();
        points.get(partition).copied().unwrap_or(0)
    }

    /// All recovery points, as the checkpoint file says.
    pub fn recovery_points(&self) -> BTreeMap<TopicPartition, i64> {
        self.recovery_points.lock().clone()
    }

    /// Replaces all recovery points, if they differ from what was written last. They are asked for
    /// under the lock, so that no truncation comes between.
    pub fn write_recovery_points(
        &self,
        current: impl FnOnce(&BTreeMap<TopicPartition, i64>) -> BTreeMap<TopicPartition, i64>,
    ) -> Result<(), FileError> {
        let mut points = self.recovery_points.lock();
        let offsets = current(&points);
        if *points != offsets {
            self.write_offsets(names::RECOVERY_POINT_CHECKPOINT, &offsets)?;
            *points = offsets;
        }
        Ok(())
    }

    /// Makes sure that the checkpoint puts a log's recovery point no higher than `offset`.
    pub fn lower_recovery_point(
        &self,
        partition: &TopicPartition,
        offset: i64,
    ) -> Result<(), FileError> {
        let mut points = self.recovery_points.lock();
        match points.get_mut(partition) {
            Some(point) if *point > offset => *point = offset,
            _ => return Ok(()),
        }
        self.write_offsets(names::RECOVERY_POINT_CHECKPOINT, &points)
    }
}
