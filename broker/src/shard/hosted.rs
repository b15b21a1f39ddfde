//! One shard: the groups of one partition, under one leader epoch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::writer::{self, Appending};
use super::{Backing, Shards};
use crate::group::offsets::StoredOffset;
use crate::group::{
    AppendFailure, Committed, Effect, GroupConfig, GroupError, Groups, Joined, Now, PartitionName,
    Synced, Ticket,
};
use crate::tasks;

/// No broker's image is older than this while it leads, for all practical purposes.
const IMAGE_LAG_MS: i64 = 60_000;

/// ```text
/// Loading ──▶ Serving ──▶ GivenUp
///    └───────────────────────▲
/// ```
enum Phase {
    /// Its log is being read.
    Loading,
    /// Its groups are served.
    Serving(Groups),
    /// Leadership went; nothing leads out of here.
    GivenUp,
}

/// A request that waits.
pub(super) enum Waiter {
    Join(oneshot::Sender<Joined>),
    Sync(oneshot::Sender<Result<Synced, GroupError>>),
    Commit(oneshot::Sender<Vec<Committed>>),
    Delete(oneshot::Sender<Result<(), GroupError>>),
}

struct State {
    phase: Phase,
    /// Topics deleted while the log was being read.
    gone: BTreeSet<String>,
    waiters: BTreeMap<Ticket, Waiter>,
}

/// See the module.
pub(super) struct Shard {
    partition: i32,
    leader_epoch: i32,
    owner: Shards,
    state: Mutex<State>,
    /// Appends in the order of the log, for the writer to wait for.
    appends: mpsc::UnboundedSender<Appending>,
}

impl Shard {
    /// A shard that is about to be loaded.
    pub(super) fn begin(partition: i32, leader_epoch: i32, owner: Shards) -> Arc<Self> {
        let (appends, queue) = mpsc::unbounded_channel();
        let shard = Arc::new(Self {
            partition,
            leader_epoch,
            owner,
            state: Mutex::new(State {
                phase: Phase::Loading,
                gone: BTreeSet::new(),
                waiters: BTreeMap::new(),
            }),
            appends,
        });
        tasks::spawn(writer::run(Arc::downgrade(&shard), queue));
        shard
    }

    pub(super) fn partition(&self) -> i32 {
        self.partition
    }

    pub(super) fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    pub(super) fn backing(&self) -> Arc<dyn Backing> {
        self.owner.shared.backing.clone()
    }

    pub(super) fn now(&self) -> Now {
        self.owner.now()
    }

    /// The log has been read: serves `groups` from now on.
    pub(super) fn serve(&self, mut groups: Groups) {
        groups.loaded(self.now());
        let mut state = self.state.lock();
        let mut gone = BTreeSet::new();
        if matches!(state.phase, Phase::Loading) {
            state.phase = Phase::Serving(groups);
            gone = std::mem::take(&mut state.gone);
        }
        drop(state);
        self.owner.shared.deadlines.notify_one();
        self.forget_topics(&gone);
        self.forget_missing();
    }

    /// Forgets what was committed of topics that were deleted.
    pub(super) fn forget_topics(&self, topics: &BTreeSet<String>) {
        let mut state = self.state.lock();
        if matches!(state.phase, Phase::Loading) {
            state.gone.extend(topics.iter().cloned());
        }
        drop(state);
        if !topics.is_empty() {
            self.change(|groups, _, _, out| {
                groups.forget_offsets(|partition, _| topics.contains(&partition.topic), out);
            });
        }
    }

    /// Forgets what was committed of topics that are not there, because they went while nobody served this group.
    /// What was committed lately stays for now: a former leader may have seen a newer image than this broker.
    pub(super) fn forget_missing(&self) {
        let backing = self.backing();
        self.change(|groups, now, _, out| {
            let missing = |partition: &PartitionName, stored: &StoredOffset| {
                stored.commit_ms < now.wall_ms - IMAGE_LAG_MS && backing.is_gone(&partition.topic)
            };
            groups.forget_offsets(missing, out);
        });
    }

    pub(super) fn is_loading(&self) -> bool {
        matches!(self.state.lock().phase, Phase::Loading)
    }

    /// Leadership went: whoever waits is told so.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock();
        let phase = std::mem::replace(&mut state.phase, Phase::GivenUp);
        if let Phase::Serving(mut groups) = phase {
            let mut out = Vec::new();
            groups.abandon(&mut out);
            for effect in out {
                state.answer(effect);
            }
        }
        // Commits on their way may yet succeed; dropping the senders says "not the coordinator".
        state.waiters.clear();
    }

    /// When its groups next need attention, monotonic.
    pub(super) fn next_deadline_ms(&self) -> Option<i64> {
        match &self.state.lock().phase {
            Phase::Serving(groups) => groups.next_deadline_ms(),
            Phase::Loading | Phase::GivenUp => None,
        }
    }

    /// Looks at the groups.
    pub(super) fn read<T>(&self, look: impl FnOnce(&Groups) -> T) -> Result<T, GroupError> {
        match &self.state.lock().phase {
            Phase::Serving(groups) => Ok(look(groups)),
            Phase::Loading => Err(GroupError::LoadInProgress),
            Phase::GivenUp => Err(GroupError::NotCoordinator),
        }
    }

    /// Lets the groups decide something. `waiter` waits under `ticket`.
    pub(super) fn decide(
        &self,
        waiter: Option<(Ticket, Waiter)>,
        decide: impl FnOnce(&mut Groups, Now, &GroupConfig, &mut Vec<Effect>),
    ) -> Result<(), GroupError> {
        let now = self.now();
        let mut state = self.state.lock();
        let groups = match &mut state.phase {
            Phase::Serving(groups) => groups,
            Phase::Loading => return Err(GroupError::LoadInProgress),
            Phase::GivenUp => return Err(GroupError::NotCoordinator),
        };
        let before = groups.next_deadline_ms();
        let mut out = Vec::new();
        decide(groups, now, &self.owner.shared.config, &mut out);
        let after = groups.next_deadline_ms();
        if let Some((ticket, waiter)) = waiter {
            state.waiters.insert(ticket, waiter);
        }
        self.perform(&mut state, out, now);
        drop(state);
        if after.is_some_and(|at| before.is_none_or(|b| at < b)) {
            self.owner.shared.deadlines.notify_one();
        }
        Ok(())
    }

    /// [`Shard::decide`] for what nobody waits for; nothing happens unless it serves.
    pub(super) fn change(
        &self,
        change: impl FnOnce(&mut Groups, Now, &GroupConfig, &mut Vec<Effect>),
    ) {
        let _ = self.decide(None, change);
    }

    /// Appends and answers, in order, under the lock.
    fn perform(&self, state: &mut State, effects: Vec<Effect>, now: Now) {
        for effect in effects {
            match effect {
                Effect::Append { records, then } => {
                    let outcome = match writer::encode(&records, now.wall_ms) {
                        Ok(batch) => self.append(batch),
                        Err(failure) => futures::future::ready(Err(failure)).boxed(),
                    };
                    let _ = self.appends.send(Appending { then, outcome });
                }
                answer => state.answer(answer),
            }
        }
    }

    fn append(
        &self,
        batch: Bytes,
    ) -> futures::future::BoxFuture<'static, Result<(), AppendFailure>> {
        self.owner
            .shared
            .backing
            .append(self.partition, self.leader_epoch, batch)
    }
}

impl State {
    fn answer(&mut self, effect: Effect) {
        // A waiter whose client is gone no longer listens; that is all right.
        match effect {
            Effect::Joined(ticket, answer) => {
                if let Some(Waiter::Join(waiter)) = self.waiters.remove(&ticket) {
                    let _ = waiter.send(answer);
                }
            }
            Effect::Synced(ticket, answer) => {
                if let Some(Waiter::Sync(waiter)) = self.waiters.remove(&ticket) {
                    let _ = waiter.send(answer);
                }
            }
            Effect::Committed(ticket, answer) => {
                if let Some(Waiter::Commit(waiter)) = self.waiters.remove(&ticket) {
                    let _ = waiter.send(answer);
                }
            }
            Effect::Deleted(ticket, answer) => {
                if let Some(Waiter::Delete(waiter)) = self.waiters.remove(&ticket) {
                    let _ = waiter.send(answer);
                }
            }
            Effect::Append { .. } => unreachable!("appends are performed, not answered"),
        }
    }
}
