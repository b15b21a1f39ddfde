//! What the clients' histories must fulfil.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use zweig_client::history::linearizable::{Span, Verdict, check};
use zweig_client::history::session::{Seen, never_back};
use zweig_client::history::znode::{Asked, Call, Outcome, Znode};

use super::{Acknowledged, Site, TOPIC, agree};

/// Placements that the search may try for one znode.
const BOUND: u64 = 20_000_000;

/// A line of `peers/kazoo/chaos.py`.
#[derive(Debug, Deserialize)]
struct Line {
    /// `create`, `set`, `delete`, `get` (linearizable) or `read` (of the client's own server).
    op: String,
    path: String,
    began: u64,
    ended: Option<u64>,
    #[serde(default)]
    value: u64,
    asked_version: Option<i32>,
    /// `done`, `found`, `no_node`, `node_exists`, `bad_version`, `unknown`
    outcome: String,
    version: Option<i32>,
    /// mzxid of what was found or written.
    changed: Option<i64>,
    /// The newest zxid that the client had heard of.
    zxid: Option<i64>,
    /// The session it had then: what is promised, is promised within one.
    session: Option<i64>,
}

impl Line {
    /// The call on its znode; if its outcome is unknown, it can't have been done after `void_after`.
    fn span(&self, void_after: Option<u64>) -> Option<Span<Call>> {
        let (value, version) = (self.value, self.asked_version);
        let asked = match self.op.as_str() {
            "create" => Asked::Create { value },
            "set" => Asked::Set { value, version },
            "delete" => Asked::Delete { version },
            "get" => Asked::Get,
            "read" | "mine" | "watch" => return None,
            other => panic!("no such call: {other}"),
        };
        let outcome = match self.outcome.as_str() {
            "done" => Outcome::Done {
                version: self.version,
            },
            "found" => Outcome::Found {
                value,
                version: self.version.expect("a found znode has a version"),
            },
            "no_node" => Outcome::NoNode,
            "node_exists" => Outcome::NodeExists,
            "bad_version" => Outcome::BadVersion,
            "unknown" => Outcome::Unknown,
            other => panic!("no such outcome: {other}"),
        };
        // A read without an answer says nothing.
        let says_something = (asked, outcome) != (Asked::Get, Outcome::Unknown);
        says_something.then_some(Span {
            call: Call { asked, outcome },
            began: self.began,
            ended: match outcome {
                Outcome::Unknown => void_after,
                _ => self.ended,
            },
            optional: outcome == Outcome::Unknown,
        })
    }

    fn seen(&self) -> Option<Seen> {
        Some(Seen {
            path: self.path.clone(),
            changed: self.changed,
            zxid: self.zxid?,
        })
    }
}

/// Calls on each znode are linearizable; nothing that a client saw went back.
pub fn znodes(cluster: &impl Site, histories: &[Vec<serde_json::Value>]) -> String {
    let mut by_path: BTreeMap<String, Vec<Span<Call>>> = BTreeMap::new();
    let (mut calls, mut unknown, mut mine) = (0, 0, 0);
    for (client, history) in histories.iter().enumerate() {
        let parse =
            |line: &serde_json::Value| Line::deserialize(line).expect("a line of a history");
        let lines: Vec<_> = history.iter().map(parse).collect();
        for session in lines
            .iter()
            .filter_map(|line| line.session)
            .collect::<BTreeSet<_>>()
        {
            let of_it = lines.iter().filter(|line| line.session == Some(session));
            let seen: Vec<_> = of_it.filter_map(Line::seen).collect();
            if let Err(back) = never_back(&seen) {
                cluster.fail(&format!(
                    "client {client} of kazoo, session {session:#x}: {back}"
                ));
            }
        }
        for line in &lines {
            let when = line.began.saturating_sub(cluster.begin_ns()) as f64 / 1e9;
            let (path, outcome) = (&line.path, &line.outcome);
            match (line.op.as_str(), outcome.as_str()) {
                ("mine", "found") => mine += 1,
                ("mine", "no_node") => cluster.fail(&format!(
                    "{when:.2} s: client {client} of kazoo: {path} has gone before its session"
                )),
                ("watch", _) => cluster.fail(&format!(
                    "{when:.2} s: client {client} of kazoo: its watch on {path}: {outcome}"
                )),
                _ => {}
            }
        }
        calls += lines.len();
        unknown += lines
            .iter()
            .filter(|line| line.outcome == "unknown")
            .count();
        for (at, line) in lines.iter().enumerate() {
            if let Some(span) = line.span(void_after(&lines[at..])) {
                by_path.entry(line.path.clone()).or_default().push(span);
            }
        }
    }
    if calls <= unknown || mine == 0 {
        cluster.fail("the clients learned nothing");
    }
    for (path, spans) in &by_path {
        match check::<Znode>(None, spans, BOUND) {
            Verdict::Linearizable => {}
            Verdict::Undecided => {
                cluster.fail(&format!("{path}: {} calls: not decided", spans.len()));
            }
            Verdict::Refused { at } => refused(cluster, path, spans, at),
        }
    }
    format!(
        "{calls} calls on {} znodes, {unknown} of unknown outcome",
        by_path.len()
    )
}

/// What a session sent is done in its order: when a later call of it was answered, the first of `lines` was
/// done before, or never will be.
fn void_after(lines: &[Line]) -> Option<u64> {
    let (first, later) = lines.split_first()?;
    let of_it = |line: &&Line| line.session.is_some() && line.session == first.session;
    let answered = later
        .iter()
        .filter(of_it)
        .find(|line| line.outcome != "unknown");
    answered.and_then(|line| line.ended)
}

fn refused(cluster: &impl Site, path: &str, spans: &[Span<Call>], at: usize) -> ! {
    let near = &spans[at];
    let mut around: Vec<_> = spans.iter().collect();
    around.sort_by_key(|span| span.began);
    let place = around
        .iter()
        .position(|span| std::ptr::eq(*span, near))
        .unwrap_or(0);
    let seconds = |ns: u64| ns.saturating_sub(cluster.begin_ns()) as f64 / 1e9;
    eprintln!("--- {path}, in seconds since the beginning");
    for span in &around[place.saturating_sub(15)..(place + 10).min(around.len())] {
        let (began, ended) = (seconds(span.began), span.ended.map(seconds));
        let here = if std::ptr::eq(*span, near) {
            "  <- not beyond this"
        } else {
            ""
        };
        let ended = ended.map_or("      ?".to_owned(), |ended| format!("{ended:>9.4}"));
        eprintln!("{began:>9.4} to {ended}: {:?}{here}", span.call);
    }
    cluster.fail(&format!(
        "{path}: no order explains what the clients saw around {:?} at {:.2} s",
        near.call,
        seconds(near.began)
    ));
}

/// A turn with kazoo's lock.
#[derive(Debug, Clone, Deserialize)]
struct Turn {
    client: usize,
    from: u64,
    to: u64,
    node: String,
}

/// No two clients had the lock at the same time.
pub fn locks(cluster: &impl Site, lines: &[serde_json::Value]) -> usize {
    let parse = |line: &serde_json::Value| Turn::deserialize(line).expect("a line of the locks");
    let mut turns: Vec<_> = lines.iter().map(parse).collect();
    turns.sort_by_key(|turn| turn.from);
    for pair in turns.windows(2) {
        if pair[0].to > pair[1].from {
            cluster.fail(&format!("two had the lock at the same time: {pair:?}"));
        }
    }
    turns.len()
}

/// The clients closed their sessions, or lost them: their ephemerals have to go.
pub fn no_ephemeral_is_left(cluster: &impl Site) {
    cluster.expect_soon("every ephemeral has ended with its session", || {
        let output = cluster.ask(&["ls", "/chaos/sessions"]);
        output.status.success() && output.stdout.is_empty()
    });
}

/// Every node shows the same tree.
pub fn same_tree_everywhere(cluster: &impl Site) {
    let tree = |server: &String| {
        let output = cluster.ask(&["--server", server, "tree", "/chaos", "--data"]);
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            cluster.fail(&format!("the tree of {server}: {why}"));
        }
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The last line tells the zxid, which other sessions of the cluster move on.
        let znodes = text
            .trim_end()
            .rsplit_once('\n')
            .expect("znodes, and a summary");
        znodes.0.to_owned()
    };
    let servers = cluster.coordinators();
    let first = tree(&servers[0]);
    assert!(!first.is_empty());
    for server in &servers[1..] {
        let tree = tree(server);
        if tree != first {
            cluster.fail(&format!(
                "{}: {first}\n{server}: {tree}\nnot the same",
                servers[0]
            ));
        }
    }
}

/// Every acknowledged record is there, where it was said to be if that was said; each number once, in order.
pub fn records(cluster: &impl Site, acknowledged: &Acknowledged) -> usize {
    let mut kept = 0;
    for (&partition, acknowledged) in acknowledged {
        // A leader elected a moment ago may not know yet how far records are acknowledged.
        let mut stored = Vec::new();
        cluster.is_soon(|| {
            stored = self::stored(cluster, partition);
            stored.len() >= acknowledged.len()
        });
        for (place, (number, _)) in stored.iter().enumerate() {
            if *number != place as u64 {
                let near = &stored[place.saturating_sub(5)..(place + 5).min(stored.len())];
                cluster.fail(&format!(
                    "partition {partition}: each number once, in order; but (number, offset) are {near:?}"
                ));
            }
        }
        let wrong = stored
            .iter()
            .zip(acknowledged)
            .find(|(stored, said)| !agree(stored, said));
        if wrong.is_some() || stored.len() != acknowledged.len() {
            cluster.fail(&format!(
                "partition {partition}: {} were acknowledged, the last as {:?}; {} are stored, the last as {:?}; \
                 the first that differs, (stored, acknowledged): {wrong:?}",
                acknowledged.len(),
                acknowledged.last(),
                stored.len(),
                stored.last()
            ));
        }
        kept += stored.len();
    }
    kept
}

/// The numbers in a partition, with their offsets.
pub fn stored(cluster: &impl Site, partition: usize) -> Vec<(u64, i64)> {
    let (bootstrap, partition) = (cluster.bootstrap(), partition.to_string());
    let output = cluster
        .client("kcat")
        .args(["-C", "-b", &bootstrap, "-t", TOPIC, "-p", &partition])
        .args(["-o", "beginning", "-e", "-q", "-f", "%s %o\n"])
        .output()
        .expect("kcat runs");
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr).into_owned();
        cluster.fail(&format!("partition {partition} can't be read: {why}"));
    }
    let parse = |line: &str| {
        let (number, offset) = line.split_once(' ').expect("number and offset");
        (
            number.parse().expect("a number"),
            offset.parse().expect("an offset"),
        )
    };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(parse).collect()
}
