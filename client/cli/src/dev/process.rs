//! One child process: this same executable in one of its roles, its output in a log file, ended
//! with SIGTERM first. A child that ends by itself is reported, not restarted: what a newcomer
//! kills stays dead until `zweig dev` is told otherwise (`r` on the screen, or a restart).

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// How much of a log's end is looked into for its last line, and how much of that is shown.
const LAST_BYTES: u64 = 8 << 10;
const LAST_CHARS: usize = 400;

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// `zweig coordinator`.
    Coordinator(u16),
    /// `zweig broker`.
    Broker(u16),
}

impl std::fmt::Display for Role {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Coordinator(node) => write!(out, "coordinator {node}"),
            Self::Broker(id) => write!(out, "broker {id}"),
        }
    }
}

/// A role, and the process that plays it while there is one.
#[derive(Debug)]
pub struct Process {
    role: Role,
    config: PathBuf,
    log: PathBuf,
    child: Option<Child>,
    ended: Option<ExitStatus>,
    /// The length of the log when this life began.
    log_began_at: u64,
}

impl Process {
    /// Starts the role from its configuration file; output goes to `log`, appended.
    ///
    /// # Errors
    /// If the log can't be opened or the executable can't be started.
    pub fn start(role: Role, config: &Path, log: &Path) -> Result<Self> {
        let mut process = Self {
            role,
            config: config.to_owned(),
            log: log.to_owned(),
            child: None,
            ended: None,
            log_began_at: 0,
        };
        process.restart()?;
        Ok(process)
    }

    /// Starts the role again after its process ended.
    ///
    /// # Errors
    /// As [`Process::start`].
    pub fn restart(&mut self) -> Result<()> {
        let out: File = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open {}", self.log.display()))?;
        self.log_began_at = out.metadata().map_or(0, |about| about.len());
        let err = out.try_clone().context("cannot share the log file")?;
        let executable = std::env::current_exe().context("cannot find this executable")?;
        let subcommand = match self.role {
            Role::Coordinator(_) => "coordinator",
            Role::Broker(_) => "broker",
        };
        let child = Command::new(executable)
            .arg(subcommand)
            .arg("--config")
            .arg(&self.config)
            .args(["--parent", &std::process::id().to_string()])
            .stdin(Stdio::null())
            .stdout(out)
            .stderr(err)
            // Ctrl-C on the terminal reaches this process alone: it ends its children in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", self.role))?;
        self.child = Some(child);
        self.ended = None;
        Ok(())
    }

    /// What it is for.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// Its process id while it runs.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().and_then(Child::id)
    }

    /// Why it ended, out of its log, unless somebody ended it: the last line of this life that tells of an error, or else the last one if that is no ordinary
    /// line of a log (which would tell of something else).
    #[must_use]
    pub fn last_words(&self) -> Option<String> {
        let how = self.ended?;
        let asked = [Signal::TERM, Signal::INT, Signal::KILL].map(|signal| Some(signal.as_raw()));
        if how.success() || (how.code().is_none() && asked.contains(&how.signal())) {
            return None;
        }
        let mut log = File::open(&self.log).ok()?;
        let length = log.metadata().ok()?.len();
        let from = length.saturating_sub(LAST_BYTES).max(self.log_began_at);
        log.seek(SeekFrom::Start(from)).ok()?;
        let mut end = Vec::new();
        log.take(LAST_BYTES).read_to_end(&mut end).ok()?;
        let end = String::from_utf8_lossy(&end);
        let lines = || end.lines().map(str::trim).filter(|line| !line.is_empty());
        let tells = |line: &&str| {
            ["ERROR", "error:", "panicked at"]
                .iter()
                .any(|word| line.contains(word))
        };
        let ordinary = |line: &&str| {
            [" INFO ", " DEBUG "]
                .iter()
                .any(|level| line.contains(level))
        };
        let last = lines().rfind(tells);
        let last = last.or_else(|| lines().next_back().filter(|line| !ordinary(line)))?;
        Some(last.chars().take(LAST_CHARS).collect())
    }

    /// How it ended and why, as one line.
    #[must_use]
    pub fn obituary(&self) -> String {
        let how = self.ended.map_or_else(String::new, |how| how.to_string());
        let why = self
            .last_words()
            .map_or_else(String::new, |line| format!(": {line}"));
        format!(
            "{} ended: {how}{why} (log: {})",
            self.role,
            self.log.display()
        )
    }

    /// Looks whether the process has ended; true if it ended since the last look.
    pub fn look(&mut self) -> bool {
        let Some(child) = &mut self.child else {
            return false;
        };
        if let Ok(Some(status)) = child.try_wait() {
            self.child = None;
            self.ended = Some(status);
            return true;
        }
        false
    }

    /// SIGKILL, as `kill -9`; the end is seen by the next [`Process::look`].
    pub fn kill(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.start_kill();
        }
    }

    /// SIGTERM, then SIGKILL if it is still there after `patience`.
    pub async fn stop(&mut self, patience: Duration) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if let Ok(Ok(status)) = tokio::time::timeout(patience, child.wait()).await {
            self.ended = Some(status);
            return;
        }
        let _ = child.kill().await;
        self.ended = child.wait().await.ok();
    }
}
