//! Builds the rooms of one node, starts them, and stops them in reverse order.
//!
//! ```text
//!   start: state ─▶ published ─▶ consensus ─▶ front door ─▶ gRPC, client port, watchman
//!   stop:  client port closes, its connections end ─▶ consensus hands over and ends ─▶ state
//! ```

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zweig_monitoring::trace::{Service, TracerError};
use zweig_monitoring::{Endpoint as MetricsEndpoint, Tracer};

use crate::clock::SystemClock;
use crate::config::{Config, Endpoint, MetricsProvider, Role};
use crate::consensus::{
    Consensus, ConsensusConfig, Fatal, Listeners, Member, NotDone, StartError, Status, Unanswered,
};
use crate::request::applier::PublishedApplier;
use crate::request::flush::{FlushedIndex, Flusher};
use crate::request::{
    Closed, FrontDoor, FrontDoorConfig, Published, ReadIndex, Replicator, watchman,
};
use crate::session::SessionId;
use crate::session::report::Left;
use crate::spans::Spans;
use crate::state_machine::{Command, StateMachine};
use crate::storage::checkpoint::CheckpointError;
use crate::storage::folder;
use crate::storage::lock::{FolderLock, LockError};
use crate::storage::raft_log::LogOptions;
use crate::storage::{HistoryBounds, StateFolder, StoreError};
use crate::upkeep;
use crate::wire::grpc;
use crate::wire::listener::Listener;
use crate::wire::prometheus;
use crate::wire::zk::Services;

/// How long an opening client that has seen newer state waits for this node.
const CATCH_UP: Duration = Duration::from_secs(2);

/// gRPC connections that may wait to be taken.
const GRPC_BACKLOG: usize = 64;

/// Why a node could not start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A folder could not be made.
    #[error("cannot make the folder {}: {source}", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A port could not be bound.
    #[error("cannot listen on {address} ({key}): {source}")]
    Listen {
        /// The key that names it.
        key: &'static str,
        /// Where.
        address: String,
        /// The system's reason.
        source: io::Error,
    },
    /// A folder is in use.
    #[error(transparent)]
    Locked(#[from] LockError),
    /// The state could not be opened.
    #[error("cannot open the state: {0}")]
    State(#[from] StoreError),
    /// Its folder could not be opened.
    #[error("cannot open the state: {0}")]
    StateFolder(#[from] CheckpointError),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
    /// Traces have nowhere to go.
    #[error("otlpEndpoint: {0}")]
    Traces(#[from] TracerError),
    /// Consensus could not start.
    #[error("cannot start consensus: {0}")]
    Consensus(#[from] StartError),
}

impl RunError {
    /// Whether somebody else has what this node needs: a port, a folder.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        match self {
            Self::Listen { source, .. } => source.kind() == io::ErrorKind::AddrInUse,
            Self::Locked(LockError::Held { .. }) | Self::Consensus(StartError::Another { .. }) => {
                true
            }
            _ => false,
        }
    }
}

/// A node that runs.
pub struct Server {
    door: FrontDoor,
    consensus: Consensus,
    client_address: SocketAddr,
    shutdown: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    flusher: Flusher,
    spans: Arc<Spans>,
    /// Given back last.
    _locks: Vec<FolderLock>,
}

/// Runs a node until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    let server = Server::start(config).await?;
    shutdown.cancelled().await;
    server.stop().await;
    Ok(())
}

/// From now on a panic of any thread ends the process, after a log line: a node of which a part is
/// missing must not look alive.
pub fn exit_on_panic() {
    let former = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        former(panic);
        tracing::error!(%panic, "a bug: this node ends");
        // Not `exit`: other threads still use what its handlers would take down.
        std::process::abort();
    }));
}

impl Server {
    /// Starts every room; returns once clients can connect.
    pub async fn start(config: Config) -> Result<Self, RunError> {
        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let locks = take_folders(&config)?;
        let mut chance = StdRng::from_os_rng();
        let boot = chance.random();
        let folder = StateFolder::new(&config.state_folder(), history_bounds(&config))?;
        let state = StateMachine::open(folder.open()?)?;
        let origin = (config.node, boot);
        let spans = Spans::new(tracer(&config)?);
        let published = Published::traced(state, origin, Box::new(exit_on_fatal), spans);
        let client_socket = bind_client_port(&config.client).await?;
        let client_address = local_address(&client_socket, &config.client)?;
        let metrics_endpoint = bind_metrics(&config.metrics_provider).await?;
        let flushed = FlushedIndex::default();
        let applier = PublishedApplier::new(Arc::clone(&published), folder, flushed.clone());
        let consensus = start_consensus(&config, boot, applier, &published)?;
        let flusher = Flusher::start(Arc::clone(&published), flushed, config.data_dir.clone());
        let flusher = flusher.map_err(RunError::Thread)?;
        let replicator = Arc::new(Replicated(consensus.clone()));
        let door_config = front_door_config(&config, boot);
        let clock = Arc::new(SystemClock);
        let spans = Arc::clone(published.spans());
        let (door, driver) = FrontDoor::new(door_config, published, replicator, clock, chance);
        tokio::spawn(driver.run());

        let shutdown = CancellationToken::new();
        let (grpc_connections, grpc_incoming) = mpsc::channel(GRPC_BACKLOG);
        let services = Services::new(door.clone(), config.clone());
        let listener = Listener {
            socket: client_socket,
            services: Arc::clone(&services),
            grpc: grpc_connections,
            max_client_cnxns: config.max_client_cnxns,
        };
        let mut tasks = vec![
            tokio::spawn(listener.run(shutdown.clone())),
            tokio::spawn(watch_over(door.clone(), shutdown.clone())),
            tokio::spawn(grpc::serve(
                door.clone(),
                &config,
                grpc_incoming,
                shutdown.clone(),
            )),
        ];
        tasks.extend(upkeep::start(&door, &config, &shutdown));
        if let Some(endpoint) = metrics_endpoint {
            tasks.extend(prometheus::start(endpoint, services, &shutdown));
        }
        tracing::info!(node = config.node, %client_address, "this node runs");
        Ok(Self {
            door,
            consensus,
            client_address,
            shutdown,
            tasks,
            flusher,
            spans,
            _locks: locks,
        })
    }

    /// Where clients connect; the port that the system chose if 0 was configured.
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// The front door, for programs that hold a node in their own process.
    pub fn front_door(&self) -> &FrontDoor {
        &self.door
    }

    /// Stops every room, the last one first.
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.door.close_all(Closed::Stopping);
        for task in self.tasks {
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        }
        self.consensus.shutdown().await;
        // Nothing is applied any more.
        let (flusher, spans) = (self.flusher, self.spans);
        let ended = tokio::task::spawn_blocking(move || {
            flusher.stop();
            spans.stop();
        });
        ended.await.expect("the last of it ends without a panic");
        tracing::info!("this node has stopped");
    }
}

fn tracer(config: &Config) -> Result<Tracer, TracerError> {
    let service = Service {
        name: "zweig-coordinator",
        instance: config.node.to_string(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Tracer::otlp(&config.traces.clone().or_environment(), &service)
}

fn exit_on_fatal(fatal: &Fatal) {
    tracing::error!(reason = %fatal, "this node cannot go on");
    std::process::abort();
}

/// Makes the data folders, and makes sure that nobody else uses them.
fn take_folders(config: &Config) -> Result<Vec<FolderLock>, RunError> {
    let mut locks = Vec::new();
    for path in config.folders() {
        folder::make(path).map_err(|source| RunError::Folder {
            path: path.to_owned(),
            source,
        })?;
        locks.push(FolderLock::take(path)?);
    }
    Ok(locks)
}

fn listen_error<'a>(
    key: &'static str,
    endpoint: &'a Endpoint,
) -> impl FnOnce(io::Error) -> RunError + 'a {
    move |source| RunError::Listen {
        key,
        address: endpoint.to_string(),
        source,
    }
}

async fn bind_client_port(endpoint: &Endpoint) -> Result<TcpListener, RunError> {
    let address = (endpoint.host.as_str(), endpoint.port);
    let bound = TcpListener::bind(address).await;
    bound.map_err(listen_error("clientPort", endpoint))
}

fn local_address(socket: &TcpListener, endpoint: &Endpoint) -> Result<SocketAddr, RunError> {
    socket
        .local_addr()
        .map_err(listen_error("clientPort", endpoint))
}

/// Where metrics are served, if they are.
async fn bind_metrics(provider: &MetricsProvider) -> Result<Option<MetricsEndpoint>, RunError> {
    let endpoint = match provider {
        MetricsProvider::Off => return Ok(None),
        MetricsProvider::Unknown(class) => {
            let known = MetricsProvider::PROMETHEUS;
            tracing::warn!(%class, known, "no such metricsProvider.className here: no metrics are served");
            return Ok(None);
        }
        MetricsProvider::Prometheus(endpoint) => endpoint,
    };
    let error = || listen_error("metricsProvider.httpPort", endpoint);
    let bound = MetricsEndpoint::bind(&endpoint.host, endpoint.port).await;
    let bound = bound.map_err(error())?;
    let address = bound.address().map_err(error())?;
    tracing::info!("metrics are at http://{address}/metrics");
    Ok(Some(bound))
}

/// Binds one of the ports between nodes.
fn bind_peer_port(
    key: &'static str,
    host: &str,
    port: u16,
) -> Result<std::net::TcpListener, RunError> {
    let endpoint = Endpoint {
        host: host.to_owned(),
        port,
    };
    let bound = (host, port).to_socket_addrs().and_then(|addresses| {
        std::net::TcpListener::bind(addresses.collect::<Vec<_>>().as_slice())
    });
    bound.map_err(listen_error(key, &endpoint))
}

fn history_bounds(config: &Config) -> HistoryBounds {
    HistoryBounds {
        max_age_ms: i64::try_from(config.history_retention.as_millis()).unwrap_or(i64::MAX),
        max_bytes: config.history_retention_bytes,
    }
}

fn start_consensus(
    config: &Config,
    boot: u64,
    applier: PublishedApplier,
    published: &Arc<Published>,
) -> Result<Consensus, RunError> {
    let own = config.own_server();
    let host = match config.quorum_listen_on_all_ips {
        true => "0.0.0.0",
        false => own.host.as_str(),
    };
    let listeners = Listeners {
        quorum: bind_peer_port("quorumPort", host, own.quorum_port)?,
        bulk: bind_peer_port("electionPort", host, own.election_port)?,
    };
    let applier = Box::new(applier);
    let unanswered: Arc<dyn Unanswered> = Arc::clone(published) as _;
    let runtime = tokio::runtime::Handle::current();
    let consensus_config = ConsensusConfig {
        syncs: Arc::clone(&published.metrics().syncs),
        spans: Arc::clone(published.spans()),
        ..consensus_config(config, boot)
    };
    let started = Consensus::start(&consensus_config, listeners, applier, &unanswered, &runtime);
    Ok(started?)
}

fn consensus_config(config: &Config, boot: u64) -> ConsensusConfig {
    let member = |host: &str, port| {
        let host = host.to_owned();
        Endpoint { host, port }.to_string()
    };
    let members: BTreeMap<u64, Member> = config
        .servers
        .iter()
        .map(|server| {
            let member = Member {
                quorum: member(&server.host, server.quorum_port),
                bulk: member(&server.host, server.election_port),
                learner: server.role == Role::Observer,
            };
            (server.node, member)
        })
        .collect();
    let folder = config.raft_folder();
    let shortest_ms = u64::from(config.min_session_timeout_ms);
    ConsensusConfig {
        election_timeout_ms: millis(config.election_timeout),
        // Half a tick; more often where sessions may be so short that this would be too late.
        report_period_ms: (millis(config.tick) / 2).min(shortest_ms / 4).max(1),
        shortest_session_timeout_ms: shortest_ms,
        forward_deadline_ms: millis(forward_deadline(config)),
        state_folder: Some(config.data_dir.clone()),
        log: LogOptions {
            segment_bytes: config.pre_alloc_bytes,
            ..LogOptions::default()
        },
        ballast_bytes: config.pre_alloc_bytes,
        watermark_bytes: 4 * config.pre_alloc_bytes,
        ..ConsensusConfig::new(config.node, boot, members, folder)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn forward_deadline(config: &Config) -> Duration {
    config.tick.saturating_mul(config.sync_limit)
}

fn front_door_config(config: &Config, boot: u64) -> FrontDoorConfig {
    FrontDoorConfig {
        node: config.node,
        boot,
        session_timeout_ms: (config.min_session_timeout_ms, config.max_session_timeout_ms),
        forward_deadline: forward_deadline(config),
        catch_up: CATCH_UP,
    }
}

async fn watch_over(door: FrontDoor, shutdown: CancellationToken) {
    shutdown.run_until_cancelled(watchman(door)).await;
}

/// Consensus as the front door sees it.
struct Replicated(Consensus);

impl Replicator for Replicated {
    fn submit(&self, commands: Vec<Command>) -> Result<(), NotDone> {
        self.0.submit(commands)
    }

    fn touch(&self, session: SessionId, attach: u64) {
        self.0.touch(session, attach);
    }

    fn left(&self, left: Left) {
        self.0.left(left);
    }

    fn in_touch(&self, now: Instant) -> bool {
        self.0.in_touch(now)
    }

    fn read_index(&self) -> ReadIndex {
        let consensus = self.0.clone();
        Box::pin(async move { consensus.read_index().await })
    }

    fn status(&self) -> Arc<Status> {
        self.0.status()
    }
}
