//! SIGINT and SIGTERM, listened to from one moment on: what goes on by itself begins to listen before it
//! says anything, so that whoever reads that may end it at once.

use std::io::{Stdout, stdout};
use std::process::{exit, id};

use anyhow::Context as _;
use rustix::process::{Pid, Signal as Number, getppid, set_parent_process_death_signal};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::failure::{Code, Failure};

/// The exit code of a process that signals ended: 128 + SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// A listener; signals that come while nobody waits are not lost.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    reader: Option<AsyncFd<Stdout>>,
    parent: Option<Signal>,
}

impl Signals {
    /// Begins to listen.
    ///
    /// # Errors
    /// If the system allows no handler.
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?,
            reader: None,
            parent: None,
        })
    }

    /// As [`Signals::listen`]; that the reader of standard output has gone away (`| head`) counts as a signal too, for
    /// what may not write anything for a long time.
    ///
    /// # Errors
    /// As [`Signals::listen`].
    pub fn with_reader() -> anyhow::Result<Self> {
        let mut signals = Self::listen()?;
        // A file has no reader.
        #[allow(
            deprecated,
            reason = "sound here: standard output stays open, the same, as long as the process"
        )]
        let reader = AsyncFd::with_interest(stdout(), Interest::ERROR);
        signals.reader = reader.ok();
        Ok(signals)
    }

    /// As [`Signals::listen`]; that the parent of this process, `expected`, has ended counts as a signal too.
    ///
    /// # Errors
    /// As [`Signals::listen`], and if another process is the parent: `expected` has ended already.
    pub fn with_parent(expected: u32) -> anyhow::Result<Self> {
        let mut signals = Self::listen()?;
        // A signal of its own: it comes once for each thread of the parent, and must not count as being told twice.
        signals.parent = Some(signal(SignalKind::hangup()).context("cannot listen to SIGHUP")?);
        set_parent_process_death_signal(Some(Number::HUP)).context("cannot follow --parent")?;
        let parent = getppid().map(Pid::as_raw_nonzero);
        if parent.is_none_or(|parent| parent.get().cast_unsigned() != expected) {
            let why = format!(
                "process {expected} is not, or no longer, the parent of process {}",
                id()
            );
            return Err(Failure::error(Code::Usage, why));
        }
        Ok(signals)
    }

    /// The name of the next signal; one more after it ends the process at once.
    pub async fn told(&mut self) -> &'static str {
        let name = self.next().await;
        end_at_once_when_told_again();
        name
    }

    async fn next(&mut self) -> &'static str {
        let reader = &self.reader;
        let reader_gone = async {
            match reader {
                Some(reader) => reader.ready(Interest::ERROR).await.map(drop),
                None => std::future::pending().await,
            }
        };
        let parent = &mut self.parent;
        let parent_gone = async {
            match parent {
                Some(parent) => parent.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = reader_gone => "reader gone",
            _ = parent_gone => "parent gone",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

/// Somebody who asks twice does not want to wait for a clean end.
fn end_at_once_when_told_again() {
    if let Ok(mut again) = Signals::listen() {
        tokio::spawn(async move {
            let name = again.next().await;
            tracing::warn!(signal = name, "told twice: ending at once");
            exit(INTERRUPTED);
        });
    }
}
