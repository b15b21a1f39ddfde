//! The settings of one broker: Kafka's `server.properties`, with `--set key=value` over it. Parsed
//! and checked once, at start; each room is then handed its own small struct.
//!
//! - A wrong value is an error that names key, line and what is allowed.
//! - Keys that Kafka has and that mean nothing here are collected into one warning; unknown keys
//!   into another, as Kafka does.
//! - The tables are in `config::keys` (broker) and `config::topic` (topics), the addresses in
//!   `config::listener`.

mod keys;
mod listener;
mod parse;
mod table;
mod topic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use keys::{KEYS, key};
pub use listener::Listener;
pub use parse::{ConfigError, Place};
pub use table::{Key, Kind};
pub use topic::{
    Source, TOPIC_KEYS, TopicConfigError, TopicKey, check_topic_configs, effective, effective_all,
    topic_key,
};

use parse::Values;

/// All settings of one broker.
#[derive(Clone, Debug)]
pub struct Config {
    /// `broker.id`; `None` asks the ensemble for one, which the log directory then keeps.
    pub broker_id: Option<i32>,
    /// `reserved.broker.max.id`: generated ids lie above.
    pub reserved_broker_max_id: i32,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// `listeners`: what to bind.
    pub listeners: Vec<Listener>,
    /// `advertised.listeners`, or what they default to. Empty hosts and zero ports are those of
    /// `listeners` and are filled in once bound.
    pub advertised_listeners: Vec<Listener>,
    /// `inter.broker.listener.name`.
    pub inter_broker_listener: String,
    /// `log.dirs`; never empty. The first one keeps what belongs to the whole broker.
    pub log_dirs: Vec<PathBuf>,
    /// How to reach the ensemble.
    pub ensemble: EnsembleConfig,
    /// What new topics are like.
    pub topics: TopicsConfig,
    /// What the controller does by itself, and how this broker stops.
    pub controller: ControllerConfig,
    /// Logs, as far as not a topic's setting.
    pub log: LogSettings,
    /// Replication.
    pub replica: ReplicaConfig,
    /// Consumer groups and their offsets.
    pub group: GroupConfig,
    /// Sockets and requests.
    pub net: NetConfig,
    values: Values,
}

/// How to reach the ensemble.
#[derive(Clone, Debug)]
pub struct EnsembleConfig {
    /// host:port of the coordinators.
    pub endpoints: Vec<String>,
    /// Empty, or a path beginning with a slash under which everything stands.
    pub chroot: String,
    /// `zookeeper.session.timeout.ms`.
    pub session_timeout: Duration,
    /// `zookeeper.connection.timeout.ms`: how long to try at start.
    pub connection_timeout: Duration,
}

/// What new topics are like.
#[derive(Clone, Copy, Debug)]
pub struct TopicsConfig {
    /// `num.partitions`.
    pub num_partitions: i32,
    /// `default.replication.factor`.
    pub default_replication_factor: i32,
    /// `auto.create.topics.enable`.
    pub auto_create: bool,
    /// `delete.topic.enable`.
    pub delete_enable: bool,
}

/// What the controller does by itself, and how this broker stops.
#[derive(Clone, Copy, Debug)]
pub struct ControllerConfig {
    /// `unclean.leader.election.enable`, where a topic says nothing.
    pub unclean_leader_election: bool,
    /// `auto.leader.rebalance.enable`.
    pub auto_leader_rebalance: bool,
    /// `leader.imbalance.per.broker.percentage`, percent.
    pub leader_imbalance_percentage: i32,
    /// `leader.imbalance.check.interval.seconds`.
    pub leader_imbalance_check_interval: Duration,
    /// `controlled.shutdown.enable`.
    pub controlled_shutdown: bool,
    /// `controlled.shutdown.max.retries` times `controlled.shutdown.retry.backoff.ms`: how long
    /// to wait for leaderships to move away.
    pub controlled_shutdown_limit: Duration,
}

/// Logs, as far as not a topic's setting.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings {
    /// `log.retention.check.interval.ms`.
    pub retention_check_interval: Duration,
    /// `log.flush.scheduler.interval.ms`, at most an hour here (what is due is looked at).
    pub flush_check_interval: Duration,
    /// `log.flush.offset.checkpoint.interval.ms`.
    pub checkpoint_interval: Duration,
    /// `log.flush.interval.messages`; 1: synced before each acknowledgement.
    pub flush_interval_messages: i64,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
}

/// Replication.
#[derive(Clone, Copy, Debug)]
pub struct ReplicaConfig {
    /// `replica.lag.time.max.ms`.
    pub lag_time_max: Duration,
    /// `replica.fetch.max.bytes`, per partition.
    pub fetch_max_bytes: i32,
    /// `replica.fetch.response.max.bytes`.
    pub fetch_response_max_bytes: i32,
    /// `replica.fetch.wait.max.ms`.
    pub fetch_wait_max: Duration,
    /// `replica.fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `replica.fetch.backoff.ms`.
    pub fetch_backoff: Duration,
    /// `replica.socket.timeout.ms`.
    pub socket_timeout: Duration,
    /// `num.replica.fetchers`.
    pub num_fetchers: i32,
    /// `replica.high.watermark.checkpoint.interval.ms`.
    pub high_watermark_checkpoint_interval: Duration,
    /// `min.insync.replicas`, where a topic says nothing.
    pub min_insync_replicas: i32,
    /// `acks.while.in.doubt` = accept: acks 0 and 1 go on while this broker cannot tell whether
    /// it is still registered.
    pub acks_while_in_doubt: bool,
}

/// Consumer groups and their offsets.
#[derive(Clone, Copy, Debug)]
pub struct GroupConfig {
    /// `offsets.topic.num.partitions`.
    pub offsets_topic_partitions: i32,
    /// `offsets.topic.replication.factor`.
    pub offsets_topic_replication_factor: i32,
    /// `offsets.topic.segment.bytes`.
    pub offsets_topic_segment_bytes: i32,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: i32,
    /// `offsets.commit.timeout.ms`.
    pub commit_timeout: Duration,
    /// `offsets.retention.minutes`.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_interval: Duration,
    /// `offsets.load.buffer.size`, bytes.
    pub load_buffer_bytes: i32,
    /// `group.min.session.timeout.ms`.
    pub min_session_timeout: Duration,
    /// `group.max.session.timeout.ms`.
    pub max_session_timeout: Duration,
    /// `group.initial.rebalance.delay.ms`.
    pub initial_rebalance_delay: Duration,
    /// `group.max.size`, members.
    pub max_size: i32,
}

/// Sockets and requests.
#[derive(Clone, Copy, Debug)]
pub struct NetConfig {
    /// `socket.request.max.bytes`.
    pub request_max_bytes: i32,
    /// `socket.send.buffer.bytes`; `None`: the system's default.
    pub send_buffer_bytes: Option<i32>,
    /// `socket.receive.buffer.bytes`; `None`: the system's default.
    pub receive_buffer_bytes: Option<i32>,
    /// `socket.listen.backlog.size`.
    pub listen_backlog: i32,
    /// `queued.max.requests`.
    pub queued_max_requests: i32,
    /// `max.connections`.
    pub max_connections: i32,
    /// `max.connections.per.ip`.
    pub max_connections_per_ip: i32,
    /// `connections.max.idle.ms`; `None`: never.
    pub max_idle: Option<Duration>,
    /// `fetch.max.bytes`.
    pub fetch_max_bytes: i32,
    /// `max.incremental.fetch.session.cache.slots`.
    pub fetch_session_slots: i32,
    /// `request.timeout.ms`, between brokers.
    pub request_timeout: Duration,
}

impl Config {
    /// Reads `server.properties`, then the overrides, which win.
    ///
    /// # Errors
    /// [`ConfigError`] names the first key that is wrong, its line and what is allowed.
    pub fn load(
        path: Option<&Path>,
        overrides: &[(String, String)],
    ) -> Result<Config, ConfigError> {
        Config::from_values(Values::read(path, overrides)?)
    }

    /// What to warn of at start, one line each.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        &self.values.warnings
    }

    /// Whether the operator set this key, rather than leaving it at its default. A key with
    /// several units counts as set if any of them is.
    #[must_use]
    pub fn is_set(&self, name: &str) -> bool {
        let group: &[&str] = match name {
            "log.retention.ms" => &[
                "log.retention.ms",
                "log.retention.minutes",
                "log.retention.hours",
            ],
            "log.roll.ms" => &["log.roll.ms", "log.roll.hours"],
            "log.roll.jitter.ms" => &["log.roll.jitter.ms", "log.roll.jitter.hours"],
            "log.flush.interval.ms" => {
                &["log.flush.interval.ms", "log.flush.scheduler.interval.ms"]
            }
            _ => return self.values.is_set(name),
        };
        group.iter().any(|name| self.values.is_set(name))
    }

    /// The value in force of a broker key, as text; keys with several units are computed.
    #[must_use]
    pub fn effective(&self, name: &str) -> String {
        const MINUTE: i64 = 60_000;
        const HOUR: i64 = 60 * MINUTE;
        let v = &self.values;
        let first = |keys: &[(&str, i64)]| {
            let found = keys.iter().find(|(key, _)| !v.text(key).is_empty());
            found.map_or_else(String::new, |(key, unit)| {
                let number = v.text(key).parse::<i64>().unwrap_or(-1);
                let ms = if number < 0 {
                    -1
                } else {
                    number.saturating_mul(*unit)
                };
                ms.to_string()
            })
        };
        match name {
            "log.retention.ms" => first(&[
                ("log.retention.ms", 1),
                ("log.retention.minutes", MINUTE),
                ("log.retention.hours", HOUR),
            ]),
            "log.roll.ms" => first(&[("log.roll.ms", 1), ("log.roll.hours", HOUR)]),
            "log.roll.jitter.ms" => {
                first(&[("log.roll.jitter.ms", 1), ("log.roll.jitter.hours", HOUR)])
            }
            "log.flush.interval.ms" => first(&[
                ("log.flush.interval.ms", 1),
                ("log.flush.scheduler.interval.ms", 1),
            ]),
            _ => v.text(name).to_owned(),
        }
    }

    /// All broker keys with their values in force, for whoever describes this broker.
    pub fn all(&self) -> impl Iterator<Item = (&'static str, String)> {
        self.values
            .all()
            .map(|(name, _)| (name, self.effective(name)))
    }

    /// The effective settings of topics that set nothing of their own, by topic key.
    #[must_use]
    pub fn topic_defaults(&self) -> BTreeMap<String, String> {
        effective_all(None, self)
    }

    /// Whether every record is synced before it is acknowledged, so that even a power cut loses
    /// none: the broker then always registers as intact.
    #[must_use]
    pub fn syncs_before_acknowledging(&self) -> bool {
        self.log.flush_interval_messages == 1
    }

    fn from_values(v: Values) -> Result<Config, ConfigError> {
        let protocols = listener::protocols(&v)?;
        let listeners = listener::listeners(&v, "listeners", &protocols)?;
        if listeners.is_empty() {
            return Err(v.invalid("listeners", "at least one NAME://host:port"));
        }
        let mut advertised = listener::listeners(&v, "advertised.listeners", &protocols)?;
        if advertised.is_empty() {
            advertised.clone_from(&listeners);
        }
        let inter_broker_listener = inter_broker(&v, &advertised)?;
        let broker_id = broker_id(&v)?;
        let rack = Some(v.text("broker.rack").to_owned()).filter(|r| !r.is_empty());
        let config = Config {
            broker_id,
            reserved_broker_max_id: v.int("reserved.broker.max.id"),
            rack,
            listeners,
            advertised_listeners: advertised,
            inter_broker_listener,
            log_dirs: log_dirs(&v)?,
            ensemble: ensemble(&v)?,
            topics: topics(&v),
            controller: controller(&v),
            log: log_settings(&v),
            replica: replica(&v)?,
            group: group(&v)?,
            net: net(&v),
            values: v,
        };
        config.check_units()?;
        Ok(config)
    }

    /// The keys that are text in the table because they may be left empty.
    fn check_units(&self) -> Result<(), ConfigError> {
        let v = &self.values;
        v.optional("log.retention.ms", -1)?;
        v.optional("log.retention.minutes", -1)?;
        v.optional("log.roll.ms", 1)?;
        v.optional("log.roll.jitter.ms", 0)?;
        v.optional("log.flush.interval.ms", 0)?;
        Ok(())
    }
}

fn ms(v: &Values, name: &str) -> Duration {
    Duration::from_millis(u64::try_from(v.long(name)).unwrap_or(0))
}

fn broker_id(v: &Values) -> Result<Option<i32>, ConfigError> {
    let id = v.int("broker.id");
    let reserved = v.int("reserved.broker.max.id");
    if id > reserved {
        let allowed = format!("-1, or an integer from 0 to reserved.broker.max.id = {reserved}");
        return Err(v.invalid("broker.id", &allowed));
    }
    if id < 0 && !v.boolean("broker.id.generation.enable") {
        return Err(v.invalid(
            "broker.id",
            "an integer from 0: ids are not to be generated",
        ));
    }
    Ok((id >= 0).then_some(id))
}

fn inter_broker(v: &Values, advertised: &[Listener]) -> Result<String, ConfigError> {
    if v.text("security.inter.broker.protocol") != "PLAINTEXT" {
        return Err(v.invalid("security.inter.broker.protocol", "PLAINTEXT"));
    }
    let name = v.text("inter.broker.listener.name").to_uppercase();
    let default = advertised.iter().find(|l| l.name == "PLAINTEXT");
    if name.is_empty() {
        let listener = default.or_else(|| advertised.first());
        return Ok(listener.map_or_else(String::new, |l| l.name.clone()));
    }
    if advertised.iter().any(|l| l.name == name) {
        Ok(name)
    } else {
        Err(v.invalid(
            "inter.broker.listener.name",
            "the name of an advertised listener",
        ))
    }
}

fn log_dirs(v: &Values) -> Result<Vec<PathBuf>, ConfigError> {
    let key = if v.text("log.dirs").is_empty() {
        "log.dir"
    } else {
        "log.dirs"
    };
    let dirs: Vec<PathBuf> = v
        .text(key)
        .split(',')
        .map(str::trim)
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from)
        .collect();
    if dirs.is_empty() {
        return Err(v.invalid(key, "at least one directory"));
    }
    Ok(dirs)
}

fn ensemble(v: &Values) -> Result<EnsembleConfig, ConfigError> {
    let (endpoints, chroot) = listener::connect(v)?;
    let session_timeout = ms(v, "zookeeper.session.timeout.ms");
    let connection = v.optional("zookeeper.connection.timeout.ms", 1)?;
    let connection = connection.and_then(|ms| u64::try_from(ms).ok());
    Ok(EnsembleConfig {
        endpoints,
        chroot,
        session_timeout,
        connection_timeout: connection.map_or(session_timeout, Duration::from_millis),
    })
}

fn topics(v: &Values) -> TopicsConfig {
    TopicsConfig {
        num_partitions: v.int("num.partitions"),
        default_replication_factor: v.int("default.replication.factor"),
        auto_create: v.boolean("auto.create.topics.enable"),
        delete_enable: v.boolean("delete.topic.enable"),
    }
}

fn controller(v: &Values) -> ControllerConfig {
    let retries = u32::try_from(v.int("controlled.shutdown.max.retries")).unwrap_or(1);
    let interval = v.long("leader.imbalance.check.interval.seconds");
    ControllerConfig {
        unclean_leader_election: v.boolean("unclean.leader.election.enable"),
        auto_leader_rebalance: v.boolean("auto.leader.rebalance.enable"),
        leader_imbalance_percentage: v.int("leader.imbalance.per.broker.percentage"),
        leader_imbalance_check_interval: Duration::from_secs(
            u64::try_from(interval).unwrap_or(300),
        ),
        controlled_shutdown: v.boolean("controlled.shutdown.enable"),
        controlled_shutdown_limit: ms(v, "controlled.shutdown.retry.backoff.ms")
            .saturating_mul(retries),
    }
}

fn log_settings(v: &Values) -> LogSettings {
    const HOUR: Duration = Duration::from_secs(3600);
    LogSettings {
        retention_check_interval: ms(v, "log.retention.check.interval.ms"),
        flush_check_interval: ms(v, "log.flush.scheduler.interval.ms").min(HOUR),
        checkpoint_interval: ms(v, "log.flush.offset.checkpoint.interval.ms"),
        flush_interval_messages: v.long("log.flush.interval.messages"),
        producer_id_expiration_ms: v.long("producer.id.expiration.ms"),
    }
}

fn replica(v: &Values) -> Result<ReplicaConfig, ConfigError> {
    let config = ReplicaConfig {
        lag_time_max: ms(v, "replica.lag.time.max.ms"),
        fetch_max_bytes: v.int("replica.fetch.max.bytes"),
        fetch_response_max_bytes: v.int("replica.fetch.response.max.bytes"),
        fetch_wait_max: ms(v, "replica.fetch.wait.max.ms"),
        fetch_min_bytes: v.int("replica.fetch.min.bytes"),
        fetch_backoff: ms(v, "replica.fetch.backoff.ms"),
        socket_timeout: ms(v, "replica.socket.timeout.ms"),
        num_fetchers: v.int("num.replica.fetchers"),
        high_watermark_checkpoint_interval: ms(v, "replica.high.watermark.checkpoint.interval.ms"),
        min_insync_replicas: v.int("min.insync.replicas"),
        acks_while_in_doubt: v.text("acks.while.in.doubt") == "accept",
    };
    if config.fetch_wait_max > config.lag_time_max {
        let allowed = "at most replica.lag.time.max.ms, or followers drop out of the ISR";
        return Err(v.invalid("replica.fetch.wait.max.ms", allowed));
    }
    Ok(config)
}

fn group(v: &Values) -> Result<GroupConfig, ConfigError> {
    let minutes = u64::try_from(v.int("offsets.retention.minutes")).unwrap_or(1);
    let config = GroupConfig {
        offsets_topic_partitions: v.int("offsets.topic.num.partitions"),
        offsets_topic_replication_factor: v.int("offsets.topic.replication.factor"),
        offsets_topic_segment_bytes: v.int("offsets.topic.segment.bytes"),
        offset_metadata_max_bytes: v.int("offset.metadata.max.bytes"),
        commit_timeout: ms(v, "offsets.commit.timeout.ms"),
        offsets_retention: Duration::from_secs(minutes * 60),
        offsets_retention_check_interval: ms(v, "offsets.retention.check.interval.ms"),
        load_buffer_bytes: v.int("offsets.load.buffer.size"),
        min_session_timeout: ms(v, "group.min.session.timeout.ms"),
        max_session_timeout: ms(v, "group.max.session.timeout.ms"),
        initial_rebalance_delay: ms(v, "group.initial.rebalance.delay.ms"),
        max_size: v.int("group.max.size"),
    };
    if config.max_session_timeout < config.min_session_timeout {
        let allowed = "at least group.min.session.timeout.ms";
        return Err(v.invalid("group.max.session.timeout.ms", allowed));
    }
    Ok(config)
}

fn net(v: &Values) -> NetConfig {
    let buffer = |name| Some(v.int(name)).filter(|bytes| *bytes >= 0);
    let idle = u64::try_from(v.long("connections.max.idle.ms")).ok();
    NetConfig {
        request_max_bytes: v.int("socket.request.max.bytes"),
        send_buffer_bytes: buffer("socket.send.buffer.bytes"),
        receive_buffer_bytes: buffer("socket.receive.buffer.bytes"),
        listen_backlog: v.int("socket.listen.backlog.size"),
        queued_max_requests: v.int("queued.max.requests"),
        max_connections: v.int("max.connections"),
        max_connections_per_ip: v.int("max.connections.per.ip"),
        max_idle: idle.map(Duration::from_millis),
        fetch_max_bytes: v.int("fetch.max.bytes"),
        fetch_session_slots: v.int("max.incremental.fetch.session.cache.slots"),
        request_timeout: ms(v, "request.timeout.ms"),
    }
}

#[cfg(test)]
mod tests;
