//! A disk whose power can be cut: a file system under real paths (by FUSE) that keeps in memory what everybody sees
//! and what is durable, so that whole processes can lose what they did not sync.
//!
//! | file | what it does |
//! | --- | --- |
//! | `content` | the bytes of a file, now and durable |
//! | `names` | what is called what, now and durable |
//! | `fate` | what survives a cut, chosen from a seed |
//! | `image` | a whole file system of these, as a value |
//! | `device` | that image, its power, and what is wrong with it, shared by mounts |
//! | `service` | it as the kernel asks for it |
//! | `tests` | tests of the disk itself, part of `power_loss` |
//!
//! What lasts: a file's bytes and size after `fsync`, `fdatasync` or a write with `O_DSYNC` (the kernel sends an fsync
//! after it; before one it sends the dirty pages of shared mappings); names after `fsync` of their folder. All else may
//! survive a cut in part: pages whole or torn at sectors, sizes, names in the order of their folder. A failed fsync
//! behaves as on Linux: the data is still seen, counts as written, and no later fsync writes it.
//!
//! A cut freezes the disk at one instant: requests get no answer until everybody who uses it was sent SIGKILL, so
//! nobody acts on what the disk no longer has. Then the disk is unmounted, which empties the kernel's caches, and what
//! was left is mounted in its place.
//!
//! Not here: device-mapper, block reordering below the file system; a system's own bugs.

#![allow(dead_code, reason = "each test binary uses a part of this")]

mod content;
mod device;
mod fate;
mod image;
mod names;
mod service;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fuser::{BackgroundSession, Config, MountOption};
use rand::rngs::StdRng;

use device::{Power, Shared};
pub use fate::Fate;
pub use image::Loss;
use service::Service;

const NAME: &str = "zweig-disk-";
/// How long a sync takes, about; a disk that takes no time leaves nothing unsynced to lose.
const SYNC_TIME: Duration = Duration::from_millis(2);

/// Whether disks can be made here.
///
/// # Errors
/// Why not.
pub fn allowed() -> Result<(), String> {
    let folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    let disk = Disk::mount(folder.path(), 1 << 20).map_err(|e| e.to_string())?;
    drop(disk);
    Ok(())
}

/// See the module.
pub struct Disk {
    at: PathBuf,
    shared: Arc<Shared>,
    bytes: u64,
    session: Option<BackgroundSession>,
}

impl Disk {
    /// An empty disk of so many bytes at a folder that exists.
    ///
    /// # Errors
    /// If this machine has no FUSE, or this user may not mount.
    pub fn mount(at: &Path, bytes: u64) -> io::Result<Self> {
        remove_what_is_left();
        let mut disk = Self {
            at: at.to_owned(),
            shared: Arc::new(Shared::new(bytes)),
            bytes,
            session: None,
        };
        disk.power_on()?;
        Ok(disk)
    }

    /// What it has from now on is what is left of it; the power is on.
    ///
    /// # Errors
    /// If it can't be mounted.
    pub fn power_on(&mut self) -> io::Result<()> {
        let mut config = Config::default();
        let name = format!("{NAME}{}", std::process::id());
        config.mount_options = vec![MountOption::FSName(name), MountOption::NoAtime];
        config.n_threads = Some(2);
        let service = Service::begin(&self.shared, SYNC_TIME);
        self.session = Some(fuser::spawn_mount(service, &self.at, &config)?);
        Ok(())
    }

    /// Cuts the power, now. Whoever asks it for anything waits until [`Self::release`].
    pub fn cut(&self, fate: &Fate, chance: &mut StdRng) -> Loss {
        let mut state = self.shared.state();
        state.power = Power::Cut;
        state.image.lose_power(fate, chance)
    }

    /// Those who waited since the cut are refused; they were sent SIGKILL.
    pub fn release(&self) {
        self.shared.set_power(Power::Off);
    }

    /// Ends the mount, and with it what the kernel remembers.
    pub fn unmount(&mut self) {
        if let Some(session) = self.session.take() {
            let _ = Command::new("umount").arg("-l").arg(&self.at).output();
            // Ends once nobody has anything of it open.
            let _ = session.umount_and_join();
        }
    }

    /// All that it has is durable.
    pub fn sync_all(&self) {
        self.shared.state().image.sync_all();
    }

    /// The next `count` syncs of files whose name has `part` in it fail; 0 for none.
    pub fn fail_syncs(&self, part: &str, count: usize) {
        self.shared.state().failing = (count > 0).then(|| (part.to_owned(), count));
    }

    /// Answers every fsync from now on and does nothing; or is honest again.
    pub fn lie(&self, lies: bool) {
        self.shared.state().lies = lies;
    }

    /// How many syncs it was asked for, and how many of them it refused.
    pub fn syncs(&self) -> (u64, u64) {
        let state = self.shared.state();
        (state.syncs, state.failed_syncs)
    }

    /// From now on it has no room.
    pub fn fill(&self) {
        self.shared.state().image.set_capacity(0);
    }

    /// Ends [`Self::fill`].
    pub fn free(&self) {
        self.shared.state().image.set_capacity(self.bytes);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.release();
        self.unmount();
    }
}

/// Unmounts what processes that are gone left mounted.
fn remove_what_is_left() {
    for line in fs::read_to_string("/proc/mounts")
        .unwrap_or_default()
        .lines()
    {
        let mut words = line.split_whitespace();
        let (name, at) = (
            words.next().unwrap_or_default(),
            words.next().unwrap_or_default(),
        );
        let Some(process) = name.strip_prefix(NAME) else {
            continue;
        };
        if !Path::new("/proc").join(process).exists() {
            let _ = Command::new("umount").args(["-l", at]).output();
        }
    }
}
