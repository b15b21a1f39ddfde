//! One process per data folder: a lock on a file that stays there, given back by the system when the process ends.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file that is locked.
pub const NAME: &str = ".lock";

/// Why a folder could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone has it.
    #[error("{} is in use by another process{}; one folder belongs to one node, and nothing else may touch it while that runs", folder.display(), by(holder))]
    Held {
        /// The folder.
        folder: PathBuf,
        /// What the holder wrote into the file: its process id.
        holder: String,
    },
    /// The file system failed.
    #[error("cannot lock {}: {source}", folder.display())]
    Io {
        /// The folder.
        folder: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

fn by(holder: &str) -> String {
    match holder.trim() {
        "" => String::new(),
        pid => format!(" (process {pid})"),
    }
}

/// The folder is this process's until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes `folder`, which exists.
    ///
    /// # Errors
    /// When another process has it.
    pub fn take(folder: &Path) -> Result<Self, LockError> {
        let io = |source| LockError::Io {
            folder: folder.to_owned(),
            source,
        };
        let path = folder.join(NAME);
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held {
                    folder: folder.to_owned(),
                    // Only for the message.
                    holder: fs::read_to_string(&path).unwrap_or_default(),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        file.set_len(0).map_err(io)?;
        writeln!(file, "{}", std::process::id()).map_err(io)?;
        Ok(Self { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let lock = FolderLock::take(folder.path()).unwrap();
        let refused = FolderLock::take(folder.path()).unwrap_err().to_string();
        assert!(
            refused.contains(&std::process::id().to_string()),
            "{refused}"
        );
        drop(lock);
        FolderLock::take(folder.path()).unwrap();
    }
}
