//! Entries as they lie in a log, and commands put together at random, over a state in memory.

use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::fuzz::{Choices, ROUND_TRIP};
use crate::storage::MemoryStore;
use crate::tree::{Acl, AuthId, Zxid, acl, path};

const SESSIONS: [SessionId; 4] = [SessionId(0), SessionId(1), SessionId(2), SessionId(-1)];
const PATHS: [&str; 16] = [
    "/",
    "/a",
    "/a/b",
    "/a/b/c",
    "/a/c",
    "/b",
    "/b/",
    "",
    "b",
    "/zookeeper",
    "/zookeeper/quota",
    "/zookeeper/config",
    "/a/b0000000000",
    "//",
    "/\u{0}",
    "/a/\u{e4}",
];

/// An entry's bytes; what decodes is applied.
pub(crate) fn entries(bytes: &[u8]) {
    let bytes = Bytes::copy_from_slice(bytes);
    let Ok(entry) = Entry::decode(bytes.clone()) else {
        return;
    };
    assert_eq!(entry.encode(), bytes, "an entry has one form");
    let mut machine = StateMachine::open(MemoryStore::default()).expect("an empty state");
    let open = Entry {
        term: entry.term,
        time_ms: 1,
        commands: SESSIONS
            .map(|session| {
                command(
                    session,
                    0,
                    Op::OpenSession {
                        timeout_ms: 1,
                        password: [0; 16],
                    },
                )
            })
            .into(),
    };
    machine
        .apply(1, entry.term, &open.encode())
        .expect("sessions");
    machine
        .apply(2, entry.term, &bytes)
        .expect("what decodes can be applied");
    check(&machine);
}

fn command(session: SessionId, attach: u64, op: Op) -> Command {
    Command {
        origin: Origin::default(),
        session,
        attach,
        auth: Vec::new(),
        deadline_ms: 0,
        trace: [0; 16],
        op,
    }
}

pub(crate) fn entry_seeds() -> Vec<Vec<u8>> {
    let script: Vec<u8> = (0..=255)
        .flat_map(|byte: u8| [byte, byte.wrapping_mul(7), 1, 0, 3])
        .collect();
    let mut choices = Choices(&script);
    let mut seeds = Vec::new();
    while !choices.is_empty() {
        let entry = Entry {
            term: 1,
            time_ms: 5,
            commands: (0..3).map(|_| any_command(&mut choices)).collect(),
        };
        seeds.push(entry.encode().to_vec());
    }
    seeds
}

fn any_path(choices: &mut Choices<'_>) -> String {
    match choices.byte() {
        0xff => {
            let length = usize::from(choices.byte());
            String::from_utf8_lossy(choices.take(length)).into_owned()
        }
        choice => PATHS[usize::from(choice) % PATHS.len()].to_owned(),
    }
}

fn any_version(choices: &mut Choices<'_>) -> i32 {
    choices.of(&[-1, -1, 0, 1, 2, 3, i32::MAX, i32::MIN])
}

fn any_data(choices: &mut Choices<'_>) -> Option<Bytes> {
    match choices.byte() % 4 {
        0 => None,
        1 => Some(Bytes::new()),
        _ => {
            let length = usize::from(choices.byte() % 32);
            Some(Bytes::copy_from_slice(choices.take(length)))
        }
    }
}

fn any_auth(choices: &mut Choices<'_>) -> AuthId {
    AuthId {
        scheme: choices
            .of(&["digest", "world", "auth", "ip", ""])
            .to_owned(),
        id: choices
            .of(&["anyone", "u:X1SKGw3XQQSIPMZRf5lW7e07VPY=", "v:", ""])
            .to_owned(),
    }
}

fn any_acl(choices: &mut Choices<'_>) -> Vec<Acl> {
    let count = choices.byte() % 4;
    let entry = |choices: &mut Choices<'_>| match choices.byte() {
        byte @ 0..128 => Acl::anyone(if byte & 1 == 0 {
            acl::ALL
        } else {
            u32::from(byte)
        }),
        byte => Acl {
            permissions: u32::from(byte & 0x7f),
            id: any_auth(choices),
        },
    };
    (0..count).map(|_| entry(choices)).collect()
}

fn any_create(choices: &mut Choices<'_>) -> Create {
    let (path, data, acl, kind) = (
        any_path(choices),
        any_data(choices),
        any_acl(choices),
        choices.byte(),
    );
    Create {
        path,
        data,
        acl: if acl.is_empty() && kind & 8 == 0 {
            vec![Acl::anyone(acl::ALL)]
        } else {
            acl
        },
        ephemeral: kind & 1 != 0,
        sequential: kind & 2 != 0,
        want_stat: kind & 4 != 0,
    }
}

/// What may stand in a batch.
fn any_batched(choices: &mut Choices<'_>) -> Op {
    match choices.byte() % 8 {
        0 | 1 => Op::Create(any_create(choices)),
        2 => Op::CreateContainer(any_create(choices)),
        3 => Op::Delete {
            path: any_path(choices),
            version: any_version(choices),
        },
        4 => Op::SetData {
            path: any_path(choices),
            data: any_data(choices),
            version: any_version(choices),
        },
        5 => Op::SetAcl {
            path: any_path(choices),
            acl: any_acl(choices),
            version: any_version(choices),
        },
        6 => Op::CheckCreated {
            path: any_path(choices),
            czxid: any_version(choices).into(),
        },
        _ => Op::Check {
            path: any_path(choices),
            version: any_version(choices),
        },
    }
}

fn any_group(choices: &mut Choices<'_>) -> Vec<Op> {
    let count = choices.byte() % 5;
    (0..count).map(|_| any_batched(choices)).collect()
}

fn any_op(choices: &mut Choices<'_>) -> Op {
    match choices.byte() % 16 {
        0 => Op::OpenSession {
            timeout_ms: 1000,
            password: [choices.byte() % 2; 16],
        },
        1 => Op::AttachSession {
            timeout_ms: 2000,
            password: [choices.byte() % 2; 16],
        },
        2 => Op::CloseSession,
        3 => Op::ExpireSession,
        4 => Op::Sync,
        5 => Op::DeleteContainer {
            path: any_path(choices),
        },
        6 => Op::SetLimits {
            max_data_bytes: u32::from(choices.byte()),
        },
        7 | 8 => Op::Multi(any_group(choices)),
        9 => Op::FencedBatch {
            fence_path: any_path(choices),
            fence_version: any_version(choices),
            groups: (0..choices.byte() % 4)
                .map(|_| any_group(choices))
                .collect(),
        },
        _ => any_batched(choices),
    }
}

fn any_command(choices: &mut Choices<'_>) -> Command {
    let session = choices.of(&SESSIONS);
    let (attach, identities) = (u64::from(choices.byte() % 4), choices.byte());
    let op = any_op(choices);
    Command {
        auth: (1..identities % 3).map(|_| any_auth(choices)).collect(),
        ..command(session, attach, op)
    }
}

/// Entries of commands, as a leader may make them and as none would.
pub(crate) fn apply(bytes: &[u8]) {
    let mut machine = StateMachine::open(MemoryStore::default()).expect("an empty state");
    let mut twin = StateMachine::open(MemoryStore::default()).expect("an empty state");
    let mut choices = Choices(bytes);
    let mut former: Vec<(Zxid, Vec<SubtreeNode>)> = Vec::new();
    let mut index = 0;
    while !choices.is_empty() && index < 64 {
        index += 1;
        let entry = Entry {
            term: 1,
            time_ms: i64::from(choices.byte().cast_signed()),
            commands: (0..choices.byte() % 4)
                .map(|_| any_command(&mut choices))
                .collect(),
        };
        let bytes = entry.encode();
        assert_eq!(
            Entry::decode(bytes.clone()).as_ref(),
            Ok(&entry),
            "{ROUND_TRIP}"
        );
        let zxid = machine.zxid();
        let outcomes = machine
            .apply(index, 1, &bytes)
            .expect("what decodes can be applied");
        assert_eq!(
            outcomes.len(),
            entry.commands.len(),
            "each command has an outcome"
        );
        assert!(
            outcomes
                .iter()
                .all(|outcome| outcome.zxid >= zxid && outcome.zxid <= machine.zxid())
        );
        for outcome in &outcomes {
            assert!(
                outcome.result.is_ok() || outcome.changes.is_empty(),
                "what failed changed nothing"
            );
        }
        let again = twin.apply(index, 1, &bytes).expect("here too");
        assert_eq!(again.len(), outcomes.len());
        former.push((machine.zxid(), subtree(&machine)));
    }
    assert_eq!(
        machine.applied(),
        twin.applied(),
        "what is applied twice comes to the same"
    );
    check(&machine);
    for (zxid, expected) in former {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let chunk = machine
                .subtree_at(zxid, path::ROOT, &[], after.as_deref(), 3)
                .expect("history");
            let Some(last) = chunk.last() else { break };
            after = Some(last.path.to_string());
            found.extend(chunk);
        }
        let shown = |nodes: &[SubtreeNode]| -> Vec<_> {
            nodes
                .iter()
                .map(|node| (Arc::clone(&node.path), Arc::clone(&node.node)))
                .collect()
        };
        assert_eq!(shown(&found), shown(&expected), "the tree as of {zxid:?}");
    }
}

fn subtree(machine: &StateMachine<MemoryStore>) -> Vec<SubtreeNode> {
    machine
        .subtree(path::ROOT, &[], None, usize::MAX)
        .expect("the whole tree")
}

fn check(machine: &StateMachine<MemoryStore>) {
    let (digest, counts) = machine.audit().expect("a sound state");
    assert_eq!(
        (digest, counts),
        (machine.applied().digest, machine.counts())
    );
    let nodes = subtree(machine);
    for session in SESSIONS {
        for path in machine.ephemerals(session).expect("its ephemerals") {
            let node = machine
                .node(&path)
                .expect("memory")
                .expect("an ephemeral is there");
            assert_eq!(node.ephemeral_owner, session);
        }
    }
    for node in nodes.iter().filter(|node| node.node.is_ephemeral()) {
        assert!(
            machine.session(node.node.ephemeral_owner).is_some(),
            "{} outlives its session",
            node.path
        );
    }
    for node in &nodes {
        path::validate(&node.path).expect("no znode has a path that is not allowed");
    }
}

pub(crate) fn apply_seeds() -> Vec<Vec<u8>> {
    let scattered = |factor: u32| {
        (0..600_u32)
            .map(move |at| (at.wrapping_mul(factor) >> 7) as u8)
            .collect()
    };
    vec![
        scattered(2_654_435_761),
        scattered(40_503),
        (0..=255).collect(),
    ]
}
