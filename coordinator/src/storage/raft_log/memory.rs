//! The memory twin of [`FileDisk`](super::FileDisk): loses unsynced writes at a crash, tears them, fails
//! on request, fills up, rots. Its chance comes from a seed.
//!
//! A sync that fails leaves what a page cache leaves: the bytes are read back as written and count as clean, so no
//! later sync brings them to the disk; which of them are there, chance decides.

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
    /// What was written last.
    last: (usize, usize),
}

/// A change of names.
#[derive(Clone, Debug)]
enum Naming {
    Add(String, usize),
    Rename(String, String),
    Remove(String),
}

/// What one of the next syncs does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// Fails as a bad disk does.
    Refused,
    /// Is never reached.
    Stopped,
}

#[derive(Debug)]
struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Since names were synced, in order.
    namings: Vec<Naming>,
    capacity: u64,
    chance: u64,
    /// The next salt; apart from `chance`, so that what crashes do does not depend on how many were drawn.
    salt: u64,
    /// Syncs left until one fails, and how.
    fail_sync_in: Option<(u32, Failure)>,
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
            namings: Vec::new(),
            capacity: u64::MAX,
            chance: seed | 1,
            salt: seed,
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
        self.state.lock().fail_sync_in = Some((syncs, Failure::Refused));
    }

    /// The process does not live to see the n-th sync of a file from now on: it only seems to fail.
    pub fn stop_before_sync(&self, syncs: u32) {
        self.state.lock().fail_sync_in = Some((syncs, Failure::Stopped));
    }

    /// No sync fails any more.
    pub fn succeed(&self) {
        self.state.lock().fail_sync_in = None;
    }

    /// How many syncs of files there were.
    pub fn syncs(&self) -> u64 {
        self.state.lock().syncs
    }

    /// The process ends: nothing is lost, but nobody writes to its open files any more.
    pub fn kill(&self) {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.fail_sync_in = None;
    }

    /// Loses power: of what was not synced each sector survives by chance; of names not synced all, none, the first
    /// few, or any.
    pub fn crash(&self) {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.fail_sync_in = None;
        state.lose_names();
        for at in 0..state.inodes.len() {
            let mut inode = std::mem::take(&mut state.inodes[at]);
            for (from, to) in std::mem::take(&mut inode.dirty) {
                state.keep_some(&mut inode, from, to);
            }
            // Also what a failed sync has left in the cache goes.
            inode.durable.resize(inode.current.len(), 0);
            inode.current.clone_from(&inode.durable);
            state.inodes[at] = inode;
        }
    }

    /// One bit of a segment turns that is no part of what was written last: from a torn write it can be told.
    /// `place` says which.
    pub fn rot(&self, place: u64) -> Option<(String, usize)> {
        let mut state = self.state.lock();
        let is_segment = |name: &&String| name.ends_with(".raftlog") && !name.starts_with("spare-");
        let segments: Vec<String> = state.names.keys().filter(is_segment).cloned().collect();
        let (newest, older) = segments.split_last()?;
        let end = |name: &String| state.inodes[state.names[name]].last;
        let mut rooms: Vec<(String, usize)> = older
            .iter()
            .map(|name| (name.clone(), end(name).1))
            .collect();
        rooms.push((newest.clone(), end(newest).0));
        if end(newest).1 == 0 {
            return None;
        }
        rooms.retain(|(_, room)| *room > 0);
        let (name, room) = rooms.get(place as usize % rooms.len().max(1))?.clone();
        let position = (place >> 8) as usize % room;
        let inode = state.names[&name];
        let bit = 1 << (place >> 4 & 7);
        state.inodes[inode].current[position] ^= bit;
        state.inodes[inode].durable[position] ^= bit;
        Some((name, position))
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
    fn name(&mut self, naming: Naming) {
        naming.clone().apply(&mut self.names);
        self.namings.push(naming);
    }

    fn flip(&mut self) -> bool {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance >> 33 & 1 == 1
    }

    /// Each sector of a range reaches the disk, or does not.
    fn keep_some(&mut self, inode: &mut Inode, from: usize, to: usize) {
        inode.durable.resize(inode.current.len(), 0);
        let mut sector = from / SECTOR * SECTOR;
        while sector < to {
            let (start, end) = (sector.max(from), (sector + SECTOR).min(to));
            if self.flip() {
                inode.durable[start..end].copy_from_slice(&inode.current[start..end]);
            }
            sector += SECTOR;
        }
    }

    fn lose_names(&mut self) {
        let (any_order, early) = (self.flip() && self.flip(), self.flip());
        let mut names = self.durable_names.clone();
        let mut goes_on = true;
        for naming in std::mem::take(&mut self.namings) {
            let survives = match any_order {
                true => self.flip(),
                false => goes_on && (!early || self.flip()),
            };
            goes_on &= survives;
            if survives {
                naming.apply(&mut names);
            }
        }
        self.names.clone_from(&names);
        self.durable_names = names;
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .map(|&inode| self.inodes[inode].current.len() as u64)
            .sum()
    }
}

impl Naming {
    fn apply(self, names: &mut BTreeMap<String, usize>) {
        match self {
            Naming::Add(name, inode) => {
                names.insert(name, inode);
            }
            Naming::Rename(from, to) => {
                if let Some(inode) = names.remove(&from) {
                    names.insert(to, inode);
                }
            }
            Naming::Remove(name) => {
                names.remove(&name);
            }
        }
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
            last: (0, 0),
        });
        state.name(Naming::Add(name.to_owned(), inode));
        Ok(MemoryFile {
            state: self.state.clone(),
            inode,
            epoch: state.epoch,
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.names.contains_key(from) {
            return Err(missing());
        }
        state.name(Naming::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.state.lock();
        if !state.names.contains_key(name) {
            return Err(missing());
        }
        state.name(Naming::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_directory(&self) -> io::Result<()> {
        let mut state = self.state.lock();
        state.durable_names = state.names.clone();
        state.namings.clear();
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let state = self.state.lock();
        Ok(state.capacity.saturating_sub(state.used()))
    }

    fn salt(&self) -> io::Result<u64> {
        let mut state = self.state.lock();
        state.salt = state.salt.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state.salt ^ state.salt >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        Ok(mixed ^ mixed >> 31)
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
        inode.last = (start, end);
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.state.lock();
        self.alive(&state)?;
        state.syncs += 1;
        if let Some((left, failure)) = state.fail_sync_in.as_mut() {
            *left = left.saturating_sub(1);
            if *left == 0 {
                let failure = *failure;
                state.fail_sync_in = None;
                if failure == Failure::Refused {
                    let mut inode = std::mem::take(&mut state.inodes[self.inode]);
                    for (from, to) in std::mem::take(&mut inode.dirty) {
                        state.keep_some(&mut inode, from, to);
                    }
                    state.inodes[self.inode] = inode;
                }
                return Err(io::Error::other("input/output error"));
            }
        }
        let Inode {
            current,
            durable,
            dirty,
            ..
        } = &mut state.inodes[self.inode];
        durable.resize(current.len(), 0);
        for (start, end) in dirty.drain(..) {
            durable[start..end].copy_from_slice(&current[start..end]);
        }
        Ok(())
    }
}
