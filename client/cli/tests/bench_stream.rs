//! `zweig bench stream` against real brokers, and against ones whose records are changed on the way: figures of those are none.

mod support;

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, OnceLock};
use std::thread;

use support::{Cluster, PATIENCE, Role, ZWEIG};
use zweig_client::kafka::records::{BatchHeader, Seal, seal};

const SHORT: [&str; 6] = ["--output", "json", "--seconds", "1", "--warm-up", "0"];

fn report(cluster: &Cluster, arguments: &[&str]) -> serde_json::Value {
    let mut all = vec!["bench", "stream"];
    let timed = arguments.contains(&"--seconds");
    all.extend(SHORT.iter().take(if timed { 2 } else { SHORT.len() }));
    all.extend(arguments);
    serde_json::from_str(&cluster.zweig_ok(&all)).expect("JSON")
}

fn kinds(report: &serde_json::Value) -> Vec<&str> {
    let kinds = report["kinds"].as_array().expect("a list");
    kinds
        .iter()
        .filter_map(|kind| kind["kind"].as_str())
        .collect()
}

fn records(report: &serde_json::Value) -> u64 {
    report["volume"]["records"].as_u64().unwrap_or(0)
}

#[test]
fn every_workload_is_answered_rightly_and_leaves_nothing_behind() {
    let cluster = Cluster::start(1, 1);
    let page = cluster.path("report.html");
    let page_name = page.to_str().expect("a plain path");
    let plain = report(&cluster, &["--html", page_name, "--threads", "2"]);
    assert_eq!(kinds(&plain), ["produce"]);
    assert!(records(&plain) > 15, "{plain}");
    let html = std::fs::read_to_string(page).expect("the page was written");
    assert!(html.contains("<polyline"), "{html}");
    for acks in ["0", "1"] {
        let report = report(&cluster, &["--acks", acks, "--connections", "8", "--keys"]);
        assert!(records(&report) > 15, "{report}");
    }
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let packed = ["--compression", codec, "--rate", "2000", "--linger-ms", "3"];
        let report = report(&cluster, &packed);
        assert!(records(&report) <= 2_100, "more than were due: {report}");
    }
    let many = [
        "--topics",
        "3",
        "--partitions",
        "20",
        "--batches-per-request",
        "10",
        "--idempotent",
    ];
    assert!(records(&report(&cluster, &many)) > 15);

    let consumed = report(
        &cluster,
        &[
            "--workload",
            "consume",
            "--megabytes",
            "5",
            "--connections",
            "2",
        ],
    );
    assert_eq!(kinds(&consumed), ["fetch"]);
    assert!(records(&consumed) > 5_000 / 2, "{consumed}");
    let tail = report(&cluster, &["--workload", "end-to-end", "--rate", "300"]);
    assert_eq!(kinds(&tail), ["acknowledged", "received"]);
    assert!((1..=310).contains(&records(&tail)), "{tail}");

    let mut groups = vec!["--workload", "groups", "--groups", "3", "--members", "2"];
    groups.extend(["--seconds", "2", "--warm-up", "2"]);
    let groups = report(&cluster, &groups);
    for kind in ["commit", "join", "leave", "offset fetch"] {
        assert!(kinds(&groups).contains(&kind), "{groups}");
    }
    for list in ["topic", "group"] {
        support::wait_until("nothing is left behind", PATIENCE, || {
            cluster.zweig_ok(&[list, "list", "--output", "json"]).trim() == "[]"
        });
    }
}

#[test]
fn with_reconnect_a_broker_that_is_killed_costs_no_acknowledged_record() {
    let mut cluster = Cluster::start(1, 3);
    let mut zweig = cluster.command(ZWEIG);
    zweig.args(["bench", "stream", "--output", "json", "--prefix", "load"]);
    zweig.args(["--partitions", "3", "--replication-factor", "3"]);
    zweig.args(["--reconnect", "--rate", "300", "--seconds", "12"]);
    let load = cluster.talk(zweig, "bench");
    let leader = Role::Broker(cluster.any_leader_of("load-0", 0));
    // Not before all replicas are in sync, and something was sent.
    support::wait_until("the load has begun", PATIENCE, || {
        cluster.in_sync("load-0", 0) == 3
    });
    cluster.kill(leader);
    let line = load.line();
    let report: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert!(records(&report) > 300, "{report}");
}

/// What happens to the frames of one direction.
type Change = fn(frame: &mut [u8]);

/// A port that passes everything on to the broker that is named later, changing some of it.
struct Liar {
    address: String,
    broker: Arc<OnceLock<String>>,
}

impl Liar {
    fn start(requests: Change, answers: Change) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound").to_string();
        let broker: Arc<OnceLock<String>> = Arc::default();
        let to = Arc::clone(&broker);
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Some(Ok(server)) = to.get().map(TcpStream::connect) else {
                    continue;
                };
                let back = (
                    server.try_clone().expect("a socket twice"),
                    client.try_clone().expect("a socket twice"),
                );
                thread::spawn(move || pass(client, server, requests));
                thread::spawn(move || pass(back.0, back.1, answers));
            }
        });
        Self { address, broker }
    }
}

/// Passes on frames until one end is closed.
fn pass(mut from: TcpStream, mut to: TcpStream, change: Change) -> Option<()> {
    let mut all = || -> Option<()> {
        loop {
            let mut length = [0; 4];
            from.read_exact(&mut length).ok()?;
            let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).ok()?];
            from.read_exact(&mut frame).ok()?;
            change(&mut frame);
            to.write_all(&length).ok()?;
            to.write_all(&frame).ok()?;
        }
    };
    all();
    let _ = to.shutdown(Shutdown::Both);
    from.shutdown(Shutdown::Both).ok()
}

/// A bench whose broker can be reached through a liar only; what it says of that.
fn told_through(requests: Change, answers: Change) -> String {
    let liar = Liar::start(requests, answers);
    let advertised = format!("advertised.listeners=PLAINTEXT://{}", liar.address);
    let cluster = Cluster::start_with(1, 1, &advertised);
    liar.broker.set(cluster.broker(1)).expect("it is set once");
    let mut arguments = vec!["bench", "stream"];
    arguments.extend(SHORT);
    let output = cluster.zweig(&arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{told}");
    told
}

/// The batch in a frame: where its checksum is right.
fn batch(frame: &mut [u8]) -> Option<(&mut [u8], BatchHeader)> {
    for at in 0..frame.len().saturating_sub(61) {
        if let Ok(Some(header)) = BatchHeader::read(&frame[at..]) {
            return Some((&mut frame[at..at + header.size], header));
        }
    }
    None
}

/// Another letter in a record, and the checksum that fits it.
fn other_letter(frame: &mut [u8]) {
    if let Some((batch, header)) = batch(frame) {
        let at = batch.len() - 2;
        batch[at] = b'!';
        let plain = Seal::plain(header.count, header.base_timestamp);
        seal(batch, &plain);
    }
}

/// A broken byte behind a batch's checksum, in answers that hold one.
fn broken_byte(frame: &mut [u8]) {
    if let Some((batch, _)) = batch(frame) {
        let at = batch.len() - 2;
        batch[at] ^= 1;
    }
}

fn nothing(_: &mut [u8]) {}

#[test]
fn a_record_that_is_not_the_one_that_was_sent_ends_the_run() {
    let told = told_through(other_letter, nothing);
    assert!(told.contains("records that nobody sent there"), "{told}");
}

#[test]
fn a_broken_record_ends_the_run() {
    let told = told_through(nothing, broken_byte);
    assert!(told.contains("checksum of the batch at offset 0"), "{told}");
}
