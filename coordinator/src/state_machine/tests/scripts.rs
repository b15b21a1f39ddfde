//! Scripts with their expected output, in `tests/scripts`, and what a script cannot show.
//!
//! A line that begins with `> ` is a step, the lines behind it are what it printed. With the variable
//! `UPDATE_SCRIPTS` set, the files are written anew, to be read before they are committed.
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use super::super::command::{Command, Create, Entry, Op, Origin};
use super::super::*;
use crate::storage::MemoryStore;
use crate::tree::{Acl, AuthId, acl};

/// Runs steps against a state machine over memory.
struct Script {
    machine: StateMachine<MemoryStore>,
    time_ms: i64,
    attach: HashMap<i64, u64>,
    auth: HashMap<i64, Vec<AuthId>>,
    out: String,
}

impl Script {
    fn new() -> Script {
        let machine = StateMachine::open(MemoryStore::default()).unwrap();
        Script {
            machine,
            time_ms: 1000,
            attach: HashMap::new(),
            auth: HashMap::new(),
            out: String::new(),
        }
    }

    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        match words.as_slice() {
            ["time", ms] => self.time_ms = ms.parse().unwrap(),
            ["auth", session, ids @ ..] => {
                let ids = ids.iter().map(|id| AuthId {
                    scheme: "digest".into(),
                    id: id.to_string(),
                });
                self.auth.insert(session_of(session).0, ids.collect());
            }
            ["counts"] => writeln!(
                self.out,
                "{:?}, {} sessions",
                self.machine.counts(),
                self.machine.session_count()
            )
            .unwrap(),
            [session, "get", path] => {
                let shown = self
                    .machine
                    .get(path, &self.auth_of(session))
                    .map(|(data, _)| text(data.as_deref()));
                self.show(shown.map_err(|error| error.to_string()));
            }
            [session, "stat", path] => {
                let stat = self.machine.exists(path, &self.auth_of(session));
                let stat = stat.map(|stat| stat.map_or("none".into(), |stat| stat_line(&stat)));
                self.show(stat.map_err(|error| error.to_string()));
            }
            [session, "ls", path] => {
                let names = self.machine.children(path, &self.auth_of(session));
                self.show(
                    names
                        .map(|(names, _)| names.join(" "))
                        .map_err(|error| error.to_string()),
                );
            }
            [session, "getacl", path] => {
                let list = self
                    .machine
                    .acl(path, &self.auth_of(session))
                    .map(|(list, _)| {
                        let entry = |acl: &Acl| {
                            format!("{}:{}/{}", acl.id.scheme, acl.id.id, acl.permissions)
                        };
                        list.iter().map(entry).collect::<Vec<_>>().join(" ")
                    });
                self.show(list.map_err(|error| error.to_string()));
            }
            [session, rest @ ..] => self.write(session, rest),
            [] => {}
        }
    }

    fn auth_of(&self, session: &str) -> Vec<AuthId> {
        self.auth
            .get(&session_of(session).0)
            .cloned()
            .unwrap_or_default()
    }

    fn show(&mut self, shown: Result<String, String>) {
        let line = shown.unwrap_or_else(|error| format!("error: {error}"));
        writeln!(self.out, "{line}").unwrap();
    }

    fn write(&mut self, session: &str, words: &[&str]) {
        let id = session_of(session);
        let attach = match session.split_once('@') {
            Some((_, attach)) => attach.parse().unwrap(),
            None => self.attach.get(&id.0).copied().unwrap_or(0),
        };
        let command = Command {
            origin: Origin::default(),
            session: id,
            attach,
            auth: self.auth_of(session),
            deadline_ms: 0,
            trace: [0; 16],
            op: parse_op(words),
        };
        let entry = Entry {
            term: 1,
            time_ms: self.time_ms,
            commands: vec![command],
        };
        let index = self.machine.applied().index + 1;
        for outcome in self.machine.apply(index, 1, &entry.encode()).unwrap() {
            self.outcome(&outcome);
        }
    }

    fn outcome(&mut self, outcome: &Outcome) {
        let line = match &outcome.result {
            Ok(reply) => reply_line(reply),
            Err(error) => format!("error: {error}"),
        };
        writeln!(self.out, "zxid {}: {line}", outcome.zxid.0).unwrap();
        for change in &outcome.changes {
            writeln!(self.out, "  {:?} {}", change.kind, change.path).unwrap();
        }
        match &outcome.session_change {
            Some(SessionChange::Opened(grant) | SessionChange::Attached(grant)) => {
                self.attach.insert(outcome.session.0, grant.attach);
            }
            Some(change) => writeln!(self.out, "  session {change:?}").unwrap(),
            None => {}
        }
    }
}

fn session_of(word: &str) -> SessionId {
    let number = word.trim_start_matches('s').split('@').next().unwrap();
    SessionId(if number == "-" {
        0
    } else {
        number.parse().unwrap()
    })
}

fn text(data: Option<&[u8]>) -> String {
    data.map_or("null".into(), |data| {
        format!("{:?}", String::from_utf8_lossy(data))
    })
}

fn stat_line(stat: &crate::tree::Stat) -> String {
    format!(
        "czxid {} mzxid {} pzxid {} ctime {} mtime {} version {} cversion {} aversion {} owner {} length {} children {}",
        stat.czxid.0,
        stat.mzxid.0,
        stat.pzxid.0,
        stat.ctime_ms,
        stat.mtime_ms,
        stat.version,
        stat.cversion,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

fn reply_line(reply: &Reply) -> String {
    let list = |results: &[Result<Reply, OpError>]| {
        let line = |result: &Result<Reply, OpError>| match result {
            Ok(reply) => reply_line(reply),
            Err(error) => format!("error: {error}"),
        };
        format!(
            "[{}]",
            results.iter().map(line).collect::<Vec<_>>().join(" | ")
        )
    };
    match reply {
        Reply::Done => "done".into(),
        Reply::Path(path) => path.clone(),
        Reply::Created { path, stat } => format!("{path} {}", stat_line(stat)),
        Reply::Stat(stat) => stat_line(stat),
        Reply::Session(grant) => format!(
            "session {} attach {} timeout {}",
            grant.id, grant.attach, grant.timeout_ms
        ),
        Reply::Multi(results) => list(results),
        Reply::FencedBatch(groups) => groups
            .iter()
            .map(|group| list(group))
            .collect::<Vec<_>>()
            .join(" "),
    }
}

/// `verb path [data] [v=N] [acl=scheme:id/permissions,..] [ephemeral] [sequential] [stat]`
pub(super) fn parse_op(words: &[&str]) -> Op {
    let option = |name: &str| words.iter().find_map(|word| word.strip_prefix(name));
    let flag = |name: &str| words.contains(&name);
    let version = option("v=").map_or(-1, |version| version.parse().unwrap());
    let path = words.get(1).unwrap_or(&"").to_string();
    let data = match words.get(2) {
        None | Some(&"null") => None,
        Some(&"empty") => Some(Bytes::new()),
        Some(word) => Some(Bytes::copy_from_slice(word.as_bytes())),
    };
    let password = |word: &str| [word.as_bytes()[0]; 16];
    let acl = match option("acl=") {
        Some("none") => Vec::new(),
        Some(list) => list.split(',').map(parse_acl).collect(),
        None => vec![Acl::anyone(acl::ALL)],
    };
    match words[0] {
        "open" => Op::OpenSession {
            timeout_ms: 4000,
            password: password(words[1]),
        },
        "attach" => Op::AttachSession {
            timeout_ms: 6000,
            password: password(words[1]),
        },
        "close" => Op::CloseSession,
        "expire" => Op::ExpireSession,
        "sync" => Op::Sync,
        "create" => {
            let (ephemeral, sequential, want_stat) =
                (flag("ephemeral"), flag("sequential"), flag("stat"));
            Op::Create(Create {
                path,
                data,
                acl,
                ephemeral,
                sequential,
                want_stat,
            })
        }
        "container" => Op::CreateContainer(Create {
            path,
            data,
            acl,
            ephemeral: false,
            sequential: false,
            want_stat: flag("stat"),
        }),
        "reap" => Op::DeleteContainer { path },
        "delete" => Op::Delete { path, version },
        "set" => Op::SetData {
            path,
            data,
            version,
        },
        "setacl" => Op::SetAcl { path, acl, version },
        "check" => Op::Check { path, version },
        "created" => Op::CheckCreated {
            path,
            czxid: words[2].parse().unwrap(),
        },
        "limit" => Op::SetLimits {
            max_data_bytes: words[1].parse().unwrap(),
        },
        "multi" => Op::Multi(parse_group(&words[1..])),
        "batch" => parse_batch(words),
        verb => panic!("no such step: {verb}"),
    }
}

fn parse_group(words: &[&str]) -> Vec<Op> {
    let ops = words.split(|word| *word == ";");
    ops.filter(|op| !op.is_empty()).map(parse_op).collect()
}

/// `batch fence version | op ; op | op`
fn parse_batch(words: &[&str]) -> Op {
    let groups = words[3..].split(|word| *word == "|").skip(1);
    Op::FencedBatch {
        fence_path: words[1].to_owned(),
        fence_version: words[2].parse().unwrap(),
        groups: groups.map(parse_group).collect(),
    }
}

fn parse_acl(entry: &str) -> Acl {
    let (id, permissions) = entry.rsplit_once('/').unwrap();
    let (scheme, id) = id.split_once(':').unwrap();
    Acl {
        permissions: permissions.parse().unwrap(),
        id: AuthId {
            scheme: scheme.into(),
            id: id.into(),
        },
    }
}

fn run(name: &str) {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/scripts")
        .join(name);
    let expected = std::fs::read_to_string(&file).unwrap();
    let mut script = Script::new();
    for line in expected.lines() {
        if line.starts_with('#') || line.is_empty() {
            writeln!(script.out, "{line}").unwrap();
        } else if let Some(step) = line.strip_prefix("> ") {
            writeln!(script.out, "{line}").unwrap();
            script.step(step);
        }
    }
    if std::env::var_os("UPDATE_SCRIPTS").is_some() {
        std::fs::write(&file, &script.out).unwrap();
    }
    let difference = script
        .out
        .lines()
        .zip(expected.lines())
        .position(|(now, then)| now != then);
    assert_eq!(
        script.out,
        expected,
        "{name}: line {:?}",
        difference.map(|line| line + 1)
    );
    let audited = script.machine.audit().unwrap();
    assert_eq!(
        audited,
        (script.machine.applied().digest, script.machine.counts())
    );
}

#[test]
fn create_and_delete() {
    run("create_and_delete.txt");
}

#[test]
fn containers() {
    run("containers.txt");
}

#[test]
fn data_and_versions() {
    run("data_and_versions.txt");
}

#[test]
fn acls() {
    run("acls.txt");
}

#[test]
fn multi_and_batch() {
    run("multi_and_batch.txt");
}

#[test]
fn sessions_and_ephemerals() {
    run("sessions_and_ephemerals.txt");
}
