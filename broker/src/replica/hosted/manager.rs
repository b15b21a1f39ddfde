//! All partitions of this broker, kept as the cluster image says.
//!
//! One image at a time is applied; a topic whose part of the image is the same value as before costs one
//! comparison of pointers. Logs match by topic id. `leaving` says what becomes of those that match nothing.

use super::fetcher::Fetchers;
use super::leading::Committing;
use super::partition::{Host, Partition, PartitionError};
use super::room::FullDirs;
use super::seen::{overrides, same_brokers, same_topic, state_of};
use super::{FatalHook, HostConfig, StateWriter};
use crate::clock;
use crate::log::{AppendOrigin, Appended, Log, LogManager, OpenError, TopicPartition};
use crate::metadata::{Image, MetadataCache, Topic};
use crate::replica::state::part;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

/// Partitions of internal topics led by this broker, each with its leader epoch.
pub type Leaderships = Arc<BTreeMap<TopicPartition, i32>>;

/// The topic of groups' offsets; who leads a partition of it coordinates the groups in it.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";

/// A partition assigned to this broker.
#[derive(Debug, Clone)]
pub(super) enum Hosted {
    Online(Arc<Partition>),
    /// Its log could not be opened, for this reason.
    Offline(String),
}

/// What the last applied image was.
#[derive(Debug)]
pub(super) struct Applied {
    pub(super) image: Arc<Image>,
    pub(super) broker_epoch: Option<i64>,
}

/// See the module.
pub struct ReplicaManager {
    pub(super) host: Arc<Host>,
    pub(super) logs: Arc<LogManager>,
    metadata: Arc<MetadataCache>,
    pub(super) partitions: RwLock<HashMap<TopicPartition, Hosted>>,
    /// High watermarks from before this start, for logs not hosted yet.
    checkpointed: BTreeMap<TopicPartition, i64>,
    /// Zxid of the last image that was applied.
    applied_zxid: AtomicI64,
    /// Held while an image is applied.
    pub(super) applied: Mutex<Option<Applied>>,
    pub(super) fetchers: Fetchers,
    leaderships: watch::Sender<Leaderships>,
    pub(super) shutdown: CancellationToken,
}

impl std::fmt::Debug for ReplicaManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "ReplicaManager({} partitions)",
            self.partitions.read().len()
        )
    }
}

impl ReplicaManager {
    /// Hosts nothing until the first image. Its tasks run on `runtime`, until [`Self::shutdown`].
    pub fn new(
        config: HostConfig,
        logs: Arc<LogManager>,
        metadata: Arc<MetadataCache>,
        ensemble: Arc<dyn StateWriter>,
        fatal: FatalHook,
        runtime: Handle,
    ) -> Arc<Self> {
        let host = Arc::new(Host {
            config,
            ensemble,
            fatal,
            runtime,
            started: clock::now(),
            full: FullDirs::new(Arc::clone(logs.disk()), logs.dirs()),
            metrics: Arc::default(),
        });
        let shutdown = CancellationToken::new();
        let manager = Arc::new(Self {
            checkpointed: logs.high_watermarks(),
            fetchers: Fetchers::new(Arc::clone(&host), Arc::clone(&metadata), shutdown.clone()),
            host,
            logs,
            metadata,
            partitions: RwLock::default(),
            applied_zxid: AtomicI64::new(0),
            applied: Mutex::default(),
            leaderships: watch::Sender::new(Leaderships::default()),
            shutdown,
        });
        manager.start_maintenance();
        manager
    }

    /// This broker's id.
    #[must_use]
    pub fn broker_id(&self) -> i32 {
        self.host.config.broker_id
    }

    /// A partition hosted here, led or not. What metadata tells clients is true here too: an image that makes
    /// this broker its leader, seen and not yet applied, is applied first. Else a producer's first requests
    /// would be refused, and tried again behind later ones.
    pub fn partition(&self, name: &TopicPartition) -> Result<Arc<Partition>, PartitionError> {
        let image = self.metadata.image();
        let seen = image.partition(&name.topic, name.partition);
        if let Some(seen) = seen
            && seen.leader == Some(self.broker_id())
            && image.zxid > self.applied_zxid.load(Ordering::Acquire)
            && self.known_epoch(name) < seen.leader_epoch
        {
            self.apply_image(&image);
        }
        match self.partitions.read().get(name) {
            Some(Hosted::Online(partition)) => Ok(Arc::clone(partition)),
            Some(Hosted::Offline(reason)) => Err(PartitionError::Offline(reason.clone())),
            None if seen.is_some() => Err(PartitionError::NotLeader),
            None => Err(PartitionError::Unknown),
        }
    }

    /// The leader epoch in which a partition last took a part; -1 before that.
    fn known_epoch(&self, name: &TopicPartition) -> i32 {
        match self.partitions.read().get(name) {
            Some(Hosted::Online(partition)) => partition.known_epoch(),
            Some(Hosted::Offline(_)) | None => -1,
        }
    }

    /// All partitions that are hosted here and online, by name.
    #[must_use]
    pub fn online(&self) -> Vec<Arc<Partition>> {
        let partitions = self.partitions.read();
        let online = partitions.values().filter_map(|hosted| match hosted {
            Hosted::Online(partition) => Some(Arc::clone(partition)),
            Hosted::Offline(_) => None,
        });
        let mut online: Vec<_> = online.collect();
        drop(partitions);
        online.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        online
    }

    /// Appends records and waits until they are committed (`acks=-1`), or only appends them.
    pub async fn produce(
        &self,
        name: &TopicPartition,
        records: Bytes,
        origin: AppendOrigin,
        acks: i16,
        timeout: Duration,
    ) -> Result<Appended, PartitionError> {
        let deadline = Instant::from_std(clock::now() + timeout);
        let partition = self.partition(name)?;
        let append: Committing = partition.append_as_leader(records, origin, acks == -1)?;
        if acks == -1 {
            partition.committed(&append, deadline).await?;
        }
        Ok(append.appended)
    }

    /// Epoch of the last record and end of a log kept here; for elections among replicas none of which is
    /// known to be intact.
    #[must_use]
    pub fn log_end(&self, name: &TopicPartition) -> Option<(i32, i64)> {
        let log = self.logs.get(name)?;
        Some((log.latest_epoch().unwrap_or(-1), log.log_end_offset()))
    }

    /// Partitions of internal topics led here, now and whenever that changes.
    #[must_use]
    pub fn leaderships(&self) -> watch::Receiver<Leaderships> {
        self.leaderships.subscribe()
    }

    /// Makes partitions what an image says: leads, follows, creates, deletes. Creates files; returns when all
    /// is in place.
    pub fn apply_image(&self, image: &Arc<Image>) {
        let mut applied = self.applied.lock();
        if image.cluster_id.is_none() || self.shutdown.is_cancelled() {
            return;
        }
        let broker_epoch = self.host.leading_broker_epoch();
        if let Some(before) = &*applied
            && before.image.zxid > image.zxid
        {
            return;
        }
        let before = applied.as_ref().map(|applied| &*applied.image);
        if before.is_none() {
            self.sort_out(image);
        }
        let all = applied.as_ref().is_none_or(|applied| {
            applied.broker_epoch != broker_epoch || !same_brokers(&applied.image, image)
        });
        self.remove_gone(before, image);
        for topic in image.topics.values() {
            if all || before.is_none_or(|before| !same_topic(before, image, topic)) {
                self.apply_topic(image, topic, broker_epoch);
            }
        }
        self.applied_zxid.store(image.zxid, Ordering::Release);
        *applied = Some(Applied {
            image: Arc::clone(image),
            broker_epoch,
        });
        self.tell_leaderships();
    }

    /// The registration is known to have ended: leads nothing from now on.
    pub fn fence(&self) {
        let mut applied = self.applied.lock();
        for partition in self.online() {
            self.fetchers.leave(partition.name());
            partition.fence();
        }
        // The next image is applied in full.
        if let Some(applied) = &mut *applied {
            applied.broker_epoch = None;
        }
        self.tell_leaderships();
    }

    /// Stops all tasks and parts, and writes the high watermarks. The logs stay open, for their manager to close.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
        let _applied = self.applied.lock();
        for partition in self.online() {
            self.fetchers.leave(partition.name());
            partition.stop();
        }
        self.tell_leaderships();
        self.checkpoint_high_watermarks();
    }

    /// Writes all high watermarks to their checkpoint files.
    pub fn checkpoint_high_watermarks(&self) {
        let online = self.online();
        let marks = online
            .iter()
            .map(|partition| (partition.name().clone(), partition.high_watermark()))
            .collect();
        self.done_if_room(
            self.logs.write_high_watermarks(&marks),
            "high watermarks not written",
        );
    }

    pub(super) fn apply_topic(&self, image: &Image, topic: &Topic, broker_epoch: Option<i64>) {
        // One without an id (an old Kafka wrote it) gets one from the controller first.
        if image.deleting.contains_key(&topic.name) || topic.id.is_nil() {
            return;
        }
        let me = self.broker_id();
        for (index, seen) in &topic.partitions {
            if !seen.replicas.contains(&me) || !seen.has_state() {
                continue;
            }
            let name = TopicPartition::new(&*topic.name, *index);
            let state = state_of(seen);
            // Only a leader that serves has what a damaged log lacks.
            let has_peer = seen
                .leader
                .is_some_and(|id| id != me && image.leads(seen, id));
            let Some(partition) = self.host_partition(&name, image, topic, has_peer) else {
                continue;
            };
            let part = part(&state, me, broker_epoch);
            if let Err(error) = partition.apply(&state, part, image) {
                error!(partition = %name, %error, "can't take its part");
            }
            match partition.following() {
                Some((leader, leader_epoch)) => {
                    self.fetchers.follow(&partition, leader, leader_epoch)
                }
                None => self.fetchers.leave(&name),
            }
        }
    }

    /// The partition, with its log opened or created under the topic's id and settings; `None` if it is offline.
    fn host_partition(
        &self,
        name: &TopicPartition,
        image: &Image,
        topic: &Topic,
        has_peer: bool,
    ) -> Option<Arc<Partition>> {
        let overrides = overrides(image, &topic.name);
        let hosted = self.partitions.read().get(name).cloned();
        if let Some(Hosted::Online(partition)) = &hosted {
            if partition.topic_id() == topic.id {
                partition
                    .log()
                    .set_config(self.logs.config_for(name, &overrides));
                return Some(Arc::clone(partition));
            }
            // The topic was deleted and created again between two images.
            self.leave(image, name, Some(partition.topic_id()));
        }
        let hosted = match self.open_log(name, topic, &overrides, has_peer) {
            Ok(log) => {
                let high_watermark = self.checkpointed.get(name).copied().unwrap_or(0);
                let host = Arc::clone(&self.host);
                Hosted::Online(Arc::new(Partition::new(
                    name.clone(),
                    topic.id,
                    log,
                    high_watermark,
                    host,
                )))
            }
            Err(reason) => {
                if !matches!(&hosted, Some(Hosted::Offline(told)) if *told == reason) {
                    error!(partition = %name, reason, "offline: its log can't be opened");
                }
                Hosted::Offline(reason)
            }
        };
        self.partitions.write().insert(name.clone(), hosted.clone());
        match hosted {
            Hosted::Online(partition) => Some(partition),
            Hosted::Offline(_) => None,
        }
    }

    fn open_log(
        &self,
        name: &TopicPartition,
        topic: &Topic,
        overrides: &BTreeMap<String, String>,
        has_peer: bool,
    ) -> Result<Arc<Log>, String> {
        let open = || {
            self.host.check(
                self.logs
                    .get_or_create(name, topic.id, overrides, clock::wall_ms()),
            )
        };
        let opened = match open() {
            Err(OpenError::WrongTopicId { found, .. }) => {
                warn!(partition = %name, %found, wanted = %topic.id, "log of another topic of this name set aside");
                self.host
                    .check(self.logs.set_aside(name, clock::wall_ms()))
                    .map_err(|error| error.to_string())?;
                open()
            }
            Err(OpenError::Damaged { offset, reason, .. }) if has_peer => {
                warn!(partition = %name, offset, reason, "log cut where it is damaged; the leader has the rest");
                self.host
                    .check(self.logs.cut_damaged(name, clock::wall_ms()))
                    .map_err(|error| error.to_string())?;
                open()
            }
            opened => opened,
        };
        opened.map_err(|error| error.to_string())
    }

    pub(super) fn tell_leaderships(&self) {
        let internal = self
            .online()
            .into_iter()
            .filter(|partition| partition.name().topic == OFFSETS_TOPIC);
        let led: BTreeMap<TopicPartition, i32> = internal
            .filter_map(|partition| Some((partition.name().clone(), partition.leading_epoch()?)))
            .collect();
        self.leaderships.send_if_modified(|told| {
            let changed = **told != led;
            if changed {
                *told = Arc::new(led);
            }
            changed
        });
    }
}
