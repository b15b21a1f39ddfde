//! A broker at work: replicas, controller, requests; and how all of it ends.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use zweig_monitoring::{Endpoint, Tracer};

use crate::config::Config;
use crate::controller::drive::Drive;
use crate::ensemble::cluster::{Cluster, Standing};
use crate::ensemble::port::Port;
use crate::handlers::{ProducerIds, Services};
use crate::log::LogManager;
use crate::metadata::{Image, MetadataCache};
use crate::purgatory::session::FetchSessions;
use crate::replica::hosted::{FatalHook, HostConfig, ReplicaManager};
use crate::shard::{Led, Shards};
use crate::tasks;

use super::adapters::EnsembleFace;
use super::groups::{self, HostedGroups};
use super::scrape::{self, Scrape};
use super::{RunError, Started, blocking, listeners, relief, survey};

/// How long the first image may take after the registration.
const FIRST_IMAGE: Duration = Duration::from_secs(30);

/// A broker that serves.
pub(super) struct Running {
    cluster: Cluster,
    logs: Arc<LogManager>,
    replicas: Arc<ReplicaManager>,
    supervised: JoinHandle<Result<(), RunError>>,
    runtime: Handle,
    /// Everything but requests.
    tasks: TaskTracker,
    stop: CancellationToken,
    /// Requests.
    net: TaskTracker,
    net_stop: CancellationToken,
}

impl Running {
    /// Waits for the first image, makes the partitions what it says, and serves.
    pub(super) async fn begin(
        started: Started,
        config: &Arc<Config>,
        runtime: Handle,
    ) -> Result<Running, RunError> {
        let Started {
            logs,
            cluster,
            metadata,
            bound,
            metrics,
            supervisor,
            tracer,
        } = started;
        let face = Arc::new(EnsembleFace {
            cluster: cluster.clone(),
            metadata: metadata.clone(),
            tracer: tracer.clone(),
        });
        let replicas = ReplicaManager::new(
            HostConfig::new(cluster.broker_id(), config).traced(tracer),
            logs.clone(),
            metadata.clone(),
            face.clone(),
            fatal_hook(),
            Handle::current(),
        );
        let stop = CancellationToken::new();
        let drive = Drive {
            cluster: cluster.clone(),
            metadata: metadata.clone(),
            inbox: supervisor.inbox.clone(),
            config: config.controller,
            metrics: replicas.metrics().clone(),
        };
        let supervising = supervisor.run(fence(replicas.clone()), stop.child_token());
        let mut supervised = tasks::spawn_on(&runtime, supervising);
        let image = tokio::select! {
            biased;
            first = first_image(&metadata, &cluster) => first?,
            ended = &mut supervised => return Err(ended_early(ended)),
        };
        apply(&replicas, image).await?;
        #[cfg(feature = "sim")]
        crate::sim::with(|world| world.serving(&replicas));
        let running = Running {
            cluster,
            logs,
            replicas,
            supervised,
            runtime,
            tasks: TaskTracker::new(),
            stop,
            net: TaskTracker::new(),
            net_stop: CancellationToken::new(),
        };
        running.start_tasks(drive, &metadata);
        let groups = running.start_groups(config, &metadata);
        let services = Arc::new(Services {
            config: config.clone(),
            metadata,
            replicas: running.replicas.clone(),
            admin: face,
            groups,
            producer_ids: ProducerIds::default(),
            fetch_sessions: FetchSessions::new(config.net.fetch_session_slots),
        });
        let until = (&running.net, &running.net_stop);
        listeners::serve(bound, &config.net, &services, until);
        running.serve_metrics(metrics, services);
        tracing::info!(broker_id = running.cluster.broker_id(), "serving");
        Ok(running)
    }

    /// Of batches that are followed.
    pub(super) fn tracer(&self) -> Tracer {
        self.replicas.tracer().clone()
    }

    fn start_tasks(&self, drive: Drive, metadata: &Arc<MetadataCache>) {
        let stop = || self.stop.child_token();
        let (replicas, tracker) = (&self.replicas, &self.tasks);
        let following = follow_images(replicas.clone(), metadata.clone(), stop());
        tracker.spawn(tasks::bound(following));
        tracker.spawn_on(tasks::bound(drive.run(stop())), &self.runtime);
        let survey = survey::run(
            self.cluster.clone(),
            metadata.clone(),
            replicas.clone(),
            stop(),
        );
        tracker.spawn_on(tasks::bound(survey), &self.runtime);
        let relief = relief::run(
            self.cluster.clone(),
            metadata.clone(),
            replicas.clone(),
            stop(),
        );
        tracker.spawn_on(tasks::bound(relief), &self.runtime);
    }

    fn start_groups(&self, config: &Config, metadata: &Arc<MetadataCache>) -> Shards {
        let config = &config.group;
        let backing = HostedGroups {
            replicas: self.replicas.clone(),
            metadata: metadata.clone(),
            commit_timeout: config.commit_timeout,
            load_buffer_bytes: usize::try_from(config.load_buffer_bytes).unwrap_or(0),
        };
        let check = config.offsets_retention_check_interval;
        let groups = Shards::new(groups::group_config(config), check, Arc::new(backing));
        let (sender, led) = watch::channel(Led::new());
        let leaderships = self.replicas.leaderships();
        let tell = groups::tell_led(leaderships, sender, self.stop.child_token());
        self.tasks.spawn(tasks::bound(tell));
        let gone = groups::tell_gone(metadata.clone(), groups.clone(), self.stop.child_token());
        self.tasks.spawn(tasks::bound(gone));
        let serving = groups.clone().run(led, self.stop.child_token());
        self.tasks.spawn(tasks::bound(serving));
        groups
    }

    fn serve_metrics(&self, endpoint: Option<Endpoint>, services: Arc<Services>) {
        if let Some(endpoint) = endpoint {
            let render = scrape::render(Scrape::new(services, self.logs.clone()));
            let serving = endpoint.serve(render, self.stop.child_token());
            self.tasks.spawn(tasks::bound(serving));
        }
    }

    /// Waits until the broker is to stop, or cannot go on.
    pub(super) async fn until(&mut self, shutdown: &CancellationToken) -> Result<(), RunError> {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => Ok(()),
            ended = &mut self.supervised => Err(ended_early(ended)),
        }
    }

    /// Stops in reverse; `orderly` if leaderships are to be moved away first.
    pub(super) async fn stop(self, config: &Config, orderly: bool) -> Result<(), RunError> {
        let cluster = self.cluster;
        if orderly && config.controller.controlled_shutdown {
            move_leaders_away(&cluster, config, &self.runtime).await;
        }
        self.net_stop.cancel();
        if wait(&self.net, "connections").await {
            serves_nobody();
        }
        self.stop.cancel();
        wait(&self.tasks, "tasks").await;
        let registered = cluster.standing() != Standing::Expired;
        stop_replicas(self.replicas, self.logs, cluster.broker_epoch()).await?;
        if registered {
            close_session(&self.runtime, cluster.port()).await;
        }
        tracing::info!(broker_id = cluster.broker_id(), "stopped");
        Ok(())
    }
}

/// What is to happen as soon as the session is known to have expired.
fn fence(replicas: Arc<ReplicaManager>) -> impl Fn() + Send + Sync {
    move || {
        replicas.metrics().sessions_expired.one();
        replicas.fence();
    }
}

/// The first image that shows this broker registered.
async fn first_image(metadata: &MetadataCache, cluster: &Cluster) -> Result<Arc<Image>, RunError> {
    let (id, epoch) = (cluster.broker_id(), cluster.broker_epoch());
    let registered = |image: &Image| image.broker_epoch(id) >= Some(epoch);
    Ok(metadata.wait_for(FIRST_IMAGE, registered).await?)
}

async fn apply(replicas: &Arc<ReplicaManager>, image: Arc<Image>) -> Result<(), RunError> {
    let replicas = replicas.clone();
    blocking(move || replicas.apply_image(&image)).await
}

/// Makes partitions what each image says, one image after the other; skips those that were
/// replaced meanwhile.
async fn follow_images(
    replicas: Arc<ReplicaManager>,
    metadata: Arc<MetadataCache>,
    stop: CancellationToken,
) {
    let mut changed = metadata.changed();
    changed.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            () = changed.changed() => {}
        }
        changed.mark_seen();
        if let Err(error) = apply(&replicas, metadata.image()).await {
            tracing::error!(%error, "an image was not applied");
        }
    }
}

fn ended_early(ended: Result<Result<(), RunError>, tokio::task::JoinError>) -> RunError {
    match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) => RunError::Panicked("the session's supervision ended".to_owned()),
        Err(panic) => RunError::Panicked(panic.to_string()),
    }
}

async fn move_leaders_away(cluster: &Cluster, config: &Config, runtime: &Handle) {
    let (cluster, limit) = (cluster.clone(), config.controller.controlled_shutdown_limit);
    let asking = async move { cluster.controlled_shutdown(limit).await };
    let asked = tasks::spawn_on(runtime, asking);
    // The ensemble may be away: then waiting for the answer makes no sense either.
    match tokio::time::timeout(limit, asked).await {
        Ok(Ok(Ok(left))) => tracing::info!(left, "leaderships moved away"),
        other => tracing::warn!(?other, "leaderships were not moved away"),
    }
}

/// True if all have ended in time.
async fn wait(tasks: &TaskTracker, what: &str) -> bool {
    tasks.close();
    const LIMIT: Duration = Duration::from_secs(10);
    let all_ended = tokio::time::timeout(LIMIT, tasks.wait()).await.is_ok();
    if !all_ended {
        tracing::warn!("{what} did not end within {LIMIT:?}");
    }
    all_ended
}

/// From now on nobody is answered: the simulator need not look at who leads here.
fn serves_nobody() {
    #[cfg(feature = "sim")]
    crate::sim::with(|world| world.served());
}

async fn stop_replicas(
    replicas: Arc<ReplicaManager>,
    logs: Arc<LogManager>,
    broker_epoch: i64,
) -> Result<(), RunError> {
    blocking(move || {
        replicas.shutdown();
        logs.shutdown_clean(broker_epoch)
    })
    .await??;
    Ok(())
}

async fn close_session(runtime: &Handle, port: Arc<dyn Port>) {
    const LIMIT: Duration = Duration::from_secs(3);
    let closing = tasks::spawn_on(runtime, async move { port.close().await });
    match tokio::time::timeout(LIMIT, closing).await {
        Ok(Ok(Ok(()))) => {}
        other => tracing::warn!(?other, "the session was not closed; it ends by its timeout"),
    }
}

/// After an error of a log that cannot be trusted any more, the process ends at once: what it held
/// in memory, and what the page cache holds, may differ from the disk.
fn fatal_hook() -> FatalHook {
    Arc::new(|reason: &str| {
        tracing::error!(
            reason,
            "the logs cannot be trusted any more; this process ends"
        );
        #[cfg(feature = "sim")]
        crate::sim::exit(reason);
        std::process::exit(1);
    })
}
