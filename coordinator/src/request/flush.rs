//! The flush thread: what was applied goes from memory into the database, behind `apply`.
//!
//! Several times a second everything that waits is written as one batch, which costs `apply` two
//! moments of the lock. Less often the database is told to put it on the disk; only then may the
//! raft log be cut up to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::published::Published;
use crate::clock;
use crate::consensus::Fatal;
use crate::storage::{StoreError, write_behind};

/// Between two batches.
const WRITE_PERIOD: Duration = Duration::from_millis(100);

/// Between two times that the database is put on the disk ...
const PERSIST_PERIOD: Duration = Duration::from_secs(5);

/// ... unless so much was written before.
const PERSIST_BYTES: usize = 64 << 20;

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
    /// Starts it.
    pub fn start(published: Arc<Published>, flushed: FlushedIndex) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("flush".to_owned())
            .spawn(move || {
                if let Err(error) = run(&published, &flushed, &stopped) {
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
    stopped: &mpsc::Receiver<()>,
) -> Result<(), StoreError> {
    let mut persisted_at = clock::now();
    let mut written_bytes = 0;
    loop {
        let stop = match stopped.recv_timeout(WRITE_PERIOD) {
            Err(RecvTimeoutError::Timeout) => false,
            Ok(()) | Err(RecvTimeoutError::Disconnected) => true,
        };
        written_bytes += pending_bytes(published);
        let db = write_behind(|with| with(published.lock().state_mut().store_mut()))?;
        let now = clock::now();
        if stop && pending_bytes(published) > 0 {
            // One batch was still on its way when the last one was frozen.
            write_behind(|with| with(published.lock().state_mut().store_mut()))?;
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

fn pending_bytes(published: &Published) -> usize {
    published.lock().state().store().pending_bytes()
}

fn is_due(now: Instant, persisted_at: Instant, written_bytes: usize) -> bool {
    let age = now.saturating_duration_since(persisted_at);
    written_bytes >= PERSIST_BYTES || age >= PERSIST_PERIOD
}
