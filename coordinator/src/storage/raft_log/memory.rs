//! The memory twin of [`FileDisk`](super::FileDisk): loses unsynced writes at a crash, tears them, fails
//! on request, fills up. Its chance comes from a seed.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Disk, DiskFile};

const SECTOR: usize = 512;

#[derive(Debug, Default)]
struct Inode {
    current: Vec<u8>,
    durable: Vec<u8>,
    /// Written since the last sync, as byte ranges.
    dirty: Vec<(usize, usize)>,
}

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    capacity: u64,
    chance: u64,
    /// Syncs left until one fails.
    fail_sync_in: Option<u32>,
    /// Counts crashes: files opened before one are dead.
    epoch: u64,
    syncs: u64,
}

/// A folder in memory. Clones share it.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// One of its files.
#[derive(Debug)]
pub struct MemoryFile {
    state: Arc<Mutex<State>>,
    inode: usize,
    epoch: u64,
}

impl MemoryDisk {
    /// An empty disk whose crashes follow `seed`.
    pub fn new(seed: u64) -> Self {
        let state = State {
            inodes: Vec::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            capacity: u64::MAX,
            chance: seed | 1,
            fail_sync_in: None,
            epoch: 0,
            syncs: 0,
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// Bytes that all files together may take.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// The n-th sync of a file from now on fails (1 = the next one).
    pub fn fail_sync_in(&self, syncs: u32) {
        self.state.lock().fail_sync_in = Some(syncs);
    }

    /// How many syncs of files there were.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// Loses power: of what was not synced each sector survives by chance, of names not synced all or none.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.fail_sync_in = None;
        if state.flip() {
            state.names = state.durable_names.clone();
        }
        state.durable_names = state.names.clone();
        for at in 0..state.inodes.len() {
            let mut inode = std::mem::take(&mut state.inodes[at]);
            let mut survived = inode.durable.clone();
            survived.resize(inode.current.len(), 0);
            for (from, to) in std::mem::take(&mut inode.dirty) {
                let mut sector = from / SECTOR * SECTOR;
                while sector < to {
                    let (start, end) = (sector.max(from), (sector + SECTOR).min(to));
                    if state.flip() {
                        survived[start..end].copy_from_slice(&inode.current[start..end]);
                    }
                    sector += SECTOR;
                }
            }
            inode.durable.clone_from(&survived);
            inode.current = survived;
            state.inodes[at] = inode;
        }
    }

    /// Inverts one bit, as a failing disk would.
    pub fn flip_bit(&self, name: &str, position: usize) {
        let mut state = self.state.lock();
        let Some(&inode) = state.names.get(name) else {
            return;
        };
        state.inodes[inode].current[position] ^= 1;
        state.inodes[inode].durable[position] ^= 1;
    }
}

impl State {
    fn flip(&mut self) -> bool {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance >> 33 & 1 == 1
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .map(|&inode| self.inodes[inode].current.len() as u64)
            .sum()
    }
}

fn missing() -> io::Error {
    io::Error::from(io::ErrorKind::NotFound)
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state.lock().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<MemoryFile> {
        let state = self.state.lock();
        let inode = *state.names.get(name).ok_or_else(missing)?;
        Ok(MemoryFile {
            state: self.state.clone(),
            inode,
            epoch: state.epoch,
        })
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<MemoryFile> {
        let mut state = self.state.lock();
        if state.used().saturating_add(bytes) > state.capacity {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        let length = usize::try_from(bytes).map_err(io::Error::other)?;
        let inode = state.inodes.len();
        state.inodes.push(Inode {
            current: vec![0; length],
            durable: vec![0; length],
            dirty: Vec::new(),
        });
        state.names.insert(name.to_owned(), inode);
        Ok(MemoryFile {
            state: self.state.clone(),
            inode,
            epoch: state.epoch,
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        let inode = state.names.remove(from).ok_or_else(missing)?;
        state.names.insert(to.to_owned(), inode);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.state
            .lock()
            .names
            .remove(name)
            .map(|_| ())
            .ok_or_else(missing)
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.durable_names = state.names.clone();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state.lock();
        Ok(state.capacity.saturating_sub(state.used()))
    }
}

impl MemoryFile {
    fn alive(&self, state: &State) -> io::Result<()> {
        if state.epoch == self.epoch {
            Ok(())
        } else {
            Err(io::Error::other("the disk lost power"))
        }
    }
}

impl DiskFile for MemoryFile {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.state.lock().inodes[self.inode].current.len() as u64)
    }

    fn read_all(&self) -> io::Result<Vec<u8>> {
        Ok(self.state.lock().inodes[self.inode].current.clone())
    }

    fn write_at(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.state.lock();
        self.alive(&state)?;
        let start = usize::try_from(position).map_err(io::Error::other)?;
        let inode = &mut state.inodes[self.inode];
        let end = start + bytes.len();
        if inode.current.len() < end {
            inode.current.resize(end, 0);
        }
        inode.current[start..end].copy_from_slice(bytes);
        inode.dirty.push((start, end));
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.lock();
        self.alive(&state)?;
        state.syncs += 1;
        if let Some(left) = state.fail_sync_in.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                state.fail_sync_in = None;
                return Err(io::Error::other("input/output error"));
            }
        }
        let Inode {
            current,
            durable,
            dirty,
        } = &mut state.inodes[self.inode];
        durable.resize(current.len(), 0);
        for (start, end) in dirty.drain(..) {
            durable[start..end].copy_from_slice(&current[start..end]);
        }
        Ok(())
    }
}
