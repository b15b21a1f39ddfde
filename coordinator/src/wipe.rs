//! Setting a node's data aside by its operator's command, so that it rejoins its ensemble as a new incarnation.
//!
//! The command line is the only caller; nothing in a running node ever does this. Nothing is deleted. The order
//! of the steps makes an interrupted wipe harmless: a state without its log does not start, and two empty folders
//! are those of a node that is new.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use crate::config::{Config, Role};
use crate::storage::identity::{Identity, IdentityError, Standing};
use crate::storage::lock::{FolderLock, LockError};

/// Why a node was not wiped.
#[derive(Debug, thiserror::Error)]
pub enum WipeError {
    /// It runs, or another wipe does.
    #[error("{0}: stop the node first")]
    Running(#[source] LockError),
    /// Its folders can't be used.
    #[error(transparent)]
    Lock(LockError),
    /// Nobody could give it its data back.
    #[error(
        "node {node} is its whole ensemble: there is nobody to rejoin from. \
         With --new-ensemble its data is set aside and it starts as a new, empty ensemble"
    )]
    Alone {
        /// This node.
        node: u64,
    },
    /// The opposite.
    #[error("--new-ensemble is for an ensemble of one; node {node} has others to rejoin from")]
    NotAlone {
        /// This node.
        node: u64,
    },
    /// The new identity could not be written.
    #[error("the data is set aside, but {0}; run the command again")]
    Identity(#[from] IdentityError),
    /// The file system failed.
    #[error("cannot {operation} {}: {source}; nothing is lost, run the command again", path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

/// What a wipe will do. Holds the locks of the folders.
#[derive(Debug)]
pub struct Wipe {
    /// This node.
    pub node: u64,
    /// The other voters, by N: a majority of all has to be up for the rejoin.
    pub others: Vec<u64>,
    /// What is moved, and where to.
    pub moves: Vec<(PathBuf, PathBuf)>,
    raft: PathBuf,
    identity: Option<Identity>,
    _locks: Vec<FolderLock>,
}

impl Wipe {
    /// Looks at what there is; changes nothing yet. `now_ms` is the time, in milliseconds since 1970.
    ///
    /// # Errors
    /// When the node runs, or when there is nobody to rejoin from.
    pub fn plan(config: &Config, now_ms: u64, new_ensemble: bool) -> Result<Self, WipeError> {
        let node = config.node;
        let others = config.servers.iter().filter(|server| server.node != node);
        let voters = others.filter(|server| server.role == Role::Participant);
        let others: Vec<u64> = voters.map(|server| server.node).collect();
        match (others.is_empty(), new_ensemble) {
            (true, false) => return Err(WipeError::Alone { node }),
            (false, true) => return Err(WipeError::NotAlone { node }),
            _ => {}
        }
        let mut locks = Vec::new();
        for folder in config.folders() {
            fs::create_dir_all(folder).map_err(failed("make", folder))?;
            locks.push(FolderLock::take(folder).map_err(|error| match error {
                LockError::Held { .. } => WipeError::Running(error),
                LockError::Io { .. } => WipeError::Lock(error),
            })?);
        }
        let (raft, state) = (config.raft_folder(), config.state_folder());
        // One that can't be read tells nothing; the time is newer than any former incarnation.
        let former = Identity::read(&raft).ok().flatten();
        let former = former.map_or(0, |identity| identity.incarnation);
        let identity = (!new_ensemble).then(|| Identity {
            server: node,
            incarnation: now_ms.max(former + 1),
            life: now_ms,
            standing: Standing::Joiner,
        });
        let moves = [&raft, &state].into_iter().filter(|path| path.exists());
        Ok(Self {
            node,
            others,
            moves: moves
                .map(|path| (path.clone(), aside(path, now_ms)))
                .collect(),
            raft,
            identity,
            _locks: locks,
        })
    }

    /// Does it.
    ///
    /// # Errors
    /// When the file system fails; nothing is lost then, and the node does not start with half of its data.
    pub fn carry_out(&self) -> Result<(), WipeError> {
        for (from, to) in &self.moves {
            let lost = to.parent().unwrap_or(to);
            fs::create_dir_all(lost).map_err(failed("make", lost))?;
            fs::rename(from, to).map_err(failed("move", from))?;
            for folder in [Some(lost), from.parent()].into_iter().flatten() {
                let synced = File::open(folder).and_then(|folder| folder.sync_all());
                synced.map_err(failed("sync", folder))?;
            }
        }
        if let Some(identity) = &self.identity {
            fs::create_dir_all(&self.raft).map_err(failed("make", &self.raft))?;
            identity.write(&self.raft)?;
            let parent = self.raft.parent().unwrap_or(&self.raft);
            let synced = File::open(parent).and_then(|folder| folder.sync_all());
            synced.map_err(failed("sync", parent))?;
        }
        Ok(())
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WipeError {
    let path = path.to_owned();
    move |source| WipeError::Io {
        operation,
        path,
        source,
    }
}

/// `lost-<time>` beside it.
fn aside(path: &Path, now_ms: u64) -> PathBuf {
    let name = path.file_name().unwrap_or_default();
    path.with_file_name(format!("lost-{}", utc(now_ms)))
        .join(name)
}

/// A time as `20261122T184500.123Z`.
fn utc(ms: u64) -> String {
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    // Days since 1 March of year 0, in eras of 400 years (Howard Hinnant, "chrono-compatible date algorithms").
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year + u64::from(month <= 2);
    let (seconds, millis) = (of_day / 1_000, of_day % 1_000);
    let (hour, minute, second) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_763_836_800_123;

    fn config(folder: &Path, servers: &[&str]) -> Config {
        let mut set = vec![
            (
                "dataDir".to_owned(),
                folder.join("data").display().to_string(),
            ),
            (
                "dataLogDir".to_owned(),
                folder.join("log").display().to_string(),
            ),
        ];
        for (at, server) in servers.iter().enumerate() {
            set.push((format!("server.{}", at + 1), (*server).to_owned()));
        }
        Config::from_overrides(&set, Some(1)).unwrap()
    }

    const THREE: [&str; 3] = ["h:1:2", "h:3:4", "h:5:6"];

    #[test]
    fn times_are_readable() {
        assert_eq!(utc(0), "19700101T000000.000Z");
        assert_eq!(utc(951_782_399_999), "20000228T235959.999Z");
        assert_eq!(utc(951_782_400_000), "20000229T000000.000Z");
        assert_eq!(utc(NOW_MS), "20251122T184000.123Z");
    }

    #[test]
    fn everything_is_set_aside_and_the_node_joins_anew() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &THREE);
        fs::create_dir_all(config.raft_folder().join("raft")).unwrap();
        fs::create_dir_all(config.state_folder()).unwrap();
        fs::write(config.raft_folder().join("raft/a"), "log").unwrap();
        fs::write(config.state_folder().join("b"), "state").unwrap();
        let former = Identity {
            server: 1,
            incarnation: NOW_MS + 5,
            life: 1,
            standing: Standing::Joiner,
        };
        former.write(&config.raft_folder()).unwrap();

        let wipe = Wipe::plan(&config, NOW_MS, false).unwrap();
        assert_eq!(wipe.others, [2, 3]);
        assert!(config.state_folder().join("b").exists(), "only planned");
        wipe.carry_out().unwrap();

        let lost = format!("lost-{}", utc(NOW_MS));
        let (log, data) = (folder.path().join("log"), folder.path().join("data"));
        assert_eq!(
            fs::read(log.join(&lost).join("raft/raft/a")).unwrap(),
            b"log"
        );
        assert_eq!(
            fs::read(data.join(&lost).join("state/b")).unwrap(),
            b"state"
        );
        assert!(!config.state_folder().exists());
        let identity = Identity::read(&config.raft_folder()).unwrap().unwrap();
        assert_eq!(identity.standing, Standing::Joiner);
        assert_eq!(
            identity.incarnation,
            NOW_MS + 6,
            "later than the former one"
        );
    }

    #[test]
    fn a_running_node_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &THREE);
        fs::create_dir_all(&config.data_dir).unwrap();
        let running = FolderLock::take(&config.data_dir).unwrap();
        let refused = Wipe::plan(&config, NOW_MS, false).unwrap_err();
        assert!(matches!(refused, WipeError::Running(_)), "{refused}");
        drop(running);
        Wipe::plan(&config, NOW_MS, false).unwrap();
    }

    #[test]
    fn a_node_alone_is_wiped_only_for_a_new_ensemble() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(folder.path(), &[]);
        fs::create_dir_all(config.state_folder()).unwrap();
        let refused = Wipe::plan(&config, NOW_MS, false).unwrap_err();
        assert!(matches!(refused, WipeError::Alone { node: 1 }), "{refused}");
        let wipe = Wipe::plan(&config, NOW_MS, true).unwrap();
        wipe.carry_out().unwrap();
        assert!(!config.state_folder().exists() && !config.raft_folder().exists());
    }
}
