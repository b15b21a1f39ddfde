//! What this node tells Prometheus: under ZooKeeper's names where it has them, else as `zweig_ensemble_*`.
//!
//! A page is made when it is asked for, of what is counted and known anyway. One task looks ten times a second
//! who leads: how long, and how often that changed, nobody else remembers. Both run only if the configuration says
//! so. Not here: HTTP and the text format (`zweig-monitoring`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use zweig_monitoring::{Counter, Endpoint, Kind, Page, process};

use super::zk::Services;
use crate::clock;
use crate::consensus::{Role, Status};

/// How often it is looked at who leads.
const LOOK: Duration = Duration::from_millis(100);

/// Serves until `shutdown`.
pub fn start(
    endpoint: Endpoint,
    services: Arc<Services>,
    shutdown: &CancellationToken,
) -> [JoinHandle<()>; 2] {
    let seen = Arc::new(Seen::default());
    let watch = watch(Arc::clone(&services), Arc::clone(&seen));
    let stop = shutdown.clone();
    let watching = tokio::spawn(async move {
        stop.run_until_cancelled(watch).await;
    });
    let render = Arc::new(move || page(&services, &seen));
    [
        watching,
        tokio::spawn(endpoint.serve(render, shutdown.clone())),
    ]
}

/// What was seen of elections.
#[derive(Debug, Default)]
struct Seen {
    /// Terms that began.
    elections: Counter,
    /// How often there was no leader any more.
    losses: Counter,
    leading_since: Mutex<Option<Instant>>,
}

impl Seen {
    /// What came between two looks.
    fn look(&self, before: &Status, now: &Status, at: Instant) {
        self.elections.add(now.term.saturating_sub(before.term));
        if before.leader.is_some() && now.leader.is_none() {
            self.losses.one();
        }
        let mut since = self.leading_since.lock();
        *since = match now.role == Role::Leader {
            true if before.term == now.term => since.or(Some(at)),
            true => Some(at),
            false => None,
        };
    }
}

async fn watch(services: Arc<Services>, seen: Arc<Seen>) {
    let door = &services.door;
    let mut before = door.status();
    loop {
        let now = door.status();
        seen.look(&before, &now, clock::now());
        before = now;
        door.clock().sleep(LOOK).await;
    }
}

fn page(services: &Services, seen: &Seen) -> Page {
    let mut page = Page::default();
    let status = services.door.status();
    server(&mut page, services);
    state(&mut page, services);
    requests(&mut page, services);
    consensus(&mut page, services, &status, seen);
    if status.role == Role::Leader {
        leading(&mut page, &status, seen);
    }
    disks(&mut page, services);
    let uptime_ms = i64::try_from(services.uptime().as_millis()).unwrap_or(i64::MAX);
    process::put(&mut page, clock::wall_clock_ms().saturating_sub(uptime_ms));
    let node = services.config.node.to_string();
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("node", &node)];
    page.family(
        Kind::Gauge,
        "zweig_ensemble_build_info",
        "Always 1; the labels say what runs.",
    )
    .sample(&labels, 1_u64);
    page
}

/// What ZooKeeper's server registers, and what its connections count.
fn server(page: &mut Page, services: &Services) {
    let metrics = &services.metrics;
    let latency = metrics.latency();
    let ms = "of requests, milliseconds, since the start or srst.";
    page.gauge("avg_latency", &format!("Mean latency {ms}"), latency.avg_ms);
    page.gauge(
        "min_latency",
        &format!("Shortest latency {ms}"),
        latency.min_ms,
    );
    page.gauge(
        "max_latency",
        &format!("Longest latency {ms}"),
        latency.max_ms,
    );
    let frames = "Frames of ZooKeeper's protocol that";
    let (came, went) = (metrics.packets_received(), metrics.packets_sent());
    page.gauge("packets_received", &format!("{frames} came in."), came);
    page.gauge("packets_sent", &format!("{frames} went out."), went);
    page.gauge(
        "num_alive_connections",
        "Connections with a session that speak ZooKeeper's protocol.",
        services.connections(),
    );
    let uptime_ms = u64::try_from(services.uptime().as_millis()).unwrap_or(u64::MAX);
    page.gauge("uptime", "Milliseconds since the start.", uptime_ms);
    if let Some(open) = process::open_files() {
        page.gauge("open_file_descriptor_count", "Open files.", open);
    }
    if let Some(most) = process::most_open_files() {
        page.gauge("max_file_descriptor_count", "Files it may open.", most);
    }
    page.counter(
        "connection_request_count",
        "Connections that asked for a session by ZooKeeper's protocol.",
        metrics.connection_requests.get(),
    );
    page.counter(
        "connection_rejected",
        "Connections refused for maxClientCnxns.",
        metrics.connections_rejected.get(),
    );
    page.counter(
        "bytes_received_count",
        "Bytes of ZooKeeper's protocol that came in.",
        metrics.bytes_received.get(),
    );
}

/// What this node's tree holds, and who is connected.
fn state(page: &mut Page, services: &Services) {
    let (counts, sessions) = services
        .door
        .read(|state| (state.counts(), state.session_count()));
    let clients = services.door.client_counts();
    page.gauge("znode_count", "Znodes.", counts.znodes);
    page.gauge("ephemerals_count", "Ephemeral znodes.", counts.ephemerals);
    page.gauge(
        "approximate_data_size",
        "Bytes of paths and data.",
        counts.data_bytes,
    );
    page.gauge("global_sessions", "Sessions of the ensemble.", sessions);
    page.gauge("local_sessions", "Always 0: there are none here.", 0_u64);
    page.gauge(
        "watch_count",
        "Watches of this node's clients.",
        clients.watches,
    );
    page.gauge(
        "outstanding_requests",
        "Writes of this node's clients without an outcome yet.",
        clients.outstanding,
    );
    page.gauge(
        "zweig_ensemble_connections",
        "Connections with a session, of both protocols.",
        clients.connections,
    );
    let applies = "as this node applied it: compare nodes, do not add them.";
    let metrics = &services.metrics;
    page.counter(
        "stale_sessions_expired",
        &format!("Sessions that expired, {applies}"),
        metrics.sessions_expired.get(),
    );
    page.counter(
        "zweig_ensemble_sessions_opened_total",
        &format!("Sessions that were opened, {applies}"),
        metrics.sessions_opened.get(),
    );
    page.counter(
        "zweig_ensemble_sessions_closed_total",
        &format!("Sessions that their clients closed, {applies}"),
        metrics.sessions_closed.get(),
    );
    page.counter(
        "zweig_ensemble_commands_applied_total",
        &format!("Commands of the ensemble, {applies}"),
        metrics.commands_applied.get(),
    );
}

/// Requests of both protocols.
fn requests(page: &mut Page, services: &Services) {
    let metrics = &services.metrics;
    let mut family = page.family(
        Kind::Counter,
        "zweig_ensemble_requests_total",
        "Requests of both protocols, by kind.",
    );
    for (kind, count) in metrics.requests() {
        family.sample(&[("op", kind.name())], count);
    }
    let (reads, updates) = (metrics.reads.get(), metrics.updates.get());
    page.summary_ms(
        "readlatency",
        "How long reads took, milliseconds; without quantiles.",
        &reads,
    );
    page.summary_ms(
        "updatelatency",
        "How long writes took, milliseconds; without quantiles.",
        &updates,
    );
    page.histogram(
        "zweig_ensemble_read_latency_seconds",
        "How long reads took.",
        &reads,
    );
    page.histogram(
        "zweig_ensemble_update_latency_seconds",
        "How long writes took, the ensemble's agreement included.",
        &updates,
    );
    let syncs = metrics.syncs.get();
    page.summary_ms(
        "fsynctime",
        "How long writes of the raft log took until they were on the disk, milliseconds.",
        &syncs,
    );
    page.histogram(
        "zweig_ensemble_log_sync_seconds",
        "How long writes of the raft log took until they were on the disk.",
        &syncs,
    );
}

/// What this node knows of its ensemble.
fn consensus(page: &mut Page, services: &Services, status: &Status, seen: &Seen) {
    let in_touch = services.door.in_touch(clock::now());
    let gauges: [(&'static str, &str, u64); 9] = [
        (
            "zweig_ensemble_in_touch",
            "1 while this node may answer its clients.",
            in_touch.into(),
        ),
        (
            "zweig_ensemble_has_leader",
            "1 while this node knows a leader.",
            status.leader.is_some().into(),
        ),
        (
            "zweig_ensemble_is_leader",
            "1 while this node leads.",
            (status.role == Role::Leader).into(),
        ),
        (
            "zweig_ensemble_space_low",
            "1 while this node's disk is nearly full.",
            status.space_low.into(),
        ),
        ("zweig_ensemble_term", "Raft's term.", status.term),
        (
            "zweig_ensemble_committed_index",
            "Index up to which a majority holds the log.",
            status.committed,
        ),
        (
            "zweig_ensemble_applied_index",
            "Index up to which this node has applied it.",
            status.applied,
        ),
        (
            "zweig_ensemble_log_first_index",
            "First index in this node's log.",
            status.first_index,
        ),
        (
            "zweig_ensemble_log_last_index",
            "Last index in this node's log.",
            status.last_index,
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, value);
    }
    page.counter(
        "zweig_ensemble_elections_total",
        "Terms that began since this node started.",
        seen.elections.get(),
    );
    page.counter(
        "looking_count",
        "How often this node knew no leader any more.",
        seen.losses.get(),
    );
}

/// What only a leader knows.
fn leading(page: &mut Page, status: &Status, seen: &Seen) {
    let others = || status.members.iter().filter(|m| m.node != status.node);
    let active = |voter: bool| others().filter(|m| m.voter == voter && m.active).count();
    let voters = status.members.iter().filter(|member| member.voter).count();
    page.gauge("learners", "Members beside the leader.", others().count());
    page.gauge("quorum_size", "Members that vote.", voters);
    page.gauge(
        "synced_followers",
        "Voting members beside the leader that it hears from.",
        active(true),
    );
    page.gauge(
        "synced_observers",
        "Observers that it hears from.",
        active(false),
    );
    let since = *seen.leading_since.lock();
    let led = since.map_or(Duration::ZERO, |since| {
        clock::now().saturating_duration_since(since)
    });
    page.gauge(
        "leader_uptime",
        "Milliseconds since this node began to lead.",
        u64::try_from(led.as_millis()).unwrap_or(u64::MAX),
    );
    let mut lag = page.family(
        Kind::Gauge,
        "zweig_ensemble_member_lag_entries",
        "Entries of the leader's log that a member is not known to hold.",
    );
    for member in others() {
        let behind = status.last_index.saturating_sub(member.matched);
        lag.sample(&[("member", &member.node.to_string())], behind);
    }
    let mut active = page.family(
        Kind::Gauge,
        "zweig_ensemble_member_active",
        "1 while the leader hears from a member.",
    );
    for member in others() {
        active.sample(&[("member", &member.node.to_string())], member.active);
    }
}

/// Room where the state and the log lie.
fn disks(page: &mut Page, services: &Services) {
    let folders: Vec<PathBuf> = services
        .config
        .folders()
        .into_iter()
        .map(Into::into)
        .collect();
    let spaces: Vec<_> = folders
        .iter()
        .filter_map(|folder| Some((folder.display().to_string(), process::space(folder).ok()?)))
        .collect();
    let mut free = page.family(
        Kind::Gauge,
        "zweig_ensemble_disk_free_bytes",
        "Room left on the disk of a data folder.",
    );
    for (folder, space) in &spaces {
        free.sample(&[("folder", folder)], space.free);
    }
    let mut size = page.family(
        Kind::Gauge,
        "zweig_ensemble_disk_size_bytes",
        "Size of the disk of a data folder.",
    );
    for (folder, space) in &spaces {
        size.sample(&[("folder", folder)], space.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(role: Role, term: u64, leader: Option<u64>) -> Status {
        Status {
            role,
            term,
            leader,
            ..Status::default()
        }
    }

    #[test]
    fn elections_and_leadership_are_seen_between_two_looks() {
        let seen = Seen::default();
        let begun = clock::now();
        let looks = [
            status(Role::Follower, 3, Some(2)),
            status(Role::Candidate, 4, None),
            status(Role::Leader, 4, Some(1)),
            status(Role::Leader, 4, Some(1)),
        ];
        for (second, pair) in (1..).zip(looks.windows(2)) {
            seen.look(&pair[0], &pair[1], begun + Duration::from_secs(second));
        }
        assert_eq!((seen.elections.get(), seen.losses.get()), (1, 1));
        let since = *seen.leading_since.lock();
        assert_eq!(
            since,
            Some(begun + Duration::from_secs(2)),
            "not the last look"
        );
        seen.look(&looks[3], &looks[0], begun);
        assert_eq!(*seen.leading_since.lock(), None);
    }
}
