//! The file operations a broker needs, behind a trait: a test's disk may lose, tear, rot, refuse.
//!
//! Called by `log::store`, `ensemble::memory` and `replica::hosted::room`; `files` is the file system, `memory` its twin
//! for tests. Calls nothing of the other rooms. A call through `dyn` costs nothing beside the system call behind it; what
//! needs the file itself (to send from it without a copy) gets it by [`DiskFile::real`].
//!
//! What callers may rely on, and no more: bytes and a file's length are durable after its `sync`; a name that was made,
//! changed or removed is so after `sync_folder` of the folder that holds it. Until then any part of it may be lost by
//! a power cut, in any order; nothing is lost when the process alone ends. A failed sync is final.
//!
//! Not here: what the bytes mean, and which errors end the process.

mod files;
pub mod memory;

use std::fmt::Debug;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use files::{FileDisk, real};
pub use memory::MemoryDisk;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Open {
    /// For reading; it must be there.
    Existing,
    /// For reading and writing; an empty one is made where there is none.
    OrCreate,
    /// For writing from nothing: what was in it goes.
    Fresh,
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be written.
    pub free: u64,
    /// All of it.
    pub total: u64,
}

/// Files, sockets and the like that this process may have open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenFiles {
    /// Numbers of open files lie below it.
    pub limit: u64,
    /// The largest number that those to come would get.
    pub highest: u64,
}

impl OpenFiles {
    /// Whether they would leave an eighth of all for connections, and for segments to come.
    #[must_use]
    pub fn has_room(self) -> bool {
        self.highest < self.limit - self.limit / 8
    }
}

/// Folders and files, by path.
pub trait Disk: Debug + Send + Sync {
    /// Opens a file.
    ///
    /// # Errors
    /// As the system's.
    fn open(&self, path: &Path, how: Open) -> io::Result<Arc<dyn DiskFile>>;

    /// Names in a folder, as far as they are text, in no order.
    ///
    /// # Errors
    /// As the system's.
    fn list(&self, folder: &Path) -> io::Result<Vec<String>>;

    /// True for a file or folder that is there.
    fn exists(&self, path: &Path) -> bool;

    /// True for a folder that is there.
    fn is_folder(&self, path: &Path) -> bool;

    /// Renames a file over whatever has the new name, or a folder.
    ///
    /// # Errors
    /// As the system's.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file; who holds it open can still use it.
    ///
    /// # Errors
    /// As the system's.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder, and those above it, where they aren't there.
    ///
    /// # Errors
    /// As the system's.
    fn create_dir_all(&self, folder: &Path) -> io::Result<()>;

    /// Removes a folder with everything in it.
    ///
    /// # Errors
    /// As the system's; part of it may be gone then.
    fn remove_dir_all(&self, folder: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Final: never tried again.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Room on the file system that holds a folder.
    ///
    /// # Errors
    /// As the system's.
    fn space(&self, folder: &Path) -> io::Result<Space>;

    /// Locks a file that stands for its folder, made where it isn't there; `None` when anyone has the lock, this process
    /// included. The lock goes when it is dropped.
    ///
    /// # Errors
    /// When the file can't be made.
    fn lock(&self, path: &Path) -> io::Result<Option<Box<dyn Lock>>>;

    /// Names the time since power was last lost: what was written in it is there, synced or not. Empty, and so
    /// equal to none, where that isn't known.
    fn boot_id(&self) -> String;

    /// How many threads may well use it at once.
    fn parallelism(&self) -> usize;

    /// Where so many more open files of this process would stand; `None` where nothing bounds that.
    fn open_files(&self, more: usize) -> Option<OpenFiles> {
        let _ = more;
        None
    }
}

/// An open file. Reads and writes name their place, so that any number of threads may use one handle.
pub trait DiskFile: Debug + Send + Sync {
    /// Length in bytes.
    ///
    /// # Errors
    /// As the system's.
    fn size(&self) -> io::Result<u64>;

    /// Milliseconds since 1970 at which it was last changed.
    ///
    /// # Errors
    /// As the system's.
    fn modified_ms(&self) -> io::Result<i64>;

    /// Reads into `buffer`; how much is said, 0 at the end of the file.
    ///
    /// # Errors
    /// As the system's.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// As the system's; any first part of them may have been written then.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;

    /// Cuts the file, or lengthens it with zeros.
    ///
    /// # Errors
    /// As the system's.
    fn set_size(&self, size: u64) -> io::Result<()>;

    /// Makes bytes and length durable.
    ///
    /// # Errors
    /// Final: never tried again.
    fn sync(&self) -> io::Result<()>;

    /// The file itself, where it is one of the system's.
    fn real(&self) -> Option<&File>;
}

/// A lock that is held.
pub trait Lock: Debug + Send + Sync {}

impl dyn DiskFile + '_ {
    /// Reads until the buffer is full or the file ends; says how much.
    ///
    /// # Errors
    /// As the system's.
    pub fn read_full_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_at(&mut buffer[filled..], position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// Fills the buffer.
    ///
    /// # Errors
    /// As the system's; `UnexpectedEof` where the file ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        if self.read_full_at(buffer, position)? < buffer.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_eighth_of_the_open_files_is_kept() {
        let files = |highest| OpenFiles {
            limit: 800,
            highest,
        };
        assert!(files(699).has_room());
        assert!(!files(700).has_room());
        assert!(!files(800).has_room());
        let now = real().open_files(3).expect("a limit");
        assert!(now.highest > 4 && now.highest < now.limit, "{now:?}");
    }
}
