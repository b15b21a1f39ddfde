//! Whole copies of the state: made for a follower that is too far behind, and installed there.
//!
//! A checkpoint is a folder: RocksDB's files, linked rather than copied, and [`CHECKSUMS`]. What it
//! holds (index, term, ConfState) is read from itself. On a node the state lies in `state-N` of its
//! folder, and the highest N counts: installing verifies the checkpoint aside, brings it to the disk,
//! and renames it to `state-(N+1)`. That one rename is the step; before it the old state counts, after
//! it the new one. Raft's log is reset only then, by the caller.
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rocksdb::checkpoint::Checkpoint;

use super::database::States;
use super::overlay::OverlayStore;
use super::state::{StateDb, failed, read_only_meta};
use super::{HistoryBounds, Meta, StoreError};

/// The file that lists the others: a first line with the format, then `crc32c bytes name` for each.
pub const CHECKSUMS: &str = "CHECKSUMS";
const FORMAT: &str = "zweig checkpoint 1";
const STATE: &str = "state-";
/// Where a checkpoint from another file system is copied first.
const INCOMING: &str = "incoming";

/// Why a checkpoint could not be made, verified or installed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system failed.
    #[error("checkpoint: cannot {operation} {path}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// It is not what was sent.
    #[error("checkpoint {folder}: {problem}")]
    Damaged {
        /// The checkpoint.
        folder: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a checkpoint of what was written to `db` into `folder`, which must not exist yet, and tells
/// what it holds. Blocks while the memtables are flushed. Call [`super::write_behind`] first to have
/// everything applied in it.
pub fn make(db: &StateDb, folder: &Path) -> Result<Meta, CheckpointError> {
    let checkpoint = Checkpoint::new(db.raw()).map_err(failed("begin a checkpoint"))?;
    checkpoint
        .create_checkpoint(folder)
        .map_err(failed("make a checkpoint"))?;
    let mut list = format!("{FORMAT}\n");
    for name in files_of(folder)? {
        let (crc, bytes) = checksum(&folder.join(&name))?;
        list.push_str(&format!("{crc:08x} {bytes} {name}\n"));
    }
    let path = folder.join(CHECKSUMS);
    let written = File::create(&path).and_then(|mut file| file.write_all(list.as_bytes()));
    written.map_err(io("write", &path))?;
    contents(folder)
}

/// What a checkpoint holds, read from the checkpoint itself.
pub fn contents(folder: &Path) -> Result<Meta, CheckpointError> {
    let meta = read_only_meta(folder)?;
    meta.ok_or_else(|| damaged(folder, "it holds no state"))
}

/// Checks every file against its checksum: none may be missing, and none be there beside them.
pub fn verify(folder: &Path) -> Result<(), CheckpointError> {
    let path = folder.join(CHECKSUMS);
    let list = fs::read_to_string(&path).map_err(io("read", &path))?;
    let mut lines = list.lines();
    if lines.next() != Some(FORMAT) {
        return Err(damaged(
            folder,
            "its list of checksums has an unknown format",
        ));
    }
    let mut found = files_of(folder)?;
    for line in lines {
        let mut fields = line.splitn(3, ' ');
        let (Some(crc), Some(bytes), Some(name)) = (fields.next(), fields.next(), fields.next())
        else {
            return Err(damaged(
                folder,
                "its list of checksums has a line that cannot be read",
            ));
        };
        let Some(place) = found.iter().position(|found| found == name) else {
            return Err(damaged(folder, &format!("{name} is missing")));
        };
        found.swap_remove(place);
        let (actual_crc, actual_bytes) = checksum(&folder.join(name))?;
        if format!("{actual_crc:08x}") != crc || actual_bytes.to_string() != bytes {
            return Err(damaged(folder, &format!("{name} is not what was sent")));
        }
    }
    match found.first() {
        None => Ok(()),
        Some(name) => Err(damaged(
            folder,
            &format!("{name} is not in its list of checksums"),
        )),
    }
}

/// Where a node keeps its state.
#[derive(Debug, Clone)]
pub struct StateFolder {
    base: PathBuf,
    bounds: HistoryBounds,
}

impl StateFolder {
    /// The state in `base`, which is made if it is missing.
    pub fn new(base: &Path, bounds: HistoryBounds) -> Result<StateFolder, CheckpointError> {
        super::folder::make(base).map_err(io("create", base))?;
        Ok(StateFolder {
            base: base.to_owned(),
            bounds,
        })
    }

    /// Opens the state, an empty one if there is none. What an interrupted installation or a former state
    /// has left is removed.
    pub fn open(&self) -> Result<OverlayStore, CheckpointError> {
        let number = self.newest()?.unwrap_or(1);
        self.remove_all_but(number)?;
        self.open_state(number)
    }

    fn open_state(&self, number: u64) -> Result<OverlayStore, CheckpointError> {
        let folder = self.state(number);
        let db = StateDb::open(&folder, self.bounds)?;
        sync_folder(&self.base)?;
        Ok(OverlayStore::new(Arc::new(db))?)
    }

    fn state(&self, number: u64) -> PathBuf {
        self.base.join(format!("{STATE}{number}"))
    }

    fn newest(&self) -> Result<Option<u64>, CheckpointError> {
        let names = names_in(&self.base)?;
        Ok(names
            .iter()
            .filter_map(|name| name.strip_prefix(STATE)?.parse().ok())
            .max())
    }

    fn remove_all_but(&self, kept: u64) -> Result<(), CheckpointError> {
        for name in names_in(&self.base)? {
            let is_former = name
                .strip_prefix(STATE)
                .is_some_and(|number| number.parse() != Ok(kept));
            if is_former || name == INCOMING {
                let path = self.base.join(name);
                fs::remove_dir_all(&path).map_err(io("remove", &path))?;
            }
        }
        Ok(())
    }

    fn move_across(&self, folder: &Path, target: &Path) -> Result<(), CheckpointError> {
        let incoming = self.base.join(INCOMING);
        fs::create_dir(&incoming).map_err(io("create", &incoming))?;
        for name in files_of(folder)? {
            fs::copy(folder.join(&name), incoming.join(&name)).map_err(io("copy", &incoming))?;
        }
        sync_files(&incoming)?;
        fs::rename(&incoming, target).map_err(io("rename", &incoming))?;
        fs::remove_dir_all(folder).map_err(io("remove", folder))
    }
}

impl States for StateFolder {
    /// The step is one rename. The former store's files go at the next opening or installation.
    fn install(&self, folder: &Path) -> Result<OverlayStore, CheckpointError> {
        verify(folder)?;
        contents(folder)?;
        let list = folder.join(CHECKSUMS);
        fs::remove_file(&list).map_err(io("remove", &list))?;
        let former = self.newest()?.unwrap_or(0);
        self.remove_all_but(former)?;
        sync_files(folder)?;
        let target = self.state(former + 1);
        match fs::rename(folder, &target) {
            Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
                self.move_across(folder, &target)?
            }
            renamed => renamed.map_err(io("rename", folder))?,
        }
        sync_folder(&self.base)?;
        self.open_state(former + 1)
    }
}

/// The files of a checkpoint but for the list, by name.
fn files_of(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let mut names = names_in(folder)?;
    names.retain(|name| name != CHECKSUMS);
    names.sort();
    Ok(names)
}

fn names_in(folder: &Path) -> Result<Vec<String>, CheckpointError> {
    let list = || -> io::Result<Vec<String>> {
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        fs::read_dir(folder)?.map(|entry| entry.map(name)).collect()
    };
    list().map_err(io("list", folder))
}

fn checksum(path: &Path) -> Result<(u32, u64), CheckpointError> {
    let read = || -> io::Result<(u32, u64)> {
        let (mut file, mut chunk) = (File::open(path)?, vec![0; 1 << 18]);
        let (mut crc, mut bytes) = (0, 0);
        loop {
            match file.read(&mut chunk)? {
                0 => return Ok((crc, bytes)),
                length => {
                    crc = crc32c::crc32c_append(crc, &chunk[..length]);
                    bytes += length as u64;
                }
            }
        }
    };
    read().map_err(io("read", path))
}

fn sync_files(folder: &Path) -> Result<(), CheckpointError> {
    for name in files_of(folder)? {
        let path = folder.join(name);
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(io("sync", &path))?;
    }
    sync_folder(folder)
}

fn sync_folder(folder: &Path) -> Result<(), CheckpointError> {
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(io("sync", folder))
}

fn io(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CheckpointError {
    move |source| CheckpointError::Io {
        operation,
        path: path.to_owned(),
        source,
    }
}

fn damaged(folder: &Path, problem: &str) -> CheckpointError {
    CheckpointError::Damaged {
        folder: folder.to_owned(),
        problem: problem.to_owned(),
    }
}

#[cfg(test)]
mod tests;
