//! `server.properties` as operators write it: what is taken, refused and warned of.

use std::io::Write;

use super::*;

fn load(text: &str, overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().expect("file");
    file.write_all(text.as_bytes()).expect("write");
    let overrides: Vec<_> = overrides
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect();
    Config::load(Some(file.path()), &overrides)
}

fn refused(text: &str) -> String {
    load(text, &[]).expect_err("refused").to_string()
}

const LEAST: &str = "zookeeper.connect=localhost:2181\n";

#[test]
fn a_usual_file() {
    let text = "# a broker\nbroker.id=3\nlisteners=PLAINTEXT://:9094\n\
        advertised.listeners=PLAINTEXT://b3.example:9094\nlog.dirs=/d/a, /d/b\n\
        zookeeper.connect=c1:2181,c2,[::1]:2183/kafka/one/\nlog.retention.hours=24\n\
        num.partitions = 3\nbroker.rack=r1\n";
    let config = load(text, &[]).expect("config");
    assert_eq!(config.broker_id, Some(3));
    assert_eq!(config.listeners[0].host, "");
    assert_eq!(config.advertised_listeners[0].host, "b3.example");
    assert_eq!(config.inter_broker_listener, "PLAINTEXT");
    assert_eq!(config.log_dirs, [Path::new("/d/a"), Path::new("/d/b")]);
    assert_eq!(
        config.ensemble.endpoints,
        ["c1:2181", "c2:2181", "[::1]:2183"]
    );
    assert_eq!(config.ensemble.chroot, "/kafka/one");
    assert_eq!(config.topics.num_partitions, 3);
    assert_eq!(config.effective("log.retention.ms"), "86400000");
    assert!(config.is_set("log.retention.ms") && !config.is_set("log.roll.ms"));
    assert!(config.warnings().is_empty());
}

#[test]
fn the_command_line_wins_and_milliseconds_win_over_hours() {
    let set = [("log.retention.ms", "-1"), ("broker.id", "7")];
    let text = format!("{LEAST}broker.id=1\nlog.retention.hours=1\n");
    let config = load(&text, &set).expect("config");
    assert_eq!(config.broker_id, Some(7));
    assert_eq!(config.topic_defaults()["retention.ms"], "-1");
}

#[test]
fn a_wrong_value_is_refused_with_key_line_and_what_is_allowed() {
    let message = refused("zookeeper.connect=c:2181\n\nnum.partitions=0\n");
    assert!(message.contains(":3: num.partitions = \"0\""), "{message}");
    assert!(message.contains("an integer from 1"), "{message}");
    let cases = [
        ("", "zookeeper.connect is missing"),
        ("zookeeper.connect=c:port", "host:port"),
        (
            "zookeeper.connect=c:1\nlisteners=SSL://:9093",
            "listener.security.protocol.map",
        ),
        (
            "zookeeper.connect=c:1\nlisteners=A://:9093\nlistener.security.protocol.map=A:SSL",
            "SSL is not supported yet",
        ),
        (
            "zookeeper.connect=c:1\nlisteners=PLAINTEXT:9093",
            "NAME://host:port",
        ),
        (
            "zookeeper.connect=c:1\nbroker.id=1001",
            "reserved.broker.max.id",
        ),
        (
            "zookeeper.connect=c:1\nlog.retention.ms=soon",
            "an integer from -1",
        ),
        (
            "zookeeper.connect=c:1\nlog.cleanup.policy=delete,shred",
            "a list of",
        ),
        (
            "zookeeper.connect=c:1\ninter.broker.listener.name=X",
            "advertised",
        ),
        (
            "zookeeper.connect=c:1\nreplica.fetch.wait.max.ms=40000",
            "replica.lag.time.max.ms",
        ),
    ];
    for (text, expected) in cases {
        let message = refused(text);
        assert!(message.contains(expected), "{text:?}: {message}");
    }
}

#[test]
fn keys_without_meaning_are_one_warning_and_unknown_ones_another() {
    let text = format!("{LEAST}num.io.threads=8\nssl.keystore.location=/k\nnum.partition=3\n");
    let config = load(&text, &[]).expect("config");
    let warnings = config.warnings();
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("num.io.threads, ssl.keystore.location"));
    assert!(warnings[1].contains("num.partition"));
}

#[test]
fn settings_that_change_nothing_are_told_and_not_described_as_if_they_did() {
    let text = format!(
        "{LEAST}compression.type=gzip\nqueued.max.requests=500\nsocket.send.buffer.bytes=5\n"
    );
    let config = load(&text, &[]).expect("config");
    assert_eq!(config.warnings().len(), 1);
    assert!(config.warnings()[0].ends_with(": compression.type, socket.send.buffer.bytes"));
    let own = [("compression.type", "zstd"), ("preallocate", "false")];
    assert_eq!(without_effect(own), ["compression.type"]);
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let all = effective_all(Some(&own.into_iter().collect()), &config);
    assert_eq!(all["compression.type"], "producer");
}

#[test]
fn every_topic_default_comes_from_a_known_key_and_is_allowed() {
    let config = load(LEAST, &[]).expect("config");
    for row in TOPIC_KEYS {
        if !row.broker_key.is_empty() {
            assert!(key(row.broker_key).is_some(), "{}", row.broker_key);
        }
        let (value, source) = effective(row, None, &config);
        assert!(row.key.check(&value).is_ok(), "{} = {value}", row.key.name);
        assert_eq!(value, row.key.default, "{}", row.key.name);
        assert_eq!(source, Source::Default);
    }
}

#[test]
fn topic_settings_are_checked_and_bad_ones_in_the_tree_count_as_absent() {
    let config = load(LEAST, &[]).expect("config");
    assert!(check_topic_configs([("retention.ms", "-1")]).is_ok());
    let unknown = check_topic_configs([("retention", "1")]).expect_err("unknown");
    assert_eq!(unknown, TopicConfigError::Unknown("retention".to_owned()));
    assert!(check_topic_configs([("segment.bytes", "13")]).is_err());
    let mut configs = crate::metadata::Configs::new();
    configs.insert("segment.bytes".to_owned(), "1".to_owned());
    configs.insert("flush.messages".to_owned(), "1".to_owned());
    let all = effective_all(Some(&configs), &config);
    assert_eq!(all["segment.bytes"], "1073741824");
    assert_eq!(all["flush.messages"], "1");
}

/// The library of properties panicked at the end of some.
#[test]
fn a_byte_order_mark_is_refused() {
    for bytes in [
        &b"\xfe\xffa\n"[..],
        b"\xff\xfea\n\n",
        b"\xef\xbb\xbfa=\xe4",
        b"\xff",
        b"\xef\xbb",
    ] {
        let read = Config::parse(Path::new("server.properties"), bytes, &[]);
        let refused = read.expect_err("refused").to_string();
        assert!(refused.contains("byte order mark"), "{refused}");
    }
}

#[test]
fn metrics_are_served_where_they_are_asked_for() {
    let at = |value: &str| {
        let config = load(LEAST, &[("metrics.listener", value)]).expect("config");
        let listener = config.metrics_listener.as_ref();
        let listener = listener.map(|at| (at.host.clone(), at.port));
        (listener, config.warnings().len())
    };
    let host = |host: &str, port| (Some((host.to_owned(), port)), 0);
    assert_eq!(at(""), (None, 0), "nowhere");
    assert_eq!(at("127.0.0.1:7071"), host("127.0.0.1", 7071));
    assert_eq!(at(":7071"), host("", 7071));
    assert_eq!(at("[::1]:0"), host("::1", 0));
    let wrong = refused(&format!("{LEAST}metrics.listener=7071\n"));
    assert!(
        wrong.contains("metrics.listener") && wrong.contains("host:port"),
        "{wrong}"
    );
}
