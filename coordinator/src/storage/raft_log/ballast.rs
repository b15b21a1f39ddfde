//! Reserve against a full disk: a file that is given up when space runs short, and taken back later.
//!
//! While space is low the leader admits only what frees space or concerns sessions; the ballast's bytes
//! let the state's own files be flushed and compacted meanwhile.

use std::io;

use super::Disk;

const NAME: &str = "ballast";

/// How much space there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Bytes that can still be allocated.
    pub free_bytes: u64,
    /// Below the watermark; stays so until there is room for the ballast again.
    pub low: bool,
}

/// The reserve and its watermark.
#[derive(Debug)]
pub struct Ballast {
    bytes: u64,
    watermark_bytes: u64,
    held: bool,
    low: bool,
}

impl Ballast {
    /// A reserve of `bytes`, given up when less than `watermark_bytes` are free.
    pub fn new(bytes: u64, watermark_bytes: u64) -> Self {
        Self {
            bytes,
            watermark_bytes,
            held: false,
            low: false,
        }
    }

    /// Looks at the disk; gives the reserve up or takes it back. `elsewhere` are the free bytes of another
    /// disk that counts too.
    ///
    /// # Errors
    /// When the disk can't be asked; being full is no error here.
    pub fn check<D: Disk>(&mut self, disk: &D, elsewhere: u64) -> io::Result<Space> {
        if !self.held {
            self.held = disk.list()?.iter().any(|name| name == NAME);
        }
        let free_bytes = disk.free_bytes()?.min(elsewhere);
        if free_bytes < self.watermark_bytes {
            if std::mem::take(&mut self.held) {
                disk.remove(NAME)?;
            }
            self.low = true;
        } else if self.held {
            self.low = false;
        } else if free_bytes >= self.watermark_bytes.saturating_add(self.bytes) {
            self.held = disk.create(NAME, self.bytes).is_ok();
            self.low = !self.held;
        }
        Ok(Space {
            free_bytes,
            low: self.low,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::raft_log::MemoryDisk;

    #[test]
    fn is_given_up_below_the_watermark_and_taken_back_when_it_fits() {
        let disk = MemoryDisk::new(1);
        disk.set_capacity(1_000);
        let mut ballast = Ballast::new(300, 200);
        assert_eq!(
            ballast.check(&disk, u64::MAX).unwrap(),
            Space {
                free_bytes: 1_000,
                low: false
            }
        );
        assert_eq!(disk.free_bytes().unwrap(), 700);
        disk.set_capacity(450);
        assert!(
            ballast.check(&disk, u64::MAX).unwrap().low,
            "150 bytes are left"
        );
        assert_eq!(disk.free_bytes().unwrap(), 450, "the ballast is gone");
        assert!(
            ballast.check(&disk, u64::MAX).unwrap().low,
            "not healed by its own gift alone"
        );
        disk.set_capacity(600);
        assert!(!ballast.check(&disk, u64::MAX).unwrap().low);
        assert!(ballast.check(&disk, 100).unwrap().low, "another disk");
        assert!(!ballast.check(&disk, 600).unwrap().low);
    }
}
