//! Metrics: every process is scraped as Prometheus would, its page is read strictly, and its numbers are held against
//! what was done. What dashboards, alert rules and the runbook speak of has to be there.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `exposition` | a reader of the text format that refuses whatever the format does not allow |
//! | `files` | the names that dashboards and rules use; rules and runbook, one to one |
//! | `panels` | every panel and every rule, asked of a real Prometheus |

mod exposition;
mod files;
mod panels;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use exposition::Page;
use support::{Cluster, PATIENCE, Role, ZWEIG, run, wait_for, wait_until};

const ZOO: &str = "metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider\n\
     metricsProvider.httpHost=127.0.0.1\nmetricsProvider.httpPort=0\nmetricsProvider.exportJvmInfo=true\n";
const PROPERTIES: &str = "metrics.listener=127.0.0.1:0";
const RECORDS: usize = 1_000;

const MESSAGES_IN: &str = "kafka_server_brokertopicmetrics_messagesin_total";
const LEADERS: &str = "kafka_server_replicamanager_leadercount";
const UNDER_REPLICATED: &str = "kafka_server_replicamanager_underreplicatedpartitions";
const CONTROLLERS: &str = "kafka_controller_kafkacontroller_activecontrollercount";
const PARTITIONS: &str = "kafka_controller_kafkacontroller_globalpartitioncount";

/// Where a process serves: the system chose the port, its log says which. The last start counts.
fn address(cluster: &Cluster, role: Role) -> String {
    let log = cluster.folder_of(role).join("log.txt");
    wait_for(
        "the log says where metrics are",
        PATIENCE,
        || -> Option<String> {
            let text = fs::read_to_string(&log).ok()?;
            let (_, found) = text.rsplit_once("metrics are at http://")?;
            Some(found.split_once("/metrics")?.0.to_owned())
        },
    )
}

fn get(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/plain\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer
}

fn scrape(cluster: &Cluster, role: Role) -> Page {
    let answer = get(&address(cluster, role), "/metrics");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    let length = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length: ")?
            .parse()
            .ok()
    });
    assert_eq!(length, Some(body.len()), "{head}");
    Page::read(body).unwrap_or_else(|wrong| panic!("{role:?}: {wrong}"))
}

fn coordinators(cluster: &Cluster) -> Vec<Page> {
    let all = (1..=3).map(|node| scrape(cluster, Role::Coordinator(node)));
    all.collect()
}

fn brokers(cluster: &Cluster, ids: &[usize]) -> Vec<Page> {
    let all = ids.iter().map(|id| scrape(cluster, Role::Broker(*id)));
    all.collect()
}

fn sum(pages: &[Page], name: &str, labels: &[(&str, &str)]) -> f64 {
    let values = pages.iter().filter_map(|page| page.find(name, labels));
    values.sum()
}

fn most(pages: &[Page], name: &str) -> f64 {
    let values = pages.iter().filter_map(|page| page.find(name, &[]));
    values.fold(0.0, f64::max)
}

#[test]
fn every_process_tells_what_was_done() {
    let mut cluster = Cluster::start_prepared((3, ZOO), (2, PROPERTIES), |_, _| {});
    let create = "topic create m --partitions 3 --replication-factor 2";
    cluster.zweig_ok(&create.split(' ').collect::<Vec<_>>());
    cluster.zweig_ok(&["create", "/counted", "x"]);

    let nodes = coordinators(&cluster);
    an_ensemble_agrees(&nodes);
    before_and_after_writes(&cluster, &nodes);
    wait_until("each partition of m is led", PATIENCE, || {
        sum(&brokers(&cluster, &[1, 2]), LEADERS, &[]) >= 3.0
    });
    records_are_counted(&cluster);

    let both = brokers(&cluster, &[1, 2]);
    assert_eq!(sum(&both, CONTROLLERS, &[]), 1.0);
    assert_eq!(
        sum(&both, LEADERS, &[]),
        most(&both, PARTITIONS),
        "each is led once"
    );
    assert_eq!(sum(&both, UNDER_REPLICATED, &[]), 0.0);
    assert_eq!(sum(&both, "zweig_broker_registration_sure", &[]), 2.0);

    let pages: Vec<Page> = coordinators(&cluster).into_iter().chain(both).collect();
    let exported: BTreeSet<&str> = pages.iter().flat_map(Page::names).collect();
    files::speak_of_what_is_there(&exported);
    for role in [Role::Coordinator(1), Role::Broker(1)] {
        let elsewhere = get(&address(&cluster, role), "/");
        assert!(elsewhere.starts_with("HTTP/1.1 404"), "{elsewhere}");
    }
    a_broker_dies(&mut cluster);
}

/// One leads, two follow, and all hold the same tree.
fn an_ensemble_agrees(nodes: &[Page]) {
    assert_eq!(sum(nodes, "zweig_ensemble_is_leader", &[]), 1.0);
    assert_eq!(sum(nodes, "zweig_ensemble_in_touch", &[]), 3.0);
    assert_eq!(sum(nodes, "zweig_ensemble_has_leader", &[]), 3.0);
    assert_eq!(most(nodes, "synced_followers"), 2.0);
    assert_eq!(most(nodes, "quorum_size"), 3.0);
    assert!(most(nodes, "znode_count") > 10.0);
    assert!(most(nodes, "zweig_ensemble_log_sync_seconds_count") > 0.0);
    for name in [
        "zweig_ensemble_disk_free_bytes",
        "process_resident_memory_bytes",
    ] {
        for node in nodes {
            assert!(node.any(name) > Some(0.0), "{name}");
        }
    }
}

/// Each write of a client is one request of its kind, somewhere, and is applied everywhere.
fn before_and_after_writes(cluster: &Cluster, before: &[Page]) {
    for version in 0..5 {
        cluster.zweig_ok(&["set", "/counted", &format!("{version}")]);
    }
    let requests = "zweig_ensemble_requests_total";
    let after = coordinators(cluster);
    let asked = |pages: &[Page]| -> f64 {
        // The tools write by `multi`, `setData` or a batch: whichever, five more of them.
        let kinds = ["multi", "setData", "fencedBatch"];
        kinds
            .iter()
            .map(|op| sum(pages, requests, &[("op", op)]))
            .sum()
    };
    assert!(
        asked(&after) >= asked(before) + 5.0,
        "{} and {}",
        asked(before),
        asked(&after)
    );
    let updates = "zweig_ensemble_update_latency_seconds_count";
    assert!(sum(&after, updates, &[]) >= sum(before, updates, &[]) + 5.0);
    let opened = "zweig_ensemble_sessions_opened_total";
    assert!(
        most(&after, opened) >= most(before, opened) + 5.0,
        "one per command"
    );
    for (before, after) in before.iter().zip(&after) {
        let applied = "zweig_ensemble_applied_index";
        assert!(after.value(applied, &[]) >= before.value(applied, &[]) + 5.0);
    }
}

/// What one producer wrote is counted exactly, what one consumer read at least once.
fn records_are_counted(cluster: &Cluster) {
    let of_m = [("topic", "m")];
    let before = brokers(cluster, &[1, 2]);
    assert_eq!(sum(&before, MESSAGES_IN, &of_m), 0.0);
    let lines: String = (0..RECORDS).map(|number| format!("{number}\n")).collect();
    support::kafka::produce(cluster, "m", &lines);
    let read = support::kafka::consume(cluster, "m", None, "%s\\n");
    let read = String::from_utf8_lossy(&read.stdout).lines().count();
    assert_eq!(read, RECORDS);
    let after = brokers(cluster, &[1, 2]);
    let grew = |name, labels: &[_]| sum(&after, name, labels) - sum(&before, name, labels);
    assert_eq!(grew(MESSAGES_IN, &of_m), RECORDS as f64, "of the topic");
    assert_eq!(grew(MESSAGES_IN, &[]), RECORDS as f64, "of all together");
    let bytes_in = grew("kafka_server_brokertopicmetrics_bytesin_total", &of_m);
    assert!(bytes_in >= lines.len() as f64);
    assert_eq!(
        grew(
            "kafka_server_brokertopicmetrics_replicationbytesin_total",
            &of_m
        ),
        bytes_in,
        "acks=all: the other replica has all of it too"
    );
    let bytes_out = grew("kafka_server_brokertopicmetrics_bytesout_total", &of_m);
    assert!(bytes_out >= bytes_in, "{bytes_out} and {bytes_in}");
    let requests = "kafka_network_requestmetrics_requests_total";
    for request in ["Produce", "Fetch", "Metadata"] {
        assert!(grew(requests, &[("request", request)]) > 0.0, "{request}");
    }
    assert_eq!(
        grew(
            "kafka_server_brokertopicmetrics_failedproducerequests_total",
            &[]
        ),
        0.0
    );
    let ends: f64 = ["0", "1", "2"]
        .iter()
        .map(|number| {
            let labels = [("topic", "m"), ("partition", *number)];
            sum(&after, "kafka_log_log_logendoffset", &labels)
        })
        .sum();
    assert_eq!(ends, 2.0 * RECORDS as f64, "on both replicas");
}

/// What the alert rules ask for is told: fewer in sync, an expired session; nothing without a leader.
fn a_broker_dies(cluster: &mut Cluster) {
    let expired = "stale_sessions_expired";
    let before = most(&coordinators(cluster), expired);
    cluster.kill(Role::Broker(2));
    wait_until(
        "its replicas are missed, what it led is led",
        PATIENCE,
        || {
            let left = brokers(cluster, &[1]);
            sum(&left, UNDER_REPLICATED, &[]) >= 3.0
                && sum(&left, CONTROLLERS, &[]) == 1.0
                && sum(&left, LEADERS, &[]) == most(&left, PARTITIONS)
                && most(
                    &left,
                    "kafka_controller_kafkacontroller_offlinepartitionscount",
                ) == 0.0
        },
    );
    assert!(most(&coordinators(cluster), expired) > before);
    let min = "kafka_server_replicamanager_underminisrpartitioncount";
    assert!(
        most(&brokers(cluster, &[1]), min) >= 3.0,
        "min.insync.replicas is 2"
    );
}

#[test]
fn a_port_that_is_taken_ends_the_start_and_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port();
    let folder = tempfile::tempdir().expect("a folder");
    let start = |role: &str, settings: &[String]| {
        let mut command = Command::new(ZWEIG);
        command.arg(role);
        for setting in settings {
            command.args(["--set", setting]);
        }
        let output = run(command, None, PATIENCE);
        assert!(!output.status.success());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        format!("{told}{said}")
    };
    let data = folder.path().display();
    let zoo = ZOO.replace("httpPort=0", &format!("httpPort={port}"));
    let zoo = zoo.lines().map(str::to_owned);
    let settings: Vec<_> = zoo
        .chain([format!("dataDir={data}/node"), "clientPort=0".to_owned()])
        .collect();
    let told = start("coordinator", &settings);
    let expected = format!("cannot listen on 127.0.0.1:{port} (metricsProvider.httpPort)");
    assert!(told.contains(&expected), "{told}");
}
