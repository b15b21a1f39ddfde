//! File operations whose errors say what was done to which file.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use super::super::error::FileError;

/// Whether a write waits for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// File and folder are fsynced before the call returns.
    Synced,
    /// The system may write when it likes; a checksum or a rebuild covers for it.
    Lazy,
}

/// Replaces a file as a whole: a `.tmp` beside it is written and renamed over it, so that a crash
/// leaves the old or the new contents.
pub fn replace(path: &Path, contents: &[u8], durability: Durability) -> Result<(), FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let write = || {
        let mut file = File::create(&temporary)?;
        file.write_all(contents)?;
        if durability == Durability::Synced {
            file.sync_all()?;
        }
        Ok(())
    };
    if let Err(error) = write() {
        let _ = fs::remove_file(&temporary);
        return Err(FileError::new("write", temporary, error));
    }
    rename(&temporary, path)?;
    match (durability, path.parent()) {
        (Durability::Synced, Some(parent)) => sync_folder(parent),
        _ => Ok(()),
    }
}

/// Renames a file or folder.
pub fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|error| FileError::new("rename", from, error))
}

/// Removes a file; one that isn't there is as good as removed.
pub fn remove(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::new("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes the names in a folder durable.
pub fn sync_folder(path: &Path) -> Result<(), FileError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(|error| FileError::new("fsync", path, error))
}

/// A file's bytes; `None` when there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path, error)),
    }
}

/// A text file's contents; `None` when there is no such file. Bytes that are no text are replaced:
/// the format's own checks then refuse them.
pub fn read_text(path: &Path) -> Result<Option<String>, FileError> {
    Ok(read(path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Names in a folder, sorted, as far as they are text.
pub fn list(path: &Path) -> Result<Vec<String>, FileError> {
    let failed = |error| FileError::new("list", path, error);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
