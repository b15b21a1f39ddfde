//! Brokers without an ensemble: real logs in temporary folders, real sockets on free ports, an image made by
//! hand, and a client that speaks in frames.

pub mod client;
pub mod fakes;
pub mod records;

use fakes::{FakeEnsemble, NoGroups, Shared};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use zweig_broker::config::Config;
use zweig_broker::group::GroupConfig;
use zweig_broker::handlers::{ProducerIds, Services};
use zweig_broker::log::{LogConfig, LogManager, TopicPartition};
use zweig_broker::metadata::MetadataCache;
use zweig_broker::net::listener::{ListenerConfig, serve};
use zweig_broker::net::socket::TcpListener;
use zweig_broker::purgatory::session::FetchSessions;
use zweig_broker::replica::hosted::{HostConfig, ReplicaManager};
use zweig_broker::shard::Shards;

/// No wait in these tests is longer.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Replicas that lag leave quickly: for tests of just that. On a busy machine any follower may be out of sync for a
/// moment, so nothing under these settings may rely on an ISR that is whole.
pub const QUICK: &[(&str, &str)] = &[
    ("replica.lag.time.max.ms", "300"),
    ("replica.fetch.wait.max.ms", "50"),
];

/// Nobody leaves the ISR for lagging.
pub const STEADY: &[(&str, &str)] = &[
    ("replica.lag.time.max.ms", "600000"),
    ("replica.fetch.wait.max.ms", "50"),
];

/// Error codes on the wire.
pub mod codes {
    pub const NOT_LEADER: i16 = 6;
    pub const NOT_ENOUGH_REPLICAS: i16 = 19;
    pub const NOT_ENOUGH_REPLICAS_AFTER_APPEND: i16 = 20;
}

/// The partition most tests are about.
pub fn partition() -> TopicPartition {
    TopicPartition::new("t", 0)
}

/// One broker; it stops when dropped, and its folder goes.
pub struct Node {
    pub id: i32,
    pub address: SocketAddr,
    pub replicas: Arc<ReplicaManager>,
    pub logs: Arc<LogManager>,
    pub metadata: Arc<MetadataCache>,
    applied: watch::Receiver<i64>,
    _folder: TempDir,
    _stop: DropGuard,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.replicas.shutdown();
    }
}

/// Some brokers under one image.
pub struct Cluster {
    pub shared: Arc<Shared>,
    pub nodes: Vec<Node>,
}

/// A broker that leads what is created.
pub async fn broker() -> Cluster {
    cluster(1, &[]).await
}

/// `count` brokers with ids from 1 on, with settings over the defaults.
pub async fn cluster(count: i32, settings: &[(&str, &str)]) -> Cluster {
    let shared = Arc::new(Shared::default());
    let mut nodes = Vec::new();
    for id in 1..=count {
        nodes.push(node(id, settings, &shared).await);
    }
    let cluster = Cluster { shared, nodes };
    cluster.apply().await;
    cluster
}

async fn node(id: i32, settings: &[(&str, &str)], shared: &Arc<Shared>) -> Node {
    let folder = TempDir::new().expect("a temporary folder");
    let socket = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let address = socket.local_addr().expect("its address");
    shared.register(id, address.port());
    let config = config(id, settings);
    let (services, logs) = services(id, &config, folder.path(), shared);
    let replicas = Arc::clone(&services.replicas);
    let metadata = Arc::clone(&services.metadata);
    let listener = ListenerConfig {
        name: Arc::from("PLAINTEXT"),
        request_max_bytes: 8 * 1024 * 1024,
        max_idle: None,
        max_connections: 100,
        max_connections_per_ip: usize::try_from(config.net.max_connections_per_ip)
            .expect("a number"),
    };
    let stop = CancellationToken::new();
    tokio::spawn(serve(socket, listener, Arc::new(services), stop.clone()));
    let (tell, applied) = watch::channel(0);
    let replicas_too = Arc::clone(&replicas);
    tokio::spawn(follow_images(
        Arc::clone(shared),
        Arc::clone(&metadata),
        replicas_too,
        tell,
        stop.clone(),
    ));
    Node {
        id,
        address,
        replicas,
        logs,
        metadata,
        applied,
        _folder: folder,
        _stop: stop.drop_guard(),
    }
}

fn config(id: i32, settings: &[(&str, &str)]) -> Arc<Config> {
    let id = id.to_string();
    let mut all = vec![
        ("broker.id", id.as_str()),
        ("zookeeper.connect", "127.0.0.1:1"),
    ];
    all.extend(settings);
    let all: Vec<_> = all
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    Arc::new(Config::load(None, &all).expect("settings"))
}

fn services(
    id: i32,
    config: &Arc<Config>,
    folder: &Path,
    shared: &Arc<Shared>,
) -> (Services, Arc<LogManager>) {
    let (defaults, _) = LogConfig::default().with_usable_overrides(&config.topic_defaults());
    let logs = Arc::new(
        LogManager::open(
            zweig_broker::disk::real(),
            &[folder.to_owned()],
            defaults,
            "",
            0,
        )
        .expect("logs"),
    );
    let metadata = Arc::new(MetadataCache::default());
    let ensemble = Arc::new(FakeEnsemble {
        id,
        shared: Arc::clone(shared),
    });
    let replicas = ReplicaManager::new(
        HostConfig::new(id, config),
        Arc::clone(&logs),
        Arc::clone(&metadata),
        ensemble.clone(),
        Arc::new(|error: &str| panic!("a log can't be trusted: {error}")),
        tokio::runtime::Handle::current(),
    );
    let services = Services {
        config: Arc::clone(config),
        metadata,
        replicas,
        admin: ensemble,
        groups: Shards::new(GroupConfig::default(), DEADLINE, Arc::new(NoGroups)),
        producer_ids: ProducerIds::default(),
        fetch_sessions: FetchSessions::new(config.net.fetch_session_slots),
    };
    (services, logs)
}

/// Applies each image to a broker, as its server does.
async fn follow_images(
    shared: Arc<Shared>,
    metadata: Arc<MetadataCache>,
    replicas: Arc<ReplicaManager>,
    applied: watch::Sender<i64>,
    stop: CancellationToken,
) {
    let mut changed = shared.changed();
    while !stop.is_cancelled() {
        let image = shared.image();
        if !shared.is_cut_off(replicas.broker_id()) {
            metadata.store(Arc::clone(&image), true);
            let (replicas, zxid) = (Arc::clone(&replicas), image.zxid);
            tokio::task::spawn_blocking(move || replicas.apply_image(&image))
                .await
                .expect("applied");
            applied.send_replace(zxid);
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = changed.changed() => {}
        }
    }
}

impl Cluster {
    /// The first broker's address.
    pub fn address(&self) -> SocketAddr {
        self.nodes[0].address
    }

    /// A node by id.
    pub fn node(&self, id: i32) -> &Node {
        self.nodes
            .iter()
            .find(|node| node.id == id)
            .expect("a node of this id")
    }

    /// Where a broker's log of [`partition`] ends; -1 if it has none.
    pub fn log_end(&self, id: i32) -> i64 {
        let log = self.node(id).logs.get(&partition());
        log.map_or(-1, |log| log.log_end_offset())
    }

    /// Waits until every broker has seen the current image.
    pub async fn apply(&self) {
        let zxid = self.shared.image().zxid;
        for node in self
            .nodes
            .iter()
            .filter(|node| !self.shared.is_cut_off(node.id))
        {
            let mut applied = node.applied.clone();
            let reached = applied.wait_for(|applied| *applied >= zxid);
            tokio::time::timeout(DEADLINE, reached)
                .await
                .expect("the image in time")
                .expect("a broker");
        }
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let tries = DEADLINE.as_millis() / 5;
        for _ in 0..tries {
            if holds() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not within {DEADLINE:?}: {what}");
    }
}
