//! What a broker remembers of its registration, in the first log directory: the session to close
//! before it registers again, and since which broker epoch its logs have lost nothing.
//!
//! The file `zweig.registration` is JSON, version 1, replaced by rename and synced. Kafka passes
//! over it: it looks at folders only.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zweig_client::ensemble::Credentials;

use crate::disk::Disk;
use crate::log::Stop;
use crate::log::store::file::{self, Durability};

const FILE: &str = "zweig.registration";

/// The file cannot be read or written, or makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct MemoryError {
    /// Which file.
    pub path: PathBuf,
    /// What is wrong.
    pub problem: String,
}

/// What is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    version: u32,
    session: i64,
    password: String,
    /// Kernel boot under which this was written.
    pub boot_id: String,
    /// Epoch of the last registration; 0 before the first.
    pub broker_epoch: i64,
    /// Since when nothing was lost; `None` until the epoch of a registration whose logs had lost
    /// something is known.
    pub intact_since: Option<i64>,
    /// Whether records were synced before they were acknowledged.
    pub synced: bool,
}

impl Memory {
    /// What is to be remembered from now on.
    #[must_use]
    pub fn new(credentials: Credentials, boot_id: String, synced: bool) -> Memory {
        Memory {
            version: 1,
            session: credentials.session,
            password: STANDARD.encode(credentials.password),
            boot_id,
            broker_epoch: 0,
            intact_since: None,
            synced,
        }
    }

    /// The key of the former session.
    #[must_use]
    pub fn credentials(&self) -> Option<Credentials> {
        let password = STANDARD.decode(&self.password).ok()?;
        Some(Credentials {
            session: self.session,
            password: password.try_into().ok()?,
        })
    }

    /// Reads the file of a log directory; `None` if there is none.
    ///
    /// # Errors
    /// [`MemoryError`] if it is there and cannot be read.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Option<Memory>, MemoryError> {
        let path = dir.join(FILE);
        let Some(text) = file::read(disk, &path).map_err(|e| failed(&path, &e.source))? else {
            return Ok(None);
        };
        let memory: Memory = serde_json::from_slice(&text).map_err(|e| failed(&path, &e))?;
        if memory.version != 1 {
            let problem = format!("version {} is not known here", memory.version);
            return Err(failed(&path, &problem));
        }
        Ok(Some(memory))
    }

    /// Replaces the file, durably.
    ///
    /// # Errors
    /// [`MemoryError`] if that fails; the former file is then still there.
    pub fn store(&self, disk: &dyn Disk, dir: &Path) -> Result<(), MemoryError> {
        let path = dir.join(FILE);
        let text = serde_json::to_vec(self).map_err(|e| failed(&path, &e))?;
        file::replace(disk, &path, &text, Durability::Synced).map_err(|e| failed(&path, &e.source))
    }
}

fn failed(path: &Path, problem: &impl ToString) -> MemoryError {
    MemoryError {
        path: path.to_owned(),
        problem: problem.to_string(),
    }
}

/// Since which broker epoch the logs that were just opened have lost nothing; `None` if something
/// may be missing.
#[must_use]
pub fn intact_since(memory: Option<&Memory>, stop: Stop, boot_id: &str) -> Option<i64> {
    let Some(memory) = memory else {
        // Kafka's own directory, given over after a clean stop, or one never used.
        return matches!(stop, Stop::Clean { .. }).then_some(0);
    };
    let kept = match stop {
        Stop::Fresh => false,
        Stop::Clean { broker_epoch } => broker_epoch.is_none_or(|e| e >= memory.broker_epoch),
        Stop::Unclean => false,
    };
    let same_boot = !boot_id.is_empty() && memory.boot_id == boot_id && stop != Stop::Fresh;
    let synced = memory.synced && stop != Stop::Fresh;
    memory.intact_since.filter(|_| kept || same_boot || synced)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FileDisk;

    fn memory() -> Memory {
        let credentials = Credentials {
            session: 5,
            password: [9; 16],
        };
        Memory {
            broker_epoch: 40,
            intact_since: Some(30),
            ..Memory::new(credentials, "boot-1".to_owned(), false)
        }
    }

    #[test]
    fn it_comes_back_from_the_directory() {
        let dir = tempfile::tempdir().expect("dir");
        assert_eq!(Memory::load(&FileDisk, dir.path()).expect("none"), None);
        memory().store(&FileDisk, dir.path()).expect("stored");
        let loaded = Memory::load(&FileDisk, dir.path())
            .expect("loaded")
            .expect("there");
        assert_eq!(loaded, memory());
        assert_eq!(loaded.credentials().map(|c| c.password), Some([9; 16]));
        std::fs::write(dir.path().join(FILE), "{}").expect("spoiled");
        assert!(Memory::load(&FileDisk, dir.path()).is_err());
    }

    #[test]
    fn intact_is_a_clean_stop_the_same_boot_or_synced_records() {
        let clean = Stop::Clean {
            broker_epoch: Some(40),
        };
        let m = memory();
        assert_eq!(intact_since(Some(&m), clean, "boot-2"), Some(30));
        assert_eq!(intact_since(Some(&m), Stop::Unclean, "boot-1"), Some(30));
        assert_eq!(intact_since(Some(&m), Stop::Unclean, "boot-2"), None);
        assert_eq!(intact_since(Some(&m), Stop::Unclean, ""), None);
        assert_eq!(intact_since(Some(&m), Stop::Fresh, "boot-1"), None);
        let stale = Stop::Clean {
            broker_epoch: Some(39),
        };
        assert_eq!(intact_since(Some(&m), stale, "boot-2"), None);
        let synced = Memory {
            synced: true,
            ..memory()
        };
        assert_eq!(
            intact_since(Some(&synced), Stop::Unclean, "boot-2"),
            Some(30)
        );
        let unknown = Memory {
            intact_since: None,
            ..memory()
        };
        assert_eq!(intact_since(Some(&unknown), clean, "boot-1"), None);
    }

    #[test]
    fn a_directory_of_kafkas_is_intact_after_a_clean_stop_only() {
        let clean = Stop::Clean { broker_epoch: None };
        assert_eq!(intact_since(None, clean, "b"), Some(0));
        assert_eq!(intact_since(None, Stop::Unclean, "b"), None);
        assert_eq!(intact_since(None, Stop::Fresh, "b"), None);
    }
}
