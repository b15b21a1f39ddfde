//! The settings of topics: a table of Kafka's topic keys, each with the broker key its default
//! comes from. Used to check new topics and to answer what a topic's settings are.

use std::collections::BTreeMap;

use crate::metadata::Configs;

use super::Config;
use super::table::{Key, boolean, double, int, list_of, long, one_of, text};

/// A topic key, and the broker key that holds its default.
#[derive(Clone, Copy, Debug)]
pub struct TopicKey {
    /// Name, kind, the default where no broker key exists, meaning.
    pub key: Key,
    /// The broker key whose value is the default; empty if there is none.
    pub broker_key: &'static str,
}

const fn row(key: Key, broker_key: &'static str) -> TopicKey {
    TopicKey { key, broker_key }
}

/// Every topic key of Kafka 3.9.
#[rustfmt::skip]
pub const TOPIC_KEYS: &[TopicKey] = &[
    row(list_of("cleanup.policy", &["delete", "compact"], "delete", "what happens to old segments"), "log.cleanup.policy"),
    row(one_of("compression.type", &["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"], "producer", "no effect here: batches stay as the producer compressed them"), ""),
    row(long("delete.retention.ms", 0, "86400000", "how long compaction keeps tombstones"), ""),
    row(long("file.delete.delay.ms", 0, "60000", "how long deleted files stay"), "log.segment.delete.delay.ms"),
    row(long("flush.messages", 1, "9223372036854775807", "records after which the log is synced; 1: before each acknowledgement"), "log.flush.interval.messages"),
    row(long("flush.ms", 0, "9223372036854775807", "age after which records are synced"), "log.flush.interval.ms"),
    row(text("follower.replication.throttled.replicas", "", "not used here"), ""),
    row(int("index.interval.bytes", 0, "4096", "bytes of records between index entries"), "log.index.interval.bytes"),
    row(text("leader.replication.throttled.replicas", "", "not used here"), ""),
    row(long("local.retention.bytes", -2, "-2", "not used here"), ""),
    row(long("local.retention.ms", -2, "-2", "not used here"), ""),
    row(long("max.compaction.lag.ms", 1, "9223372036854775807", "not used until compaction exists"), ""),
    row(int("max.message.bytes", 0, "1048588", "largest record batch"), "message.max.bytes"),
    row(boolean("message.downconversion.enable", "true", "not used here"), ""),
    row(long("message.timestamp.after.max.ms", 0, "9223372036854775807", "how far record timestamps may lie in the future"), "log.message.timestamp.after.max.ms"),
    row(long("message.timestamp.before.max.ms", 0, "9223372036854775807", "how far record timestamps may lie in the past"), "log.message.timestamp.before.max.ms"),
    row(long("message.timestamp.difference.max.ms", 0, "9223372036854775807", "no effect here: set the two others"), ""),
    row(one_of("message.timestamp.type", &["CreateTime", "LogAppendTime"], "CreateTime", "whose clock stamps records"), "log.message.timestamp.type"),
    row(double("min.cleanable.dirty.ratio", (0.0, 1.0), "0.5", "not used until compaction exists"), ""),
    row(long("min.compaction.lag.ms", 0, "0", "not used until compaction exists"), ""),
    row(int("min.insync.replicas", 1, "1", "in-sync replicas that acks=all needs"), "min.insync.replicas"),
    row(boolean("preallocate", "false", "no effect here: segments grow"), ""),
    row(boolean("remote.storage.enable", "false", "not used here"), ""),
    row(long("retention.bytes", -1, "-1", "size beyond which the oldest segments of a partition go, -1: never"), "log.retention.bytes"),
    row(long("retention.ms", -1, "604800000", "age at which records go, -1: never"), "log.retention.ms"),
    row(int("segment.bytes", 14, "1073741824", "size of a segment"), "log.segment.bytes"),
    row(int("segment.index.bytes", 4, "10485760", "size of an index file"), "log.index.size.max.bytes"),
    row(long("segment.jitter.ms", 0, "0", "no effect here: segments are closed at that age exactly"), ""),
    row(long("segment.ms", 1, "604800000", "age at which a segment is closed"), "log.roll.ms"),
    row(boolean("unclean.leader.election.enable", "false", "whether a replica out of sync may lead if no other is left; loses records"), "unclean.leader.election.enable"),
];

/// Topic keys that Kafka gives a meaning and that change nothing here. What is described is what is done: their
/// defaults, whatever was set.
const WITHOUT_EFFECT: &[&str] = &[
    "compression.type",
    "message.timestamp.difference.max.ms",
    "preallocate",
    "segment.jitter.ms",
];

/// The settings among these that change nothing, though they differ from the default.
pub fn without_effect<'a>(
    configs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Vec<&'static str> {
    let idle = configs.into_iter().filter_map(|(name, value)| {
        let key = topic_key(name)?.key;
        (WITHOUT_EFFECT.contains(&key.name) && key.default != value.trim()).then_some(key.name)
    });
    idle.collect()
}

/// Why a topic's settings are refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicConfigError {
    /// No such key.
    #[error("unknown topic config name: {0}")]
    Unknown(String),
    /// The value is not allowed.
    #[error("invalid value {value} for configuration {name}: allowed is {allowed}")]
    Invalid {
        /// The key.
        name: String,
        /// The value found.
        value: String,
        /// What is allowed, for people.
        allowed: String,
    },
}

/// Where an effective value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic itself.
    Topic,
    /// Set for this broker in `/config/brokers/<id>`.
    DynamicBroker,
    /// Set for all brokers in `/config/brokers/<default>`.
    DynamicDefault,
    /// In this broker's `server.properties` or on its command line.
    StaticBroker,
    /// Kafka's own default.
    Default,
}

/// The row of a topic key.
#[must_use]
pub fn topic_key(name: &str) -> Option<&'static TopicKey> {
    TOPIC_KEYS.iter().find(|row| row.key.name == name)
}

/// Checks the settings of a topic.
///
/// # Errors
/// The first key that is unknown, or whose value is not allowed.
pub fn check_topic_configs<'a>(
    configs: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<(), TopicConfigError> {
    for (name, value) in configs {
        let Some(row) = topic_key(name) else {
            return Err(TopicConfigError::Unknown(name.to_owned()));
        };
        row.key
            .check(value)
            .map_err(|allowed| TopicConfigError::Invalid {
                name: name.to_owned(),
                value: value.to_owned(),
                allowed: allowed.to_string(),
            })?;
    }
    Ok(())
}

/// The effective value of a topic key: the topic's own, else this broker's default. A value in the
/// tree that is not allowed (a tool wrote it) counts as absent.
#[must_use]
pub fn effective(row: &TopicKey, topic: Option<&Configs>, broker: &Config) -> (String, Source) {
    let own = topic.and_then(|configs| configs.get(row.key.name));
    let own = own.filter(|_| !WITHOUT_EFFECT.contains(&row.key.name));
    if let Some(value) = own
        && row.key.check(value).is_ok()
    {
        return (value.trim().to_owned(), Source::Topic);
    }
    if row.broker_key.is_empty() {
        return (row.key.default.to_owned(), Source::Default);
    }
    let source = if broker.is_set(row.broker_key) {
        Source::StaticBroker
    } else {
        Source::Default
    };
    (broker.effective(row.broker_key), source)
}

/// All effective settings of a topic, by topic key; every value is allowed by its kind.
#[must_use]
pub fn effective_all(topic: Option<&Configs>, broker: &Config) -> BTreeMap<String, String> {
    let values = TOPIC_KEYS.iter().map(|row| {
        let (value, _) = effective(row, topic, broker);
        (row.key.name.to_owned(), value)
    });
    values.collect()
}
