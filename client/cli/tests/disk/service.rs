//! An [`Image`] as the kernel asks for it, by the FUSE protocol.

#![allow(
    clippy::disallowed_methods,
    clippy::too_many_arguments,
    reason = "a real file system answers in real time; the trait is the crate's"
)]

use std::ffi::OsStr;
use std::io;
use std::sync::mpsc::Sender;
use std::sync::{Arc, MutexGuard};
use std::time::{Duration, SystemTime};

use super::content::PAGE;
use super::device::{Power, Shared, State, Sync, device, enter};
use super::image::{Inode, Refused};
use fuser::{
    Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
    KernelConfig, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData,
    ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
    WriteFlags,
};

/// Nothing changes behind the kernel's back.
const FOR_EVER: Duration = Duration::from_secs(3600);
const KEEP_SIZE: i32 = 1;
const PUNCH_HOLE: i32 = 2;
const ZERO_RANGE: i32 = 16;

/// One mount.
pub struct Service {
    shared: Arc<Shared>,
    mount: u64,
    syncs: Sender<Sync>,
}

impl Service {
    /// Answers for `shared` from now on, in place of every mount before.
    pub fn begin(shared: &Arc<Shared>, sync_time: Duration) -> Self {
        let mount = {
            let mut state = shared.state();
            state.power = Power::On;
            state.mount += 1;
            state.mount
        };
        let (syncs, waiting) = std::sync::mpsc::channel();
        let service = Self {
            shared: Arc::clone(shared),
            mount,
            syncs,
        };
        let shared = Arc::clone(shared);
        std::thread::spawn(move || device(&shared, mount, &waiting, sync_time));
        service
    }

    fn enter(&self) -> Result<MutexGuard<'_, State>, Errno> {
        enter(&self.shared, self.mount)
    }

    fn attributes(&self, ino: u64) -> Result<FileAttr, Errno> {
        let state = self.enter()?;
        Ok(attributes(ino, state.image.get(ino)?))
    }

    fn sync(&self, ino: INodeNo, reply: ReplyEmpty) {
        let sync = Sync { ino: ino.0, reply };
        if let Err(unsent) = self.syncs.send(sync) {
            unsent.0.reply.error(Errno::EIO);
        }
    }

    fn made(
        &self,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        folder: bool,
    ) -> Result<FileAttr, Errno> {
        let mode = u16::try_from(mode & 0o7777).unwrap_or(0o644);
        let mut state = self.enter()?;
        let ino = state.image.create(parent.0, name, mode, folder)?;
        Ok(attributes(ino, state.image.get(ino)?))
    }
}

impl From<Refused> for Errno {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotFound => Self::ENOENT,
            Refused::Exists => Self::EEXIST,
            Refused::NotEmpty => Self::ENOTEMPTY,
            Refused::IsFolder => Self::EISDIR,
            Refused::NotFolder => Self::ENOTDIR,
            Refused::NoSpace => Self::ENOSPC,
        }
    }
}

fn attributes(ino: u64, inode: &Inode) -> FileAttr {
    let (size, pages) = match &inode.content {
        Some(content) => (content.size(), content.pages()),
        None => (0, 0),
    };
    let now = SystemTime::now();
    FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: pages * (PAGE as u64 / 512),
        atime: now,
        mtime: now,
        ctime: now,
        crtime: now,
        kind: match inode.content {
            Some(_) => FileType::RegularFile,
            None => FileType::Directory,
        },
        perm: inode.mode,
        nlink: inode.links,
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        rdev: 0,
        blksize: u32::try_from(PAGE).expect("a page is small"),
        flags: 0,
    }
}

fn entry(found: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match found {
        Ok(found) => reply.entry(&FOR_EVER, &found, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn empty(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Service {
    fn init(&mut self, _: &Request, _: &mut KernelConfig) -> io::Result<()> {
        // No write-back cache: what a process wrote is here at once, and lasts only when it is synced.
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.enter().and_then(|mut state| {
            let ino = state.image.look_up(parent.0, name)?;
            Ok(attributes(ino, state.image.get(ino)?))
        });
        entry(found, reply);
    }

    fn forget(&self, _: &Request, ino: INodeNo, times: u64) {
        if let Ok(mut state) = self.enter() {
            state.image.forget(ino.0, times);
        }
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino.0) {
            Ok(attributes) => reply.attr(&FOR_EVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<fuser::BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let done = self.enter().and_then(|mut state| {
            if let Some(size) = size {
                state.image.resize(ino.0, size)?;
            }
            if let Some(mode) = mode.and_then(|mode| u16::try_from(mode & 0o7777).ok()) {
                state.image.set_mode(ino.0, mode)?;
            }
            Ok(attributes(ino.0, state.image.get(ino.0)?))
        });
        match done {
            Ok(attributes) => reply.attr(&FOR_EVER, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        entry(self.made(parent, name, mode & !umask, true), reply);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.made(parent, name, mode & !umask, false) {
            Ok(made) => reply.created(
                &FOR_EVER,
                &made,
                Generation(0),
                FileHandle(0),
                FopenFlags::empty(),
            ),
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.enter();
        let done = done.and_then(|mut state| Ok(state.image.remove(parent.0, name, false)?));
        empty(done, reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let done = self.enter();
        let done = done.and_then(|mut state| Ok(state.image.remove(parent.0, name, true)?));
        empty(done, reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let keep = flags == RenameFlags::RENAME_NOREPLACE;
        if !keep && !flags.is_empty() {
            return reply.error(Errno::EINVAL);
        }
        let (from, to) = ((parent.0, name), (newparent.0, newname));
        let done = self.enter();
        let done = done.and_then(|mut state| Ok(state.image.rename(from, to, keep)?));
        empty(done, reply);
    }

    fn link(
        &self,
        _: &Request,
        ino: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        let done = self.enter().and_then(|mut state| {
            state.image.link(ino.0, newparent.0, newname)?;
            Ok(attributes(ino.0, state.image.get(ino.0)?))
        });
        entry(done, reply);
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.enter().and_then(|state| {
            let content = state
                .image
                .get(ino.0)?
                .content
                .as_ref()
                .ok_or(Errno::EISDIR)?;
            Ok(content.read(offset, size as usize))
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let written = self.enter();
        let written = written.and_then(|mut state| Ok(state.image.write(ino.0, offset, data)?));
        match written {
            Ok(written) => reply.written(u32::try_from(written).expect("no more than was asked")),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing makes nothing last.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino, reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        self.sync(ino, reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let state = match self.enter() {
            Ok(state) => state,
            Err(error) => return reply.error(error),
        };
        // Where to go on is told by inode, so that nobody who removes what was listed misses anything.
        let mut all: Vec<_> = state.image.list(ino.0);
        all.sort_by_key(|(_, ino, _)| *ino);
        let dots = [(1, "."), (2, "..")].map(|(place, name)| (place, name.into(), ino.0, true));
        let all = all
            .into_iter()
            .map(|(name, ino, folder)| (ino + 2, name, ino, folder));
        for (place, name, ino, folder) in dots
            .into_iter()
            .chain(all)
            .filter(|(place, ..)| *place > offset)
        {
            let kind = match folder {
                true => FileType::Directory,
                false => FileType::RegularFile,
            };
            if reply.add(INodeNo(ino), place, kind, &name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        match self.enter() {
            Ok(state) => {
                let (all, free) = state.image.space();
                let page = u32::try_from(PAGE).expect("a page is small");
                reply.statfs(all, free, free, 1 << 20, 1 << 20, page, 255, page);
            }
            Err(error) => reply.error(error),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (keep_size, punch) = match mode {
            0 => (false, false),
            KEEP_SIZE => (true, false),
            both if both == KEEP_SIZE | PUNCH_HOLE => (true, true),
            both if both == KEEP_SIZE | ZERO_RANGE => (true, true),
            _ => return reply.error(Errno::EOPNOTSUPP),
        };
        let done = self.enter();
        let done = done.and_then(|mut state| {
            Ok(state
                .image
                .reserve(ino.0, (offset, length), keep_size, punch)?)
        });
        empty(done, reply);
    }
}
