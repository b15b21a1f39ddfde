//! One partition on this broker: its log, the part played in it, and who waits for it.
//!
//! The part follows the image ([`Partition::apply`]); what each part does is in `leading` and `following`.
//!
//! Invariants: records are appended only under the lock that holds the part, as leader of the epoch in it or
//! as follower of it; `high_watermark <= log_end_offset`; whatever may end someone's wait is followed by
//! one [`WakeList::wake`].

use super::room::FullDirs;
use super::wake::WakeList;
use super::{Certainty, FatalHook, HostConfig, StateWriter};
use crate::clock;
use crate::log::{AppendError, FileError, Log, LogError, ReadError, TopicId, TopicPartition};
use crate::metadata::Image;
use crate::metrics::{Metrics, Traffic};
use crate::mutants::{self, Mutant};
use crate::replica::leader::{Beginning, Leader, RefusedFetch};
use crate::replica::state::{Part, PartitionState, is_old_news};
use crate::spans::Followed;
use crate::tasks;
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::time::Instant;
use thiserror::Error;
use tokio::runtime::Handle;
use tracing::info;

/// Why a partition did not do what was asked.
#[derive(Debug, Clone, Error)]
pub enum PartitionError {
    /// No such partition on this broker, as far as its image tells.
    #[error("unknown topic or partition")]
    Unknown,
    /// No topic of this id, as far as the image tells.
    #[error("unknown topic id")]
    UnknownTopicId,
    /// The topic of that name has another id.
    #[error("the topic has another id")]
    WrongTopicId,
    /// Its log could not be opened.
    #[error("offline: {0}")]
    Offline(String),
    /// This broker does not lead it.
    #[error("not the leader")]
    NotLeader,
    /// The caller knows an older leader epoch.
    #[error("leader epoch {told} is older than {current}")]
    FencedLeaderEpoch {
        /// What the caller named.
        told: i32,
        /// What is known here.
        current: i32,
    },
    /// The caller knows a newer leader epoch: an image is still on its way.
    #[error("leader epoch {told} is not known yet, {current} is")]
    UnknownLeaderEpoch {
        /// What the caller named.
        told: i32,
        /// What is known here.
        current: i32,
    },
    /// `acks=all` with too few replicas in sync; nothing was appended.
    #[error("{in_sync} replicas in sync, {wanted} wanted")]
    NotEnoughReplicas {
        /// Size of the ISR.
        in_sync: usize,
        /// `min.insync.replicas`.
        wanted: usize,
    },
    /// Appended and committed, but by then too few replicas were in sync.
    #[error("appended, but fewer than {wanted} replicas are in sync")]
    NotEnoughReplicasAfterAppend {
        /// `min.insync.replicas`.
        wanted: usize,
    },
    /// Not committed in time; it may still be.
    #[error("not committed in time")]
    TimedOut,
    /// The end can't be told before the new leader's high watermark has caught up with its former one.
    #[error("the high watermark has not caught up since the election")]
    OffsetNotAvailable,
    /// The leader has no end for the epoch a follower told.
    #[error("no end known for leader epoch {0}")]
    UnknownEpochEnd(i32),
    /// A follower's fetch was refused.
    #[error(transparent)]
    Follower(#[from] RefusedFetch),
    /// The log refused the records.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The log could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The log could not be changed.
    #[error(transparent)]
    Log(#[from] LogError),
}

impl PartitionError {
    /// Whether a full disk is the reason.
    #[must_use]
    pub fn is_no_space(&self) -> bool {
        match self {
            Self::Append(error) => error.no_space().is_some(),
            Self::Log(error) => error.no_space().is_some(),
            _ => false,
        }
    }
}

/// What all partitions share.
pub(super) struct Host {
    pub(super) config: HostConfig,
    pub(super) ensemble: Arc<dyn StateWriter>,
    pub(super) fatal: FatalHook,
    pub(super) runtime: Handle,
    /// Zero of the times in `replica`.
    pub(super) started: Instant,
    /// Log directories without room.
    pub(super) full: FullDirs,
    pub(super) metrics: Arc<Metrics>,
}

impl Host {
    pub(super) fn now_ms(&self) -> i64 {
        let passed = clock::now().saturating_duration_since(self.started);
        i64::try_from(passed.as_millis()).unwrap_or(i64::MAX)
    }

    /// Passes a result on; before that, ends the process if it says that a log can't be trusted, and takes note if
    /// it says that a disk is full.
    pub(super) fn check<T, E: Storage>(&self, result: Result<T, E>) -> Result<T, E> {
        if let Err(error) = &result {
            if error.is_fatal() {
                (self.fatal)(&error.to_string());
            }
            if let Some(refused) = error.no_space() {
                self.full.refused(refused, clock::now());
            }
        }
        result
    }

    /// The registration is not known to have ended.
    pub(super) fn may_lead(&self) -> bool {
        self.ensemble.certainty() != Certainty::Expired
    }

    /// The epoch this broker may lead under.
    pub(super) fn leading_broker_epoch(&self) -> Option<i64> {
        self.ensemble.broker_epoch().filter(|_| self.may_lead())
    }
}

/// Errors of the log that may mean the end of the process, or a full disk.
pub(super) trait Storage: std::fmt::Display {
    fn is_fatal(&self) -> bool;
    fn no_space(&self) -> Option<&FileError>;
}

macro_rules! storage {
    ($($error:ty),*) => {$(
        impl Storage for $error {
            fn is_fatal(&self) -> bool {
                <$error>::is_fatal(self)
            }

            fn no_space(&self) -> Option<&FileError> {
                <$error>::no_space(self)
            }
        }
    )*};
}

storage!(
    AppendError,
    LogError,
    ReadError,
    crate::log::OpenError,
    crate::log::ManagerError
);

/// The part, with what it needs to know.
#[derive(Debug)]
pub(super) enum Role {
    Leading(Box<Leader>),
    Following { leader: i32 },
    Waiting,
}

/// What the lock guards.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) role: Role,
    pub(super) leader_epoch: i32,
    partition_epoch: i32,
    /// The high watermark while not leading; a leader counts its own from there.
    pub(super) high_watermark: i64,
    /// Whether a flush is under way on the blocking pool.
    pub(super) flushing: bool,
    /// Deleted, or the broker stops: no part is taken any more.
    stopped: bool,
}

impl Inner {
    /// The leader of the epoch the caller knows (-1: it does not say).
    pub(super) fn leader(&mut self, told_epoch: i32) -> Result<&mut Leader, PartitionError> {
        let current = self.leader_epoch;
        match told_epoch {
            _ if mutants::is(Mutant::LeaderEpochUnchecked) => {}
            -1 => {}
            told if told < current => {
                return Err(PartitionError::FencedLeaderEpoch { told, current });
            }
            told if told > current => {
                return Err(PartitionError::UnknownLeaderEpoch { told, current });
            }
            _ => {}
        }
        match &mut self.role {
            Role::Leading(leader) => Ok(leader),
            Role::Following { .. } | Role::Waiting => Err(PartitionError::NotLeader),
        }
    }

    pub(super) fn high_watermark(&self) -> i64 {
        match &self.role {
            Role::Leading(leader) => leader.high_watermark(),
            Role::Following { .. } | Role::Waiting => self.high_watermark,
        }
    }
}

/// See the module.
pub struct Partition {
    pub(super) name: TopicPartition,
    topic_id: TopicId,
    pub(super) log: Arc<Log>,
    pub(super) host: Arc<Host>,
    inner: Mutex<Inner>,
    pub(super) waiters: WakeList,
    /// Counted for its topic.
    pub(super) traffic: Arc<Traffic>,
    /// Batches in wait for its replicas, of those that are followed.
    pub(super) followed: Arc<Followed>,
}

impl std::fmt::Debug for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Partition({})", self.name)
    }
}

impl Partition {
    /// A partition that plays no part yet. `high_watermark` comes from the checkpoint.
    pub(super) fn new(
        name: TopicPartition,
        topic_id: TopicId,
        log: Arc<Log>,
        high_watermark: i64,
        host: Arc<Host>,
    ) -> Self {
        let high_watermark = high_watermark.clamp(log.log_start_offset(), log.log_end_offset());
        let inner = Inner {
            role: Role::Waiting,
            leader_epoch: -1,
            partition_epoch: -1,
            high_watermark,
            flushing: false,
            stopped: false,
        };
        Self {
            traffic: host.metrics.topic(&name.topic),
            name,
            topic_id,
            log,
            host,
            inner: Mutex::new(inner),
            waiters: WakeList::default(),
            followed: Arc::default(),
        }
    }

    /// Topic and number.
    #[must_use]
    pub fn name(&self) -> &TopicPartition {
        &self.name
    }

    /// Id of its topic.
    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// Its log.
    #[must_use]
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Every record below is committed, as far as this broker knows.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.lock().high_watermark()
    }

    /// The epoch in which this broker leads it now.
    #[must_use]
    pub fn leading_epoch(&self) -> Option<i32> {
        let inner = self.lock();
        matches!(inner.role, Role::Leading(_)).then_some(inner.leader_epoch)
    }

    /// The newest leader epoch in which a part was taken; -1 before that.
    pub(super) fn known_epoch(&self) -> i32 {
        self.lock().leader_epoch
    }

    /// Whom it is copied from, and in which leader epoch.
    #[must_use]
    pub fn following(&self) -> Option<(i32, i32)> {
        let inner = self.lock();
        match inner.role {
            Role::Following { leader } => Some((leader, inner.leader_epoch)),
            Role::Leading(_) | Role::Waiting => None,
        }
    }

    /// Batches in wait for its replicas, of those that are followed.
    #[must_use]
    pub fn followed(&self) -> &Arc<Followed> {
        &self.followed
    }

    /// Who hears when its offsets or its part change.
    #[must_use]
    pub fn waiters(&self) -> &WakeList {
        &self.waiters
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// Whether every append is flushed before it counts.
    pub(super) fn in_fsync_mode(&self) -> bool {
        self.log.config().flush_messages == 1
    }

    /// What of the log counts for a leader.
    pub(super) fn counted_end(&self) -> i64 {
        match self.in_fsync_mode() && !mutants::is(Mutant::AckBeforeSync) {
            true => self.log.flushed_end_offset(),
            false => self.log.log_end_offset(),
        }
    }

    /// Takes the part that an image gives this broker. Old news changes nothing.
    pub(super) fn apply(
        self: &Arc<Self>,
        state: &PartitionState,
        part: Part,
        image: &Image,
    ) -> Result<(), PartitionError> {
        let epoch_of = |id| image.broker_epoch(id);
        let stopping = |id| image.is_stopping(id);
        let mut inner = self.lock();
        let told = (state.leader_epoch, state.partition_epoch);
        if inner.stopped || is_old_news(told, (inner.leader_epoch, inner.partition_epoch)) {
            return Ok(());
        }
        let now_ms = self.host.now_ms();
        let same_epoch = state.leader_epoch == inner.leader_epoch;
        let high_watermark = inner.high_watermark();
        match (&mut inner.role, part) {
            (Role::Leading(leader), Part::Lead) if same_epoch => {
                leader.on_brokers(epoch_of, stopping);
                leader.adopt(state, now_ms);
            }
            (_, Part::Lead) => {
                self.host.check(self.log.assign_epoch(state.leader_epoch))?;
                if mutants::is(Mutant::ProducersForgotten) {
                    self.log.expire_producers(i64::MAX);
                }
                let with = Beginning {
                    me: self.host.config.broker_id,
                    log_end: self.log.log_end_offset(),
                    counted_end: self.counted_end(),
                    high_watermark,
                    lag_max_ms: i64::try_from(self.host.config.replica.lag_time_max.as_millis())
                        .unwrap_or(i64::MAX),
                };
                let mut leader = Leader::begin(state, with, now_ms);
                leader.on_brokers(epoch_of, stopping);
                self.host.metrics.leaderships.one();
                info!(partition = %self.name, leader_epoch = state.leader_epoch, log_end = with.log_end, "leading");
                inner.role = Role::Leading(Box::new(leader));
            }
            (_, Part::Follow { leader }) => {
                if !same_epoch {
                    info!(partition = %self.name, leader_epoch = state.leader_epoch, leader, "following");
                    if mutants::is(Mutant::TruncateToHighWatermark) {
                        self.host.check(self.log.truncate_to(high_watermark))?;
                    }
                }
                inner.role = Role::Following { leader };
            }
            (_, Part::Wait) => inner.role = Role::Waiting,
        }
        inner.high_watermark = high_watermark;
        inner.leader_epoch = state.leader_epoch;
        inner.partition_epoch = state.partition_epoch;
        self.flush_if_due(&mut inner);
        self.change_isr_if_due(&mut inner);
        drop(inner);
        self.waiters.wake();
        Ok(())
    }

    /// The registration ended: whatever part it gave, it is over.
    pub(super) fn fence(&self) {
        self.leave(false);
    }

    /// Takes no part any more, for good.
    pub(super) fn stop(&self) {
        self.leave(true);
    }

    fn leave(&self, for_good: bool) {
        let mut inner = self.lock();
        inner.high_watermark = inner.high_watermark();
        inner.role = Role::Waiting;
        inner.stopped |= for_good;
        drop(inner);
        self.waiters.wake();
    }

    /// Flushes on the blocking pool if the topic's settings want it now. One flush at a time; each covers
    /// all that was appended before it began.
    pub(super) fn flush_if_due(self: &Arc<Self>, inner: &mut Inner) {
        let unflushed = self.log.log_end_offset() - self.log.flushed_end_offset();
        if inner.flushing || unflushed < self.log.config().flush_messages.max(1) {
            return;
        }
        inner.flushing = true;
        let partition = Arc::clone(self);
        tasks::begin_blocking(&self.host.runtime, move || partition.flush());
    }

    fn flush(self: Arc<Self>) {
        let flushed = self.host.check(self.flush_timed());
        let mut inner = self.lock();
        inner.flushing = false;
        // A log that is closed or deleted has nothing more to say.
        if flushed.is_ok() {
            self.on_log_end(&mut inner);
            self.flush_if_due(&mut inner);
        }
        drop(inner);
        self.waiters.wake();
    }

    /// Tells the leader, if this broker is it, how far its log reaches, and what time it is. Returns whether the high
    /// watermark moved.
    pub(super) fn on_log_end(&self, inner: &mut Inner) -> bool {
        let (log_end, counted_end, now_ms) = (
            self.log.log_end_offset(),
            self.counted_end(),
            self.host.now_ms(),
        );
        match &mut inner.role {
            Role::Leading(leader) => leader.on_log_end(log_end, counted_end, now_ms),
            Role::Following { .. } | Role::Waiting => false,
        }
    }
}
