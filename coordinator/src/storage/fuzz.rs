//! What a node keeps on its disk: keys and values of the state, its identity, a checkpoint's list of files.

use bytes::Bytes;

use super::identity as identities;
use super::keys;
use crate::fuzz::ROUND_TRIP;
use crate::session::{SessionId, SessionState};
use crate::tree::{Acl, ChildNumbers, Mutation, Node, Transaction, Zxid, path};

pub(crate) use super::raft_log::fuzz::{folder as raft_log, seeds as raft_log_seeds};

/// The first byte chooses what it is, the others are its value.
pub(crate) fn stored(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else {
        return;
    };
    let value = Bytes::copy_from_slice(bytes);
    match kind % 8 {
        0 => {
            if let Ok(node) = keys::node::decode(value) {
                let mut again = Vec::new();
                keys::node::encode(&node, &mut again);
                assert_eq!(keys::node::decode(again.into()), Ok(node), "{ROUND_TRIP}");
            }
        }
        1 => {
            let first = Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 7]);
            if let Ok(run) = keys::history::decode(first.clone(), value) {
                let again = keys::history::encode(&run).into();
                assert!(run.iter().all(|transaction| transaction.size_bytes() > 0));
                assert_eq!(keys::history::decode(first, again), Ok(run), "{ROUND_TRIP}");
            }
        }
        2 => {
            if let Ok(meta) = keys::meta::decode(value) {
                assert_eq!(
                    keys::meta::decode(keys::meta::encode(&meta).into()),
                    Ok(meta),
                    "{ROUND_TRIP}"
                );
            }
        }
        3 => {
            if let Ok(session) = keys::session::decode(value.clone()) {
                let again = keys::session::encode(&session);
                assert_eq!(again, value, "a session has one form");
            }
            if let Ok(id) = keys::session::id(value.clone()) {
                assert_eq!(keys::session::key(id)[..], value[..]);
            }
        }
        4 => {
            if let Ok(floor) = keys::meta::decode_floor(value.clone()) {
                assert_eq!(keys::meta::encode_floor(floor), value);
            }
        }
        5 => {
            let key = keys::meta::span_key(Zxid(5));
            if let Ok(span) = keys::meta::decode_span(key.clone().into(), value.clone()) {
                assert_eq!(
                    (
                        keys::meta::span_key(span.first),
                        Bytes::from(keys::meta::encode_span(&span))
                    ),
                    (key, value)
                );
            }
            let _ = keys::meta::decode_span(Bytes::copy_from_slice(bytes), Bytes::new());
        }
        6 => {
            keys::child::name(bytes, &keys::child::prefix("/a"));
            keys::ephemeral::path(bytes, SessionId(0));
        }
        _ => paths(&String::from_utf8_lossy(bytes)),
    }
}

/// Keys of a path lead back to it.
fn paths(text: &str) {
    if path::validate(text).is_err() {
        return;
    }
    if let Some(key) = keys::child::key(text) {
        let parent = path::parent(text).expect("all but the root have one");
        let name = keys::child::name(&key, &keys::child::prefix(parent)).expect("its own prefix");
        assert_eq!(path::child(parent, name), text);
    }
    let owner = SessionId(-5);
    assert_eq!(
        keys::ephemeral::path(&keys::ephemeral::key(owner, text), owner),
        Some(text)
    );
    let key = keys::node::key(text);
    let back: Vec<u8> = key
        .iter()
        .map(|&byte| if byte == 0 { b'/' } else { byte })
        .collect();
    assert_eq!(back, text.as_bytes());
}

pub(crate) fn stored_seeds() -> Vec<Vec<u8>> {
    let data = Some(Bytes::from_static(b"xy"));
    let node = Node::new(
        data,
        vec![Acl::anyone(1), Acl::anyone(31)].into(),
        SessionId(3),
        Zxid(1),
        2,
    );
    let mut value = Vec::new();
    keys::node::encode(&node, &mut value);
    let parent_before = ChildNumbers {
        pzxid: Zxid(1),
        creates: 2,
        count: 3,
    };
    let node = std::sync::Arc::new(node);
    let transaction = Transaction {
        zxid: Zxid(7),
        time_ms: 5,
        session: SessionId(6),
        cause: crate::tree::Cause::Asked,
        mutations: vec![
            Mutation::Created {
                path: "/a".into(),
                node: node.clone(),
                parent_before,
            },
            Mutation::Data {
                path: "/a".into(),
                before: node.clone(),
                after: node,
            },
        ],
    };
    let meta = super::Meta {
        conf_state: Some(Bytes::from_static(b"c")),
        ..super::Meta::default()
    };
    let session = SessionState {
        timeout_ms: 4000,
        password: [7; 16],
        attach: 2,
    };
    let span = keys::meta::Span {
        first: Zxid(5),
        last: Zxid(6),
        time_ms: 3,
        bytes: 4,
    };
    let values = [
        value,
        keys::history::encode(&[transaction]),
        keys::meta::encode(&meta),
        keys::session::encode(&session),
        keys::meta::encode_floor(Zxid(9)),
        keys::meta::encode_span(&span),
        keys::child::key("/a/b").expect("a child"),
        b"/a/b".to_vec(),
    ];
    let numbered = values.iter().enumerate();
    numbered
        .map(|(kind, value)| [&[kind as u8][..], &value[..]].concat())
        .collect()
}

/// A node's identity, as it is and with its checksum set right.
pub(crate) fn identity(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let sealed = format!("{text}crc32c={:08x}\n", crc32c::crc32c(text.as_bytes()));
    for text in [&text[..], &sealed] {
        if let Ok(identity) = identities::decode(text) {
            assert_eq!(
                identities::decode(&identities::encode(&identity)),
                Ok(identity),
                "{ROUND_TRIP}"
            );
        }
    }
}

pub(crate) fn identity_seeds() -> Vec<Vec<u8>> {
    let founder = identities::Founding {
        voters: vec![1, 2, 3],
        learners: vec![4],
        met: [(1, 77), (3, u64::MAX)].into(),
    };
    let standings = [
        identities::Standing::Blank,
        identities::Standing::Joiner,
        identities::Standing::Founder(founder),
    ];
    let texts = standings.map(|standing| {
        let identity = identities::Identity {
            server: 2,
            incarnation: 5,
            life: 9,
            standing,
        };
        identities::encode(&identity)
    });
    let unsealed = texts
        .clone()
        .map(|text| text[..text.rfind("crc32c").expect("sealed")].to_owned());
    texts
        .into_iter()
        .chain(unsealed)
        .map(String::into_bytes)
        .collect()
}

/// A checkpoint's list of files, in a folder of two.
pub(crate) fn manifest(bytes: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = |name: &str, content: &[u8]| {
        let written = std::fs::write(folder.path().join(name), content);
        written.expect("a writable folder");
    };
    write("a", b"content");
    write("b c", b"");
    write(super::checkpoint::CHECKSUMS, bytes);
    if super::checkpoint::verify(folder.path()).is_ok() {
        let text = std::str::from_utf8(bytes).expect("only text is a list");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 3, "each file is listed once");
        for name in [" a", " b c"] {
            assert!(
                lines.iter().any(|line| line.ends_with(name)),
                "{name} is listed"
            );
        }
    }
}

pub(crate) fn manifest_seeds() -> Vec<Vec<u8>> {
    let crc = crc32c::crc32c(b"content");
    let list = format!("zweig checkpoint 1\n{crc:08x} 7 a\n00000000 0 b c\n");
    vec![list.into_bytes()]
}
