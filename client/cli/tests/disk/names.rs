//! What is called what, twice: now, and after a power cut. A change of names lasts once its folder is synced
//! (a rename between folders: once either is). Until then it may be lost, and with it all that came after it in
//! the same folder: journals keep the order. Syncing a file does not make its name last; some systems do that,
//! POSIX does not ask for it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use rand::rngs::StdRng;

use super::fate::Fate;

/// Number of an inode.
pub type Ino = u64;
type Folder = BTreeMap<OsString, Ino>;

/// A change that happens whole or not at all: what each name stands for afterwards.
#[derive(Debug, Clone)]
struct Change(Vec<(Ino, OsString, Option<Ino>)>);

impl Change {
    fn touches(&self, folders: &BTreeSet<Ino>) -> bool {
        self.0.iter().any(|(folder, ..)| folders.contains(folder))
    }

    fn folders(&self) -> impl Iterator<Item = Ino> {
        self.0.iter().map(|(folder, ..)| *folder)
    }

    fn apply(&self, folders: &mut BTreeMap<Ino, Folder>) {
        for (folder, name, ino) in &self.0 {
            let names = folders.entry(*folder).or_default();
            match ino {
                Some(ino) => names.insert(name.clone(), *ino),
                None => names.remove(name),
            };
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Names {
    now: BTreeMap<Ino, Folder>,
    durable: BTreeMap<Ino, Folder>,
    /// Oldest first.
    pending: Vec<Change>,
}

impl Names {
    /// What a name stands for.
    pub fn find(&self, folder: Ino, name: &OsStr) -> Option<Ino> {
        self.now.get(&folder)?.get(name).copied()
    }

    /// What is in a folder.
    pub fn list(&self, folder: Ino) -> impl Iterator<Item = (&OsString, Ino)> {
        let names = self.now.get(&folder).into_iter().flatten();
        names.map(|(name, ino)| (name, *ino))
    }

    /// Changes names, all at once.
    pub fn change(&mut self, effects: Vec<(Ino, OsString, Option<Ino>)>) {
        let change = Change(effects);
        change.apply(&mut self.now);
        self.pending.push(change);
    }

    /// Makes last what happened in a folder, with all that it builds upon.
    pub fn sync(&mut self, folder: Ino) {
        let mut needed = BTreeSet::from([folder]);
        let mut last = vec![false; self.pending.len()];
        for (change, last) in self.pending.iter().zip(&mut last).rev() {
            if change.touches(&needed) {
                needed.extend(change.folders());
                *last = true;
            }
        }
        let mut last = last.into_iter();
        let durable = &mut self.durable;
        self.pending.retain(|change| {
            let lasts = last.next().unwrap_or(false);
            if lasts {
                change.apply(durable);
            }
            !lasts
        });
    }

    /// Makes everything last.
    pub fn sync_all(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            change.apply(&mut self.durable);
        }
    }

    /// The power is cut. How many changes were at stake, and how many were lost.
    pub fn lose_power(&mut self, fate: &Fate, chance: &mut StdRng) -> (usize, usize) {
        let pending = std::mem::take(&mut self.pending);
        let at_stake = pending.len();
        let mut stopped = BTreeSet::new();
        let mut lost = 0;
        for change in pending {
            if change.touches(&stopped) || !fate.survives(chance) {
                stopped.extend(change.folders());
                lost += 1;
            } else {
                change.apply(&mut self.durable);
            }
        }
        self.now = self.durable.clone();
        (at_stake, lost)
    }

    /// Every inode that a name stands for, now or after a power cut.
    pub fn named(&self) -> BTreeSet<Ino> {
        let both = self.now.values().chain(self.durable.values());
        let mut all: BTreeSet<_> = both.flat_map(|folder| folder.values().copied()).collect();
        let pending = self.pending.iter().flat_map(|change| &change.0);
        all.extend(pending.filter_map(|(_, _, ino)| *ino));
        all
    }

    /// Forgets folders that are gone.
    pub fn retain(&mut self, keep: impl Fn(Ino) -> bool) {
        self.now.retain(|folder, _| keep(*folder));
        self.durable.retain(|folder, _| keep(*folder));
    }
}
