//! What happens to a node, by chance.

use super::*;

/// What happens to a node between entries.
#[derive(Debug, Clone)]
pub enum Step {
    Apply(Vec<Command>),
    Conf,
    WriteBehind,
    Persist,
    /// A layer is frozen but never written, as if the thread were slow.
    Freeze,
    CleanRestart,
    /// Loses everything that is not on disk; what the log still has is applied again.
    Crash,
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => "/[ab](/[ab-]){0,2}",
        1 => Just("/".to_owned()),
        1 => Just("/zookeeper/quota".to_owned()),
        1 => "[/ab]{1,3}",
    ]
}

/// All that [`path`] makes but for rare ones.
pub fn every_path() -> Vec<String> {
    let mut paths = vec!["/a".to_owned(), "/b".to_owned()];
    for depth in 0..2 {
        let above: Vec<String> = paths
            .iter()
            .filter(|path| path.len() == 2 + 2 * depth)
            .cloned()
            .collect();
        paths.extend(
            above
                .iter()
                .flat_map(|path| ["a", "b", "-"].map(|name| format!("{path}/{name}"))),
        );
    }
    paths
}

fn version() -> impl Strategy<Value = i32> {
    prop_oneof![3 => Just(-1), 1 => 0..3]
}

fn list() -> impl Strategy<Value = Vec<Acl>> {
    let digest = Acl {
        permissions: acl::ALL,
        id: crate::tree::AuthId {
            scheme: "digest".into(),
            id: "u:h".into(),
        },
    };
    prop_oneof![6 => Just(vec![Acl::anyone(acl::ALL)]), 1 => Just(vec![digest]), 1 => Just(vec![])]
}

fn data() -> impl Strategy<Value = Option<Bytes>> {
    proptest::option::of("[xyz]{0,4}".prop_map(Bytes::from))
}

fn batched() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (path(), data(), list(), any::<bool>(), any::<bool>()).prop_map(|(path, data, acl, ephemeral, sequential)| {
            Op::Create(Create { path, data, acl, ephemeral, sequential, want_stat: true })
        }),
        1 => (path(), data(), list()).prop_map(|(path, data, acl)| {
            Op::CreateContainer(Create { path, data, acl, ephemeral: false, sequential: false, want_stat: true })
        }),
        3 => (path(), version()).prop_map(|(path, version)| Op::Delete { path, version }),
        2 => (path(), data(), version()).prop_map(|(path, data, version)| Op::SetData { path, data, version }),
        1 => (path(), list(), version()).prop_map(|(path, acl, version)| Op::SetAcl { path, acl, version }),
        1 => (path(), version()).prop_map(|(path, version)| Op::Check { path, version }),
        1 => (path(), 0_i64..40).prop_map(|(path, czxid)| Op::CheckCreated { path, czxid }),
    ]
}

pub fn command() -> impl Strategy<Value = Command> {
    let password = prop_oneof![Just([1; 16]), Just([2; 16])];
    let op = prop_oneof![
        12 => batched(),
        2 => password.clone().prop_map(|password| Op::OpenSession { timeout_ms: 4000, password }),
        1 => password.prop_map(|password| Op::AttachSession { timeout_ms: 6000, password }),
        1 => Just(Op::CloseSession),
        1 => Just(Op::ExpireSession),
        1 => Just(Op::Sync),
        2 => path().prop_map(|path| Op::DeleteContainer { path }),
        1 => (3..6u32).prop_map(|max_data_bytes| Op::SetLimits { max_data_bytes }),
        3 => proptest::collection::vec(batched(), 0..5).prop_map(Op::Multi),
        2 => (path(), version(), proptest::collection::vec(proptest::collection::vec(batched(), 0..3), 0..4)).prop_map(
            |(fence_path, fence_version, groups)| Op::FencedBatch { fence_path, fence_version, groups }
        ),
    ];
    let session = prop_oneof![3 => Just(0), 2 => 1..3i64];
    let attach = prop_oneof![3 => Just(1), 1 => Just(2u64)];
    (session, attach, any::<bool>(), op).prop_map(|(session, attach, known, op)| Command {
        origin: Origin::default(),
        session: SessionId(session),
        attach,
        auth: if known {
            vec![crate::tree::AuthId {
                scheme: "digest".into(),
                id: "u:h".into(),
            }]
        } else {
            vec![]
        },
        deadline_ms: 0,
        trace: [0; 16],
        op,
    })
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        10 => proptest::collection::vec(command(), 1..6).prop_map(Step::Apply),
        1 => Just(Step::Conf),
        3 => Just(Step::WriteBehind),
        1 => Just(Step::Persist),
        1 => Just(Step::Freeze),
        1 => Just(Step::CleanRestart),
        1 => Just(Step::Crash),
    ]
}
