//! The memory twin of [`FileDisk`](super::FileDisk): it loses what was not synced, tears, rots, refuses, fills up
//! and stops, all of it from a seed.
//!
//! ```text
//!   write, rename, ... ─▶ cache ──── sync, sync_folder ────▶ platter
//!                           │   └── some sectors, any time ──▶ │
//!                           └───────── crash(Loss) ────────────┘ what is left of the cache comes from the platter
//! ```
//!
//! After [`MemoryDisk::freeze_after`] so many operations the disk stands still: every call fails and changes nothing,
//! until [`MemoryDisk::crash`]. So a crash can be put between any two operations, and, as a write that stops there is done in
//! part, into them. `content` is one file, `tree` the names, `faults` what goes wrong on request.

mod chance;
mod content;
mod faults;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::BTreeSet;
use std::fmt::Arguments;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile, Lock, Open, Space};
use chance::Chance;
use content::SECTOR;
use faults::Faults;
use tree::{Inode, Tree};

pub use faults::{Fault, Operation};

/// What a crash takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// Nothing: only the process ended.
    Nothing,
    /// All that was not synced, names too.
    Everything,
    /// Of what was not synced: names by chance, whatever their order; of files pieces of a sector, of a page, or all.
    Some,
}

#[derive(Debug, Clone)]
struct State {
    tree: Tree,
    chance: Chance,
    faults: Faults,
    locked: BTreeSet<PathBuf>,
    /// Counts crashes: what was opened before one is dead.
    epoch: u64,
    /// Counts losses of power.
    boot: u64,
    now_ms: i64,
}

/// A disk in memory. Clones share it.
#[derive(Debug, Clone)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

impl MemoryDisk {
    /// An empty disk whose crashes follow `seed`.
    #[must_use]
    pub fn new(seed: u64) -> MemoryDisk {
        MemoryDisk::with(State {
            tree: Tree::new(),
            chance: Chance::new(seed),
            faults: Faults::default(),
            locked: BTreeSet::new(),
            epoch: 0,
            boot: 0,
            now_ms: 0,
        })
    }

    fn with(state: State) -> MemoryDisk {
        MemoryDisk {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Another disk of the same contents, as a crash of it under another seed may leave other things. Nothing is
    /// open on it, and it does not stand still.
    #[must_use]
    pub fn fork(&self, seed: u64) -> MemoryDisk {
        let mut state = self.state.lock().clone();
        state.chance = Chance::new(seed);
        state.locked.clear();
        state.tree.forget_handles();
        state.faults.frozen_at = None;
        MemoryDisk::with(state)
    }

    /// As what the logs take.
    #[must_use]
    pub fn shared(&self) -> Arc<dyn Disk> {
        Arc::new(self.clone())
    }

    /// Ends the process that uses the disk, and its power unless nothing is to be lost: what is open is dead, locks
    /// are gone, a disk that stood still or was told to fail works again.
    pub fn crash(&self, loss: Loss) {
        let mut state = self.state.lock();
        let State { tree, chance, .. } = &mut *state;
        match loss {
            Loss::Nothing => {}
            Loss::Everything => {
                tree.lose_names(|| false);
                tree.each_file(content::Content::lose_all);
            }
            Loss::Some => {
                let kept_of_four = [0, 2, 3, 4][chance.below(4) as usize];
                tree.lose_names(|| chance.below(4) < kept_of_four);
                tree.each_file(|file| {
                    let sectors = [1, 4096 / SECTOR, u64::MAX][chance.below(3) as usize];
                    file.lose_some(sectors, chance);
                });
            }
        }
        tree.forget_handles();
        state.boot += u64::from(loss != Loss::Nothing);
        state.epoch += 1;
        state.locked.clear();
        state.faults.clear();
    }

    /// How many operations there were that change something or make it durable.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.lock().faults.operations
    }

    /// Lets so many more of those operations happen; then the disk stands still until the next crash.
    pub fn freeze_after(&self, operations: u64) {
        let mut state = self.state.lock();
        state.faults.frozen_at = Some(state.faults.operations + operations);
    }

    /// True once the disk stands still.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        let faults = &self.state.lock().faults;
        faults.frozen_at.is_some_and(|at| faults.operations > at)
    }

    /// Bytes that all files together may take.
    pub fn set_capacity(&self, bytes: u64) {
        let mut state = self.state.lock();
        state.faults.capacity = bytes;
        state.faults.full_at = None;
    }

    /// Lets so many more operations happen; then there is no room for another byte until `set_capacity`.
    pub fn fill_after(&self, operations: u64) {
        let mut state = self.state.lock();
        state.faults.full_at = Some(state.faults.operations + operations);
    }

    /// Has operations fail.
    pub fn fail(&self, fault: Fault) {
        self.state.lock().faults.planned.push(fault);
    }

    /// Inverts a bit of a file, in the cache and on the platter.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn flip_bit(&self, path: &Path, position: u64, bit: u8) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.tree.find(path)?;
        state
            .tree
            .change(inode, |file| file.flip_bit(position, bit))
    }

    /// The time that files which change from now on get.
    pub fn set_time_ms(&self, now_ms: i64) {
        self.state.lock().now_ms = now_ms;
    }

    /// Notes every operation from now on, for reading why a seed fails.
    pub fn trace(&self) {
        self.state.lock().faults.trace = Some(Vec::new());
    }

    /// What was done since then, one line each.
    #[must_use]
    pub fn traced(&self) -> Vec<String> {
        self.state.lock().faults.trace.clone().unwrap_or_default()
    }

    /// A file's bytes, as they are in the cache.
    ///
    /// # Errors
    /// When there is no such file.
    pub fn contents(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.state.lock();
        let inode = state.tree.find(path)?;
        Ok(state.tree.file(inode)?.bytes().to_vec())
    }

    /// Puts a file there, durably, name included: as if it had always been there.
    ///
    /// # Errors
    /// When its folder isn't there.
    pub fn put(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        let tree = &mut state.tree;
        let inode = tree.find(path).or_else(|_| tree.create_file(path))?;
        tree.change(inode, |file| {
            file.set_size(bytes.len() as u64);
            file.write_at(bytes, 0);
            file.sync();
        })?;
        let folder = tree.find(path.parent().unwrap_or(path))?;
        tree.sync_folder(folder)
    }
}

impl State {
    /// Begins an operation that changes something.
    fn begin(
        &mut self,
        operation: Operation,
        path: &Path,
        detail: Arguments<'_>,
    ) -> io::Result<()> {
        let used = self.tree.used();
        self.faults.begin(operation, path, detail, used)?;
        if operation == Operation::Write && self.chance.below(16) == 0 {
            self.tree.write_back(&mut self.chance);
        }
        Ok(())
    }

    /// Creates take room in a folder, which may not be there.
    fn room_for_name(&mut self) -> io::Result<()> {
        if self.faults.room(self.tree.used()) == 0 && self.chance.below(4) == 0 {
            return Err(ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state.lock();
        state.faults.alive()?;
        let found = state.tree.find(path);
        let inode = match (found, how) {
            (Ok(inode), Open::Fresh) => {
                state.begin(Operation::SetSize, path, format_args!("to 0, opened anew"))?;
                state.tree.change(inode, |file| file.set_size(0))?;
                inode
            }
            (Ok(inode), Open::OrCreate | Open::Existing) => {
                state.tree.file(inode)?;
                inode
            }
            (Err(error), Open::OrCreate | Open::Fresh) if error.kind() == ErrorKind::NotFound => {
                state.begin(Operation::Create, path, format_args!(""))?;
                state.room_for_name()?;
                let inode = state.tree.create_file(path)?;
                let now_ms = state.now_ms;
                state.tree.change(inode, |file| file.modified_ms = now_ms)?;
                inode
            }
            (Err(error), _) => return Err(error),
        };
        state.tree.hold(inode);
        Ok(Arc::new(MemoryFile {
            state: Arc::clone(&self.state),
            path: path.to_owned(),
            inode,
            epoch: state.epoch,
        }))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.faults.alive()?;
        let inode = state.tree.find(folder)?;
        Ok(state.tree.names(inode)?.keys().cloned().collect())
    }

    fn exists(&self, path: &Path) -> bool {
        self.state.lock().tree.find(path).is_ok()
    }

    fn is_folder(&self, path: &Path) -> bool {
        let state = self.state.lock();
        let found = state.tree.find(path);
        found.is_ok_and(|inode| state.tree.names(inode).is_ok())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::Rename, from, format_args!("to {}", to.display()))?;
        state.tree.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.faults.alive()?;
        let inode = state.tree.find(path)?;
        state.tree.file(inode)?;
        state.begin(Operation::Remove, path, format_args!(""))?;
        state.tree.remove(path)
    }

    fn create_dir_all(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.faults.alive()?;
        let mut missing: Vec<&Path> = Vec::new();
        for at in folder.ancestors() {
            match state.tree.find(at) {
                Ok(inode) => {
                    state.tree.names(inode)?;
                    break;
                }
                Err(_) => missing.push(at),
            }
        }
        for at in missing.into_iter().rev() {
            state.begin(Operation::Create, at, format_args!("folder"))?;
            state.room_for_name()?;
            state.tree.create_folder(at)?;
        }
        Ok(())
    }

    fn remove_dir_all(&self, folder: &Path) -> io::Result<()> {
        let names = self.list(folder)?;
        for name in names {
            let path = folder.join(name);
            match self.is_folder(&path) {
                true => self.remove_dir_all(&path)?,
                false => self.remove(&path)?,
            }
        }
        let mut state = self.state.lock();
        state.begin(Operation::Remove, folder, format_args!("folder"))?;
        state.tree.remove(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.begin(Operation::SyncFolder, folder, format_args!(""))?;
        let inode = state.tree.find(folder)?;
        state.tree.sync_folder(inode)
    }

    fn space(&self, _: &Path) -> io::Result<Space> {
        let state = self.state.lock();
        let used = state.tree.used();
        Ok(Space {
            free: state.faults.room(used),
            total: state.faults.capacity,
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        self.open(path, Open::OrCreate)?;
        let mut state = self.state.lock();
        if !state.locked.insert(path.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(MemoryLock {
            state: Arc::clone(&self.state),
            path: path.to_owned(),
            epoch: state.epoch,
        })))
    }

    fn boot_id(&self) -> String {
        format!("memory-boot-{}", self.state.lock().boot)
    }

    /// One, so that the same seed always does the same.
    fn parallelism(&self) -> usize {
        1
    }
}

/// One of its files.
#[derive(Debug)]
struct MemoryFile {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    inode: Inode,
    epoch: u64,
}

impl MemoryFile {
    fn with<T>(&self, work: impl FnOnce(&mut State) -> io::Result<T>) -> io::Result<T> {
        let mut state = self.state.lock();
        if state.epoch != self.epoch {
            return Err(io::Error::other("opened before the crash"));
        }
        work(&mut state)
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        self.with(|state| Ok(state.tree.file(self.inode)?.size()))
    }

    fn modified_ms(&self) -> io::Result<i64> {
        self.with(|state| Ok(state.tree.file(self.inode)?.modified_ms))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        self.with(|state| {
            state.faults.reads(&self.path)?;
            Ok(state.tree.file(self.inode)?.read_at(buffer, position))
        })
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        self.with(|state| {
            let length = bytes.len() as u64;
            let detail = format_args!("{length} at {position}");
            let begun = state.begin(Operation::Write, &self.path, detail);
            let size = state.tree.file(self.inode)?.size();
            let grows = (position + length).saturating_sub(size);
            let room = state.faults.room(state.tree.used());
            let done = match &begun {
                // A write that fails or is interrupted may have got anywhere.
                Err(_) if state.faults.interrupts() => state.chance.below(length + 1),
                Err(_) => 0,
                Ok(()) if grows > room => length.saturating_sub(grows - room),
                Ok(()) => length,
            };
            let now_ms = state.now_ms;
            state.tree.change(self.inode, |file| {
                file.write_at(&bytes[..done as usize], position);
                file.modified_ms = now_ms;
            })?;
            begun?;
            if done < length {
                return Err(ErrorKind::StorageFull.into());
            }
            Ok(())
        })
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.with(|state| {
            state.begin(Operation::SetSize, &self.path, format_args!("to {size}"))?;
            let now_ms = state.now_ms;
            state.tree.change(self.inode, |file| {
                file.set_size(size);
                file.modified_ms = now_ms;
            })
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|state| {
            let State {
                tree,
                chance,
                faults,
                ..
            } = state;
            match faults.begin(Operation::Sync, &self.path, format_args!(""), tree.used()) {
                Ok(()) => tree.change(self.inode, content::Content::sync),
                Err(error) => {
                    if faults.alive().is_ok() {
                        tree.change(self.inode, |file| file.sync_failed(chance))?;
                    }
                    Err(error)
                }
            }
        })
    }

    fn real(&self) -> Option<&File> {
        None
    }
}

impl Drop for MemoryFile {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.epoch == self.epoch {
            state.tree.let_go(self.inode);
        }
    }
}

#[derive(Debug)]
struct MemoryLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
    epoch: u64,
}

impl Lock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.epoch == self.epoch {
            state.locked.remove(&self.path);
        }
    }
}
