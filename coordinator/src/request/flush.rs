//! The flush thread: what was applied goes from memory into the database, behind `apply`.
//!
//! Several times a second everything that waits is written as one batch, which costs `apply` two
//! moments of the lock. Less often the database is told to put it on the disk; only then may the
//! raft log be cut up to it.
//!
//! A database that meets a full disk can't go on until it is opened anew. So nothing is given to it while
//! there is no room for what it would write: what was applied waits in memory, and the raft log, where it
//! stands too, is not cut.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::published::Published;
use crate::clock;
use crate::consensus::Fatal;
use crate::storage::StoreError;
use crate::storage::raft_log::free_bytes;

/// Between two batches.
const WRITE_PERIOD: Duration = Duration::from_millis(100);

/// Between two times that the database is put on the disk ...
const PERSIST_PERIOD: Duration = Duration::from_secs(5);

/// ... unless so much was written before.
const PERSIST_BYTES: usize = 64 << 20;

/// Free bytes that are left alone, for what the database writes beside the state.
const SPARE_BYTES: u64 = 1 << 20;

/// Up to which index the state survives a loss of power.
#[derive(Debug, Clone, Default)]
pub struct FlushedIndex(Arc<AtomicU64>);

impl FlushedIndex {
    /// The index; 0 before the first flush.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// The state on the disk is at this index.
    pub fn set(&self, index: u64) {
        self.0.store(index, Ordering::Release);
    }
}

/// The running thread.
pub struct Flusher {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Flusher {
    /// Starts it; the state is kept on the disk of `folder`.
    pub fn start(
        published: Arc<Published>,
        flushed: FlushedIndex,
        folder: PathBuf,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("flush".to_owned())
            .spawn(move || {
                if let Err(error) = run(&published, &flushed, &folder, &stopped) {
                    published.fatal(&Fatal::new(format!("flush: {error}")));
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Writes everything to the disk, and ends. Nothing may be applied any more.
    pub fn stop(self) {
        // If the thread has ended by itself, it has said why.
        let _ = self.stop.send(());
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

fn run(
    published: &Published,
    flushed: &FlushedIndex,
    folder: &Path,
    stopped: &mpsc::Receiver<()>,
) -> Result<(), StoreError> {
    let mut persisted_at = clock::now();
    let mut written_bytes = 0;
    let mut full = false;
    loop {
        let stop = match stopped.recv_timeout(WRITE_PERIOD) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        };
        let room = has_room(folder, written_bytes + pending_bytes(published));
        if full == room {
            full = !room;
            tracing::warn!(full, "the state waits in memory while its disk is full");
        }
        if full {
            if stop {
                tracing::warn!(
                    "what the state's disk has no room for is applied anew from the raft log"
                );
                return Ok(());
            }
            continue;
        }
        written_bytes += pending_bytes(published);
        let db = published.write_behind()?;
        let now = clock::now();
        if stop && pending_bytes(published) > 0 {
            // One batch was still on its way when the last one was frozen.
            published.write_behind()?;
        }
        let behind = published.lock().state().applied().index > flushed.get();
        if stop || (behind && is_due(now, persisted_at, written_bytes)) {
            db.persist()?;
            (persisted_at, written_bytes) = (now, 0);
            if let Some(meta) = db.persisted()? {
                flushed.set(meta.applied.index);
            }
        }
        if stop {
            return Ok(());
        }
    }
}

/// Whether the disk has room for what may be written now: that much, twice while it is compacted.
fn has_room(folder: &Path, bytes: usize) -> bool {
    // A disk that can't be asked is left to the database to complain of.
    free_bytes(folder).map_or(true, |free| free >= 2 * bytes as u64 + SPARE_BYTES)
}

fn pending_bytes(published: &Published) -> usize {
    published.lock().state().store().pending_bytes()
}

fn is_due(now: Instant, persisted_at: Instant, written_bytes: usize) -> bool {
    let age = now.saturating_duration_since(persisted_at);
    written_bytes >= PERSIST_BYTES || age >= PERSIST_PERIOD
}
