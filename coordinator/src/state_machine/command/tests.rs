//! Golden bytes, round trips, and arbitrary bytes.
use proptest::collection::vec;
use proptest::prelude::*;

use bytes::BytesMut;

use super::encoding::tag;
use super::*;
use crate::octets::DecodeError;

fn text() -> impl Strategy<Value = String> {
    "[a-z/é]{0,12}"
}

fn acl() -> impl Strategy<Value = Vec<Acl>> {
    let entry = (0..32u32, text(), text());
    vec(
        entry.prop_map(|(permissions, scheme, id)| Acl {
            permissions,
            id: AuthId { scheme, id },
        }),
        0..3,
    )
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of(vec(any::<u8>(), 0..20).prop_map(Bytes::from))
}

fn batched() -> impl Strategy<Value = Op> {
    prop_oneof![
        (
            text(),
            data(),
            acl(),
            any::<bool>(),
            any::<bool>(),
            any::<bool>()
        )
            .prop_map(|(path, data, acl, ephemeral, sequential, want_stat)| {
                Op::Create(Create {
                    path,
                    data,
                    acl,
                    ephemeral,
                    sequential,
                    want_stat,
                })
            }),
        (text(), data(), acl(), any::<bool>()).prop_map(|(path, data, acl, want_stat)| {
            Op::CreateContainer(Create {
                path,
                data,
                acl,
                ephemeral: false,
                sequential: false,
                want_stat,
            })
        }),
        (text(), any::<i32>()).prop_map(|(path, version)| Op::Delete { path, version }),
        (text(), data(), any::<i32>()).prop_map(|(path, data, version)| Op::SetData {
            path,
            data,
            version
        }),
        (text(), acl(), any::<i32>()).prop_map(|(path, acl, version)| Op::SetAcl {
            path,
            acl,
            version
        }),
        (text(), any::<i32>()).prop_map(|(path, version)| Op::Check { path, version }),
        (text(), any::<i64>()).prop_map(|(path, czxid)| Op::CheckCreated { path, czxid }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        batched(),
        (any::<u32>(), any::<[u8; 16]>()).prop_map(|(timeout_ms, password)| Op::OpenSession {
            timeout_ms,
            password
        }),
        (any::<u32>(), any::<[u8; 16]>()).prop_map(|(timeout_ms, password)| Op::AttachSession {
            timeout_ms,
            password
        }),
        Just(Op::CloseSession),
        Just(Op::ExpireSession),
        Just(Op::Sync),
        vec(batched(), 0..4).prop_map(Op::Multi),
        (text(), any::<i32>(), vec(vec(batched(), 0..3), 0..3)).prop_map(
            |(fence_path, fence_version, groups)| {
                Op::FencedBatch {
                    fence_path,
                    fence_version,
                    groups,
                }
            }
        ),
        any::<u32>().prop_map(|max_data_bytes| Op::SetLimits { max_data_bytes }),
        text().prop_map(|path| Op::DeleteContainer { path }),
    ]
}

fn command() -> impl Strategy<Value = Command> {
    let origin = any::<(u64, u64, u64)>().prop_map(|(node, boot, request)| Origin {
        node,
        boot,
        request,
    });
    let auth = vec(
        (text(), text()).prop_map(|(scheme, id)| AuthId { scheme, id }),
        0..3,
    );
    (
        origin,
        any::<i64>(),
        any::<u64>(),
        auth,
        any::<i64>(),
        any::<[u8; 16]>(),
        op(),
    )
        .prop_map(
            |(origin, session, attach, auth, deadline_ms, trace, op)| Command {
                origin,
                session: SessionId(session),
                attach,
                auth,
                deadline_ms,
                trace,
                op,
            },
        )
}

fn plain(op: Op) -> Command {
    Command {
        origin: Origin {
            node: 1,
            boot: 2,
            request: 3,
        },
        session: SessionId(0x0100_0000_0000_0005),
        attach: 4,
        auth: vec![AuthId {
            scheme: "digest".to_owned(),
            id: "u:h".to_owned(),
        }],
        deadline_ms: 6,
        trace: [7; 16],
        op,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_bytes_of_an_entry() {
    let create = Create {
        path: "/a".to_owned(),
        data: Some(Bytes::from_static(b"xy")),
        acl: vec![Acl::anyone(31)],
        ephemeral: true,
        sequential: false,
        want_stat: true,
    };
    let entry = Entry {
        term: 9,
        time_ms: 10,
        commands: vec![plain(Op::Create(create))],
    };
    let expected = concat!(
        "01", // format
        "0000000000000009",
        "000000000000000a", // term, time
        "0000000000000001",
        "0000000000000002",
        "0000000000000003", // origin
        "0100000000000005",
        "0000000000000004", // session, attach
        "00000001",
        "00000006",
        "646967657374",
        "00000003",
        "753a68", // auth
        "0000000000000006",
        "07070707070707070707070707070707", // deadline, trace
        "06",
        "00000002",
        "2f61",
        "00000002",
        "7879", // create, path, data
        "00000001",
        "0000001f",
        "00000005",
        "776f726c64",
        "00000006",
        "616e796f6e65", // acl
        "01",
        "00",
        "01", // flags
    );
    assert_eq!(hex(&entry.encode()), expected);
    assert_eq!(Entry::decode(entry.encode()), Ok(entry));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn golden_bytes_of_each_operation() {
    let path = || "/a".to_owned();
    let check = || Op::Check {
        path: path(),
        version: 2,
    };
    let golden = [
        (
            Op::OpenSession {
                timeout_ms: 8,
                password: [9; 16],
            },
            "010000000809090909090909090909090909090909",
        ),
        (
            Op::AttachSession {
                timeout_ms: 8,
                password: [9; 16],
            },
            "020000000809090909090909090909090909090909",
        ),
        (Op::CloseSession, "03"),
        (Op::ExpireSession, "04"),
        (Op::Sync, "05"),
        (
            Op::Delete {
                path: path(),
                version: -1,
            },
            "07000000022f61ffffffff",
        ),
        (
            Op::SetData {
                path: path(),
                data: None,
                version: 1,
            },
            "08000000022f61ffffffff00000001",
        ),
        (
            Op::SetAcl {
                path: path(),
                acl: vec![],
                version: 1,
            },
            "09000000022f610000000000000001",
        ),
        (check(), "0a000000022f6100000002"),
        (Op::Multi(vec![check()]), "0b000000010a000000022f6100000002"),
        (
            Op::FencedBatch {
                fence_path: path(),
                fence_version: 3,
                groups: vec![vec![check()], vec![]],
            },
            "0c000000022f610000000300000002000000010a000000022f610000000200000000",
        ),
        (
            Op::SetLimits {
                max_data_bytes: 255,
            },
            "0d000000ff",
        ),
        (
            Op::CreateContainer(Create {
                path: path(),
                data: None,
                acl: vec![],
                ephemeral: false,
                sequential: false,
                want_stat: true,
            }),
            "0e000000022f61ffffffff00000000000001",
        ),
        (Op::DeleteContainer { path: path() }, "0f000000022f61"),
    ];
    for (op, expected) in golden {
        let command = plain(op);
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        assert!(
            hex(&bytes).ends_with(expected),
            "{:?}: {}",
            command.op,
            hex(&bytes)
        );
        assert_eq!(Command::decode(bytes.freeze()), Ok(command));
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let refused = |bytes: &[u8]| Entry::decode(Bytes::copy_from_slice(bytes)).unwrap_err();
    assert_eq!(
        refused(&[2]),
        DecodeError::Unknown {
            field: "entry format",
            value: 2
        }
    );
    let mut entry = Entry {
        term: 1,
        time_ms: 1,
        commands: vec![plain(Op::Sync)],
    }
    .encode()
    .to_vec();
    *entry.last_mut().unwrap() = 200;
    assert_eq!(
        refused(&entry),
        DecodeError::Unknown {
            field: "op",
            value: 200
        }
    );
    *entry.last_mut().unwrap() = tag::MULTI;
    entry.extend([0, 0, 0, 1, tag::MULTI, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(
        refused(&entry),
        DecodeError::Misplaced {
            field: "op in a batch"
        }
    );
}

proptest! {
    #[test]
    fn every_entry_reads_back_equal(commands in vec(command(), 0..5), term: u64, time_ms: i64) {
        let entry = Entry { term, time_ms, commands };
        prop_assert_eq!(Entry::decode(entry.encode()), Ok(entry));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        let _ = Entry::decode(Bytes::from(bytes.clone()));
        let _ = Command::decode(Bytes::from(bytes));
    }

    /// Damaged bytes of a real command reach deeper than noise does.
    #[test]
    fn damaged_bytes_never_panic(command in command(), place: prop::sample::Index, value: u8, cut: prop::sample::Index) {
        let mut bytes = BytesMut::new();
        command.encode(&mut bytes);
        let (place, cut) = (place.index(bytes.len()), cut.index(bytes.len()));
        let _ = Command::decode(bytes.clone().freeze().slice(..cut));
        bytes[place] = value;
        let _ = Command::decode(bytes.freeze());
    }
}
