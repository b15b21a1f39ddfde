//! The file system.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use super::{Disk, DiskFile, Lock, Open, OpenFiles, Space};

const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// An fcntl lock is the process's, not the file handle's: the same process would get it twice, and
/// closing either handle would drop it. So the folders that this process holds are remembered here.
static HELD: LazyLock<Mutex<BTreeSet<PathBuf>>> = LazyLock::new(Mutex::default);

/// The file system, through the system's calls.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileDisk;

/// The disk of everything but tests.
#[must_use]
pub fn real() -> Arc<dyn Disk> {
    Arc::new(FileDisk)
}

impl Disk for FileDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match how {
            Open::Existing => {}
            Open::OrCreate => {
                options.write(true).create(true).truncate(false);
            }
            Open::Fresh => {
                options.write(true).create(true).truncate(true);
            }
        }
        Ok(Arc::new(options.open(path)?))
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn is_folder(&self, path: &Path) -> bool {
        path.is_dir()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn create_dir_all(&self, folder: &Path) -> io::Result<()> {
        fs::create_dir_all(folder)
    }

    fn remove_dir_all(&self, folder: &Path) -> io::Result<()> {
        fs::remove_dir_all(folder)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn space(&self, folder: &Path) -> io::Result<Space> {
        let found = rustix::fs::statvfs(folder)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Space {
            free: bytes(found.f_bavail),
            total: bytes(found.f_blocks),
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>> {
        let folder = path.parent().unwrap_or(path).canonicalize()?;
        let mut all = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains(&folder) {
            return Ok(None);
        }
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Ok(None);
        }
        all.insert(folder.clone());
        Ok(Some(Box::new(FileLock {
            folder,
            file: Some(file),
        })))
    }

    fn boot_id(&self) -> String {
        let id = fs::read_to_string(BOOT_ID).unwrap_or_default();
        id.trim().to_owned()
    }

    fn parallelism(&self) -> usize {
        std::thread::available_parallelism().map_or(1, usize::from)
    }

    fn open_files(&self, more: usize) -> Option<OpenFiles> {
        let limit = getrlimit(Resource::Nofile).current?;
        // Each gets the lowest number that is free, so those of a broker that closes little are dense.
        let probes: io::Result<Vec<File>> = (0..more).map(|_| File::open("/dev/null")).collect();
        let highest = match probes {
            Ok(probes) => probes
                .iter()
                .map(AsRawFd::as_raw_fd)
                .max()?
                .try_into()
                .ok()?,
            Err(error) if is_out_of_files(&error) => limit,
            Err(_) => return None,
        };
        Some(OpenFiles { limit, highest })
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| code == Some(errno.raw_os_error()))
}

impl DiskFile for File {
    fn size(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn modified_ms(&self) -> io::Result<i64> {
        let age = self.metadata()?.modified()?.duration_since(UNIX_EPOCH);
        Ok(age.map_or(0, |age| age.as_millis() as i64))
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, position)
    }

    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, position)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn real(&self) -> Option<&File> {
        Some(self)
    }
}

#[derive(Debug)]
struct FileLock {
    folder: PathBuf,
    /// Taken by `drop` only.
    file: Option<File>,
}

impl Lock for FileLock {}

impl Drop for FileLock {
    fn drop(&mut self) {
        let mut all = HELD.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.file.take());
        all.remove(&self.folder);
    }
}
