//! `zweig bench ensemble` against real nodes, and against a server that answers wrongly: figures of that are none.

mod support;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use bytes::{Bytes, BytesMut};
use support::{Cluster, PATIENCE, ZWEIG};
use zweig_proto::zk::frame::put_frame;
use zweig_proto::zk::op::{GetDataResponse, SyncResponse};
use zweig_proto::zk::{
    ConnectResponse, ErrorCode, Jute, OpCode, Reader, ReplyHeader, RequestHeader, Stat,
};

fn report(cluster: &Cluster, arguments: &[&str]) -> serde_json::Value {
    let mut all = vec![
        "bench",
        "ensemble",
        "--output",
        "json",
        "--seconds",
        "1",
        "--warm-up",
        "0",
    ];
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

#[test]
fn every_workload_is_answered_rightly_and_leaves_nothing_behind() {
    let cluster = Cluster::start(3, 0);
    let before = cluster.ls("/");
    let page = cluster.path("report.html");
    let page_name = page.to_str().expect("a plain path");
    let mix = "read=4,write=2,exists=2,children=1,create=2,multi=2";
    let mixed = [
        "--mix",
        mix,
        "--znodes",
        "50",
        "--threads",
        "2",
        "--html",
        page_name,
    ];
    let mixed = report(&cluster, &mixed);
    let expected = [
        "children", "create", "delete", "exists", "multi", "read", "write", "all",
    ];
    assert_eq!(kinds(&mixed), expected);
    assert!(
        mixed["operations"]
            .as_u64()
            .is_some_and(|count| count > 100),
        "{mixed}"
    );
    let html = std::fs::read_to_string(page).expect("the page was written");
    assert!(html.contains("<polyline"), "{html}");

    let own = std::process::id().to_string();
    let open = [
        "--rate",
        "200",
        "--connections",
        "4",
        "--value-size",
        "16",
        "--cpu-of",
        &own,
    ];
    let open = report(&cluster, &open);
    assert!(open["server_cpu_seconds"].is_f64(), "{open}");
    let answers = open["operations"].as_u64().expect("a count");
    assert!(answers <= 210, "more than were due: {open}");

    let watched = report(&cluster, &["--workload", "watches", "--connections", "20"]);
    assert_eq!(
        kinds(&watched),
        [
            "each told",
            "first told",
            "last told",
            "write answered",
            "all"
        ]
    );
    let storm = report(
        &cluster,
        &[
            "--workload",
            "sessions",
            "--connections",
            "5",
            "--znodes",
            "40",
        ],
    );
    assert_eq!(storm["operations"], 40, "{storm}");
    assert_eq!(cluster.ls("/"), before);
}

#[test]
fn with_reconnect_a_node_that_is_killed_costs_a_moment() {
    let mut cluster = Cluster::start(3, 0);
    let mut zweig = cluster.command(ZWEIG);
    zweig.args([
        "bench",
        "ensemble",
        "--output",
        "json",
        "--reconnect",
        "--mix",
        "write",
        "--seconds",
        "8",
    ]);
    let load = cluster.talk(zweig, "bench");
    // A line of progress on standard error is nothing to wait for; nodes of the load are.
    support::wait_until("the load has begun", PATIENCE, || {
        cluster.ls("/").iter().any(|name| name.ends_with("-own"))
    });
    let leader = support::Role::Coordinator(cluster.any_ensemble_leader());
    cluster.kill(leader);
    let report: serde_json::Value = serde_json::from_str(&load.line()).expect("JSON");
    assert!(
        report["operations"].as_u64().is_some_and(|count| count > 0),
        "{report}"
    );
}

fn read_frame(stream: &mut TcpStream) -> Option<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).ok()?];
    stream.read_exact(&mut frame).ok()?;
    Some(frame.into())
}

fn answer(stream: &mut TcpStream, body: impl FnOnce(&mut BytesMut)) -> Option<()> {
    let mut out = BytesMut::new();
    put_frame(&mut out, body);
    stream.write_all(&out).ok()
}

/// Answers everything with OK, and reads with the content of no node.
fn lie(mut stream: TcpStream) -> Option<()> {
    read_frame(&mut stream)?;
    let granted = ConnectResponse {
        protocol_version: 0,
        timeout_ms: 30_000,
        session: 1,
        password: Some(Bytes::from_static(&[0; 16])),
        read_only: Some(false),
    };
    answer(&mut stream, |out| granted.write(out))?;
    let stat = Stat {
        czxid: 1,
        mzxid: 1,
        ctime: 0,
        mtime: 0,
        version: 0,
        cversion: 0,
        aversion: 0,
        ephemeral_owner: 0,
        data_length: 100,
        num_children: 0,
        pzxid: 1,
    };
    while let Some(frame) = read_frame(&mut stream) {
        let RequestHeader { xid, op } = Jute::read(&mut Reader::new(frame)).ok()?;
        answer(&mut stream, |out| {
            ReplyHeader {
                xid,
                zxid: 1,
                err: ErrorCode::OK,
            }
            .write(out);
            if op == OpCode::GetData as i32 {
                let data = Some(vec![7; 100].into());
                GetDataResponse { data, stat }.write(out);
            } else {
                SyncResponse {
                    path: "/".to_owned(),
                }
                .write(out);
            }
        })?;
    }
    Some(())
}

#[test]
fn a_wrong_answer_ends_the_run() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || lie(stream));
        }
    });
    let mut zweig = std::process::Command::new(ZWEIG);
    zweig.args([
        "--server",
        &address,
        "bench",
        "ensemble",
        "--mix",
        "read",
        "--seconds",
        "1",
    ]);
    let output = support::run(zweig, None, PATIENCE);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(
        told.contains("a wrong answer to read: the content of node"),
        "{told}"
    );
}
