//! A disk that fails when a test wants it to.

use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug)]
pub struct Faults {
    /// Bytes that can still be written.
    pub space: AtomicU64,
    pub sync_fails: AtomicBool,
}

impl Default for Faults {
    fn default() -> Faults {
        Faults {
            space: AtomicU64::new(u64::MAX),
            sync_fails: AtomicBool::new(false),
        }
    }
}

impl Faults {
    pub fn space_for(&self, length: usize) -> usize {
        (length as u64).min(self.space.load(Ordering::SeqCst)) as usize
    }

    pub fn sync(&self) -> Result<()> {
        match self.sync_fails.load(Ordering::SeqCst) {
            true => Err(Error::from(ErrorKind::Other)),
            false => Ok(()),
        }
    }
}
