//! The leader of a partition during one leader epoch: what its followers hold, who is in sync, what is
//! committed. A new leader epoch is a new value.
//!
//! Called by `hosted::partition` under its lock. Every method takes what happened and the time; what is to
//! be done about the ISR comes out of [`Leader::propose`], and goes back in by [`Leader::on_write_end`].
//!
//! With `flush` per append (fsync mode), `counted_end` is the flushed end of the log: the leader's records
//! count once they are on its disk, and its followers flush before their next fetch tells their end.

mod follower;

#[cfg(test)]
mod tests;

use super::high_watermark;
use super::isr::{Isr, IsrState, Proposal, WriteEnd};
use super::state::PartitionState;
use crate::mutants::{self, Mutant};
use follower::Follower;
use std::collections::BTreeMap;
use thiserror::Error;

/// A follower's fetch, as far as the rules care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerFetch {
    /// Who fetches.
    pub broker: i32,
    /// Under which of its epochs; `None` from followers that don't say (they never join the ISR).
    pub broker_epoch: Option<i64>,
    /// Its log end: it holds every record below.
    pub fetch_offset: i64,
}

/// Why a follower's fetch is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RefusedFetch {
    /// Not assigned, as far as is known here.
    #[error("broker {0} is no replica of this partition")]
    NotAReplica(i32),
    /// The fetch is of an earlier life of that broker.
    #[error("broker {broker} fetches under epoch {told}, its newest is {known}")]
    StaleBrokerEpoch {
        /// Who fetches.
        broker: i32,
        /// Epoch in the fetch.
        told: i64,
        /// Highest epoch seen of that broker.
        known: i64,
    },
}

/// What became of the last records: whether `acks=all` may be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acks {
    /// Not yet committed.
    Pending,
    /// Committed, with enough replicas in sync.
    Enough,
    /// Committed while fewer than `min.insync.replicas` were in sync.
    TooFew,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Leader {
    me: i32,
    leader_epoch: i32,
    isr: IsrState,
    followers: BTreeMap<i32, Follower>,
    /// Log end when this leadership began. A follower below it may hold records this leader never had.
    epoch_start: i64,
    /// Invariant: `high_watermark <= counted_end <= log_end`.
    log_end: i64,
    counted_end: i64,
    /// Never goes back.
    high_watermark: i64,
    /// `replica.lag.time.max.ms`.
    lag_max_ms: i64,
}

/// How a leadership begins.
#[derive(Debug, Clone, Copy)]
pub struct Beginning {
    /// This broker.
    pub me: i32,
    /// End of its log.
    pub log_end: i64,
    /// What of it counts: the flushed end in fsync mode, else the same.
    pub counted_end: i64,
    /// The high watermark it knew as a follower, or from its checkpoint.
    pub high_watermark: i64,
    /// `replica.lag.time.max.ms`.
    pub lag_max_ms: i64,
}

impl Leader {
    /// Begins the leadership that `state` gives this broker. Members of the ISR get the full lag time to
    /// make themselves heard.
    #[must_use]
    pub fn begin(state: &PartitionState, with: Beginning, now_ms: i64) -> Self {
        let others = state.replicas.iter().filter(|id| **id != with.me);
        let followers = others
            .map(|id| (*id, Follower::new(state.isr.contains(*id), now_ms)))
            .collect();
        let mut leader = Self {
            me: with.me,
            leader_epoch: state.leader_epoch,
            isr: IsrState::new(state.isr.clone(), state.partition_epoch),
            followers,
            epoch_start: with.log_end,
            log_end: with.log_end,
            counted_end: with.counted_end.min(with.log_end),
            high_watermark: with.high_watermark.min(with.counted_end).min(with.log_end),
            lag_max_ms: with.lag_max_ms,
        };
        leader.advance(now_ms);
        leader
    }

    /// The number of this leadership.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.leader_epoch
    }

    /// Version of the state's znode this leader knows.
    #[must_use]
    pub fn partition_epoch(&self) -> i32 {
        self.isr.partition_epoch()
    }

    /// The ISR as written.
    #[must_use]
    pub fn isr(&self) -> &Isr {
        self.isr.committed()
    }

    /// All replicas, this one included.
    #[must_use]
    pub fn replica_count(&self) -> usize {
        self.followers.len() + 1
    }

    /// Records that the follower which is most behind lacks, as far as its fetches tell.
    #[must_use]
    pub fn most_behind(&self) -> i64 {
        let ends = self.followers.values().filter_map(Follower::end);
        ends.min().map_or(0, |end| (self.log_end - end).max(0))
    }

    /// Every record below is on every in-sync replica.
    #[must_use]
    pub fn high_watermark(&self) -> i64 {
        self.high_watermark
    }

    /// The high watermark once it is sure to be no less than any former leader's; before that, consumers
    /// asking for the end must wait.
    #[must_use]
    pub fn settled_high_watermark(&self) -> Option<i64> {
        (self.high_watermark >= self.epoch_start).then_some(self.high_watermark)
    }

    /// Whether as many replicas are in sync as `min.insync.replicas` wants.
    #[must_use]
    pub fn has_in_sync(&self, min_in_sync: usize) -> bool {
        self.isr.committed().len() >= min_in_sync
    }

    /// What to tell a producer that waits for every record below `offset` to be committed.
    #[must_use]
    pub fn acks(&self, offset: i64, min_in_sync: usize) -> Acks {
        match self.high_watermark >= offset {
            false => Acks::Pending,
            true if self.has_in_sync(min_in_sync) => Acks::Enough,
            true => Acks::TooFew,
        }
    }

    /// The log grew, or more of it was flushed, or only time passed: a follower about to join that fell silent is no
    /// longer waited for. Returns whether the high watermark moved.
    pub fn on_log_end(&mut self, log_end: i64, counted_end: i64, now_ms: i64) -> bool {
        if log_end > self.log_end {
            for follower in self.followers.values_mut() {
                follower.on_append(self.log_end, now_ms);
            }
        }
        self.log_end = self.log_end.max(log_end);
        self.counted_end = self.counted_end.max(counted_end).min(self.log_end);
        self.advance(now_ms)
    }

    /// A follower fetches: it holds everything below its fetch offset. Returns whether the high watermark
    /// moved.
    pub fn on_fetch(&mut self, fetch: FollowerFetch, now_ms: i64) -> Result<bool, RefusedFetch> {
        let refused = RefusedFetch::NotAReplica(fetch.broker);
        let follower = self.followers.get_mut(&fetch.broker).ok_or(refused)?;
        if let (Some(told), Some(known)) = (fetch.broker_epoch, follower.broker_epoch())
            && told < known
            && !mutants::is(Mutant::BrokerEpochUnchecked)
        {
            return Err(RefusedFetch::StaleBrokerEpoch {
                broker: fetch.broker,
                told,
                known,
            });
        }
        follower.on_fetch(fetch, self.log_end, now_ms);
        Ok(self.advance(now_ms))
    }

    /// An image shows who is registered, by id and epoch, and who of them asks to be relieved: the controller takes
    /// these out of the ISR, so they must not join it.
    pub fn on_brokers(
        &mut self,
        epoch_of: impl Fn(i32) -> Option<i64>,
        stopping: impl Fn(i32) -> bool,
    ) {
        for (id, follower) in &mut self.followers {
            follower.set_registered(epoch_of(*id), stopping(*id));
        }
    }

    /// An image shows the state of this same leader epoch. Returns whether the high watermark moved.
    pub fn adopt(&mut self, state: &PartitionState, now_ms: i64) -> bool {
        assert_eq!(
            state.leader_epoch, self.leader_epoch,
            "another epoch is another leadership"
        );
        self.isr.adopt(&state.isr, state.partition_epoch);
        let assigned = |id: &i32| *id != self.me && state.replicas.contains(id);
        self.followers.retain(|id, _| assigned(id));
        for id in state.replicas.iter().filter(|id| assigned(id)) {
            self.followers
                .entry(*id)
                .or_insert_with(|| Follower::new(false, now_ms));
        }
        self.advance(now_ms)
    }

    /// A change of the ISR to be written now, if one is due: those that lag leave, those that caught up
    /// join, those that came back under a new epoch are named by it.
    pub fn propose(&mut self, now_ms: i64) -> Option<Proposal> {
        if !self.isr.is_settled() {
            return self.isr.repeat();
        }
        let mut isr = self.isr.committed().clone();
        for (id, follower) in &self.followers {
            let in_sync = !follower.lags(self.log_end, self.lag_max_ms, now_ms);
            match (isr.epoch_of(*id), self.may_join(follower)) {
                (Some(_), _) if !in_sync => isr.remove(*id),
                (known, Some(epoch)) if in_sync && known != Some(epoch) => isr.insert(*id, epoch),
                _ => {}
            }
        }
        let gone: Vec<i32> = isr
            .ids()
            .into_iter()
            .filter(|id| !self.is_replica(*id))
            .collect();
        gone.into_iter().for_each(|id| isr.remove(id));
        (isr != *self.isr.committed()).then(|| self.isr.propose(isr, self.leader_epoch))
    }

    /// Why each replica that a proposal takes out of the ISR, or puts into it, leaves or joins; by id.
    #[must_use]
    pub fn reasons(&self, proposal: &Proposal) -> Vec<(i32, &'static str)> {
        let committed = self.isr.committed();
        let left = committed
            .ids()
            .into_iter()
            .filter(|id| !proposal.isr.contains(*id));
        let left = left.map(|id| match self.followers.get(&id) {
            None => (id, "no longer a replica"),
            Some(follower) if follower.is_gone() => (id, "gone"),
            Some(_) => (id, "did not keep up"),
        });
        let joined =
            proposal
                .isr
                .members()
                .filter_map(|(id, epoch)| match committed.epoch_of(id) {
                    None => Some((id, "caught up")),
                    Some(known) if known != epoch => Some((id, "came back and caught up")),
                    Some(_) => None,
                });
        left.chain(joined).collect()
    }

    /// The write of a proposal ended. Returns whether the high watermark moved.
    pub fn on_write_end(
        &mut self,
        expected_partition_epoch: i32,
        end: WriteEnd,
        now_ms: i64,
    ) -> bool {
        self.isr.on_write_end(expected_partition_epoch, end);
        self.advance(now_ms)
    }

    /// The epoch under which a follower could join: its own, told by its fetch and the registration alike,
    /// once it holds all that is committed and all this leader began with.
    fn may_join(&self, follower: &Follower) -> Option<i64> {
        let end = follower.end()?;
        let epoch = follower.eligible_epoch()?;
        (end >= self.high_watermark && end >= self.epoch_start).then_some(epoch)
    }

    fn is_replica(&self, broker: i32) -> bool {
        broker == self.me || self.followers.contains_key(&broker)
    }

    /// Counts anew; returns whether the high watermark moved.
    fn advance(&mut self, now_ms: i64) -> bool {
        let maximal = self.isr.maximal().filter(|id| *id != self.me);
        let counted = maximal.map(|id| self.followers.get(&id).and_then(Follower::end));
        // A follower about to join is waited for too: under steady appends it would never catch up with a
        // high watermark that only the leader's own end holds back.
        let joining = self
            .followers
            .values()
            .filter(|_| !mutants::is(Mutant::ProposedIsrIgnored))
            .filter(|f| f.eligible_epoch().is_some() && f.is_caught_up(self.lag_max_ms, now_ms));
        let ends = counted.chain(joining.map(Follower::end));
        let next = high_watermark::advance(self.high_watermark, self.counted_end, ends);
        std::mem::replace(&mut self.high_watermark, next) != next
    }
}
