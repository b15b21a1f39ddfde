//! Settings: what is read, what is refused, and how errors name it.

use super::*;

fn load(text: &str) -> Result<Config, ConfigError> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("zoo.cfg");
    std::fs::write(&path, text).expect("the file is written");
    Config::load(&path, &[], Some(1))
}

fn error(text: &str) -> String {
    load(text).expect_err("refused").to_string()
}

#[test]
fn a_node_that_stands_alone_is_on_loopback() {
    let config = load("dataDir=/tmp/x\n").expect("valid");
    assert_eq!(config.client.to_string(), "127.0.0.1:2181");
    assert_eq!(config.data_log_dir, Path::new("/tmp/x"));
    assert_eq!(config.servers.len(), 1);
    assert_eq!(config.own_server().node, 1);
    assert_eq!(
        (config.min_session_timeout_ms, config.max_session_timeout_ms),
        (4000, 40_000)
    );
    assert!(config.four_letter_words.allows("mntr"));
}

#[test]
fn the_frame_and_the_data_of_a_znode_have_one_key() {
    let bounds = |line: &str| {
        let config = load(&format!("dataDir=/tmp/x\n{line}\n")).expect("valid");
        (config.jute_max_buffer, config.max_data_bytes)
    };
    let frame = crate::limits::JUTE_MAX_BUFFER_BYTES;
    assert_eq!(bounds(""), (frame, None), "the ensemble keeps what it has");
    assert_eq!(
        bounds("jute.maxbuffer=5000000"),
        (5_000_000, Some(5_000_000))
    );
    let most = crate::limits::MAX_DATA_HIGHEST_BYTES;
    assert_eq!(
        bounds("jute.maxbuffer=100000000"),
        (100_000_000, Some(most))
    );
}

#[test]
fn an_ensemble_as_zookeeper_writes_it() {
    let config = load(
        "# comment\ntickTime = 1000\ndataDir=/tmp/x\ninitLimit=5\nsyncLimit=2\nclientPort=2181\n\
         server.2=10.0.0.2:2888:3888:observer;10.0.0.9:2182\nserver.1=[::1]:2888:3888;2181\n\
         autopurge.snapRetainCount=3\nsnapCount=100\n",
    )
    .expect("valid");
    assert_eq!(
        config.client.to_string(),
        "[::1]:2181",
        "own line is on loopback"
    );
    assert_eq!(config.servers[1].role, Role::Observer);
    let second = config.servers[1]
        .client
        .as_ref()
        .expect("behind the semicolon");
    assert_eq!(second.to_string(), "10.0.0.9:2182");
    assert_eq!(config.max_session_timeout_ms, 20_000);
    assert_eq!(config.ignored, ["autopurge.snapRetainCount", "snapCount"]);
}

#[test]
fn an_ensemble_that_others_reach_listens_on_every_interface() {
    let config = load("dataDir=/tmp/x\nserver.1=10.0.0.1:2888:3888\n").expect("valid");
    assert_eq!(config.client.to_string(), "0.0.0.0:2181");
    let text = "dataDir=/x\nclientPortAddress=10.0.0.1\nserver.1=h:2888:3888;2183\n";
    assert_eq!(
        load(text).expect("valid").client.to_string(),
        "10.0.0.1:2183"
    );
}

#[test]
fn errors_name_key_line_and_what_is_allowed() {
    let unknown = error("dataDir=/tmp/x\n\ntickTiem=5\n");
    assert!(
        unknown.starts_with("unknown key tickTiem (line 3)"),
        "{unknown}"
    );
    assert!(unknown.contains("tickTime"), "{unknown}");
    let invalid = error("dataDir=/tmp/x\ntickTime=fast\n");
    assert!(
        invalid.contains(r#"tickTime = "fast" (line 2)"#),
        "{invalid}"
    );
    assert!(invalid.contains("from 1 to 3600000"), "{invalid}");
    assert!(error("tickTime=1\n").starts_with("dataDir is not set"));
    let server = error("dataDir=/x\nserver.1=host:2888\n");
    assert!(
        server.contains("electionPort is missing; allowed is host:"),
        "{server}"
    );
    assert!(error("dataDir=/x\nserver.0=h:1:2\n").contains("from 1 to 255"));
    assert!(error("dataDir=/x\nserver.1=h:1:2:boss\n").contains("not a role"));
    assert!(error("dataDir=/x\nserver.2=h:1:2\n").contains("no server.1, only 2"));
    let timeouts = error("dataDir=/x\nminSessionTimeout=9000\nmaxSessionTimeout=8000\n");
    assert!(timeouts.contains("(line 3)"), "{timeouts}");
    assert!(error("dataDir=/x\nclientPort=1\nserver.1=h:1:2;3\n").contains("must be equal"));
}

#[test]
fn what_protects_is_not_ignored_in_silence() {
    let refused = error("dataDir=/x\nsecureClientPort=2281\n");
    assert!(
        refused.contains("secureClientPort (line 2) is not supported"),
        "{refused}"
    );
    assert!(error("dataDir=/x\nauthProvider.1=org.Sasl\n").contains("not supported"));
    let off = load("dataDir=/x\nsslQuorum=false\n").expect("switched off");
    assert_eq!(off.ignored, ["sslQuorum"]);
}

#[test]
fn the_command_line_goes_over_the_file() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("zoo.cfg");
    std::fs::write(&path, "dataDir=/x\nclientPort=2181\n").expect("written");
    let set = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    let config = Config::load(&path, &set("clientPort", "0"), None).expect("valid");
    assert_eq!(config.client.port, 0);
    let refused = Config::load(&path, &set("clientPort", "x"), None).expect_err("not a port");
    assert!(
        refused.to_string().contains("set on the command line"),
        "{refused}"
    );
}

#[test]
fn myid_comes_from_the_file_or_the_argument() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let set = |key: &str, value: String| (key.to_owned(), value);
    let data_dir = folder.path().display().to_string();
    let lines = [
        set("dataDir", data_dir),
        set("server.7", "h:1:2".to_owned()),
        set("server.8", "h:3:4".to_owned()),
    ];
    let missing = Config::from_overrides(&lines, None).expect_err("no file");
    assert!(missing.to_string().contains("myid"), "{missing}");
    std::fs::write(folder.path().join("myid"), "8\n").expect("written");
    assert_eq!(Config::from_overrides(&lines, None).expect("valid").node, 8);
    assert_eq!(
        Config::from_overrides(&lines, Some(7)).expect("valid").node,
        7
    );
    std::fs::write(folder.path().join("myid"), "eight").expect("written");
    let bad = Config::from_overrides(&lines, None).expect_err("not a number");
    assert!(bad.to_string().contains("eight"), "{bad}");
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
        let read = Config::parse(Path::new("zoo.cfg"), bytes, &[], Some(1));
        let refused = read.expect_err("refused").to_string();
        assert!(refused.contains("byte order mark"), "{refused}");
    }
}

#[test]
fn metrics_are_off_unless_zookeepers_prometheus_is_named() {
    let provider = |lines: &str| {
        let text = format!("dataDir=/x\n{lines}");
        load(&text).expect("valid").metrics_provider
    };
    assert_eq!(
        provider("metricsProvider.httpPort=7001"),
        MetricsProvider::Off
    );
    let class = format!(
        "metricsProvider.className={}\n",
        MetricsProvider::PROMETHEUS
    );
    let at = |host: &str, port| {
        let host = host.to_owned();
        MetricsProvider::Prometheus(Endpoint { host, port })
    };
    assert_eq!(
        provider(&class),
        at("0.0.0.0", 7000),
        "ZooKeeper's defaults"
    );
    let lines = "metricsProvider.httpHost=::1\nmetricsProvider.httpPort=7001\nmetricsProvider.exportJvmInfo=true";
    assert_eq!(provider(&format!("{class}{lines}")), at("::1", 7001));
    let silent =
        "metricsProvider.className=org.apache.zookeeper.metrics.impl.DefaultMetricsProvider";
    assert_eq!(provider(silent), MetricsProvider::Off);
    let unknown = MetricsProvider::Unknown("org.example.Mine".to_owned());
    assert_eq!(
        provider("metricsProvider.className=org.example.Mine"),
        unknown
    );
    let wrong = error(&format!("dataDir=/x\n{class}metricsProvider.httpPort=high"));
    assert!(
        wrong.contains("metricsProvider.httpPort") && wrong.contains("(line 3)"),
        "{wrong}"
    );
}
