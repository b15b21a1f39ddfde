//! The settings of one broker: Kafka's `server.properties`, with `--set key=value` over it. Parsed
//! and checked once, at start; each room is then handed its own small struct.
//!
//! - A wrong value is an error that names key, line and what is allowed.
//! - Keys that Kafka has and that mean nothing here are collected into one warning; unknown keys
//!   into another, as Kafka does.
//! - Values become the structs below in `config::build`.
//! - The tables are in `config::keys` (broker) and `config::topic` (topics), the addresses in
//!   `config::listener`.

mod build;
mod keys;
mod listener;
mod parse;
mod table;
mod topic;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use zweig_monitoring::trace::TraceSettings;

pub use keys::{KEYS, key};
pub use listener::{Listener, MetricsListener};
pub use parse::{ConfigError, Place};
pub use table::{Key, Kind};
pub use topic::{
    Source, TOPIC_KEYS, TopicConfigError, TopicKey, check_topic_configs, effective, effective_all,
    topic_key, without_effect,
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
    /// `metrics.listener`: where Prometheus finds the metrics, if anywhere.
    pub metrics_listener: Option<MetricsListener>,
    /// `otlp.endpoint`, `otlp.sample`: where spans of traces go, if anywhere.
    pub traces: TraceSettings,
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
    /// `zookeeper.disconnect.timeout.ms`; `None`: as long as the session.
    pub disconnect_timeout: Option<Duration>,
    /// `zookeeper.connection.timeout.ms`: how long to try for a session; `None`: until there is one.
    pub connection_timeout: Option<Duration>,
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
    pub fetch_session_slots: usize,
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
        build::config(Values::read(path, overrides)?)
    }

    /// As [`Config::load`], of a file's bytes; `path` is for messages.
    ///
    /// # Errors
    /// As there.
    pub fn parse(
        path: &Path,
        bytes: &[u8],
        overrides: &[(String, String)],
    ) -> Result<Config, ConfigError> {
        build::config(Values::parse(path, bytes, overrides)?)
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
}

#[cfg(test)]
mod tests;
