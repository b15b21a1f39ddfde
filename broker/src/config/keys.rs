//! The table of `server.properties`: every key that has a meaning here, with its kind and its
//! default, and the keys of Kafka that have none.

use super::table::{Key, boolean, int, list_of, long, one_of, text};

const MAX_LONG: &str = "9223372036854775807";

/// Keys that mean something to this broker. Names, defaults and units are Kafka's.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    // Who and where
    int("broker.id", -1, "-1", "id in the cluster; -1: taken from /brokers/seqid and kept in the log directory"),
    boolean("broker.id.generation.enable", "true", "whether -1 as id is allowed"),
    int("reserved.broker.max.id", 0, "1000", "highest id that may be configured; generated ones lie above"),
    text("broker.rack", "", "rack, for spreading replicas"),
    text("listeners", "PLAINTEXT://127.0.0.1:9092", "NAME://host:port, comma-separated; an empty host binds all"),
    text("advertised.listeners", "", "what clients are told; default: listeners"),
    text("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT", "NAME:PROTOCOL, comma-separated; only PLAINTEXT so far"),
    text("inter.broker.listener.name", "", "listener the brokers use among each other; default: the first PLAINTEXT one"),
    text("security.inter.broker.protocol", "PLAINTEXT", "only PLAINTEXT so far"),
    text("log.dirs", "", "directories of the logs, comma-separated; default: log.dir"),
    text("log.dir", "/tmp/kafka-logs", "directory of the logs"),
    // Ensemble
    text("zookeeper.connect", "", "host:port of the coordinators, comma-separated, then an optional /chroot"),
    int("zookeeper.session.timeout.ms", 100, "18000", "how long the ensemble keeps this broker registered without hearing from it"),
    int("zookeeper.disconnect.timeout.ms", 0, "1000", "the same once this broker's process has died, which closes its connection; 0: no sooner than that"),
    text("zookeeper.connection.timeout.ms", "", "how long to try for a session before giving up; default: for ever"),
    // Topics
    int("num.partitions", 1, "1", "partitions of topics that are created without a number"),
    int("default.replication.factor", 1, "1", "replicas of topics that are created without a number"),
    int("min.insync.replicas", 1, "1", "in-sync replicas that acks=all needs"),
    boolean("auto.create.topics.enable", "true", "whether naming an unknown topic creates it"),
    boolean("delete.topic.enable", "true", "whether topics can be deleted"),
    boolean("unclean.leader.election.enable", "false", "whether a replica out of sync may lead if no other is left; loses records"),
    boolean("auto.leader.rebalance.enable", "true", "whether the controller gives leadership back to preferred replicas"),
    int("leader.imbalance.per.broker.percentage", 0, "10", "share of a broker's partitions led elsewhere that triggers it, percent"),
    long("leader.imbalance.check.interval.seconds", 1, "300", "how often that is looked at"),
    boolean("controlled.shutdown.enable", "true", "whether leaderships move away before a stop"),
    int("controlled.shutdown.max.retries", 1, "3", "how many back-offs to wait for that"),
    long("controlled.shutdown.retry.backoff.ms", 1, "5000", "length of one"),
    // Log
    int("log.segment.bytes", 14, "1073741824", "size of a segment"),
    text("log.roll.ms", "", "age at which a segment is closed; default: log.roll.hours"),
    int("log.roll.hours", 1, "168", "the same in hours"),
    text("log.roll.jitter.ms", "", "no effect here: segments are closed at that age exactly"),
    int("log.roll.jitter.hours", 0, "0", "no effect here"),
    text("log.retention.ms", "", "age at which records go, -1: never; default: log.retention.minutes"),
    text("log.retention.minutes", "", "the same in minutes; default: log.retention.hours"),
    int("log.retention.hours", -1, "168", "the same in hours"),
    long("log.retention.bytes", -1, "-1", "size beyond which the oldest segments of a partition go, -1: never"),
    long("log.retention.check.interval.ms", 1, "300000", "how often retention runs"),
    list_of("log.cleanup.policy", &["delete", "compact"], "delete", "what happens to old segments"),
    int("log.index.size.max.bytes", 4, "10485760", "size of an index file"),
    int("log.index.interval.bytes", 0, "4096", "bytes of records between index entries"),
    long("log.flush.interval.messages", 1, MAX_LONG, "records after which the log is synced; 1: before each acknowledgement"),
    text("log.flush.interval.ms", "", "age after which records are synced; default: log.flush.scheduler.interval.ms"),
    long("log.flush.scheduler.interval.ms", 1, MAX_LONG, "how often that is looked at"),
    int("log.flush.offset.checkpoint.interval.ms", 1, "60000", "how often recovery points are written"),
    int("log.flush.start.offset.checkpoint.interval.ms", 1, "60000", "how often log start offsets are written"),
    long("log.segment.delete.delay.ms", 0, "60000", "how long deleted files stay"),
    one_of("log.message.timestamp.type", &["CreateTime", "LogAppendTime"], "CreateTime", "whose clock stamps records"),
    long("log.message.timestamp.before.max.ms", 0, MAX_LONG, "how far record timestamps may lie in the past"),
    long("log.message.timestamp.after.max.ms", 0, MAX_LONG, "how far record timestamps may lie in the future"),
    long("log.message.timestamp.difference.max.ms", 0, MAX_LONG, "no effect here: set the two above"),
    boolean("log.preallocate", "false", "no effect here: segments grow"),
    one_of("compression.type", COMPRESSION, "producer", "no effect here: batches stay as the producer compressed them"),
    int("message.max.bytes", 0, "1048588", "largest record batch"),
    int("num.recovery.threads.per.data.dir", 1, "2", "no effect here: one thread recovers logs"),
    int("producer.id.expiration.ms", 1, "86400000", "how long the state of an idle producer is kept"),
    // Replication
    long("replica.lag.time.max.ms", 1, "30000", "how long a follower may lag and stay in sync"),
    int("replica.fetch.max.bytes", 0, "1048576", "bytes of one partition in a follower's fetch"),
    int("replica.fetch.wait.max.ms", 0, "500", "how long a follower's fetch may wait"),
    int("replica.fetch.min.bytes", 0, "1", "bytes a follower's fetch waits for"),
    int("replica.fetch.response.max.bytes", 0, "10485760", "bytes of a follower's whole fetch"),
    int("replica.fetch.backoff.ms", 0, "1000", "pause after a fetch that failed"),
    int("replica.socket.timeout.ms", 1, "30000", "how long a follower waits for an answer"),
    long("replica.high.watermark.checkpoint.interval.ms", 1, "5000", "how often high watermarks are written"),
    one_of("acks.while.in.doubt", &["accept", "refuse"], "accept", "what a leader does with acks 0 and 1 while it cannot tell whether it is still registered"),
    // Groups
    int("offsets.topic.num.partitions", 1, "50", "partitions of __consumer_offsets"),
    int("offsets.topic.replication.factor", 1, "3", "its replicas; as many as there are brokers, if fewer"),
    int("offsets.topic.segment.bytes", 1, "104857600", "its segment size"),
    int("offset.metadata.max.bytes", 0, "4096", "largest metadata of a committed offset"),
    int("offsets.commit.timeout.ms", 1, "5000", "how long a commit waits for its replicas"),
    int("offsets.retention.minutes", 1, "10080", "how long offsets of an empty group are kept"),
    long("offsets.retention.check.interval.ms", 1, "600000", "how often that is looked at"),
    int("offsets.load.buffer.size", 1, "5242880", "bytes read at once when offsets are loaded"),
    int("group.min.session.timeout.ms", 0, "6000", "shortest session timeout of a member"),
    int("group.max.session.timeout.ms", 0, "1800000", "longest session timeout of a member"),
    int("group.initial.rebalance.delay.ms", 0, "3000", "how long an empty group waits for more members"),
    int("group.max.size", 1, "2147483647", "members of a group"),
    // Requests
    int("socket.request.max.bytes", 1, "104857600", "largest request"),
    int("socket.send.buffer.bytes", -1, "102400", "no effect here: the system's default"),
    int("socket.receive.buffer.bytes", -1, "102400", "no effect here: the system's default"),
    int("socket.listen.backlog.size", 1, "50", "no effect here: the system's default"),
    int("queued.max.requests", 1, "500", "no effect here"),
    int("max.connections", 0, "2147483647", "connections of each listener"),
    int("max.connections.per.ip", 0, "2147483647", "connections from one address"),
    long("connections.max.idle.ms", -1, "600000", "when a silent connection is closed; -1: never"),
    int("fetch.max.bytes", 1024, "57671680", "largest answer to a fetch"),
    int("max.incremental.fetch.session.cache.slots", 0, "1000", "consumers that may have a fetch session at a time"),
    text("metrics.listener", "", "host:port where Prometheus finds GET /metrics; default: nowhere"),
    text("otlp.endpoint", "", "http://host:port of a collector of OpenTelemetry (gRPC) that spans of traces go to, none: nowhere; default: the environment's"),
    text("otlp.sample", "0", "share, 0 to 1, of what says nothing of a trace that is followed as well: batches, topics created and deleted, elections asked for"),
    int("request.timeout.ms", 1, "30000", "how long requests between brokers may take"),
];

const COMPRESSION: &[&str] = &[
    "producer",
    "uncompressed",
    "none",
    "gzip",
    "snappy",
    "lz4",
    "zstd",
];

/// Keys of the table that are checked and described and change nothing here.
const WITHOUT_EFFECT: &[&str] = &[
    "compression.type",
    "log.message.timestamp.difference.max.ms",
    "log.preallocate",
    "log.roll.jitter.hours",
    "log.roll.jitter.ms",
    "num.recovery.threads.per.data.dir",
    "queued.max.requests",
    "socket.listen.backlog.size",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
];

/// Whether setting a key to this value changes nothing though it differs from the default.
pub(super) fn is_without_effect(key: &Key, value: &str) -> bool {
    WITHOUT_EFFECT.contains(&key.name) && value != key.default
}

/// Keys of Kafka without meaning here: whole families by prefix.
const MEANINGLESS_PREFIXES: &[&str] = &[
    "alter.",
    "authorizer.",
    "background.threads",
    "client.quota.",
    "confluent.",
    "connection.failed.",
    "connections.max.reauth.",
    "control.plane.",
    "controller.",
    "create.topic.",
    "delegation.token.",
    "delete.records.",
    "early.start.",
    "eligible.leader.",
    "fetch.purgatory.",
    "group.consumer.",
    "group.coordinator.",
    "group.share.",
    "inter.broker.protocol.version",
    "jmx.",
    "kafka.",
    "leader.replication.",
    "follower.replication.",
    "listener.name.",
    "log.cleaner.",
    "log.dir.failure.",
    "log.initial.",
    "log.local.",
    "log.message.downconversion.",
    "log.message.format.",
    "max.connection.creation.",
    "max.connections.per.ip.overrides",
    "metadata.",
    "metric.",
    "metrics.",
    "migration.",
    "node.id",
    "num.io.threads",
    "num.network.threads",
    "num.quota.",
    "num.replica.alter.",
    "num.replica.fetchers",
    "offsets.commit.required.",
    "offsets.topic.compression.",
    "password.encoder.",
    "plugin.",
    "principal.builder.",
    "process.roles",
    "producer.id.expiration.check.",
    "producer.purgatory.",
    "queued.max.request.bytes",
    "quota.",
    "quorum.",
    "remote.log.",
    "remote.",
    "replica.selector.",
    "replica.socket.receive.",
    "replication.quota.",
    "reserved.",
    "sasl.",
    "security.providers",
    "server.max.",
    "share.",
    "socket.connection.",
    "ssl.",
    "telemetry.",
    "transaction.",
    "transactional.",
    "unstable.",
    "zookeeper.",
];

/// The row of a key.
#[must_use]
pub fn key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// Whether Kafka has this key, or keys like it, while this broker does nothing with it.
#[must_use]
pub fn is_meaningless(name: &str) -> bool {
    MEANINGLESS_PREFIXES.iter().any(|p| name.starts_with(p))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_obey_their_own_kinds_and_names_are_unique() {
        let mut names = std::collections::BTreeSet::new();
        for key in KEYS {
            assert!(names.insert(key.name), "{} stands twice", key.name);
            let checked = key.check(key.default);
            assert!(checked.is_ok(), "{} = {:?}", key.name, key.default);
        }
    }
}
