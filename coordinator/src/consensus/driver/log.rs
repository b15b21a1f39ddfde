//! The log thread: the only writer of the raft log. One record and one fdatasync for all that is queued.

use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use zweig_monitoring::Histogram;

use super::{Event, Events, LogJob};
use crate::consensus::applier::Fatal;
use crate::consensus::pending::Pending;
use crate::storage::raft_log::{Ballast, Disk, RaftLog, Space, free_bytes};

/// Bytes of entries in one record, unless a single entry is larger.
const RECORD_BYTES: usize = 16 << 20;
/// How often the disk's space is looked at.
const SPACE_CHECK: Duration = Duration::from_secs(1);

/// What is looked at to tell whether space is short.
#[derive(Debug)]
pub struct Watched {
    /// The reserve; without one, only the spare files count.
    pub ballast: Option<Ballast>,
    /// The state's folder, which may be on another disk.
    pub state_folder: Option<PathBuf>,
}

impl Watched {
    fn look<D: Disk>(&mut self, log: &mut RaftLog<D>) -> Result<Space, Fatal> {
        let spare = log
            .prepare_spares()
            .map_err(|e| Fatal::new(e.to_string()))?;
        let unknown = |e: std::io::Error| Fatal::new(format!("the disk's space is not known: {e}"));
        let mut space = Space::default();
        if let Some(ballast) = &mut self.ballast {
            let elsewhere = self
                .state_folder
                .as_deref()
                .map_or(Ok(u64::MAX), free_bytes);
            let elsewhere = elsewhere.map_err(unknown)?;
            space = ballast.check(log.disk(), elsewhere).map_err(unknown)?;
        }
        space.low |= !spare;
        Ok(space)
    }
}

/// Whom the log thread tells, and where it counts how long its syncs took.
type Told<'a> = (&'a Events, &'a Histogram);

/// Runs until the raft thread is gone.
pub fn run<D: Disk>(
    mut log: RaftLog<D>,
    mut watched: Watched,
    jobs: &Receiver<LogJob>,
    told: Told<'_>,
) -> Result<(), Fatal> {
    let events = told.0;
    let mut low = false;
    let mut next_check = crate::clock::now();
    loop {
        let now = crate::clock::now();
        if now >= next_check {
            next_check = now + SPACE_CHECK;
            let space = watched.look(&mut log)?;
            if low != space.low {
                low = space.low;
                notify(events, Event::Space(space));
            }
        }
        let first = match jobs.recv_timeout(next_check.saturating_duration_since(now)) {
            Ok(job) => job,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        };
        let mut pending = Pending::default();
        let mut next = Some(first);
        while let Some(job) = next.take() {
            match job {
                LogJob::Persist(list) => {
                    for persist in list {
                        pending.add(persist);
                        if pending.bytes() >= RECORD_BYTES {
                            write(&mut pending, &mut log, told)?;
                        }
                    }
                }
                LogJob::Cut(index) => {
                    write(&mut pending, &mut log, told)?;
                    log.cut(index).map_err(|e| Fatal::new(e.to_string()))?;
                }
                LogJob::Reset {
                    install,
                    sessions,
                    digest,
                } => {
                    write(&mut pending, &mut log, told)?;
                    log.reset(install.mark.at, &install.hard_state)
                        .map_err(|e| Fatal::new(e.to_string()))?;
                    notify(
                        events,
                        Event::Installed {
                            mark: install.mark,
                            sessions,
                            digest,
                        },
                    );
                }
            }
            next = jobs.try_recv().ok();
        }
        write(&mut pending, &mut log, told)?;
    }
}

/// Writes and syncs what was added, and tells the raft thread.
fn write<D: Disk>(
    pending: &mut Pending,
    log: &mut RaftLog<D>,
    (events, syncs): Told<'_>,
) -> Result<(), Fatal> {
    let begun = crate::clock::now();
    if let Some(number) = pending.flush(log).map_err(|e| Fatal::new(e.to_string()))? {
        syncs.observe(crate::clock::now().saturating_duration_since(begun));
        notify(events, Event::Persisted(number));
    }
    Ok(())
}

fn notify(events: &Events, event: Event) {
    // Without a raft thread there is nobody to tell, and the job queue ends next.
    let _ = events.send(event);
}
