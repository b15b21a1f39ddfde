//! Four-letter words: a word, an answer in ZooKeeper's form, and the connection closes.
//!
//! Only words that read exist here, so all of them are answered unless the whitelist says otherwise.

use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{ClientInfo, Services};
use crate::clock;
use crate::config::Role as ServerRole;
use crate::consensus::{Role, Status};

/// ZooKeeper's version whose protocol and words these are, as its tools parse it.
const VERSION: &str = concat!(
    "3.9.0-zweig-",
    env!("CARGO_PKG_VERSION"),
    ", built on unknown"
);

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// How long a client that has its answer may leave its side open.
const LINGER: Duration = Duration::from_secs(1);

type Words = &'static [(&'static str, fn(&Services) -> String)];

/// Every word.
const WORDS: Words = &[
    ("ruok", |_| "imok".to_owned()),
    ("isro", isro),
    ("srvr", |services| serving(services, srvr)),
    ("stat", |services| serving(services, stat)),
    ("mntr", |services| serving(services, mntr)),
    ("cons", |services| serving(services, cons)),
    ("wchs", |services| serving(services, wchs)),
    ("dump", |services| serving(services, dump)),
    ("conf", conf),
    ("envi", |_| envi()),
];

/// Answers the word in `head`, and closes.
pub async fn serve(mut stream: TcpStream, peer: SocketAddr, head: [u8; 4], services: &Services) {
    let word = String::from_utf8_lossy(&head);
    let Some(answer) = answer(&word, services) else {
        tracing::info!(%peer, ?word, "neither a known protocol nor a four-letter word: closed");
        return;
    };
    let written = stream.write_all(answer.as_bytes());
    if let Ok(Ok(())) = tokio::time::timeout(WRITE_DEADLINE, written).await {
        // Whether the client hears the end is not our concern any more.
        let _ = stream.shutdown().await;
        let _ = tokio::time::timeout(LINGER, read_out(&mut stream)).await;
    }
}

/// `echo word | nc` sends a newline behind the word. A socket that is closed with bytes unread resets the
/// connection, and with it what the client has not read of the answer yet.
async fn read_out(stream: &mut TcpStream) {
    let mut scrap = [0; 256];
    while matches!(stream.read(&mut scrap).await, Ok(1..)) {}
}

fn answer(word: &str, services: &Services) -> Option<String> {
    let (_, run) = WORDS.iter().find(|(known, _)| *known == word)?;
    if !services.config.four_letter_words.allows(word) {
        return Some(format!(
            "{word} is not executed because it is not in the whitelist.\n"
        ));
    }
    Some(run(services))
}

fn serving(services: &Services, run: fn(&Services) -> String) -> String {
    match services.door.in_touch(clock::now()) {
        true => run(services),
        false => NOT_SERVING.to_owned(),
    }
}

fn isro(services: &Services) -> String {
    match services.door.in_touch(clock::now()) {
        true => "rw".to_owned(),
        false => "null".to_owned(),
    }
}

fn mode(services: &Services, status: &Status) -> &'static str {
    match status.role {
        _ if services.config.servers.len() == 1 => "standalone",
        Role::Leader => "leader",
        Role::Follower | Role::Candidate => "follower",
        Role::Observer => "observer",
    }
}

fn outstanding(services: &Services) -> usize {
    services.door.client_counts().outstanding
}

/// What `srvr` and `stat` share, behind the version and the clients.
fn summary(services: &Services, out: &mut String) {
    let latency = services.metrics.latency();
    let status = services.door.status();
    let (zxid, nodes) = services
        .door
        .read(|state| (state.applied().zxid, state.counts().znodes));
    let lines = [
        format!(
            "Latency min/avg/max: {}/{:.4}/{}",
            latency.min_ms, latency.avg_ms, latency.max_ms
        ),
        format!("Received: {}", services.metrics.packets_received()),
        format!("Sent: {}", services.metrics.packets_sent()),
        format!("Connections: {}", services.clients().len()),
        format!("Outstanding: {}", outstanding(services)),
        format!("Zxid: {:#x}", zxid.0),
        format!("Mode: {}", mode(services, &status)),
        format!("Node count: {nodes}"),
    ];
    for line in lines {
        out.push_str(&line);
        out.push('\n');
    }
}

fn srvr(services: &Services) -> String {
    let mut out = format!("Zookeeper version: {VERSION}\n");
    summary(services, &mut out);
    out
}

fn stat(services: &Services) -> String {
    let mut out = format!("Zookeeper version: {VERSION}\nClients:\n");
    for client in services.clients() {
        put_client(&client, &mut out);
        out.push_str(")\n");
    }
    out.push('\n');
    summary(services, &mut out);
    out
}

fn put_client(client: &ClientInfo, out: &mut String) {
    let (received, sent) = (&client.received, &client.sent);
    let (received, sent) = (
        received.load(Ordering::Relaxed),
        sent.load(Ordering::Relaxed),
    );
    let peer = client.peer;
    put(
        out,
        format_args!(" /{peer}[1](queued=0,recved={received},sent={sent}"),
    );
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a string takes every text");
}

fn cons(services: &Services) -> String {
    let mut out = String::new();
    for client in services.clients() {
        put_client(&client, &mut out);
        let session = client.session.load(Ordering::Relaxed);
        let timeout_ms = client.timeout_ms.load(Ordering::Relaxed);
        put(
            &mut out,
            format_args!(",sid={session:#x},to={timeout_ms})\n"),
        );
    }
    out.push('\n');
    out
}

fn mntr(services: &Services) -> String {
    let latency = services.metrics.latency();
    let status = services.door.status();
    let counts = services.door.read(|state| state.counts());
    let sessions = services.door.read(|state| state.session_count());
    let clients = services.door.client_counts();
    let mut out = String::new();
    let mut row = |key: &str, value: &dyn std::fmt::Display| {
        put(&mut out, format_args!("zk_{key}\t{value}\n"));
    };
    row("version", &VERSION);
    row("server_state", &mode(services, &status));
    row("avg_latency", &format_args!("{:.4}", latency.avg_ms));
    row("max_latency", &latency.max_ms);
    row("min_latency", &latency.min_ms);
    row("packets_received", &services.metrics.packets_received());
    row("packets_sent", &services.metrics.packets_sent());
    row("num_alive_connections", &services.clients().len());
    row("outstanding_requests", &outstanding(services));
    row("znode_count", &counts.znodes);
    row("watch_count", &clients.watches);
    row("ephemerals_count", &counts.ephemerals);
    row("approximate_data_size", &counts.data_bytes);
    row("global_sessions", &sessions);
    if let Some(open) = open_files() {
        row("open_file_descriptor_count", &open);
    }
    if let Some(most) = rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
        row("max_file_descriptor_count", &most);
    }
    if status.role == Role::Leader {
        let others = || {
            status
                .members
                .iter()
                .filter(|member| member.node != status.node)
        };
        let active = |voter: bool| others().filter(|m| m.voter == voter && m.active).count();
        row("learners", &others().count());
        row("synced_followers", &active(true));
        row("synced_observers", &active(false));
    }
    row("raft_term", &status.term);
    row("raft_commit_index", &status.committed);
    row("raft_applied_index", &status.applied);
    out
}

fn open_files() -> Option<usize> {
    std::fs::read_dir("/proc/self/fd").ok().map(Iterator::count)
}

fn wchs(services: &Services) -> String {
    let counts = services.door.client_counts();
    let (connections, paths) = (counts.watching, counts.watched_paths);
    let watches = counts.watches;
    format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
}

fn dump(services: &Services) -> String {
    let mut sessions = services.door.read(|state| {
        let live = state
            .sessions()
            .map(|(id, session)| (id.0, session.timeout_ms));
        live.collect::<Vec<_>>()
    });
    sessions.sort_unstable();
    let mut out = format!("Global Sessions({}):\n", sessions.len());
    for (id, timeout_ms) in sessions {
        put(&mut out, format_args!("{id:#x}\t{timeout_ms}ms\n"));
    }
    out
}

fn conf(services: &Services) -> String {
    let config = &services.config;
    let mut out = String::new();
    let mut row = |key: &str, value: &dyn std::fmt::Display| {
        put(&mut out, format_args!("{key}={value}\n"));
    };
    row("clientPort", &config.client.port);
    row("clientPortAddress", &config.client.host);
    row("dataDir", &config.data_dir.display());
    row("dataLogDir", &config.data_log_dir.display());
    row("tickTime", &config.tick.as_millis());
    row("maxClientCnxns", &config.max_client_cnxns);
    row("minSessionTimeout", &config.min_session_timeout_ms);
    row("maxSessionTimeout", &config.max_session_timeout_ms);
    row("serverId", &config.node);
    row("initLimit", &config.init_limit);
    row("syncLimit", &config.sync_limit);
    if config.servers.len() > 1 {
        out.push_str("membership: \n");
        for server in &config.servers {
            let role = match server.role {
                ServerRole::Participant => "participant",
                ServerRole::Observer => "observer",
            };
            let (node, host) = (server.node, &server.host);
            let (quorum, election) = (server.quorum_port, server.election_port);
            put(
                &mut out,
                format_args!("server.{node}={host}:{quorum}:{election}:{role}"),
            );
            if let Some(client) = &server.client {
                put(&mut out, format_args!(";{client}"));
            }
            out.push('\n');
        }
    }
    out
}

fn envi() -> String {
    format!(
        "Environment:\nzookeeper.version={VERSION}\nos.name={}\nos.arch={}\n",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}
