//! What this broker tells Prometheus: under the names that Kafka's metrics have behind `jmx_exporter`, else as
//! `zweig_broker_*`.
//!
//! A page is made when it is asked for, of what is counted and known anyway; each partition is looked at for a
//! moment, under its own lock. Not here: HTTP and the text format (`zweig-monitoring`), counting (`metrics`).

use std::sync::Arc;

use zweig_monitoring::{Kind, Page, process};

use crate::clock;
use crate::handlers::{REGISTRY, Services};
use crate::log::LogManager;
use crate::metrics::{Metrics, Traffic};
use crate::replica::hosted::Partition;
use crate::replica::hosted::counting::Led;

/// What a page is made of.
pub(super) struct Scrape {
    pub(super) services: Arc<Services>,
    pub(super) logs: Arc<LogManager>,
    /// Milliseconds since 1970.
    pub(super) started_ms: i64,
}

impl Scrape {
    /// The page as of now.
    pub(super) fn page(&self) -> Page {
        let mut page = Page::default();
        let replicas = &self.services.replicas;
        let metrics = replicas.metrics();
        traffic(&mut page, metrics);
        requests(&mut page, metrics);
        let partitions: Vec<_> = replicas
            .online()
            .into_iter()
            .map(|partition| (partition.led(), partition))
            .collect();
        fetch_sessions(&mut page, &self.services);
        replicated(&mut page, &self.services, &partitions);
        leaderships(&mut page, metrics);
        logs(&mut page, &partitions);
        controller(&mut page, &self.services);
        groups(&mut page, &self.services);
        registration(&mut page, &self.services);
        self.disks(&mut page);
        process::put(&mut page, self.started_ms);
        let broker = replicas.broker_id().to_string();
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("broker", &broker)];
        page.family(
            Kind::Gauge,
            "zweig_broker_build_info",
            "Always 1; the labels say what runs.",
        )
        .sample(&labels, 1_u64);
        page
    }

    /// Room where the logs lie.
    fn disks(&self, page: &mut Page) {
        let dirs = self.logs.dirs();
        let spaces: Vec<_> = dirs
            .iter()
            .filter_map(|dir| Some((dir.display().to_string(), process::space(dir).ok()?)))
            .collect();
        let mut free = page.family(
            Kind::Gauge,
            "zweig_broker_disk_free_bytes",
            "Room left on the disk of a log directory.",
        );
        for (dir, space) in &spaces {
            free.sample(&[("dir", dir)], space.free);
        }
        let mut size = page.family(
            Kind::Gauge,
            "zweig_broker_disk_size_bytes",
            "Size of the disk of a log directory.",
        );
        for (dir, space) in &spaces {
            size.sample(&[("dir", dir)], space.size);
        }
        let full = self.services.replicas.full_for().unwrap_or_default();
        page.gauge(
            "zweig_broker_log_dir_full_seconds",
            "For how long a log directory has had no room; 0: all have.",
            full.as_secs_f64(),
        );
    }
}

type Look = fn(&Traffic) -> u64;

/// Without a label: of all topics together, as Kafka tells it.
fn traffic(page: &mut Page, metrics: &Metrics) {
    let topics = metrics.topics();
    let families: [(&'static str, &str, Look); 5] = [
        (
            "kafka_server_brokertopicmetrics_messagesin_total",
            "Records appended by this broker as leader.",
            |traffic| traffic.messages_in.get(),
        ),
        (
            "kafka_server_brokertopicmetrics_bytesin_total",
            "Bytes appended by this broker as leader.",
            |traffic| traffic.bytes_in.get(),
        ),
        (
            "kafka_server_brokertopicmetrics_bytesout_total",
            "Bytes of records sent to consumers.",
            |traffic| traffic.bytes_out.get(),
        ),
        (
            "kafka_server_brokertopicmetrics_replicationbytesin_total",
            "Bytes that came from leaders.",
            |traffic| traffic.replication_bytes_in.get(),
        ),
        (
            "kafka_server_brokertopicmetrics_replicationbytesout_total",
            "Bytes of records sent to followers.",
            |traffic| traffic.replication_bytes_out.get(),
        ),
    ];
    for (name, help, look) in families {
        let help = format!("{help} Without a topic: of all together.");
        let mut family = page.family(Kind::Counter, name, &help);
        family.sample(&[], look(&metrics.all));
        for (topic, traffic) in &topics {
            family.sample(&[("topic", topic)], look(traffic));
        }
    }
    let counters = [
        (
            "kafka_server_brokertopicmetrics_totalproducerequests_total",
            "Partitions that producers wrote to, or tried to.",
            &metrics.produces,
        ),
        (
            "kafka_server_brokertopicmetrics_failedproducerequests_total",
            "Those of them that were answered with an error.",
            &metrics.produces_failed,
        ),
        (
            "kafka_server_brokertopicmetrics_totalfetchrequests_total",
            "Partitions that were fetched, or asked for.",
            &metrics.fetches,
        ),
        (
            "kafka_server_brokertopicmetrics_failedfetchrequests_total",
            "Those of them that were answered with an error.",
            &metrics.fetches_failed,
        ),
    ];
    for (name, help, counter) in counters {
        page.counter(name, help, counter.get());
    }
}

fn requests(page: &mut Page, metrics: &Metrics) {
    let seen: Vec<_> = REGISTRY
        .iter()
        .filter_map(|api| Some((format!("{:?}", api.key), metrics.requests(api.key)?.get())))
        .collect();
    let mut count = page.family(
        Kind::Counter,
        "kafka_network_requestmetrics_requests_total",
        "Requests that were answered.",
    );
    for (request, seen) in &seen {
        count.sample(&[("request", request)], seen.count);
    }
    let mut total = page.family(
        Kind::Summary,
        "kafka_network_requestmetrics_totaltimems",
        "How long requests took, milliseconds; without quantiles. A fetch may wait for records.",
    );
    for (request, seen) in &seen {
        total.total_ms(&[("request", request)], seen);
    }
    let mut times = page.family(
        Kind::Histogram,
        "zweig_broker_request_seconds",
        "How long requests took. A fetch may wait for records.",
    );
    for (request, seen) in &seen {
        times.durations(&[("request", request)], seen);
    }
    let listeners = metrics.listeners();
    let mut open = page.family(
        Kind::Gauge,
        "kafka_server_socket_server_metrics_connection_count",
        "Connections.",
    );
    for (listener, connections) in &listeners {
        // Closed first: what opens meanwhile must not make it negative.
        let closed = connections.closed.get();
        let now = connections.opened.get().saturating_sub(closed);
        open.sample(&[("listener", listener)], now);
    }
    let mut refused = page.family(
        Kind::Counter,
        "zweig_broker_connections_refused_total",
        "Connections closed as soon as they came, for max.connections or max.connections.per.ip.",
    );
    for (listener, connections) in &listeners {
        refused.sample(&[("listener", listener)], connections.refused.get());
    }
    page.histogram(
        "zweig_broker_log_sync_seconds",
        "How long logs took to be on the disk, where flush.messages asks for it.",
        &metrics.syncs.get(),
    );
}

fn fetch_sessions(page: &mut Page, services: &Services) {
    let sessions = &services.fetch_sessions;
    let (count, partitions) = sessions.count();
    page.gauge(
        "kafka_server_fetchsessioncache_numincrementalfetchsessions",
        "Fetch sessions of consumers and followers.",
        count,
    );
    page.gauge(
        "kafka_server_fetchsessioncache_numincrementalfetchpartitionscached",
        "Partitions that fetch sessions remember.",
        partitions,
    );
    page.counter(
        "kafka_server_fetchsessioncache_incrementalfetchsessionevictions_total",
        "Fetch sessions that made room for others.",
        sessions.evictions(),
    );
}

type Partitions = [(Option<Led>, Arc<Partition>)];

fn replicated(page: &mut Page, services: &Services, partitions: &Partitions) {
    let led = || partitions.iter().filter_map(|(led, _)| *led);
    let offline = services.replicas.offline_count();
    let under = led().filter(|led| led.in_sync < led.replicas).count();
    let under_min = led().filter(|led| led.in_sync < led.min_in_sync).count();
    let at_min = led().filter(|led| led.in_sync == led.min_in_sync).count();
    let gauges: [(&'static str, &str, usize); 6] = [
        (
            "kafka_server_replicamanager_partitioncount",
            "Partitions of which this broker has a replica.",
            partitions.len() + offline,
        ),
        (
            "kafka_server_replicamanager_leadercount",
            "Partitions that this broker leads.",
            led().count(),
        ),
        (
            "kafka_server_replicamanager_underreplicatedpartitions",
            "Of those it leads: with replicas that are not in sync.",
            under,
        ),
        (
            "kafka_server_replicamanager_underminisrpartitioncount",
            "Of those it leads: with fewer in sync than min.insync.replicas.",
            under_min,
        ),
        (
            "kafka_server_replicamanager_atminisrpartitioncount",
            "Of those it leads: with just min.insync.replicas in sync.",
            at_min,
        ),
        (
            "kafka_server_replicamanager_offlinereplicacount",
            "Replicas of this broker whose log cannot be opened.",
            offline,
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, value);
    }
    page.gauge(
        "zweig_broker_follower_lag_records",
        "Of the partitions it leads: records that the follower which is most behind lacks.",
        led().map(|led| led.most_behind).max().unwrap_or(0),
    );
}

fn leaderships(page: &mut Page, metrics: &Metrics) {
    let counters = [
        (
            "kafka_server_replicamanager_isrshrinks_total",
            "Times this broker as leader left replicas out of the in-sync ones.",
            &metrics.isr_shrinks,
        ),
        (
            "kafka_server_replicamanager_isrexpands_total",
            "Times this broker as leader took replicas back.",
            &metrics.isr_expands,
        ),
        (
            "kafka_server_replicamanager_failedisrupdates_total",
            "Times such a change was not written.",
            &metrics.isr_failures,
        ),
        (
            "zweig_broker_leaderships_total",
            "Leaderships this broker took up.",
            &metrics.leaderships,
        ),
    ];
    for (name, help, counter) in counters {
        page.counter(name, help, counter.get());
    }
}

/// One line per partition and family.
fn logs(page: &mut Page, partitions: &Partitions) {
    type Look = fn(&Partition) -> i64;
    let families: [(&'static str, &str, Look); 4] = [
        ("kafka_log_log_size", "Bytes of a log.", |partition| {
            i64::try_from(partition.log().size_bytes()).unwrap_or(i64::MAX)
        }),
        (
            "kafka_log_log_logstartoffset",
            "Offset of a log's first record.",
            |partition| partition.log().log_start_offset(),
        ),
        (
            "kafka_log_log_logendoffset",
            "Offset behind a log's last record.",
            |partition| partition.log().log_end_offset(),
        ),
        (
            "zweig_broker_high_watermark",
            "Offset behind the last committed record.",
            |partition| partition.high_watermark(),
        ),
    ];
    let names: Vec<_> = partitions
        .iter()
        .map(|(_, partition)| (partition, partition.name().partition.to_string()))
        .collect();
    for (name, help, look) in families {
        let mut family = page.family(Kind::Gauge, name, help);
        for (partition, number) in &names {
            let topic = partition.name().topic.as_str();
            family.sample(&[("topic", topic), ("partition", number)], look(partition));
        }
    }
    let mut in_sync = page.family(
        Kind::Gauge,
        "kafka_cluster_partition_insyncreplicascount",
        "In-sync replicas of a partition that is led here.",
    );
    for ((led, partition), (_, number)) in partitions.iter().zip(&names) {
        if let Some(led) = led {
            let topic = partition.name().topic.as_str();
            in_sync.sample(&[("topic", topic), ("partition", number)], led.in_sync);
        }
    }
}

/// What the controller tells of all; whoever is not it tells zeros, as in Kafka.
fn controller(page: &mut Page, services: &Services) {
    let image = services.image();
    let active = image.controller_id() == Some(services.replicas.broker_id());
    page.gauge(
        "kafka_controller_kafkacontroller_activecontrollercount",
        "1 while this broker is the controller.",
        active,
    );
    let (mut partitions, mut offline, mut imbalance) = (0_usize, 0_usize, 0_usize);
    let topics = image.topics.values();
    for topic in topics.filter(|topic| active && !image.deleting.contains_key(&topic.name)) {
        for partition in topic.partitions.values() {
            partitions += 1;
            let leader = partition.leader.filter(|id| image.broker(*id).is_some());
            offline += usize::from(leader.is_none());
            let preferred = partition.replicas.first() == partition.leader.as_ref();
            imbalance += usize::from(!preferred);
        }
    }
    let if_active = |number: usize| if active { number } else { 0 };
    let gauges: [(&'static str, &str, usize); 5] = [
        (
            "kafka_controller_kafkacontroller_globaltopiccount",
            "Topics of the cluster.",
            if_active(image.topics.size()),
        ),
        (
            "kafka_controller_kafkacontroller_globalpartitioncount",
            "Partitions of the cluster.",
            partitions,
        ),
        (
            "kafka_controller_kafkacontroller_offlinepartitionscount",
            "Partitions without a leader that is here.",
            offline,
        ),
        (
            "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
            "Partitions that their preferred replica does not lead.",
            imbalance,
        ),
        (
            "kafka_controller_kafkacontroller_activebrokercount",
            "Brokers that are registered.",
            if_active(image.brokers.size()),
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, &format!("{help} Of the controller alone."), value);
    }
    page.counter(
        "kafka_controller_controllerstats_uncleanleaderelections_total",
        "Leaders that this broker as controller chose though they may lack records.",
        services.replicas.metrics().unclean_elections.get(),
    );
}

fn groups(page: &mut Page, services: &Services) {
    use crate::group::GroupState;
    let states = services.groups.states();
    let count = |wanted: GroupState| states.iter().filter(|state| **state == wanted).count();
    let gauges: [(&'static str, &str, usize); 6] = [
        (
            "kafka_coordinator_group_groupmetadatamanager_numgroups",
            "Groups that this broker coordinates.",
            states.len(),
        ),
        (
            "kafka_coordinator_group_groupmetadatamanager_numgroupsempty",
            "Those of them without members.",
            count(GroupState::Empty),
        ),
        (
            "kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
            "Those of them that wait for members to join.",
            count(GroupState::PreparingRebalance),
        ),
        (
            "kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
            "Those of them that wait for an assignment.",
            count(GroupState::CompletingRebalance),
        ),
        (
            "kafka_coordinator_group_groupmetadatamanager_numgroupsstable",
            "Those of them that are at work.",
            count(GroupState::Stable),
        ),
        (
            "kafka_coordinator_group_groupmetadatamanager_numgroupsdead",
            "Those of them that are going.",
            count(GroupState::Dead),
        ),
    ];
    for (name, help, value) in gauges {
        page.gauge(name, help, value);
    }
}

fn registration(page: &mut Page, services: &Services) {
    page.counter(
        "kafka_server_sessionexpirelistener_zookeeperexpires_total",
        "Sessions of this broker that the ensemble ended.",
        services.replicas.metrics().sessions_expired.get(),
    );
    page.gauge(
        "zweig_broker_registration_sure",
        "1 while this broker is sure that it is registered; else it changes no in-sync replicas.",
        services.replicas.is_sure(),
    );
    page.gauge(
        "zweig_broker_image_zxid",
        "Up to which transaction of the ensemble this broker knows the cluster.",
        services.image().zxid,
    );
}

/// A page that is made anew for each scrape.
pub(super) fn render(scrape: Scrape) -> zweig_monitoring::endpoint::Render {
    Arc::new(move || scrape.page())
}

impl Scrape {
    /// Of a broker that begins to serve now.
    pub(super) fn new(services: Arc<Services>, logs: Arc<LogManager>) -> Self {
        let started_ms = clock::wall_ms();
        Self {
            services,
            logs,
            started_ms,
        }
    }
}
