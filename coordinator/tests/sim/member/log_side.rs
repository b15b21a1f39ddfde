//! The log thread: whatever is queued becomes one record and one sync. Also the watch over the disk's space.

use std::collections::VecDeque;

use zweig_coordinator::consensus::LiveSession;
use zweig_coordinator::consensus::core::{Install, Persist};
use zweig_coordinator::consensus::node::NodeInput;
use zweig_coordinator::consensus::pending::Pending;
use zweig_coordinator::storage::raft_log::{Ballast, LogError, MemoryDisk, RaftLog};

use super::Member;
use crate::agenda::What;
use crate::env::Env;
use crate::fault::Step;

const BALLAST_BYTES: u64 = 32 << 10;
const WATERMARK_BYTES: u64 = 48 << 10;
/// How often the disk's space is looked at.
const SPACE_US: u64 = 1_000_000;

pub enum LogWork {
    Persist(Vec<Persist>),
    Cut(u64),
    Reset(Install, Vec<LiveSession>, u64),
    /// The mutant: the state is not there yet.
    ResetEarly(Install),
}

pub struct LogSide {
    log: RaftLog<MemoryDisk>,
    pub queue: VecDeque<LogWork>,
    /// Taken, and not yet on the disk.
    busy: Option<Vec<LogWork>>,
    ballast: Ballast,
    low: bool,
}

impl LogSide {
    pub fn new(log: RaftLog<MemoryDisk>) -> Self {
        Self {
            log,
            queue: VecDeque::new(),
            busy: None,
            ballast: Ballast::new(BALLAST_BYTES, WATERMARK_BYTES),
            low: false,
        }
    }

    /// All that it was asked to sync is synced.
    pub fn is_idle(&self) -> bool {
        self.busy.is_none() && self.queue.is_empty()
    }

    /// The process ends in the middle of what the thread does: before some sync of it.
    pub fn interrupt(mut self, env: &mut Env, disk: &MemoryDisk) {
        let Some(work) = self.busy.take() else { return };
        disk.stop_before_sync(1 + env.chance.below(3) as u32);
        let mut pending = Pending::default();
        for job in work {
            let done = match job {
                LogWork::Persist(list) => {
                    list.into_iter().for_each(|persist| pending.add(persist));
                    Ok(())
                }
                LogWork::Cut(index) => pending
                    .flush(&mut self.log)
                    .and_then(|_| self.log.cut(index)),
                LogWork::Reset(install, ..) | LogWork::ResetEarly(install) => pending
                    .flush(&mut self.log)
                    .and_then(|_| self.log.reset(install.mark.at, &install.hard_state)),
            };
            if done.is_err() {
                return;
            }
        }
        // The end comes before the sync, or behind it.
        let _ = pending.flush(&mut self.log);
    }
}

impl Member {
    /// Begins what is queued, if the thread is idle.
    pub fn log_on(&mut self, env: &mut Env) {
        let sync_us = 1_000 * self.pace.sync_ms;
        let Some(up) = &mut self.up else { return };
        if up.log.busy.is_some() || up.log.queue.is_empty() {
            return;
        }
        up.log.busy = Some(up.log.queue.drain(..).collect());
        let us = 80 + env.chance.below(sync_us.max(1));
        self.later(env, us, What::Logged);
    }

    /// What was begun is done.
    ///
    /// # Errors
    /// The process has to end.
    pub fn logged(&mut self, env: &mut Env) -> Result<(), LogError> {
        let Some(work) = self.up.as_mut().and_then(|up| up.log.busy.take()) else {
            return Ok(());
        };
        let mut pending = Pending::default();
        for job in work {
            match job {
                LogWork::Persist(list) => {
                    list.into_iter().for_each(|persist| pending.add(persist));
                }
                LogWork::Cut(index) => {
                    if !self.write(env, &mut pending)? {
                        return Ok(());
                    }
                    let Some(up) = &mut self.up else {
                        return Ok(());
                    };
                    up.log.log.cut(index)?;
                    if self.ends_at(Step::Cut) {
                        return Ok(());
                    }
                }
                LogWork::ResetEarly(install) => {
                    if !self.write(env, &mut pending)? {
                        return Ok(());
                    }
                    let Some(up) = &mut self.up else {
                        return Ok(());
                    };
                    up.log.log.reset(install.mark.at, &install.hard_state)?;
                }
                LogWork::Reset(install, sessions, digest) => {
                    if !self.write(env, &mut pending)?
                        || !self.reset(env, install, sessions, digest)?
                    {
                        return Ok(());
                    }
                }
            }
        }
        if self.write(env, &mut pending)? {
            self.log_on(env);
        }
        Ok(())
    }

    /// False when the process ends on the way.
    fn reset(
        &mut self,
        env: &mut Env,
        install: Install,
        sessions: Vec<LiveSession>,
        digest: u64,
    ) -> Result<bool, LogError> {
        let Some(up) = &mut self.up else {
            return Ok(false);
        };
        up.log.log.reset(install.mark.at, &install.hard_state)?;
        if self.ends_at(Step::LogReset) {
            return Ok(false);
        }
        let installed = NodeInput::Installed {
            mark: install.mark,
            sessions,
            digest,
        };
        self.handle(env, installed);
        Ok(true)
    }

    /// False when the process ends on the way.
    fn write(&mut self, env: &mut Env, pending: &mut Pending) -> Result<bool, LogError> {
        if pending.is_empty() {
            return Ok(true);
        }
        if self.ends_at(Step::Written) {
            self.disk.stop_before_sync(1);
            if let Some(up) = &mut self.up {
                // Written, and not synced.
                let _ = pending.flush(&mut up.log.log);
            }
            return Ok(false);
        }
        let Some(up) = &mut self.up else {
            return Ok(false);
        };
        let number = pending.flush(&mut up.log.log)?;
        if self.ends_at(Step::Synced) {
            return Ok(false);
        }
        if let Some(number) = number {
            self.handle(env, NodeInput::Persisted(number));
        }
        Ok(true)
    }

    /// Looks at the disk's space.
    ///
    /// # Errors
    /// The process has to end.
    pub fn look_at_space(&mut self, env: &mut Env) -> Result<(), LogError> {
        self.later(env, SPACE_US, What::Space);
        let Some(up) = &mut self.up else {
            return Ok(());
        };
        let spare = up.log.log.prepare_spares()?;
        let space = up.log.ballast.check(up.log.log.disk(), u64::MAX);
        let low = space.unwrap().low || !spare;
        if std::mem::replace(&mut up.log.low, low) != low {
            env.run.short += u64::from(low);
            self.handle(env, NodeInput::SpaceLow(low));
        }
        Ok(())
    }
}
