//! Log directories without room.
//!
//! A full disk is an episode, not an error for each request. It begins with the first write that found no room, and is
//! told once; it is over when nothing was refused for [`QUIET`] and the file system has room again.
//!
//! Called by `partition` with each failed write, by `maintenance` with the time; `server` asks for how long.

use crate::disk::Disk;
use crate::log::FileError;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{error, info};

/// Without a refused write for so long, an episode may be over.
const QUIET: Duration = Duration::from_secs(5);

/// Room enough, in bytes; on a small file system a twentieth of it is.
const ENOUGH: u64 = 16 << 20;

#[derive(Debug, Clone, Copy)]
struct Episode {
    since: Instant,
    /// The last write that found no room.
    refused: Instant,
    writes: u64,
}

/// See the module.
#[derive(Debug)]
pub(super) struct FullDirs {
    disk: Arc<dyn Disk>,
    dirs: Vec<PathBuf>,
    full: Mutex<BTreeMap<PathBuf, Episode>>,
}

impl FullDirs {
    pub(super) fn new(disk: Arc<dyn Disk>, dirs: Vec<PathBuf>) -> Self {
        Self {
            disk,
            dirs,
            full: Mutex::default(),
        }
    }

    /// A write found no room.
    pub(super) fn refused(&self, write: &FileError, now: Instant) {
        let dir = self.dirs.iter().find(|dir| write.path.starts_with(dir));
        let dir = dir.unwrap_or(&write.path);
        let mut full = self.full.lock();
        let episode = full.entry(dir.clone()).or_insert_with(|| {
            error!(log_dir = %dir.display(), error = %write, "log directory is full: records are refused until there is room");
            Episode {
                since: now,
                refused: now,
                writes: 0,
            }
        });
        episode.refused = now;
        episode.writes += 1;
    }

    /// Looks for room where there was none.
    pub(super) fn look(&self, now: Instant) {
        self.look_with(now, |dir| has_room(&*self.disk, dir));
    }

    fn look_with(&self, now: Instant, has_room: impl Fn(&Path) -> bool) {
        self.full.lock().retain(|dir, episode| {
            let quiet = now.saturating_duration_since(episode.refused) >= QUIET;
            let over = quiet && has_room(dir);
            if over {
                let lasted = now.saturating_duration_since(episode.since);
                let refused_writes = episode.writes;
                info!(log_dir = %dir.display(), ?lasted, refused_writes, "log directory has room again");
            }
            !over
        });
    }

    /// For how long the directory has been full that is so the longest.
    pub(super) fn longest(&self, now: Instant) -> Option<Duration> {
        let full = self.full.lock();
        let since = full.values().map(|episode| episode.since).min()?;
        Some(now.saturating_duration_since(since))
    }
}

fn has_room(disk: &dyn Disk, dir: &Path) -> bool {
    let space = disk.space(dir);
    space.is_ok_and(|space| space.free >= ENOUGH.min(space.total / 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    #[test]
    fn an_episode_begins_once_and_ends_with_quiet_and_room() {
        let now = crate::clock::now();
        let at = |s| now + Duration::from_secs(s);
        let dirs = FullDirs::new(crate::disk::real(), vec!["/a".into(), "/b".into()]);
        let write = FileError::new("append", "/b/t-0/0.log", ErrorKind::StorageFull.into());
        assert_eq!(dirs.longest(now), None);
        dirs.refused(&write, at(0));
        dirs.refused(&write, at(7));
        assert_eq!(dirs.longest(at(8)), Some(Duration::from_secs(8)));
        dirs.look_with(at(11), |_| true);
        assert!(dirs.longest(at(11)).is_some(), "a write was just refused");
        dirs.look_with(at(12), |_| false);
        assert!(dirs.longest(at(12)).is_some(), "no room");
        dirs.look_with(at(12), |dir| dir == Path::new("/b"));
        assert_eq!(dirs.longest(at(12)), None);
    }
}
