//! What the clients' histories must fulfil.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use zweig_client::history::linearizable::{Span, Verdict, check};
use zweig_client::history::session::{Seen, never_back};
use zweig_client::history::znode::{Asked, Call, Outcome, Znode};

use super::cluster::{Cluster, Role, TOPIC};

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
            "read" => return None,
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
pub fn znodes(histories: &[Vec<serde_json::Value>]) -> String {
    let mut by_path: BTreeMap<String, Vec<Span<Call>>> = BTreeMap::new();
    let (mut calls, mut unknown) = (0, 0);
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
                panic!("client {client} of kazoo, session {session:#x}: {back}");
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
    assert!(calls > unknown, "the clients learned something");
    for (path, spans) in &by_path {
        match check::<Znode>(None, spans, BOUND) {
            Verdict::Linearizable => {}
            Verdict::Undecided => panic!("{path}: {} calls: not decided", spans.len()),
            Verdict::Refused { at } => refused(path, spans, at),
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

fn refused(path: &str, spans: &[Span<Call>], at: usize) -> ! {
    let near = &spans[at];
    let mut around: Vec<_> = spans.iter().collect();
    around.sort_by_key(|span| span.began);
    let place = around
        .iter()
        .position(|span| std::ptr::eq(*span, near))
        .unwrap_or(0);
    for span in &around[place.saturating_sub(15)..(place + 10).min(around.len())] {
        eprintln!("{span:?}");
    }
    panic!("{path}: no order explains what the clients saw around {near:?}");
}

/// The clients closed their sessions, or lost them: their ephemerals have to go.
pub fn no_ephemeral_is_left(cluster: &mut Cluster) {
    cluster.wait_until("every ephemeral has ended with its session", || {
        let output = cluster.zweig(&["ls", "/chaos/sessions"]);
        output.status.success() && output.stdout.is_empty()
    });
}

/// Every node shows the same tree.
pub fn same_tree_everywhere(cluster: &Cluster) {
    let tree = |host: usize| {
        let server = format!("{}:2181", cluster.hosts.address(host));
        let output = cluster.zweig(&["--server", &server, "tree", "/chaos", "--data"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        // The last line tells the zxid, which other sessions of the cluster move on.
        let znodes = text
            .trim_end()
            .rsplit_once('\n')
            .expect("znodes, and a summary");
        znodes.0.to_owned()
    };
    let hosts = cluster.of(Role::Coordinator);
    let first = tree(hosts[0]);
    assert!(!first.is_empty());
    for host in &hosts[1..] {
        assert_eq!(tree(*host), first, "hosts {} and {host}", hosts[0]);
    }
}

/// Every acknowledged record is there, where it was said to be; each number once, in order.
pub fn records(cluster: &Cluster, acknowledged: &BTreeMap<usize, Vec<(u64, i64)>>) -> usize {
    let mut kept = 0;
    for (partition, acknowledged) in acknowledged {
        let output = cluster
            .client("kcat")
            .args([
                "-C",
                "-b",
                &cluster.bootstrap(),
                "-t",
                TOPIC,
                "-p",
                &partition.to_string(),
            ])
            .args(["-o", "beginning", "-e", "-q", "-f", "%s %o\n"])
            .output()
            .expect("kcat runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let parse = |line: &str| {
            let (number, offset) = line.split_once(' ').expect("number and offset");
            (
                number.parse().expect("a number"),
                offset.parse().expect("an offset"),
            )
        };
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let stored: Vec<(u64, i64)> = text.lines().map(parse).collect();
        for (place, (number, _)) in stored.iter().enumerate() {
            assert_eq!(
                *number, place as u64,
                "partition {partition}: each number once, in order"
            );
        }
        let first = stored
            .iter()
            .zip(acknowledged)
            .find(|(stored, said)| stored != said);
        assert_eq!(
            first, None,
            "partition {partition}: stored, and what was acknowledged"
        );
        assert_eq!(stored.len(), acknowledged.len(), "partition {partition}");
        kept += stored.len();
    }
    kept
}
