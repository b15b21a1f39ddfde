//! What a leader knows of one follower.

use super::FollowerFetch;
use crate::mutants::{self, Mutant};

/// One follower during one leader epoch.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    /// Its log end; `None` until it has fetched in this leader epoch.
    end: Option<i64>,
    /// Epoch its last fetch carried.
    fetched_epoch: Option<i64>,
    /// Epoch of its registration in the last image; `None` while it is not registered.
    registered_epoch: Option<i64>,
    /// Whether it asks to be relieved: it stops, or its disk is full.
    stopping: bool,
    /// Whether an image has been looked at; before that nobody counts as unregistered.
    image_seen: bool,
    /// When it last held everything the leader had, as far as that can be told.
    caught_up_ms: Option<i64>,
    /// When its last fetch came, and the leader's end at that time.
    last_fetch: Option<(i64, i64)>,
}

impl Follower {
    /// A member of the ISR counts as caught up when the leadership begins, another one as never.
    pub(super) fn new(in_sync: bool, now_ms: i64) -> Self {
        Self {
            end: None,
            fetched_epoch: None,
            registered_epoch: None,
            stopping: false,
            image_seen: false,
            caught_up_ms: in_sync.then_some(now_ms),
            last_fetch: None,
        }
    }

    pub(super) fn end(&self) -> Option<i64> {
        self.end
    }

    /// The highest epoch known of this broker.
    pub(super) fn broker_epoch(&self) -> Option<i64> {
        self.fetched_epoch.max(self.registered_epoch)
    }

    pub(super) fn set_registered(&mut self, epoch: Option<i64>, stopping: bool) {
        self.registered_epoch = epoch;
        self.stopping = stopping;
        self.image_seen = true;
    }

    /// Takes note of a fetch. A follower counts as caught up at the time of the fetch *before* this one, if
    /// it now holds all the leader had then: this one's records are still on their way to it.
    pub(super) fn on_fetch(&mut self, fetch: FollowerFetch, leader_end: i64, now_ms: i64) {
        if fetch.fetch_offset >= leader_end {
            self.caught_up_ms = Some(now_ms);
        } else if let Some((when, end)) = self.last_fetch
            && fetch.fetch_offset >= end
        {
            self.caught_up_ms = self.caught_up_ms.max(Some(when));
        }
        self.last_fetch = Some((now_ms, leader_end));
        self.end = Some(fetch.fetch_offset);
        self.fetched_epoch = fetch.broker_epoch;
    }

    /// The leader's log, which ended there, grows. Who held all of it was caught up until now, however long ago it said so:
    /// in a fetch session it is not asked about partitions that are quiet.
    pub(super) fn on_append(&mut self, leader_end: i64, now_ms: i64) {
        if self.end == Some(leader_end) {
            self.caught_up_ms = Some(now_ms);
        }
    }

    /// The epoch under which it may join: the one it fetches under, if that is its registration's, and if it does
    /// not ask to be relieved.
    pub(super) fn eligible_epoch(&self) -> Option<i64> {
        if mutants::is(Mutant::BrokerEpochUnchecked) {
            return self.registered_epoch.or(self.fetched_epoch);
        }
        self.fetched_epoch
            .filter(|epoch| self.registered_epoch == Some(*epoch) && !self.stopping)
    }

    pub(super) fn is_caught_up(&self, lag_max_ms: i64, now_ms: i64) -> bool {
        self.caught_up_ms
            .is_some_and(|when| now_ms - when <= lag_max_ms)
    }

    /// It was registered, and is no more.
    pub(super) fn is_gone(&self) -> bool {
        self.image_seen && self.registered_epoch.is_none()
    }

    /// Whether it is to leave the ISR. One that holds everything does not lag, however quiet it is; one that
    /// is not registered is gone.
    pub(super) fn lags(&self, leader_end: i64, lag_max_ms: i64, now_ms: i64) -> bool {
        self.is_gone() || (self.end != Some(leader_end) && !self.is_caught_up(lag_max_ms, now_ms))
    }
}
