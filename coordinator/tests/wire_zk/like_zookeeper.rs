//! Where ZooKeeper 3.9.3, asked the same in the same bytes, once answered something else.

use bytes::Bytes;
use zweig_proto::zk::op::*;
use zweig_proto::zk::watcher_event::kind;
use zweig_proto::zk::{
    Acl, ErrorCode, Id, Jute, OpCode, Permissions, Reader, ReplyHeader, Stat, WatcherEvent, xid,
};

use super::client::{Node, Socket, create, frame, node, node_with, raw_frame};
use super::{exists, get, set};

fn auth(text: impl Into<Bytes>) -> AuthRequest {
    AuthRequest {
        kind: 0,
        scheme: "digest".into(),
        auth: Some(text.into()),
    }
}

/// Only for those who proved what the caller did.
fn private(path: &str) -> CreateRequest {
    let id = Id {
        scheme: "auth".into(),
        id: String::new(),
    };
    let perms = Permissions::ALL;
    CreateRequest {
        acl: vec![Acl { perms, id }],
        ..create(path, Bytes::new(), 0)
    }
}

async fn make(socket: &mut Socket, request: &CreateRequest) -> String {
    let made = socket
        .ask::<CreateResponse>(1, OpCode::Create, request)
        .await;
    made.expect("created").path
}

/// A session that has proved an identity.
async fn owner(node: &Node) -> Socket {
    let mut owner = node.session().await;
    let added = owner
        .code(xid::AUTH, OpCode::Auth, &auth("ada:secret"))
        .await;
    assert_eq!(added, ErrorCode::OK);
    owner
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_read_is_neither_counted_nor_watched() {
    let node = node().await;
    let mut owner = owner(&node).await;
    make(&mut owner, &private("/mine")).await;
    make(&mut owner, &create("/ours", Bytes::new(), 0)).await;
    let mut other = node.session().await;
    let refused = other.code(1, OpCode::Exists, &exists("/mine", true)).await;
    assert_eq!(refused, ErrorCode::NO_AUTH);
    let all = GetAllChildrenNumberRequest {
        path: "/mine".into(),
    };
    let refused = other.code(2, OpCode::GetAllChildrenNumber, &all).await;
    assert_eq!(refused, ErrorCode::NO_AUTH);
    let persistent = AddWatchRequest {
        path: "/mine".into(),
        mode: add_watch::mode::PERSISTENT,
    };
    let added = other
        .ask::<AddWatchResponse>(3, OpCode::AddWatch, &persistent)
        .await;
    added.expect("anything may be watched");
    let seen = other
        .ask::<Stat>(4, OpCode::Exists, &exists("/ours", true))
        .await;
    seen.expect("there");
    // None of this is told, but for the last.
    make(&mut owner, &private("/mine/below")).await;
    let written = owner
        .ask::<Stat>(2, OpCode::SetData, &set("/mine", b"x"))
        .await;
    written.expect("written");
    let written = owner
        .ask::<Stat>(3, OpCode::SetData, &set("/ours", b"x"))
        .await;
    written.expect("written");
    let event = other.event().await;
    assert_eq!(
        (event.kind, event.path.as_str()),
        (kind::NODE_DATA_CHANGED, "/ours")
    );
    // Whoever arms its watches again hears of everything, and of no transaction.
    let watches = SetWatchesRequest {
        relative_zxid: 0,
        data: vec!["/mine".into()],
        exist: vec![],
        child: vec![],
    };
    let again = frame(xid::SET_WATCHES, OpCode::SetWatches, &watches);
    other.send(&again).await;
    let mut frame = Reader::new(other.frame().await.expect("an event"));
    let header = ReplyHeader::read(&mut frame).expect("a header");
    assert_eq!((header.xid, header.zxid), (xid::EVENT, -1));
    let event = WatcherEvent::read(&mut frame).expect("an event");
    assert_eq!(
        (event.kind, event.path.as_str()),
        (kind::NODE_DATA_CHANGED, "/mine")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_root_is_a_prefix_of_sequential_znodes() {
    let node = node().await;
    let mut socket = node.session().await;
    let sequential = create("/", Bytes::new(), create::flags::PERSISTENT_SEQUENTIAL);
    let path = make(&mut socket, &sequential).await;
    assert_eq!((path.len(), &path[..9]), (11, "/00000000"));
    let refused = socket
        .code(2, OpCode::Create, &create("/", Bytes::new(), 0))
        .await;
    assert_eq!(refused, ErrorCode::NODE_EXISTS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn paths_that_no_znode_can_have() {
    let node = node().await;
    let mut socket = node.session().await;
    make(&mut socket, &create("/a", Bytes::new(), 0)).await;
    let (bad, none) = (ErrorCode::BAD_ARGUMENTS, ErrorCode::NO_NODE);
    // The path; creating, writing and deleting it.
    let cases = [
        ("", bad, bad, bad),
        ("relative", bad, bad, bad),
        ("b/c", none, bad, none),
        ("//", bad, bad, none),
        ("/a/", bad, bad, none),
        ("/b/", none, bad, none),
        ("/a//c", none, bad, none),
        ("/b/../c", none, bad, none),
        ("/a\0b", bad, bad, bad),
    ];
    for (path, created, written, deleted) in cases {
        let request = create(path, Bytes::new(), 0);
        let code = socket.code(1, OpCode::Create, &request).await;
        assert_eq!(code, created, "create {path:?}");
        let code = socket.code(2, OpCode::SetData, &set(path, b"")).await;
        assert_eq!(code, written, "set {path:?}");
        let request = DeleteRequest {
            path: path.into(),
            version: -1,
        };
        let code = socket.code(3, OpCode::Delete, &request).await;
        assert_eq!(code, deleted, "delete {path:?}");
        let read = socket
            .ask::<GetDataResponse>(4, OpCode::GetData, &get(path, false))
            .await;
        let read = read.map(|_| ());
        let expected = if path.is_empty() { Ok(()) } else { Err(none) };
        assert_eq!(read, expected, "get {path:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_name_is_answered_and_nothing_behind_it() {
    let node = node().await;
    let mut watching = node.session().await;
    for op in [500, 0, -1, OpCode::Check as i32] {
        let mut socket = node.session().await;
        let mut both = raw_frame(7, op, &[]);
        both.extend(frame(
            8,
            OpCode::Create,
            &create("/behind", Bytes::new(), 0),
        ));
        socket.send(&both).await;
        let (header, _) = socket.reply().await;
        let shown = (header.xid, header.zxid, header.err);
        assert_eq!(shown, (7, -1, ErrorCode::UNIMPLEMENTED), "{op}");
        socket.expect_closed().await;
    }
    let mut socket = node.session().await;
    let mut both = frame(
        xid::AUTH,
        OpCode::Auth,
        &AuthRequest {
            scheme: "kerberos".into(),
            ..auth("x")
        },
    );
    both.extend(frame(
        8,
        OpCode::Create,
        &create("/behind", Bytes::new(), 0),
    ));
    socket.send(&both).await;
    let (header, _) = socket.reply().await;
    assert_eq!(header.err, ErrorCode::AUTH_FAILED);
    socket.expect_closed().await;
    // A write of another session comes behind whatever the closed ones have sent.
    make(&mut watching, &create("/last", Bytes::new(), 0)).await;
    let missing = watching
        .code(2, OpCode::Exists, &exists("/behind", false))
        .await;
    assert_eq!(missing, ErrorCode::NO_NODE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_need_no_colon_but_are_bounded() {
    let node = node().await;
    let mut socket = node.session().await;
    let odd: [&[u8]; 3] = [b"", b"no colon", &[0xff, 0xfe]];
    for (n, text) in odd.into_iter().enumerate() {
        let added = socket.code(xid::AUTH, OpCode::Auth, &auth(text)).await;
        assert_eq!(added, ErrorCode::OK, "{n}");
    }
    for n in odd.len()..32 {
        let added = socket
            .code(xid::AUTH, OpCode::Auth, &auth(format!("user-{n}:x")))
            .await;
        assert_eq!(added, ErrorCode::OK, "{n}");
    }
    let known = socket
        .code(xid::AUTH, OpCode::Auth, &auth("no colon"))
        .await;
    assert_eq!(known, ErrorCode::OK, "no new one");
    // As many entries as may be stored stand for no more of them than may be stored.
    let auths = |count: i32| {
        let mut request = private("/mine");
        let only = request.acl.remove(0);
        request.acl = (0..count)
            .map(|perms| Acl {
                perms,
                id: only.id.clone(),
            })
            .collect();
        request
    };
    for count in [33, 1_025, 40_000] {
        let refused = socket.code(1, OpCode::Create, &auths(count)).await;
        assert_eq!(refused, ErrorCode::INVALID_ACL, "{count}");
    }
    make(&mut socket, &auths(32)).await;
    let mut large = node.session().await;
    let refused = large
        .code(xid::AUTH, OpCode::Auth, &auth(vec![b'u'; 1 << 20]))
        .await;
    assert_eq!(refused, ErrorCode::AUTH_FAILED);
    let refused = socket
        .code(xid::AUTH, OpCode::Auth, &auth("one more:x"))
        .await;
    assert_eq!(refused, ErrorCode::AUTH_FAILED);
    socket.expect_closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_reads_at_once_are_bounded() {
    let node = node().await;
    let mut socket = node.session().await;
    let large = Bytes::from(vec![7; 1_000_000]);
    make(&mut socket, &create("/large", large, 0)).await;
    let reads = |count: usize, path: &str| MultiRequest {
        ops: vec![MultiOp::GetData(get(path, false)); count],
    };
    let answer = socket
        .ask::<MultiResponse>(2, OpCode::MultiRead, &reads(16, "/large"))
        .await;
    assert_eq!(answer.expect("16 MB are sent").results.len(), 16);
    for request in [reads(17, "/large"), reads(8_193, "/none")] {
        let refused = socket.code(3, OpCode::MultiRead, &request).await;
        assert_eq!(refused, ErrorCode::BAD_ARGUMENTS);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_make_no_sense_cannot_be_decoded() {
    let node = node().await;
    let mut socket = node.session().await;
    let unread = ErrorCode::MARSHALLING_ERROR;
    let watch = |mode| AddWatchRequest {
        path: "/".into(),
        mode,
    };
    assert_eq!(socket.code(1, OpCode::AddWatch, &watch(2)).await, unread);
    let check = CheckWatchesRequest {
        path: "/".into(),
        kind: 6,
    };
    assert_eq!(socket.code(2, OpCode::CheckWatches, &check).await, unread);
    let made = || MultiOp::Create(create("/m", Bytes::new(), 0));
    let flags = MultiOp::Create(create("/n", Bytes::new(), 77));
    for op in [flags, MultiOp::GetData(get("/", false))] {
        let ops = vec![made(), op];
        let request = MultiRequest { ops };
        assert_eq!(socket.code(3, OpCode::Multi, &request).await, unread);
        assert_eq!(socket.code(3, OpCode::MultiRead, &request).await, unread);
    }
    // With a time to live: known to the protocol, and not to this server.
    let ops = vec![
        made(),
        MultiOp::Create(create("/ttl", Bytes::new(), 5)),
        made(),
    ];
    let request = MultiRequest { ops };
    let answer: MultiResponse = socket.ask(4, OpCode::Multi, &request).await.expect("told");
    let codes = [
        ErrorCode::OK,
        ErrorCode::UNIMPLEMENTED,
        ErrorCode::RUNTIME_INCONSISTENCY,
    ];
    assert_eq!(answer.results, codes.map(MultiResult::Error));
    let missing = socket.code(5, OpCode::Exists, &exists("/m", false)).await;
    assert_eq!(missing, ErrorCode::NO_NODE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn words_that_list_watches_and_ephemerals() {
    let node = node_with(&[("4lw.commands.whitelist", "*")]).await;
    let mut socket = node.session().await;
    make(
        &mut socket,
        &create("/e", Bytes::new(), create::flags::EPHEMERAL),
    )
    .await;
    let seen = socket
        .ask::<Stat>(2, OpCode::Exists, &exists("/e", true))
        .await;
    let owner = format!("{:#x}", seen.expect("there").ephemeral_owner);
    let expected = [
        ("wchc", format!("{owner}\n\t/e\n\n")),
        ("wchp", format!("/e\n\t{owner}\n\n")),
        ("crst", "Connection stats reset.\n".to_owned()),
        ("srst", "Server stats reset.\n".to_owned()),
        (
            "dump",
            format!(
                "SessionTracker dump:\nGlobal Sessions(1):\n{owner}\t10000ms\n\
                 ephemeral nodes dump:\nSessions with Ephemerals (1):\n{owner}:\n\t/e\n"
            ),
        ),
    ];
    for (word, expected) in expected {
        let mut socket = node.socket().await;
        socket.send(word.as_bytes()).await;
        assert_eq!(socket.text().await, expected, "{word}");
    }
    // Without a whitelist, only what reads and costs little.
    let other = super::client::node().await;
    for word in ["wchc", "wchp", "crst", "srst"] {
        let mut socket = other.socket().await;
        socket.send(word.as_bytes()).await;
        assert!(
            socket.text().await.contains("not in the whitelist"),
            "{word}"
        );
    }
}

/// As `echo word | nc` sends it: a reset would break off what the client has not read yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newline_behind_a_word_breaks_nothing_off() {
    let node = node_with(&[("4lw.commands.whitelist", "*")]).await;
    for end in ["\n", "\r\n"] {
        let mut socket = node.socket().await;
        socket.send(format!("conf{end}").as_bytes()).await;
        // The bytes that would be left unread have arrived before the node closes.
        assert!(socket.text().await.contains("dataDir="), "{end:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_file_bounds_the_data_of_a_znode() {
    let node = node_with(&[("jute.maxbuffer", "3000000")]).await;
    let mut socket = node.session().await;
    make(&mut socket, &create("/large", Bytes::new(), 0)).await;
    // The leader makes it the ensemble's bound a moment after it has become one.
    let large = set("/large", &vec![7; 2_900_000]);
    let allowed =
        async { while socket.code_of(2, OpCode::SetData, &large).await != ErrorCode::OK {} };
    let deadline = std::time::Duration::from_secs(60);
    let allowed = tokio::time::timeout(deadline, allowed).await;
    allowed.expect("the bound follows the file");
    socket.send(&3_000_001_i32.to_be_bytes()).await;
    socket.expect_closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_goes_once_its_children_have() {
    let node = node_with(&[("znode.container.checkIntervalMs", "10")]).await;
    let mut socket = node.session().await;
    let container = |path: &str| create(path, Bytes::new(), create::flags::CONTAINER);
    make(&mut socket, &container("/by-create")).await;
    let made: Create2Response = socket
        .ask(2, OpCode::CreateContainer, &container("/by-its-own"))
        .await
        .expect("created");
    assert_eq!(
        (made.path.as_str(), made.stat.ephemeral_owner),
        ("/by-its-own", 0)
    );
    let ops = vec![
        MultiOp::Create(container("/in-a-multi")),
        MultiOp::Create2(container("/in-a-multi/below")),
    ];
    let request = MultiRequest { ops };
    let answer: MultiResponse = socket.ask(3, OpCode::Multi, &request).await.expect("told");
    for result in &answer.results {
        assert!(matches!(result, MultiResult::Create2(_)), "{result:?}");
    }
    let seen = socket
        .ask::<Stat>(4, OpCode::Exists, &exists("/in-a-multi", true))
        .await;
    seen.expect("there");
    let last = DeleteRequest {
        path: "/in-a-multi/below".into(),
        version: -1,
    };
    assert_eq!(socket.code(5, OpCode::Delete, &last).await, ErrorCode::OK);
    let event = socket.event().await;
    assert_eq!(
        (event.kind, event.path.as_str()),
        (kind::NODE_DELETED, "/in-a-multi")
    );
    let empty = socket
        .ask::<Stat>(6, OpCode::Exists, &exists("/by-create", false))
        .await;
    empty.expect("one that has never had a child stays");
}
