//! Counters of one node. Cheap enough to be counted always: relaxed atomics, a handful for each request.
//!
//! `mntr` and `srvr` tell some of them, `wire/prometheus.rs` all. `request` keeps them, since both wires pass there.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use zweig_monitoring::{Counter, Histogram};

use crate::clock;
use crate::request::{Request, RequestKind};
use crate::state_machine::{Op, SessionChange};

/// Since the node started; what stands first since `srst`.
#[derive(Debug)]
pub struct Metrics {
    packets_received: AtomicU64,
    packets_sent: AtomicU64,
    latency_count: AtomicU64,
    latency_sum_us: AtomicU64,
    latency_min_us: AtomicU64,
    latency_max_us: AtomicU64,
    /// By number of [`RequestKind`].
    requests: [Counter; RequestKind::COUNT],
    /// From the arrival of a read to its answer.
    pub reads: Histogram,
    /// The same of what went through the log.
    pub updates: Histogram,
    /// How long the raft log's writes took to be on the disk.
    pub syncs: Arc<Histogram>,
    /// Bytes of ZooKeeper's protocol that came in.
    pub bytes_received: Counter,
    /// Connections that were refused: too many from their address.
    pub connections_rejected: Counter,
    /// Connections of ZooKeeper's protocol that asked for a session.
    pub connection_requests: Counter,
    /// Commands of the ensemble that this node has applied.
    pub commands_applied: Counter,
    /// Sessions that were opened, as this node applied it.
    pub sessions_opened: Counter,
    /// Sessions that were closed by their clients.
    pub sessions_closed: Counter,
    /// Sessions whose timeout went by.
    pub sessions_expired: Counter,
}

/// How long requests took from their arrival to the write of their answer, milliseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// The shortest.
    pub min_ms: u64,
    /// The mean.
    pub avg_ms: f64,
    /// The longest.
    pub max_ms: u64,
}

/// A request that is not answered yet.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    at: Instant,
    updates: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            packets_received: AtomicU64::new(0),
            packets_sent: AtomicU64::new(0),
            latency_count: AtomicU64::new(0),
            latency_sum_us: AtomicU64::new(0),
            latency_min_us: AtomicU64::new(u64::MAX),
            latency_max_us: AtomicU64::new(0),
            requests: Default::default(),
            reads: Histogram::default(),
            updates: Histogram::default(),
            syncs: Arc::default(),
            bytes_received: Counter::default(),
            connections_rejected: Counter::default(),
            connection_requests: Counter::default(),
            commands_applied: Counter::default(),
            sessions_opened: Counter::default(),
            sessions_closed: Counter::default(),
            sessions_expired: Counter::default(),
        }
    }
}

impl Metrics {
    /// So many frames came in.
    pub fn received(&self, packets: u64) {
        self.packets_received.fetch_add(packets, Ordering::Relaxed);
    }

    /// So many frames went out.
    pub fn sent(&self, packets: u64) {
        self.packets_sent.fetch_add(packets, Ordering::Relaxed);
    }

    /// A request came in, by either wire.
    pub fn asked(&self, request: &Request) -> Asked {
        let kind = RequestKind::of(request);
        self.requests[kind as usize].one();
        Asked {
            at: clock::now(),
            updates: kind.updates(),
        }
    }

    /// A client asks to open or to attach a session.
    pub fn asked_for_session(&self, op: &Op) {
        self.requests[RequestKind::of_write(op) as usize].one();
    }

    /// It was answered.
    pub fn answered(&self, asked: Asked, now: Instant) {
        let took = now.saturating_duration_since(asked.at);
        match asked.updates {
            true => self.updates.observe(took),
            false => self.reads.observe(took),
        }
        self.took(took);
    }

    fn took(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.latency_count.fetch_add(1, Ordering::Relaxed);
        self.latency_sum_us.fetch_add(us, Ordering::Relaxed);
        self.latency_min_us.fetch_min(us, Ordering::Relaxed);
        self.latency_max_us.fetch_max(us, Ordering::Relaxed);
    }

    /// A command was applied.
    pub fn applied(&self, session: Option<&SessionChange>) {
        self.commands_applied.one();
        match session {
            Some(SessionChange::Opened(_)) => self.sessions_opened.one(),
            Some(SessionChange::Closed) => self.sessions_closed.one(),
            Some(SessionChange::Expired) => self.sessions_expired.one(),
            Some(SessionChange::Attached(_)) | None => {}
        }
    }

    /// As `srst`: frames and latency count from 0 again. What Prometheus takes for a counter goes on.
    pub fn reset(&self) {
        let zero = [
            &self.packets_received,
            &self.packets_sent,
            &self.latency_count,
            &self.latency_sum_us,
            &self.latency_max_us,
        ];
        for counter in zero {
            counter.store(0, Ordering::Relaxed);
        }
        self.latency_min_us.store(u64::MAX, Ordering::Relaxed);
    }

    /// Frames that came in.
    pub fn packets_received(&self) -> u64 {
        self.packets_received.load(Ordering::Relaxed)
    }

    /// Frames that went out.
    pub fn packets_sent(&self) -> u64 {
        self.packets_sent.load(Ordering::Relaxed)
    }

    /// How many requests of each kind came in.
    pub fn requests(&self) -> impl Iterator<Item = (RequestKind, u64)> {
        let kinds = RequestKind::ALL.iter().copied();
        kinds.zip(self.requests.iter().map(Counter::get))
    }

    /// Of all requests so far; zeros before the first.
    pub fn latency(&self) -> Latency {
        let count = self.latency_count.load(Ordering::Relaxed);
        if count == 0 {
            return Latency {
                min_ms: 0,
                avg_ms: 0.0,
                max_ms: 0,
            };
        }
        let sum_us = self.latency_sum_us.load(Ordering::Relaxed);
        Latency {
            min_ms: self.latency_min_us.load(Ordering::Relaxed) / 1000,
            avg_ms: sum_us as f64 / count as f64 / 1000.0,
            max_ms: self.latency_max_us.load(Ordering::Relaxed) / 1000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latency_is_of_all_requests() {
        let metrics = Metrics::default();
        assert_eq!(metrics.latency().max_ms, 0);
        metrics.took(Duration::from_millis(2));
        metrics.took(Duration::from_millis(4));
        let latency = metrics.latency();
        assert_eq!((latency.min_ms, latency.max_ms), (2, 4));
        assert!((latency.avg_ms - 3.0).abs() < 1e-9);
        metrics.reset();
        metrics.took(Duration::from_millis(7));
        let latency = metrics.latency();
        assert_eq!((latency.min_ms, latency.max_ms), (7, 7));
    }

    #[test]
    fn requests_count_by_kind_and_a_reset_leaves_them() {
        let metrics = Metrics::default();
        let sync = metrics.asked(&Request::Write(Op::Sync));
        metrics.answered(sync, clock::now());
        metrics.reset();
        let counted: Vec<_> = metrics.requests().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [(RequestKind::Sync, 1)]);
        assert_eq!(
            (metrics.updates.get().count, metrics.reads.get().count),
            (1, 0)
        );
    }
}
