//! The follower's loop: one task per leader, one request at a time for all partitions followed there.
//!
//! ```text
//! image ──▶ follow / leave ──▶ followed partitions of that leader
//!                                   │ each that changed and is not paused
//!                                   ▼
//!           request (offset, epoch of the last record) ──▶ leader ──▶ answer
//!                                   ▲                                  │ per partition: append, cut, begin anew, pause
//!                                   └──────────────────────────────────┘
//! ```
//! Requests name topics by id, and this broker by id and epoch (Fetch 15 and later), so that a leader counts only
//! what this life of this broker holds. In a fetch session a request names what moved since the one before, and an answer what
//! came; a connection that fails, and a new epoch of this broker, begin another one, with everything named.

mod followed;
mod session;

use self::followed::{Followed, FollowedPartitions};
use self::session::FetchSession;
use super::following::Replicated;
use super::leader_connection::{LeaderConnection, LeaderConnectionError};
use super::partition::{Host, Partition, PartitionError};
use crate::clock;
use crate::log::TopicPartition;
use crate::metadata::MetadataCache;
use crate::replica::truncation::EpochEnd;
use crate::tasks;
use crate::wire::codec::text;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, ReplicaState};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};
use parking_lot::Mutex;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// Pause after what the next image is likely to mend: an election, a leader that is not there yet.
const SHORT_PAUSE: Duration = Duration::from_millis(50);

/// All fetcher tasks.
pub(super) struct Fetchers {
    host: Arc<Host>,
    metadata: Arc<MetadataCache>,
    shutdown: CancellationToken,
    by_leader: Mutex<BTreeMap<i32, Arc<Fetcher>>>,
}

/// What the task of one leader and the manager share.
struct Fetcher {
    leader: i32,
    host: Arc<Host>,
    metadata: Arc<MetadataCache>,
    followed: Mutex<FollowedPartitions>,
    changed: Notify,
}

impl Fetchers {
    pub(super) fn new(
        host: Arc<Host>,
        metadata: Arc<MetadataCache>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            host,
            metadata,
            shutdown,
            by_leader: Mutex::default(),
        }
    }

    /// Fetches a partition from this leader, in this leader epoch, and from nobody else.
    pub(super) fn follow(&self, partition: &Arc<Partition>, leader: i32, leader_epoch: i32) {
        let mut by_leader = self.by_leader.lock();
        for (id, fetcher) in &*by_leader {
            if *id != leader {
                fetcher.leave(partition.name());
            }
        }
        let fetcher = by_leader
            .entry(leader)
            .or_insert_with(|| self.start(leader));
        fetcher.follow(partition, leader_epoch);
    }

    /// Fetches a partition no more.
    pub(super) fn leave(&self, name: &TopicPartition) {
        for fetcher in self.by_leader.lock().values() {
            fetcher.leave(name);
        }
    }

    fn start(&self, leader: i32) -> Arc<Fetcher> {
        let fetcher = Arc::new(Fetcher {
            leader,
            host: Arc::clone(&self.host),
            metadata: Arc::clone(&self.metadata),
            followed: Mutex::default(),
            changed: Notify::new(),
        });
        let (task, shutdown) = (Arc::clone(&fetcher), self.shutdown.clone());
        tasks::spawn_on(&self.host.runtime, async move {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = task.run() => {}
            }
        });
        fetcher
    }
}

impl Fetcher {
    fn follow(&self, partition: &Arc<Partition>, leader_epoch: i32) {
        if self.followed.lock().follow(partition, leader_epoch) {
            self.changed.notify_one();
        }
    }

    fn leave(&self, name: &TopicPartition) {
        self.followed.lock().leave(name);
    }

    async fn run(&self) {
        let mut connection = None;
        let mut session = FetchSession::default();
        let mut reachable = true;
        loop {
            let (request, unflushed) = self.request(&mut session);
            self.flush(unflushed).await;
            let Some(request) = request else {
                self.rest().await;
                continue;
            };
            match self.round(&mut connection, &request).await {
                Ok(answer) => {
                    reachable = true;
                    self.take(&mut session, answer).await;
                }
                Err(error) => {
                    connection = None;
                    session.end();
                    match std::mem::replace(&mut reachable, false) {
                        true => warn!(leader = self.leader, "fetch failed, trying on: {error}"),
                        false => debug!(leader = self.leader, "fetch failed: {error}"),
                    }
                    tokio::time::sleep(SHORT_PAUSE).await;
                }
            }
        }
    }

    /// Sleeps until a partition comes, or a paused one may be due.
    async fn rest(&self) {
        if self.followed.lock().is_empty() {
            self.changed.notified().await;
        } else {
            // Either way it is looked again.
            let _ = timeout(SHORT_PAUSE, self.changed.notified()).await;
        }
    }

    async fn round(
        &self,
        connection: &mut Option<LeaderConnection>,
        request: &FetchRequest,
    ) -> Result<FetchResponse, LeaderConnectionError> {
        let connected = match connection {
            Some(connected) => connected,
            None => connection.insert(self.connect().await?),
        };
        connected.fetch(request).await
    }

    async fn connect(&self) -> Result<LeaderConnection, LeaderConnectionError> {
        let image = self.metadata.image();
        let config = &self.host.config;
        let endpoint = image
            .broker(self.leader)
            .and_then(|broker| broker.endpoint(&config.inter_broker_listener));
        let endpoint = endpoint.ok_or(LeaderConnectionError::NotRegistered(self.leader))?;
        let address = match endpoint.host.contains(':') {
            true => format!("[{}]:{}", endpoint.host, endpoint.port),
            false => format!("{}:{}", endpoint.host, endpoint.port),
        };
        LeaderConnection::open(address, config.broker_id, config.replica.socket_timeout).await
    }

    /// The next request, if there is anything to say; and what has to be flushed before it is asked for.
    fn request(&self, session: &mut FetchSession) -> (Option<FetchRequest>, Vec<Followed>) {
        let replica = &self.host.config.replica;
        let broker_epoch = self.host.ensemble.broker_epoch().unwrap_or(-1);
        let unflushed = RefCell::new(Vec::new());
        let position = |entry: &Followed| {
            if entry.partition.lacks_flush() {
                unflushed.borrow_mut().push(entry.clone());
            }
            let at = entry.partition.follow_position(entry.leader_epoch)?;
            let position = FetchPartition::default()
                .with_partition(entry.partition.name().partition)
                .with_current_leader_epoch(entry.leader_epoch)
                .with_fetch_offset(at.offset)
                .with_last_fetched_epoch(at.last_epoch)
                .with_log_start_offset(at.log_start)
                .with_partition_max_bytes(replica.fetch_max_bytes);
            Some(position)
        };
        let mut followed = self.followed.lock();
        let asked = session.ask(&mut followed, (clock::now(), broker_epoch), position);
        drop(followed);
        let state = ReplicaState::default()
            .with_replica_id(BrokerId(self.host.config.broker_id))
            .with_replica_epoch(broker_epoch);
        let unflushed = unflushed.into_inner();
        // What is flushed meanwhile is asked for by the next request.
        let wait = match unflushed.is_empty() {
            true => replica.fetch_wait_max,
            false => replica.fetch_wait_max.min(SHORT_PAUSE),
        };
        let complete = |request: FetchRequest| {
            request
                .with_cluster_id(self.metadata.image().cluster_id.as_deref().map(text))
                .with_replica_state(state)
                .with_max_wait_ms(i32::try_from(wait.as_millis()).unwrap_or(i32::MAX))
                .with_min_bytes(replica.fetch_min_bytes)
                .with_max_bytes(replica.fetch_response_max_bytes)
        };
        (session.request(asked).map(complete), unflushed)
    }

    /// Takes an answer: each partition for itself, then one flush of those that need it.
    async fn take(&self, session: &mut FetchSession, answer: FetchResponse) {
        if let Some(error) = ResponseError::try_from_code(answer.error_code) {
            return self.refused(session, error).await;
        }
        session.answered(&answer);
        let mut to_flush = Vec::new();
        for topic in answer.responses {
            for data in topic.partitions {
                let key = (topic.topic_id, data.partition_index);
                let Some(entry) = session.told(key) else {
                    continue;
                };
                match self.take_one(entry, data) {
                    Ok(true) => to_flush.push(entry.clone()),
                    Ok(false) => {}
                    Err(error) => {
                        // A full disk was told, once for all its partitions.
                        if !error.is_no_space() {
                            warn!(partition = %entry.partition.name(), %error, "can't follow");
                        }
                        self.pause(entry, self.host.config.replica.fetch_backoff);
                    }
                }
            }
        }
        self.flush(to_flush).await;
    }

    /// Flushes these. Those that can't be now are not asked for before they are, and tried again after a pause.
    async fn flush(&self, entries: Vec<Followed>) {
        if entries.is_empty() {
            return;
        }
        let flushed = tasks::blocking(move || {
            let flushed = entries.into_iter().map(|entry| {
                let flushed = entry.partition.flush_as_follower();
                (entry, flushed)
            });
            flushed.collect::<Vec<_>>()
        });
        for (entry, flushed) in flushed.await.unwrap_or_default() {
            if let Err(error) = flushed {
                // A full disk was told, once for all its partitions.
                if !error.is_no_space() {
                    warn!(partition = %entry.partition.name(), %error, "not flushed");
                }
                self.pause(&entry, self.host.config.replica.fetch_backoff);
            }
        }
    }

    /// A whole request was refused: what the leader knows of its session is not what is known here, or it can't answer.
    async fn refused(&self, session: &mut FetchSession, error: ResponseError) {
        session.end();
        match error {
            ResponseError::FetchSessionIdNotFound
            | ResponseError::InvalidFetchSessionEpoch
            | ResponseError::FetchSessionTopicIdError => {
                debug!(leader = self.leader, ?error, "another fetch session begins");
            }
            error => {
                warn!(leader = self.leader, ?error, "fetch refused");
                tokio::time::sleep(self.host.config.replica.fetch_backoff).await;
            }
        }
    }

    /// Takes what came for one partition. Returns whether it has to be flushed.
    fn take_one(&self, entry: &Followed, data: PartitionData) -> Result<bool, PartitionError> {
        let partition = &entry.partition;
        match ResponseError::try_from_code(data.error_code) {
            None => {}
            Some(ResponseError::OffsetOutOfRange) => {
                return self.out_of_range(entry, &data).map(|()| false);
            }
            Some(
                ResponseError::NotLeaderOrFollower
                | ResponseError::FencedLeaderEpoch
                | ResponseError::UnknownLeaderEpoch
                | ResponseError::UnknownTopicId
                | ResponseError::UnknownTopicOrPartition,
            ) => {
                self.pause(entry, SHORT_PAUSE);
                return Ok(false);
            }
            Some(error) => {
                warn!(partition = %partition.name(), leader = self.leader, ?error, "fetch refused");
                self.pause(entry, self.host.config.replica.fetch_backoff);
                return Ok(false);
            }
        }
        let diverging = &data.diverging_epoch;
        let brought = data
            .records
            .as_ref()
            .is_some_and(|records| !records.is_empty());
        if brought || diverging.epoch >= 0 {
            self.followed.lock().moved(entry.key());
        }
        let taken = if diverging.epoch >= 0 {
            let end = EpochEnd {
                leader_epoch: diverging.epoch,
                end_offset: diverging.end_offset,
            };
            let cut = partition.cut(entry.leader_epoch, end);
            if let Ok(false) = cut {
                // Asking at once would get the same answer.
                self.pause(entry, self.host.config.replica.fetch_backoff);
            }
            cut.map(|_| false)
        } else {
            let replicated = Replicated {
                records: data.records.unwrap_or_default(),
                high_watermark: data.high_watermark,
                log_start: data.log_start_offset,
            };
            partition.append_as_follower(entry.leader_epoch, replicated)
        };
        match taken {
            // The leadership this answer belongs to is over.
            Err(PartitionError::FencedLeaderEpoch { .. }) => Ok(false),
            taken => taken,
        }
    }

    /// The leader's log begins behind this one's end, or a log without records stands elsewhere: begin anew at
    /// the leader's start.
    fn out_of_range(&self, entry: &Followed, data: &PartitionData) -> Result<(), PartitionError> {
        let log = entry.partition.log();
        let (start, end) = (data.log_start_offset, log.log_end_offset());
        let empty = log.log_start_offset() == end;
        if start >= 0 && (start > end || empty) {
            self.followed.lock().moved(entry.key());
            return entry.partition.begin_at(entry.leader_epoch, start);
        }
        warn!(partition = %entry.partition.name(), leader = self.leader, end, start, "offset out of the leader's range");
        self.pause(entry, self.host.config.replica.fetch_backoff);
        Ok(())
    }

    fn pause(&self, entry: &Followed, pause: Duration) {
        self.followed.lock().pause(entry, clock::now() + pause);
    }
}
