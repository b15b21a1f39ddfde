//! Four-letter words: a word, an answer in ZooKeeper's form, and the connection closes.
//!
//! Without a whitelist all are answered that only read, and cost little.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use zweig_monitoring::process;

use super::{ClientInfo, Services};
use crate::clock;
use crate::config::{Endpoint, Role as ServerRole};
use crate::consensus::{Role, Status};

/// ZooKeeper's version whose protocol and words these are, as its tools parse it.
const VERSION: &str = concat!(
    "3.9.0-zweig-",
    env!("CARGO_PKG_VERSION"),
    ", built on unknown"
);

const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests\n";

const WRITE_DEADLINE: Duration = Duration::from_secs(10);

/// Sessions whose ephemerals are looked up in one turn under the publication lock.
const SESSIONS_PER_LOOK: usize = 256;

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
    ("wchc", |services| serving(services, wchc)),
    ("wchp", |services| serving(services, wchp)),
    ("dump", |services| serving(services, dump)),
    ("crst", |services| serving(services, crst)),
    ("srst", |services| serving(services, srst)),
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

pub(super) fn answer(word: &str, services: &Services) -> Option<String> {
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
    row("num_alive_connections", &services.connections());
    row("outstanding_requests", &outstanding(services));
    row("znode_count", &counts.znodes);
    row("watch_count", &clients.watches);
    row("ephemerals_count", &counts.ephemerals);
    row("approximate_data_size", &counts.data_bytes);
    row("global_sessions", &sessions);
    row("local_sessions", &0);
    row("uptime", &services.uptime().as_millis());
    if let Some(open) = process::open_files() {
        row("open_file_descriptor_count", &open);
    }
    if let Some(most) = process::most_open_files() {
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
        let voters = status.members.iter().filter(|member| member.voter);
        row("quorum_size", &voters.count());
        row("synced_followers", &active(true));
        row("synced_observers", &active(false));
    }
    if services.config.servers.len() > 1 {
        let doing = match status.role {
            Role::Leader => "leading - broadcast",
            Role::Follower | Role::Candidate => "following - broadcast",
            Role::Observer => "observing - broadcast",
        };
        row("peer_state", &doing);
    }
    row("raft_term", &status.term);
    row("raft_commit_index", &status.committed);
    row("raft_applied_index", &status.applied);
    out
}

fn wchs(services: &Services) -> String {
    let counts = services.door.client_counts();
    let (connections, paths) = (counts.watching, counts.watched_paths);
    let watches = counts.watches;
    format!("{connections} connections watching {paths} paths\nTotal watches:{watches}\n")
}

/// What each session watches.
fn watches(services: &Services) -> Vec<(i64, Vec<Arc<str>>)> {
    let watches = services.door.watches();
    let clients = services.clients.lock();
    let session = |id: &u64| Some(clients.get(id)?.session.load(Ordering::Relaxed));
    watches
        .into_iter()
        .filter_map(|(id, paths)| Some((session(&id)?, paths)))
        .collect()
}

fn wchc(services: &Services) -> String {
    let mut out = String::new();
    for (session, paths) in watches(services) {
        put(&mut out, format_args!("{session:#x}\n"));
        for path in paths {
            put(&mut out, format_args!("\t{path}\n"));
        }
    }
    out.push('\n');
    out
}

fn wchp(services: &Services) -> String {
    let mut sessions: BTreeMap<Arc<str>, Vec<i64>> = BTreeMap::new();
    for (session, paths) in watches(services) {
        for path in paths {
            sessions.entry(path).or_default().push(session);
        }
    }
    let mut out = String::new();
    for (path, sessions) in sessions {
        put(&mut out, format_args!("{path}\n"));
        for session in sessions {
            put(&mut out, format_args!("\t{session:#x}\n"));
        }
    }
    out.push('\n');
    out
}

fn crst(services: &Services) -> String {
    for client in services.clients() {
        client.received.store(0, Ordering::Relaxed);
        client.sent.store(0, Ordering::Relaxed);
    }
    "Connection stats reset.\n".to_owned()
}

fn srst(services: &Services) -> String {
    services.metrics.reset();
    "Server stats reset.\n".to_owned()
}

/// As a member of ZooKeeper's ensemble tells it; expiry is the leader's, so no times stand here.
fn dump(services: &Services) -> String {
    let mut sessions = services.door.read(|state| {
        let live = state
            .sessions()
            .map(|(id, session)| (id, session.timeout_ms));
        live.collect::<Vec<_>>()
    });
    sessions.sort_unstable();
    let mut out = format!(
        "SessionTracker dump:\nGlobal Sessions({}):\n",
        sessions.len()
    );
    for (id, timeout_ms) in &sessions {
        put(&mut out, format_args!("{id}\t{timeout_ms}ms\n"));
    }
    let mut owners = Vec::new();
    for some in sessions.chunks(SESSIONS_PER_LOOK) {
        services.door.read(|state| {
            for (id, _) in some {
                // A store that cannot be read ends the node elsewhere.
                let paths = state.ephemerals(*id).unwrap_or_default();
                if !paths.is_empty() {
                    owners.push((*id, paths));
                }
            }
        });
    }
    let count = owners.len();
    put(
        &mut out,
        format_args!("ephemeral nodes dump:\nSessions with Ephemerals ({count}):\n"),
    );
    for (id, paths) in owners {
        put(&mut out, format_args!("{id}:\n"));
        for path in paths {
            put(&mut out, format_args!("\t{path}\n"));
        }
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
                // Without a host of its own: the server's, where its clients find it.
                let client = match client.host.is_empty() {
                    true => &Endpoint {
                        host: host.clone(),
                        port: client.port,
                    },
                    false => client,
                };
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
