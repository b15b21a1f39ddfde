//! Runs the scripts of `tests/scripts/group/`: commands with what the group does in answer, indented.
//! A changed behaviour is first seen as a difference of text; `UPDATE_SCRIPTS=1` writes the new one.
//!
//! ```text
//! join NAME [instance=I] [session=MS] [rebalance=MS] [protocols=a,b] [old]   old: before JoinGroup 4
//! sync NAME [MEMBER=ASSIGNMENT ..]      heartbeat NAME      leave NAME      remove INSTANCE
//! commit NAME|- TOPIC-PARTITION=OFFSET ..     committed TOPIC-PARTITION
//! topic_gone TOPIC     the topic was deleted
//! log | log fails NotLeader|Unavailable       outcome of the oldest append
//! after MS     time passes     show     the group     restart     another broker reads the log
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::path::Path;

use super::heartbeat::Leaving;
use super::offsets::StoredOffset;
use super::*;

const GROUP: &str = "g";

struct Run {
    groups: Groups,
    config: GroupConfig,
    now: Now,
    /// Member id of each client, once it was told.
    ids: BTreeMap<String, String>,
    generations: BTreeMap<String, i32>,
    waiting: BTreeMap<Ticket, String>,
    appends: VecDeque<(Vec<LogRecord>, Then)>,
    log: Vec<LogRecord>,
    next: u64,
    told: String,
}

impl Run {
    fn new() -> Self {
        Self {
            groups: Groups::default(),
            config: GroupConfig {
                max_size: 4,
                ..GroupConfig::default()
            },
            now: Now {
                mono_ms: 0,
                wall_ms: 1_000_000,
            },
            ids: BTreeMap::new(),
            generations: BTreeMap::new(),
            waiting: BTreeMap::new(),
            appends: VecDeque::new(),
            log: Vec::new(),
            next: 0,
            told: String::new(),
        }
    }

    fn tell(&mut self, line: &str) {
        let _ = writeln!(self.told, "  {line}");
    }

    fn ticket(&mut self, name: &str) -> Ticket {
        self.next += 1;
        self.waiting.insert(Ticket(self.next), name.to_owned());
        Ticket(self.next)
    }

    fn id(&self, name: &str) -> String {
        self.ids.get(name).cloned().unwrap_or_default()
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Joined(ticket, joined) => {
                    let name = self.waiting.remove(&ticket).expect("one reply per ticket");
                    if !joined.member_id.is_empty() {
                        self.ids.insert(name.clone(), joined.member_id.clone());
                    }
                    let line = match joined.error {
                        Some(error) => format!("{name} not joined: {error}"),
                        None => {
                            self.generations.insert(name.clone(), joined.generation);
                            let members: Vec<_> =
                                joined.members.iter().map(|m| m.id.as_str()).collect();
                            let skip = if joined.skip_assignment {
                                " skip assignment"
                            } else {
                                ""
                            };
                            format!(
                                "{name} joined as {}: generation {} {} leader {} members [{}]{skip}",
                                joined.member_id,
                                joined.generation,
                                joined.protocol.unwrap_or_default(),
                                joined.leader,
                                members.join(" ")
                            )
                        }
                    };
                    self.tell(&line);
                }
                Effect::Synced(ticket, answer) => {
                    let name = self.waiting.remove(&ticket).expect("one reply per ticket");
                    self.tell(&match answer {
                        Ok(s) => format!(
                            "{name} assigned {:?}",
                            String::from_utf8_lossy(&s.assignment)
                        ),
                        Err(error) => format!("{name} not synced: {error}"),
                    });
                }
                Effect::Committed(ticket, answers) => {
                    let name = self.waiting.remove(&ticket).expect("one reply per ticket");
                    for answer in answers {
                        let PartitionName { topic, partition } = answer.partition;
                        self.tell(&match answer.result {
                            Ok(()) => format!("{name} committed {topic}-{partition}"),
                            Err(e) => format!("{name} not committed {topic}-{partition}: {e}"),
                        });
                    }
                }
                Effect::Deleted(ticket, answer) => {
                    self.waiting.remove(&ticket).expect("one reply per ticket");
                    self.tell(&match answer {
                        Ok(()) => "deleted".to_owned(),
                        Err(error) => format!("not deleted: {error}"),
                    });
                }
                Effect::Append { records, then } => {
                    let what: Vec<_> = records.iter().map(describe).collect();
                    self.tell(&format!("append {}", what.join(", ")));
                    self.appends.push_back((records, then));
                }
            }
        }
    }

    fn join(&mut self, words: &[&str]) {
        let name = words[0];
        let option = |key: &str| {
            words
                .iter()
                .find_map(|w| w.strip_prefix(key)?.strip_prefix('='))
        };
        let number =
            |key: &str, default| option(key).map_or(default, |v| v.parse().expect("number"));
        let protocols = option("protocols").unwrap_or("range").split(',');
        let request = JoinRequest {
            member_id: self.id(name),
            instance_id: option("instance").map(str::to_owned),
            client_id: name.to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            session_timeout_ms: number("session", 10_000),
            rebalance_timeout_ms: number("rebalance", 60_000),
            protocol_type: "consumer".to_owned(),
            protocols: protocols
                .map(|p| (p.to_owned(), Bytes::from_static(b"m")))
                .collect(),
            requires_known_id: !words.contains(&"old"),
            can_skip_assignment: words.contains(&"skips"),
            fresh_id: format!("{name}{}", self.next + 1),
        };
        let ticket = self.ticket(name);
        let mut out = Vec::new();
        self.groups
            .join(GROUP, request, ticket, self.now, &self.config, &mut out);
        self.perform(out);
    }

    fn sync(&mut self, words: &[&str]) {
        let name = words[0];
        let assignments = words[1..].iter().map(|word| {
            let (member, what) = word.split_once('=').expect("member=assignment");
            (self.id(member), Bytes::copy_from_slice(what.as_bytes()))
        });
        let request = SyncRequest {
            member_id: self.id(name),
            instance_id: None,
            generation: self.generations.get(name).copied().unwrap_or(-1),
            protocol_type: None,
            protocol: None,
            assignments: assignments.collect(),
        };
        let ticket = self.ticket(name);
        let mut out = Vec::new();
        self.groups
            .sync(GROUP, &request, ticket, self.now, &mut out);
        self.perform(out);
    }

    fn commit(&mut self, words: &[&str]) {
        let name = words[0];
        let offsets = words[1..].iter().map(|word| {
            let (partition, offset) = word.split_once('=').expect("partition=offset");
            let stored = StoredOffset {
                offset: offset.parse().expect("offset"),
                leader_epoch: -1,
                metadata: if offset == "666" {
                    "x".repeat(5000)
                } else {
                    String::new()
                },
                commit_ms: self.now.wall_ms,
                expire_ms: None,
            };
            OffsetToCommit {
                partition: partition_name(partition),
                stored,
            }
        });
        let request = CommitRequest {
            member_id: self.id(name),
            instance_id: None,
            generation: self.generations.get(name).copied().unwrap_or(-1),
            offsets: offsets.collect(),
        };
        let ticket = self.ticket(name);
        let mut out = Vec::new();
        self.groups
            .commit(GROUP, request, ticket, self.now, &self.config, &mut out);
        self.perform(out);
    }

    fn leave(&mut self, leaving: Leaving) {
        let mut out = Vec::new();
        let left = self
            .groups
            .leave(GROUP, &[leaving], self.now, &self.config, &mut out);
        self.tell(&left[0].map_or_else(|e| format!("not left: {e}"), |()| "left".to_owned()));
        self.perform(out);
    }

    fn log_answers(&mut self, words: &[&str]) {
        let Some((records, then)) = self.appends.pop_front() else {
            return self.tell("nothing is on its way");
        };
        let result = match words {
            [] => Ok(()),
            ["fails", "NotLeader"] => Err(AppendFailure::NotLeader),
            _ => Err(AppendFailure::Unavailable),
        };
        if result.is_ok() {
            self.log.extend(records);
        }
        let mut out = Vec::new();
        self.groups
            .appended(then, result, self.now, &self.config, &mut out);
        self.perform(out);
    }

    /// Time passes; every deadline on the way is met on time.
    fn after(&mut self, ms: i64) {
        let end = self.now.mono_ms + ms;
        while let Some(at) = self.groups.next_deadline_ms().filter(|&at| at <= end) {
            let passed = (at - self.now.mono_ms).max(0);
            self.now.mono_ms += passed;
            self.now.wall_ms += passed;
            let mut out = Vec::new();
            self.groups.tick(self.now, &self.config, &mut out);
            if !out.is_empty() {
                self.tell(&format!("at {}:", self.now.mono_ms));
            }
            self.perform(out);
        }
        self.now.wall_ms += end - self.now.mono_ms;
        self.now.mono_ms = end;
    }

    fn show(&mut self) {
        let Some(group) = self.groups.get(GROUP) else {
            return self.tell("no group");
        };
        let members: Vec<_> = group
            .members
            .values()
            .map(|m| format!("{}:{:?}", m.id, String::from_utf8_lossy(&m.assignment)))
            .collect();
        let line = format!(
            "{} generation {} leader {} [{}]",
            group.state().name(),
            group.generation,
            group.leader.as_deref().unwrap_or("-"),
            members.join(" ")
        );
        self.tell(&line);
    }

    fn restart(&mut self) {
        let mut out = Vec::new();
        self.groups.abandon(&mut out);
        self.perform(out);
        self.appends.clear();
        self.waiting.clear();
        self.groups = Groups::default();
        for record in &self.log {
            self.groups
                .replay(record.clone(), self.now)
                .expect("own records");
        }
        self.groups.loaded(self.now);
    }

    fn command(&mut self, words: &[&str]) {
        match words {
            ["join", rest @ ..] => self.join(rest),
            ["sync", rest @ ..] => self.sync(rest),
            ["commit", rest @ ..] => self.commit(rest),
            ["committed", partition] => {
                let found = self
                    .groups
                    .offset(GROUP, &partition_name(partition))
                    .map(|o| o.offset);
                self.tell(&format!("{found:?}"));
            }
            ["heartbeat", name] => {
                let generation = self.generations.get(*name).copied().unwrap_or(-1);
                let id = self.id(name);
                let alive = self
                    .groups
                    .heartbeat(GROUP, &id, None, generation, self.now);
                self.tell(&alive.map_or_else(|e| e.to_string(), |()| "alive".to_owned()));
            }
            ["leave", name] => {
                let member_id = self.id(name);
                self.leave(Leaving {
                    member_id,
                    instance_id: None,
                });
            }
            ["remove", instance] => self.leave(Leaving {
                member_id: String::new(),
                instance_id: Some((*instance).to_owned()),
            }),
            ["forget", name] => {
                self.ids.remove(*name);
            }
            ["delete"] => {
                let ticket = self.ticket("admin");
                let mut out = Vec::new();
                self.groups.delete(GROUP, ticket, self.now, &mut out);
                self.perform(out);
            }
            ["expire"] => {
                let mut out = Vec::new();
                self.groups.expire_offsets(self.now, &self.config, &mut out);
                self.perform(out);
            }
            ["topic_gone", topic] => {
                let mut out = Vec::new();
                self.groups
                    .forget_offsets(|p, _| p.topic == *topic, &mut out);
                self.perform(out);
            }
            ["log", rest @ ..] => self.log_answers(rest),
            ["after", ms] => self.after(ms.parse().expect("ms")),
            ["show"] => self.show(),
            ["restart"] => self.restart(),
            other => panic!("no such command: {other:?}"),
        }
    }
}

fn partition_name(text: &str) -> PartitionName {
    let (topic, partition) = text.rsplit_once('-').expect("topic-partition");
    PartitionName {
        topic: topic.to_owned(),
        partition: partition.parse().expect("partition"),
    }
}

fn describe(record: &LogRecord) -> String {
    let mark = if record.value.is_none() {
        " tombstone"
    } else {
        ""
    };
    match record::decode_key(record.key.clone()).expect("own key") {
        record::Key::Offset { partition, .. } => {
            format!("offset {}-{}{mark}", partition.topic, partition.partition)
        }
        record::Key::Group(group) => format!("group {group}{mark}"),
        record::Key::Other(version) => panic!("key version {version}"),
    }
}

fn run(script: &str) -> String {
    let mut run = Run::new();
    for line in script.lines().filter(|line| !line.starts_with(' ')) {
        let _ = writeln!(run.told, "{line}");
        if !line.is_empty() && !line.starts_with('#') {
            run.command(&line.split_whitespace().collect::<Vec<_>>());
        }
    }
    run.told
}

#[test]
fn scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/group");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("scripts") {
        let path = entry.expect("script").path();
        let script = std::fs::read_to_string(&path).expect("script");
        let got = run(&script);
        if std::env::var_os("UPDATE_SCRIPTS").is_some() {
            std::fs::write(&path, &got).expect("written");
        } else {
            assert_eq!(got, script, "{} differs", path.display());
        }
        count += 1;
    }
    assert!(count >= 6, "only {count} scripts in {}", folder.display());
}

/// Values of Java's `Math.abs("..".hashCode()) % 50`.
#[test]
fn a_groups_partition_is_kafkas() {
    assert_eq!(partition_of("test", 50), 48); // hash 3556498
    assert_eq!(partition_of("my-group", 50), 12);
    assert_eq!(partition_of("polygenelubricants", 50), 0); // hash is the smallest i32
    assert_eq!(partition_of("", 50), 0);
}

#[test]
fn what_no_record_can_hold_is_refused() {
    let now = Now {
        mono_ms: 0,
        wall_ms: 0,
    };
    let long = "x".repeat(record::MAX_NAME_BYTES + 1);
    let (mut groups, mut out) = (Groups::default(), Vec::new());
    let commit = CommitRequest {
        member_id: String::new(),
        instance_id: None,
        generation: -1,
        offsets: vec![OffsetToCommit {
            partition: partition_name("t-0"),
            stored: StoredOffset {
                offset: 1,
                leader_epoch: -1,
                metadata: String::new(),
                commit_ms: 0,
                expire_ms: None,
            },
        }],
    };
    groups.commit(
        &long,
        commit,
        Ticket(1),
        now,
        &GroupConfig::default(),
        &mut out,
    );
    let Some(Effect::Committed(_, answers)) = out.pop() else {
        panic!("refused at once");
    };
    assert_eq!(answers[0].result, Err(GroupError::InvalidGroupId));
    assert_eq!(groups.list().count(), 0);
}
