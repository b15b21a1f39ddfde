//! A whole file system in memory, with the state it would be found in after a power cut. Pure: a value with
//! methods; `mounted` puts it behind real paths.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use rand::rngs::StdRng;

use super::content::{Content, PAGE};
use super::fate::Fate;
use super::names::{Ino, Names};

/// The folder at the top.
pub const ROOT: Ino = 1;

/// What an operation may be refused with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    NotFound,
    Exists,
    NotEmpty,
    IsFolder,
    NotFolder,
    NoSpace,
}

/// A file or a folder.
#[derive(Debug)]
pub struct Inode {
    /// `None` for a folder.
    pub content: Option<Content>,
    pub mode: u16,
    pub links: u32,
    /// The last name it was given.
    pub name: OsString,
    /// How often the kernel has heard of it and not forgotten.
    heard_of: u64,
}

/// What a power cut took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Loss {
    pub pages_at_stake: usize,
    pub pages: usize,
    pub names_at_stake: usize,
    pub names: usize,
}

/// See the module.
#[derive(Debug)]
pub struct Image {
    inodes: BTreeMap<Ino, Inode>,
    names: Names,
    next: Ino,
    capacity_pages: u64,
    used_pages: u64,
    /// When there are as many inodes, those that nobody needs are looked for.
    sweep_at: usize,
}

impl Image {
    /// An empty one of that many bytes.
    pub fn new(bytes: u64) -> Self {
        let mut image = Self {
            inodes: BTreeMap::new(),
            names: Names::default(),
            next: ROOT,
            capacity_pages: bytes / PAGE as u64,
            used_pages: 0,
            sweep_at: 256,
        };
        image.insert(None, 0o755, OsStr::new("/"));
        image
    }

    fn insert(&mut self, content: Option<Content>, mode: u16, name: &OsStr) -> Ino {
        let ino = self.next;
        self.next += 1;
        let inode = Inode {
            content,
            mode,
            links: 1,
            name: name.to_owned(),
            heard_of: 0,
        };
        self.inodes.insert(ino, inode);
        ino
    }

    /// Pages in all, and pages that are free.
    pub fn space(&self) -> (u64, u64) {
        let free = self.capacity_pages.saturating_sub(self.used_pages);
        (self.capacity_pages, free)
    }

    /// From now on it holds that many bytes.
    pub fn set_capacity(&mut self, bytes: u64) {
        self.capacity_pages = bytes / PAGE as u64;
    }

    /// An inode.
    pub fn get(&self, ino: Ino) -> Result<&Inode, Refused> {
        self.inodes.get(&ino).ok_or(Refused::NotFound)
    }

    /// What a name stands for; the kernel has heard of it then.
    pub fn look_up(&mut self, folder: Ino, name: &OsStr) -> Result<Ino, Refused> {
        let ino = self.names.find(folder, name).ok_or(Refused::NotFound)?;
        self.inode(ino)?.heard_of += 1;
        Ok(ino)
    }

    /// What is in a folder, and whether it is a folder.
    pub fn list(&self, folder: Ino) -> Vec<(OsString, Ino, bool)> {
        let all = self.names.list(folder);
        let item = |(name, ino): (&OsString, Ino)| {
            let inode = self.inodes.get(&ino)?;
            Some((name.clone(), ino, inode.content.is_none()))
        };
        all.filter_map(item).collect()
    }

    /// The kernel has forgotten it so many times.
    pub fn forget(&mut self, ino: Ino, times: u64) {
        let Ok(inode) = self.inode(ino) else {
            return;
        };
        inode.heard_of = inode.heard_of.saturating_sub(times);
        if inode.heard_of == 0 && inode.links == 0 {
            // Its room is free; after a power cut its name may be back, with what was synced of it.
            let _ = self.edit(ino, |content, _| content.forsake());
        }
    }

    fn inode(&mut self, ino: Ino) -> Result<&mut Inode, Refused> {
        self.inodes.get_mut(&ino).ok_or(Refused::NotFound)
    }

    /// A new file or folder.
    pub fn create(
        &mut self,
        parent: Ino,
        name: &OsStr,
        mode: u16,
        folder: bool,
    ) -> Result<Ino, Refused> {
        if self.names.find(parent, name).is_some() {
            return Err(Refused::Exists);
        }
        if self.get(parent)?.content.is_some() {
            return Err(Refused::NotFolder);
        }
        self.sweep();
        let content = (!folder).then(Content::default);
        let ino = self.insert(content, mode, name);
        self.inode(ino)?.heard_of = 1;
        let effect = (parent, name.to_owned(), Some(ino));
        self.names.change(vec![effect]);
        Ok(ino)
    }

    /// A further name.
    pub fn link(&mut self, ino: Ino, parent: Ino, name: &OsStr) -> Result<(), Refused> {
        if self.names.find(parent, name).is_some() {
            return Err(Refused::Exists);
        }
        let inode = self.inode(ino)?;
        if inode.content.is_none() {
            return Err(Refused::IsFolder);
        }
        inode.links += 1;
        inode.heard_of += 1;
        inode.name = name.to_owned();
        let effect = (parent, name.to_owned(), Some(ino));
        self.names.change(vec![effect]);
        Ok(())
    }

    /// Takes a name away.
    pub fn remove(&mut self, parent: Ino, name: &OsStr, folder: bool) -> Result<(), Refused> {
        let ino = self.names.find(parent, name).ok_or(Refused::NotFound)?;
        self.may_go(ino, folder)?;
        self.inode(ino)?.links -= 1;
        let effect = (parent, name.to_owned(), None);
        self.names.change(vec![effect]);
        Ok(())
    }

    fn may_go(&self, ino: Ino, folder: bool) -> Result<(), Refused> {
        match (&self.get(ino)?.content, folder) {
            (Some(_), true) => Err(Refused::NotFolder),
            (None, false) => Err(Refused::IsFolder),
            (None, true) if self.names.list(ino).next().is_some() => Err(Refused::NotEmpty),
            _ => Ok(()),
        }
    }

    /// Gives another name, in place of whatever had it.
    pub fn rename(
        &mut self,
        from: (Ino, &OsStr),
        to: (Ino, &OsStr),
        keep: bool,
    ) -> Result<(), Refused> {
        let ino = self.names.find(from.0, from.1).ok_or(Refused::NotFound)?;
        if let Some(former) = self.names.find(to.0, to.1) {
            if keep {
                return Err(Refused::Exists);
            }
            if former == ino {
                return Ok(());
            }
            self.may_go(former, self.get(ino)?.content.is_none())?;
            self.inode(former)?.links -= 1;
        }
        self.inode(ino)?.name = to.1.to_owned();
        let effects = vec![
            (from.0, from.1.to_owned(), None),
            (to.0, to.1.to_owned(), Some(ino)),
        ];
        self.names.change(effects);
        Ok(())
    }

    /// A change of a file's content, given the pages that are free.
    fn edit<R>(
        &mut self,
        ino: Ino,
        what: impl FnOnce(&mut Content, u64) -> R,
    ) -> Result<R, Refused> {
        let (_, free) = self.space();
        let content = self.inode(ino)?.content.as_mut().ok_or(Refused::IsFolder)?;
        let before = content.pages();
        let result = what(content, free);
        let after = content.pages();
        self.used_pages = self.used_pages + after - before;
        Ok(result)
    }

    /// `pwrite`: how many bytes found room.
    pub fn write(&mut self, ino: Ino, offset: u64, bytes: &[u8]) -> Result<usize, Refused> {
        match self.edit(ino, |content, free| content.write(offset, bytes, free))? {
            0 if !bytes.is_empty() => Err(Refused::NoSpace),
            done => Ok(done),
        }
    }

    /// `ftruncate`.
    pub fn resize(&mut self, ino: Ino, size: u64) -> Result<(), Refused> {
        self.edit(ino, |content, _| content.resize(size))
    }

    /// `fallocate`, or with `punch` a hole.
    pub fn reserve(
        &mut self,
        ino: Ino,
        range: (u64, u64),
        keep_size: bool,
        punch: bool,
    ) -> Result<(), Refused> {
        let (offset, length) = range;
        let done = self.edit(ino, |content, free| {
            if punch {
                content.punch(offset, length);
                return true;
            }
            content.reserve(offset, length, keep_size, free)
        });
        match done? {
            true => Ok(()),
            false => Err(Refused::NoSpace),
        }
    }

    /// `fchmod`.
    pub fn set_mode(&mut self, ino: Ino, mode: u16) -> Result<(), Refused> {
        self.inode(ino)?.mode = mode;
        Ok(())
    }

    /// `fsync` of a file or a folder.
    pub fn sync(&mut self, ino: Ino) -> Result<(), Refused> {
        match &mut self.inode(ino)?.content {
            Some(content) => content.sync(),
            None => self.names.sync(ino),
        }
        Ok(())
    }

    /// An `fsync` that fails. (That of a folder leaves its changes as they are: they stay in the journal.)
    pub fn sync_failed(&mut self, ino: Ino) {
        if let Ok(Some(content)) = self.inode(ino).map(|inode| &mut inode.content) {
            content.sync_failed();
        }
    }

    /// `sync`.
    pub fn sync_all(&mut self) {
        for content in self
            .inodes
            .values_mut()
            .filter_map(|inode| inode.content.as_mut())
        {
            content.sync();
        }
        self.names.sync_all();
    }

    /// Files that have something unsynced.
    pub fn dirty_files(&self) -> usize {
        let contents = self
            .inodes
            .values()
            .filter_map(|inode| inode.content.as_ref());
        contents.filter(|content| content.is_dirty()).count()
    }

    /// Cuts the power. Afterwards this is what is found when it is back.
    pub fn lose_power(&mut self, fate: &Fate, chance: &mut StdRng) -> Loss {
        let (names_at_stake, names) = self.names.lose_power(fate, chance);
        let mut loss = Loss {
            names_at_stake,
            names,
            ..Loss::default()
        };
        for inode in self.inodes.values_mut() {
            inode.heard_of = 0;
            if let Some(content) = &mut inode.content {
                let (at_stake, lost) = content.lose_power(fate, chance);
                loss.pages_at_stake += at_stake;
                loss.pages += lost;
            }
        }
        self.remove_unneeded();
        self.count_links();
        loss
    }

    fn count_links(&mut self) {
        let folders: Vec<_> = self.inodes.keys().copied().collect();
        self.inodes.values_mut().for_each(|inode| inode.links = 0);
        for folder in folders {
            for (_, ino) in self.names.list(folder) {
                if let Some(inode) = self.inodes.get_mut(&ino) {
                    inode.links += 1;
                }
            }
        }
    }

    fn sweep(&mut self) {
        if self.inodes.len() >= self.sweep_at {
            self.remove_unneeded();
            self.sweep_at = 2 * self.inodes.len() + 256;
        }
    }

    /// Removes inodes without a name that nobody has open; folders that go may leave others behind.
    fn remove_unneeded(&mut self) {
        loop {
            let named = self.names.named();
            let before = self.inodes.len();
            let keep =
                |ino: Ino, inode: &Inode| ino == ROOT || inode.heard_of > 0 || named.contains(&ino);
            self.inodes.retain(|ino, inode| keep(*ino, inode));
            let inodes = &self.inodes;
            self.names.retain(|folder| inodes.contains_key(&folder));
            if self.inodes.len() == before {
                break;
            }
        }
        let contents = self
            .inodes
            .values()
            .filter_map(|inode| inode.content.as_ref());
        self.used_pages = contents.map(Content::pages).sum();
    }
}
