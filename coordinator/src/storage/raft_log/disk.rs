//! The few file operations the log needs, behind a trait: a test's disk may lose, tear and refuse.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::TryRngCore;
use rand::rngs::OsRng;

use super::super::folder;

/// One folder of flat files.
pub trait Disk: Send {
    /// An open file.
    type File: DiskFile;

    /// Names of all files.
    ///
    /// # Errors
    /// As the system's.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens an existing file.
    ///
    /// # Errors
    /// As the system's.
    fn open(&self, name: &str) -> io::Result<Self::File>;
    /// Makes a file of that many bytes, its space reserved.
    ///
    /// # Errors
    /// `StorageFull` when the space is not there.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Self::File>;
    /// Renames a file; durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// As the system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after [`Disk::sync_directory`].
    ///
    /// # Errors
    /// As the system's.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    ///
    /// # Errors
    /// Final: never retried.
    fn sync_directory(&self) -> io::Result<()>;
    /// Bytes that can still be allocated.
    ///
    /// # Errors
    /// As the system's.
    fn free_bytes(&self) -> io::Result<u64>;
    /// A number that nobody can guess.
    ///
    /// # Errors
    /// As the system's.
    fn salt(&self) -> io::Result<u64>;
}

/// One open file of a [`Disk`].
pub trait DiskFile: Send {
    /// Length in bytes.
    ///
    /// # Errors
    /// As the system's.
    fn bytes(&self) -> io::Result<u64>;
    /// The whole content.
    ///
    /// # Errors
    /// As the system's.
    fn read_all(&self) -> io::Result<Vec<u8>>;
    /// Writes all of `bytes` at `position`.
    ///
    /// # Errors
    /// Final: never retried.
    fn write_at(&mut self, position: u64, bytes: &[u8]) -> io::Result<()>;
    /// Makes what was written durable.
    ///
    /// # Errors
    /// Final: never retried.
    fn sync(&mut self) -> io::Result<()>;
}

/// Bytes that can still be allocated on the disk of `folder`.
///
/// # Errors
/// As the system's.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(folder)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// A real folder.
#[derive(Debug)]
pub struct FileDisk {
    folder: PathBuf,
}

impl FileDisk {
    /// Uses `folder`, making it when it is missing.
    ///
    /// # Errors
    /// When it can't be made.
    pub fn new(folder: &Path) -> io::Result<Self> {
        // The folder above holds the identity that belongs to the log.
        if let Some(above) = folder.parent() {
            folder::make(above)?;
        }
        folder::make(folder)?;
        Ok(Self {
            folder: folder.to_owned(),
        })
    }
}

impl Disk for FileDisk {
    type File = File;

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in fs::read_dir(&self.folder)? {
            if let Ok(name) = item?.file_name().into_string() {
                names.push(name);
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.folder.join(name))
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<File> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(self.folder.join(name))?;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            // Not every file system can reserve; the length alone still spares metadata later.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => file.set_len(bytes)?,
            other => other?,
        }
        file.sync_all()?;
        Ok(file)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn sync_directory(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.folder)
    }

    fn salt(&self) -> io::Result<u64> {
        OsRng.try_next_u64().map_err(io::Error::other)
    }
}

impl DiskFile for File {
    fn bytes(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_all(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.metadata()?.len()).map_err(io::Error::other)?];
        self.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn write_at(&mut self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.write_all_at(bytes, position)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}
