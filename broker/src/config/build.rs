//! Checked values into the structs that the rooms are handed, with the rules that tie one key to
//! another.

use std::path::PathBuf;
use std::time::Duration;

use zweig_monitoring::trace::TraceSettings;

use super::listener::{self, Listener};
use super::parse::{ConfigError, Values};
use super::{
    Config, ControllerConfig, EnsembleConfig, GroupConfig, LogSettings, NetConfig, ReplicaConfig,
    TopicsConfig,
};

/// All settings from checked values.
pub(super) fn config(v: Values) -> Result<Config, ConfigError> {
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
        metrics_listener: listener::metrics(&v)?,
        traces: traces(&v)?,
        values: v,
    };
    check_units(&config.values)?;
    Ok(config)
}

fn traces(v: &Values) -> Result<TraceSettings, ConfigError> {
    let address = Some(v.text("otlp.endpoint")).filter(|text| !text.is_empty());
    let sample = v.text("otlp.sample").parse().ok();
    let sample = sample.filter(|share| (0.0..=1.0).contains(share));
    let sample = sample.ok_or_else(|| v.invalid("otlp.sample", "a number from 0 to 1"))?;
    TraceSettings::new(address, sample)
        .map_err(|_| v.invalid("otlp.endpoint", "http://host:port, or none"))
}

/// The keys that are text in the table because they may be left empty.
fn check_units(v: &Values) -> Result<(), ConfigError> {
    v.optional("log.retention.ms", -1)?;
    v.optional("log.retention.minutes", -1)?;
    v.optional("log.roll.ms", 1)?;
    v.optional("log.roll.jitter.ms", 0)?;
    v.optional("log.flush.interval.ms", 0)?;
    Ok(())
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
    let disconnect_timeout = ms(v, "zookeeper.disconnect.timeout.ms");
    let connection = v.optional("zookeeper.connection.timeout.ms", 1)?;
    let connection = connection.and_then(|ms| u64::try_from(ms).ok());
    Ok(EnsembleConfig {
        endpoints,
        chroot,
        session_timeout,
        disconnect_timeout: Some(disconnect_timeout).filter(|timeout| !timeout.is_zero()),
        connection_timeout: connection.map(Duration::from_millis),
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
        fetch_session_slots: usize::try_from(v.int("max.incremental.fetch.session.cache.slots"))
            .unwrap_or(0),
        request_timeout: ms(v, "request.timeout.ms"),
    }
}
