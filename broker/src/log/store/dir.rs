//! A log directory: its lock, and its checkpoints: how far logs are flushed, where they start, their high watermarks.
//!
//! All three are written here in one place, each under its own lock, because of two orders that matter. Truncation must
//! lower a log's recovery point *before* it cuts: otherwise a crash could leave a point above records that were written
//! again since, and recovery would not look at them. And what they say of a partition must be gone *before* another
//! one of its name is made: the new log would be cut, or begun anew, by the measures of the old one.
//!
//! Invariant: what is held in memory is what the files say, so a write that failed is tried again.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::super::TopicPartition;
use super::super::error::{FileError, ManagerError};
use super::super::format::{names, offset_checkpoint};
use super::file::{self, Durability};
use crate::disk::{Disk, Lock};

/// An offset for each of some partitions.
pub type Offsets = BTreeMap<TopicPartition, i64>;

/// Which offsets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checkpoint {
    /// Up to which offset each log is flushed.
    RecoveryPoints,
    /// Each log's first offset.
    LogStarts,
    /// Each partition's high watermark.
    HighWatermarks,
}

impl Checkpoint {
    const ALL: [Checkpoint; 3] = [
        Checkpoint::RecoveryPoints,
        Checkpoint::LogStarts,
        Checkpoint::HighWatermarks,
    ];

    fn file_name(self) -> &'static str {
        match self {
            Checkpoint::RecoveryPoints => names::RECOVERY_POINT_CHECKPOINT,
            Checkpoint::LogStarts => names::LOG_START_CHECKPOINT,
            Checkpoint::HighWatermarks => names::HIGH_WATERMARK_CHECKPOINT,
        }
    }
}

/// See the module. Dropping it lets go of the lock.
#[derive(Debug)]
pub struct LogDir {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    _lock: Box<dyn Lock>,
    /// What the files say, in the order of `Checkpoint::ALL`.
    checkpoints: [Mutex<Offsets>; 3],
    /// The file of recovery points was there when the directory was opened, and could be read.
    recovery_points_known: bool,
}

impl LogDir {
    /// Creates the directory where it isn't there, and locks it.
    pub fn open(disk: Arc<dyn Disk>, path: &Path) -> Result<LogDir, ManagerError> {
        file::create_folder(&*disk, path)?;
        let lock_path = path.join(names::LOCK);
        let lock = disk
            .lock(&lock_path)
            .map_err(|error| FileError::new("lock", &lock_path, error))?;
        let lock = lock.ok_or_else(|| ManagerError::Locked(path.to_owned()))?;
        let mut dir = LogDir {
            disk,
            path: path.to_owned(),
            _lock: lock,
            checkpoints: Default::default(),
            recovery_points_known: true,
        };
        dir.begin_recovery_points()?;
        for checkpoint in Checkpoint::ALL {
            let found = dir.read(checkpoint)?;
            if checkpoint == Checkpoint::RecoveryPoints {
                dir.recovery_points_known = found.is_some();
            }
            *dir.checkpoint(checkpoint).lock() = found.unwrap_or_default();
        }
        Ok(dir)
    }

    /// A directory without logs gets a file of recovery points that names none. Where there are logs and no such file it
    /// was lost, then, and nobody knows what was flushed.
    fn begin_recovery_points(&self) -> Result<(), FileError> {
        let path = self.path.join(Checkpoint::RecoveryPoints.file_name());
        let names = file::list(&*self.disk, &self.path)?;
        let used = names
            .iter()
            .any(|name| names::parse_partition_folder(name).is_some());
        if used || self.disk.exists(&path) {
            return Ok(());
        }
        let text = offset_checkpoint::encode(&Offsets::new());
        file::replace(&*self.disk, &path, text.as_bytes(), Durability::Synced)
    }

    /// The disk it is on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What a checkpoint says. One that wasn't there or couldn't be read is empty, as after a first start: everything is
    /// checked then.
    pub fn offsets(&self, checkpoint: Checkpoint) -> Offsets {
        self.checkpoint(checkpoint).lock().clone()
    }

    /// What a checkpoint says of one partition.
    pub fn offset(&self, checkpoint: Checkpoint, partition: &TopicPartition) -> Option<i64> {
        self.checkpoint(checkpoint).lock().get(partition).copied()
    }

    /// False when the recovery points were lost, and not only never written: no log is known to be unflushed then.
    pub fn recovery_points_known(&self) -> bool {
        self.recovery_points_known
    }

    /// Up to which offset a log was flushed when the checkpoint was written; 0 when unknown.
    pub fn recovery_point(&self, partition: &TopicPartition) -> i64 {
        let point = self.offset(Checkpoint::RecoveryPoints, partition);
        point.unwrap_or(0)
    }

    /// Replaces a checkpoint, if it differs. The offsets are asked for under the lock, so that no truncation comes between.
    pub fn write(
        &self,
        checkpoint: Checkpoint,
        current: impl FnOnce(&Offsets) -> Offsets,
    ) -> Result<(), FileError> {
        let mut kept = self.checkpoint(checkpoint).lock();
        let offsets = current(&kept);
        if *kept != offsets {
            let path = self.path.join(checkpoint.file_name());
            let text = offset_checkpoint::encode(&offsets);
            file::replace(&*self.disk, &path, text.as_bytes(), Durability::Synced)?;
            *kept = offsets;
        }
        Ok(())
    }

    /// Makes sure that a checkpoint puts nothing of a log higher than `offset`.
    pub fn lower_to(
        &self,
        checkpoint: Checkpoint,
        partition: &TopicPartition,
        offset: i64,
    ) -> Result<(), FileError> {
        self.write(checkpoint, |kept| lowered(kept, partition, offset))
    }

    /// Makes sure that no checkpoint puts anything of a log higher than `offset`, where it is about to be cut.
    pub fn lower(&self, partition: &TopicPartition, offset: i64) -> Result<(), FileError> {
        for checkpoint in Checkpoint::ALL {
            self.lower_to(checkpoint, partition, offset)?;
        }
        Ok(())
    }

    /// Notes where a log starts, whatever was noted before.
    pub fn note_start(&self, partition: &TopicPartition, offset: i64) -> Result<(), FileError> {
        self.write(Checkpoint::LogStarts, |kept| {
            let mut offsets = kept.clone();
            offsets.insert(partition.clone(), offset);
            offsets
        })
    }

    /// Makes sure that no checkpoint says anything of a partition.
    pub fn forget(&self, partition: &TopicPartition) -> Result<(), FileError> {
        for checkpoint in Checkpoint::ALL {
            self.write(checkpoint, |kept| {
                let mut offsets = kept.clone();
                offsets.remove(partition);
                offsets
            })?;
        }
        Ok(())
    }

    fn checkpoint(&self, checkpoint: Checkpoint) -> &Mutex<Offsets> {
        &self.checkpoints[checkpoint as usize]
    }

    /// `None` when the file isn't there or makes no sense.
    fn read(&self, checkpoint: Checkpoint) -> Result<Option<Offsets>, FileError> {
        let path = self.path.join(checkpoint.file_name());
        let Some(text) = file::read_text(&*self.disk, &path)? else {
            return Ok(None);
        };
        let offsets = offset_checkpoint::decode(&text).inspect_err(|error| {
            tracing::warn!(path = %path.display(), %error, "checkpoint can't be read, passed over");
        });
        Ok(offsets.ok())
    }
}

fn lowered(offsets: &Offsets, partition: &TopicPartition, most: i64) -> Offsets {
    let mut offsets = offsets.clone();
    if let Some(offset) = offsets.get_mut(partition) {
        *offset = most.min(*offset);
    }
    offsets
}
