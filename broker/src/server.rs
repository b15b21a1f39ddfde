//! One broker, put together and taken apart. Builds the rooms in this order, and stops them in
//! reverse:
//!
//! ```text
//!   logs (lock, recovery) ─▶ session, ids ─▶ listeners bound ─▶ registration ─▶ first image
//!     ─▶ replicas ─▶ requests served ─▶ controller, session supervision, surveys
//!
//!   leaderships moved away ─▶ requests ─▶ replicas ─▶ logs closed, clean marker ─▶ session closed
//! ```
//!
//! Two runtimes: the caller's serves requests and touches files; the ensemble's session, the
//! watch stream and the controller run on one of their own, so that a busy disk does not cost the
//! registration.
//!
//! Invariants: nothing is registered before the logs are recovered; nothing is served before the
//! first image was applied; the clean marker is written after the last append and before the
//! session goes.

mod adapters;
mod groups;
mod listeners;
mod relief;
mod running;
mod scrape;
mod session;
mod survey;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime::{Handle, Runtime};
use tokio_util::sync::CancellationToken;
use zweig_monitoring::trace::{Service, TracerError};
use zweig_monitoring::{Endpoint, Tracer};

use crate::clock;
use crate::config::{Config, MetricsListener};
use crate::disk::{self, Disk};
use crate::ensemble::cluster::Cluster;
use crate::ensemble::memory::{Memory, MemoryError, intact_since};
use crate::ensemble::port::{Network, Ports};
use crate::ensemble::registration::{
    Registrar, RegistrationError, close_former, patiently, settle,
};
use crate::ensemble::watcher::{DeltaInbox, WatchError};
use crate::log::{Identity, LogConfig, LogConfigError, LogManager, ManagerError, Stop};
use crate::metadata::{MetadataCache, WaitError};
use crate::tasks;

use listeners::{BindError, Bound};
use running::Running;
use session::Supervisor;

/// Why a broker did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A default for topics makes no log.
    #[error(transparent)]
    LogConfig(#[from] LogConfigError),
    /// The log directories cannot be opened, or closed.
    #[error(transparent)]
    Logs(#[from] ManagerError),
    /// What is remembered of the registration cannot be read.
    #[error(transparent)]
    Memory(#[from] MemoryError),
    /// A listener cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address of metrics cannot be bound.
    #[error("cannot listen on {address} (metrics.listener): {source}")]
    Metrics {
        /// As configured.
        address: MetricsListener,
        /// The system's reason.
        source: std::io::Error,
    },
    /// Traces have nowhere to go.
    #[error("otlp.endpoint: {0}")]
    Traces(#[from] TracerError),
    /// This broker cannot stand in the tree.
    #[error(transparent)]
    Registration(#[from] RegistrationError),
    /// The tree did not show itself in time.
    #[error("no image of the cluster: {0}")]
    Image(#[from] WaitError),
    /// The tree can no longer be followed.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The second runtime could not be made.
    #[error("no threads for the ensemble: {0}")]
    Runtime(std::io::Error),
    /// A task of ours panicked.
    #[error("a part of the broker panicked: {0}")]
    Panicked(String),
}

impl RunError {
    /// Whether somebody else has what this broker needs, a port or a directory, or its directories are somebody else's. Not its
    /// id: that may be its own former session, which ends.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        let in_use = |source: &std::io::Error| source.kind() == std::io::ErrorKind::AddrInUse;
        match self {
            Self::Bind(bind) => in_use(&bind.source),
            Self::Metrics { source, .. } => in_use(source),
            Self::Logs(ManagerError::Locked(_)) => true,
            Self::Registration(registration) => matches!(
                registration,
                RegistrationError::OtherCluster { .. } | RegistrationError::OtherBroker { .. }
            ),
            _ => false,
        }
    }
}

/// Runs a broker until `shutdown`, then stops it cleanly.
///
/// # Errors
/// [`RunError`] says why it did not start, or could not go on.
pub async fn run(mut config: Config, shutdown: CancellationToken) -> Result<(), RunError> {
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    raise_open_files();
    let network = Network {
        config: config.ensemble.clone(),
    };
    config.traces = config.traces.or_environment();
    run_over(config, Arc::new(network), disk::real(), shutdown).await
}

/// As [`run`], over whatever opens sessions and whatever keeps files.
///
/// # Errors
/// As [`run`].
pub async fn run_over(
    config: Config,
    network: Arc<dyn Ports>,
    disk: Arc<dyn Disk>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let control = ControlPlane::new()?;
    let config = Arc::new(config);
    let started = tokio::select! {
        biased;
        started = Started::start(&config, network, disk, &control) => started?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let runtime = control.handle.clone();
    let mut running = Running::begin(started, &config, runtime).await?;
    let ended = running.until(&shutdown).await;
    let tracer = running.tracer();
    let stopped = running.stop(&config, ended.is_ok()).await;
    if tracer.is_on() {
        blocking(move || tracer.stop()).await?;
    }
    stopped?;
    ended
}

/// A log's segment is three open files: takes as many as the system lets this process have.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

/// The threads of the ensemble's side. Dropped without waiting: a session must not hold up an end.
struct ControlPlane {
    /// `None`: it runs on the caller's, as under the simulator.
    own: Option<Runtime>,
    handle: Handle,
}

impl ControlPlane {
    fn new() -> Result<ControlPlane, RunError> {
        #[cfg(feature = "sim")]
        if crate::sim::machine().is_some() {
            return Ok(ControlPlane {
                own: None,
                handle: Handle::current(),
            });
        }
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("ensemble")
            .enable_all()
            .build();
        let runtime = runtime.map_err(RunError::Runtime)?;
        Ok(ControlPlane {
            handle: runtime.handle().clone(),
            own: Some(runtime),
        })
    }

    /// Runs a future there to its end.
    async fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, RunError> {
        let task = tasks::spawn_on(&self.handle, future);
        task.await.map_err(|e| RunError::Panicked(e.to_string()))
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        if let Some(runtime) = self.own.take() {
            runtime.shutdown_background();
        }
    }
}

/// A broker that is registered and has seen the cluster.
struct Started {
    logs: Arc<LogManager>,
    cluster: Cluster,
    metadata: Arc<MetadataCache>,
    bound: Vec<Bound>,
    metrics: Option<Endpoint>,
    supervisor: Supervisor,
    tracer: Tracer,
}

impl Started {
    async fn start(
        config: &Arc<Config>,
        ports: Arc<dyn Ports>,
        disk: Arc<dyn Disk>,
        control: &ControlPlane,
    ) -> Result<Started, RunError> {
        let dir = config.log_dirs[0].clone();
        let memory = Memory::load(&*disk, &dir)?;
        let boot_id = disk.boot_id();
        let former_boot = memory
            .as_ref()
            .map_or_else(String::new, |m| m.boot_id.clone());
        let logs = Arc::new(open_logs(config, disk, former_boot).await?);
        let intact = judge(&logs, memory.as_ref(), &boot_id);
        let stored = logs.identity()?.map(|i| (i.cluster_id, i.broker_id));
        let (wanted, connecting) = (config.clone(), ports.clone());
        let (port, identity) = control
            .run(async move {
                close_former(&*connecting, memory.as_ref()).await?;
                let port = connecting.connect(None).await?;
                let (id, reserved) = (wanted.broker_id, wanted.reserved_broker_max_id);
                let settling = || settle(&*port, id, reserved, stored.clone());
                let identity = patiently(settling).await?;
                Ok::<_, RegistrationError>((port, identity))
            })
            .await??;
        logs.set_identity(&Identity {
            cluster_id: identity.cluster_id.clone(),
            broker_id: identity.broker_id,
        })?;
        let broker_id = identity.broker_id;
        let tracer = tracer(config, broker_id)?;
        let bound = listeners::bind(config).await?;
        let metrics = listeners::bind_metrics(config.metrics_listener.as_ref()).await?;
        let registrar = Registrar {
            disk: Arc::clone(logs.disk()),
            dir,
            endpoints: listeners::endpoints(config, &bound)?,
            rack: config.rack.clone(),
            boot_id,
            synced: config.syncs_before_acknowledging(),
        };
        let registering = registrar.clone();
        let registered = control
            .run(async move {
                patiently(|| registering.register(port.clone(), broker_id, intact)).await
            })
            .await??;
        tracing::info!(
            broker_id, epoch = registered.epoch, cluster = %identity.cluster_id,
            intact = intact.is_some(), "registered"
        );
        let metadata = Arc::new(MetadataCache::default());
        let seed = u64::from(clock::since_boot().subsec_nanos());
        let (seen, settings) = (metadata.clone(), config.clone());
        let cluster = Cluster::new(broker_id, registered, seen, settings, seed);
        let supervisor = Supervisor {
            ports,
            registrar,
            cluster: cluster.clone(),
            metadata: metadata.clone(),
            inbox: Arc::new(DeltaInbox::default()),
        };
        Ok(Started {
            logs,
            cluster,
            metadata,
            bound,
            metrics,
            supervisor,
            tracer,
        })
    }
}

fn tracer(config: &Config, broker_id: i32) -> Result<Tracer, TracerError> {
    let service = Service {
        name: "zweig-broker",
        instance: broker_id.to_string(),
        version: env!("CARGO_PKG_VERSION"),
    };
    Tracer::otlp(&config.traces, &service)
}

async fn open_logs(
    config: &Arc<Config>,
    disk: Arc<dyn Disk>,
    former_boot: String,
) -> Result<LogManager, RunError> {
    let defaults = LogConfig {
        producer_id_expiration_ms: config.log.producer_id_expiration_ms,
        ..LogConfig::default()
    };
    let defaults = defaults.with_overrides(&config.topic_defaults())?;
    let dirs = config.log_dirs.clone();
    let opened =
        blocking(move || LogManager::open(disk, &dirs, defaults, &former_boot, clock::wall_ms()));
    Ok(opened.await??)
}

/// Whether the logs that were opened still hold all they held. One of which something may be missing speaks against
/// all: a registration says it of the whole broker.
fn judge(logs: &LogManager, memory: Option<&Memory>, boot_id: &str) -> Option<i64> {
    let stop = logs.previous_stop();
    let losses = logs.losses();
    for (partition, loss) in &losses {
        tracing::error!(%partition, loss, "records may be missing: this broker does not claim to be intact");
    }
    let intact = intact_since(memory, stop, boot_id).filter(|_| losses.is_empty());
    if intact.is_none() && stop != Stop::Fresh {
        tracing::warn!("records that were not synced may be missing from the logs");
    }
    intact
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, RunError> {
    let done = tasks::blocking(work);
    done.await.map_err(|e| RunError::Panicked(e.to_string()))
}
