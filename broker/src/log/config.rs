//! Settings of one log: Kafka's topic configuration, with Kafka's names and defaults.
//!
//! `LogConfig::default()` holds Kafka's defaults; the broker overwrites them with its `log.*` keys
//! and each topic's own configuration goes on top. Names that Kafka knows but this room has no use
//! for are accepted and left alone; names nobody knows are an error of whoever set them.

use std::collections::BTreeMap;
use std::str::FromStr;

/// Which timestamp records carry: `message.timestamp.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The leader's clock at the append.
    LogAppendTime,
}

/// What happens to old records: `cleanup.policy`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are deleted by time and size.
    pub delete: bool,
    /// Only the last record of each key is kept; records must have keys.
    pub compact: bool,
}

/// The settings of one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment file grows no further than this.
    pub segment_bytes: u32,
    /// `segment.ms`: a segment is closed when its records span more than this.
    pub segment_ms: i64,
    /// `segment.index.bytes`: bound of each index file.
    pub segment_index_bytes: u32,
    /// `index.interval.bytes`: one index entry per this many bytes of log.
    pub index_interval_bytes: u32,
    /// `retention.ms`: older segments go; -1 keeps for ever.
    pub retention_ms: i64,
    /// `retention.bytes`: segments beyond this size of the log go; -1 is no bound.
    pub retention_bytes: i64,
    /// `max.message.bytes`: largest batch accepted from a client, header included.
    pub max_message_bytes: u32,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `message.timestamp.before.max.ms`: how far behind the clock a producer's timestamp may be.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.after.max.ms`: how far ahead of the clock a producer's timestamp may be.
    pub timestamp_after_max_ms: i64,
    /// `cleanup.policy`.
    pub cleanup_policy: CleanupPolicy,
    /// `flush.messages`: fsync after this many records; `i64::MAX` leaves it to the system.
    pub flush_messages: i64,
    /// `flush.ms`: fsync when the last one is longer ago; `i64::MAX` leaves it to the system.
    pub flush_ms: i64,
    /// `min.insync.replicas`: carried for the replication rules.
    pub min_insync_replicas: u32,
    /// `unclean.leader.election.enable`: carried for the controller.
    pub unclean_leader_election: bool,
    /// `file.delete.delay.ms`: deleted files are renamed at once and removed after this.
    pub file_delete_delay_ms: i64,
    /// `producer.id.expiration.ms` of the broker: a producer silent for longer is forgotten.
    pub producer_id_expiration_ms: i64,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig {
            segment_bytes: 1 << 30,
            segment_ms: 7 * 24 * 3_600_000,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: 7 * 24 * 3_600_000,
            retention_bytes: -1,
            max_message_bytes: 1_048_588,
            timestamp_type: TimestampType::CreateTime,
            timestamp_before_max_ms: i64::MAX,
            timestamp_after_max_ms: i64::MAX,
            cleanup_policy: CleanupPolicy {
                delete: true,
                compact: false,
            },
            flush_messages: i64::MAX,
            flush_ms: i64::MAX,
            min_insync_replicas: 1,
            unclean_leader_election: false,
            file_delete_delay_ms: 60_000,
            producer_id_expiration_ms: 86_400_000,
        }
    }
}

/// A topic setting that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogConfigError {
    /// No such topic setting.
    #[error("unknown topic configuration {0}")]
    Unknown(String),
    /// The value doesn't parse or lies outside the setting's range.
    #[error("invalid value {value:?} for configuration {name}: {reason}")]
    Invalid {
        /// The setting.
        name: String,
        /// What was given.
        value: String,
        /// What would have been right.
        reason: &'static str,
    },
}

/// Kafka's topic settings that this room reads nothing from.
const CARRIED: &[&str] = &[
    "compression.type",
    "compression.gzip.level",
    "compression.lz4.level",
    "compression.zstd.level",
    "delete.retention.ms",
    "follower.replication.throttled.replicas",
    "leader.replication.throttled.replicas",
    "local.retention.bytes",
    "local.retention.ms",
    "max.compaction.lag.ms",
    "message.downconversion.enable",
    "message.format.version",
    "message.timestamp.difference.max.ms",
    "min.cleanable.dirty.ratio",
    "min.compaction.lag.ms",
    "preallocate",
    "remote.log.copy.disable",
    "remote.log.delete.on.disable",
    "remote.storage.enable",
    "segment.jitter.ms",
];

impl LogConfig {
    /// These settings with a topic's own on top; the first bad one is the error.
    pub fn with_overrides(
        &self,
        overrides: &BTreeMap<String, String>,
    ) -> Result<LogConfig, LogConfigError> {
        let (config, errors) = self.with_usable_overrides(overrides);
        match errors.into_iter().next() {
            Some(error) => Err(error),
            None => Ok(config),
        }
    }

    /// As `with_overrides`, skipping what can't be used: a log must open whatever stands in the tree.
    pub fn with_usable_overrides(
        &self,
        overrides: &BTreeMap<String, String>,
    ) -> (LogConfig, Vec<LogConfigError>) {
        let mut config = self.clone();
        let mut errors = Vec::new();
        for (name, value) in overrides {
            if let Err(error) = config.set(name, value) {
                errors.push(error);
            }
        }
        (config, errors)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), LogConfigError> {
        let value = value.trim();
        match name {
            "segment.bytes" => self.segment_bytes = int(name, value, 14, i32::MAX as i64)? as u32,
            "segment.ms" => self.segment_ms = int(name, value, 1, i64::MAX)?,
            "segment.index.bytes" => {
                self.segment_index_bytes = int(name, value, 4, i32::MAX as i64)? as u32;
            }
            "index.interval.bytes" => {
                self.index_interval_bytes = int(name, value, 0, i32::MAX as i64)? as u32;
            }
            "retention.ms" => self.retention_ms = int(name, value, -1, i64::MAX)?,
            "retention.bytes" => self.retention_bytes = int(name, value, i64::MIN, i64::MAX)?,
            "max.message.bytes" => {
                self.max_message_bytes = int(name, value, 0, i32::MAX as i64)? as u32;
            }
            "message.timestamp.type" => self.timestamp_type = timestamp_type(name, value)?,
            "message.timestamp.before.max.ms" => {
                self.timestamp_before_max_ms = int(name, value, 0, i64::MAX)?;
            }
            "message.timestamp.after.max.ms" => {
                self.timestamp_after_max_ms = int(name, value, 0, i64::MAX)?;
            }
            "cleanup.policy" => self.cleanup_policy = cleanup_policy(name, value)?,
            "flush.messages" => self.flush_messages = int(name, value, 1, i64::MAX)?,
            "flush.ms" => self.flush_ms = int(name, value, 0, i64::MAX)?,
            "min.insync.replicas" => {
                self.min_insync_replicas = int(name, value, 1, i32::MAX as i64)? as u32;
            }
            "unclean.leader.election.enable" => {
                self.unclean_leader_election = boolean(name, value)?;
            }
            "file.delete.delay.ms" => self.file_delete_delay_ms = int(name, value, 0, i64::MAX)?,
            _ if CARRIED.contains(&name) => {}
            _ => return Err(LogConfigError::Unknown(name.to_owned())),
        }
        Ok(())
    }
}

fn invalid(name: &str, value: &str, reason: &'static str) -> LogConfigError {
    LogConfigError::Invalid {
        name: name.to_owned(),
        value: value.to_owned(),
        reason,
    }
}

fn int(name: &str, value: &str, low: i64, high: i64) -> Result<i64, LogConfigError> {
    match i64::from_str(value) {
        Ok(number) if (low..=high).contains(&number) => Ok(number),
        Ok(_) => Err(invalid(name, value, "out of range")),
        Err(_) => Err(invalid(name, value, "not a whole number")),
    }
}

fn boolean(name: &str, value: &str) -> Result<bool, LogConfigError> {
    match value.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(invalid(name, value, "expected true or false")),
    }
}

fn timestamp_type(name: &str, value: &str) -> Result<TimestampType, LogConfigError> {
    match value {
        "CreateTime" => Ok(TimestampType::CreateTime),
        "LogAppendTime" => Ok(TimestampType::LogAppendTime),
        _ => Err(invalid(name, value, "expected CreateTime or LogAppendTime")),
    }
}

fn cleanup_policy(name: &str, value: &str) -> Result<CleanupPolicy, LogConfigError> {
    let mut policy = CleanupPolicy {
        delete: false,
        compact: false,
    };
    for word in value.split(',').map(str::trim) {
        match word {
            "delete" => policy.delete = true,
            "compact" => policy.compact = true,
            _ => return Err(invalid(name, value, "expected delete, compact or both")),
        }
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn topic_settings_go_on_top_of_the_defaults() {
        let config = LogConfig::default()
            .with_overrides(&map(&[
                ("cleanup.policy", "compact, delete"),
                ("retention.ms", "-1"),
                ("message.timestamp.type", "LogAppendTime"),
                ("compression.type", "producer"),
            ]))
            .unwrap();
        assert!(config.cleanup_policy.compact && config.cleanup_policy.delete);
        assert_eq!(config.retention_ms, -1);
        assert_eq!(config.timestamp_type, TimestampType::LogAppendTime);
        assert_eq!(config.segment_bytes, 1 << 30);
    }

    #[test]
    fn bad_settings_are_named_and_the_good_ones_still_usable() {
        let overrides = map(&[
            ("nonsense", "1"),
            ("segment.bytes", "13"),
            ("flush.ms", "5"),
        ]);
        let (config, errors) = LogConfig::default().with_usable_overrides(&overrides);
        assert_eq!(config.flush_ms, 5);
        assert_eq!(errors.len(), 2);
        assert_eq!(
            LogConfig::default().with_overrides(&overrides),
            Err(LogConfigError::Unknown("nonsense".into()))
        );
    }
}
