//! File operations whose errors say what was done to which file.

use std::path::{Path, PathBuf};

use super::super::error::FileError;
use crate::disk::{Disk, Open};

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
pub fn replace(
    disk: &dyn Disk,
    path: &Path,
    contents: &[u8],
    durability: Durability,
) -> Result<(), FileError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let temporary = PathBuf::from(name);
    let write = || {
        let file = disk.open(&temporary, Open::Fresh)?;
        file.write_all_at(contents, 0)?;
        if durability == Durability::Synced {
            file.sync()?;
        }
        Ok(())
    };
    if let Err(error) = write() {
        let _ = disk.remove(&temporary);
        return Err(FileError::new("write", temporary, error));
    }
    rename(disk, &temporary, path)?;
    match (durability, path.parent()) {
        (Durability::Synced, Some(parent)) => sync_folder(disk, parent),
        _ => Ok(()),
    }
}

/// Renames a file or folder.
pub fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<(), FileError> {
    disk.rename(from, to)
        .map_err(|error| FileError::new("rename", from, error))
}

/// Removes a file; one that isn't there is as good as removed.
pub fn remove(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    match disk.remove(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(FileError::new("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// Makes a folder where it isn't there, and those above it, durably: what is in it is lost with its name.
pub fn create_folder(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    let missing = path
        .ancestors()
        .take_while(|folder| !disk.is_folder(folder));
    let missing: Vec<&Path> = missing.collect();
    disk.create_dir_all(path)
        .map_err(|error| FileError::new("create", path, error))?;
    for folder in missing {
        match folder.parent() {
            Some(above) if above.as_os_str().is_empty() => sync_folder(disk, Path::new("."))?,
            Some(above) => sync_folder(disk, above)?,
            None => {}
        }
    }
    Ok(())
}

/// Makes the names in a folder durable.
pub fn sync_folder(disk: &dyn Disk, path: &Path) -> Result<(), FileError> {
    disk.sync_folder(path)
        .map_err(|error| FileError::new("fsync", path, error))
}

/// A file's bytes; `None` when there is no such file.
pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, FileError> {
    let read = || {
        let file = disk.open(path, Open::Existing)?;
        let mut bytes = vec![0; usize::try_from(file.size()?).map_err(std::io::Error::other)?];
        let length = file.read_full_at(&mut bytes, 0)?;
        bytes.truncate(length);
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if std::io::Error::kind(&error) == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileError::new("read", path, error)),
    }
}

/// A text file's contents; `None` when there is no such file. Bytes that are no text are replaced:
/// the format's own checks then refuse them.
pub fn read_text(disk: &dyn Disk, path: &Path) -> Result<Option<String>, FileError> {
    Ok(read(disk, path)?.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

/// Names in a folder, sorted, as far as they are text.
pub fn list(disk: &dyn Disk, path: &Path) -> Result<Vec<String>, FileError> {
    let mut names = disk
        .list(path)
        .map_err(|error| FileError::new("list", path, error))?;
    names.sort();
    Ok(names)
}
