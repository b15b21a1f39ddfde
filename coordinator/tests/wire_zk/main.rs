//! ZooKeeper's protocol, byte by byte, on a real socket of a node that stands alone.

mod client;
mod handshake;
mod like_zookeeper;
mod watches;

use bytes::{Bytes, BytesMut};
use client::{create, frame, new_session, node, node_with, raw_frame};
use zweig_proto::zk::op::*;
use zweig_proto::zk::watcher_event::kind;
use zweig_proto::zk::{Acl, ConnectRequest, ErrorCode, Id, Jute, OpCode, Permissions, Stat, xid};

fn get(path: &str, watch: bool) -> GetDataRequest {
    let path = path.to_owned();
    GetDataRequest { path, watch }
}

fn exists(path: &str, watch: bool) -> ExistsRequest {
    let path = path.to_owned();
    ExistsRequest { path, watch }
}

fn set(path: &str, data: &[u8]) -> SetDataRequest {
    SetDataRequest {
        path: path.to_owned(),
        data: Some(Bytes::copy_from_slice(data)),
        version: -1,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_frames_in_one_write_are_answered_in_order() {
    let node = node().await;
    let mut socket = node.session().await;
    let mut bytes = BytesMut::new();
    bytes.extend(frame(
        1,
        OpCode::Create,
        &create("/p", Bytes::from_static(b"0"), 0),
    ));
    for n in 0..200_i32 {
        bytes.extend(frame(
            2 + 2 * n,
            OpCode::SetData,
            &set("/p", n.to_string().as_bytes()),
        ));
        bytes.extend(frame(3 + 2 * n, OpCode::GetData, &get("/p", false)));
    }
    // Split in an awkward place, inside a length.
    let rest = bytes.split_off(bytes.len() / 2 + 1);
    socket.send(&bytes).await;
    socket.send(&rest).await;
    let (header, _) = socket.reply().await;
    assert_eq!((header.xid, header.err), (1, ErrorCode::OK));
    let mut last_zxid = header.zxid;
    for n in 0..200_i32 {
        let (header, _) = socket.reply().await;
        assert_eq!((header.xid, header.err), (2 + 2 * n, ErrorCode::OK));
        assert!(header.zxid > last_zxid);
        last_zxid = header.zxid;
        let (header, mut body) = socket.reply().await;
        assert_eq!((header.xid, header.err), (3 + 2 * n, ErrorCode::OK));
        let read = GetDataResponse::read(&mut body).expect("a body");
        assert_eq!(
            read.data,
            Some(Bytes::from(n.to_string())),
            "reads see the write before"
        );
        assert_eq!(read.stat.version, n + 1, "and not the one behind");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_multi_has_code_0_and_one_error_per_operation() {
    let node = node().await;
    let mut socket = node.session().await;
    let ops = vec![
        MultiOp::Create(create("/m", Bytes::new(), 0)),
        MultiOp::Delete(DeleteRequest {
            path: "/absent".into(),
            version: -1,
        }),
        MultiOp::SetData(set("/m", b"1")),
    ];
    let answer: MultiResponse = socket
        .ask(1, OpCode::Multi, &MultiRequest { ops })
        .await
        .expect("code 0");
    let codes = [
        ErrorCode::OK,
        ErrorCode::NO_NODE,
        ErrorCode::RUNTIME_INCONSISTENCY,
    ];
    assert_eq!(answer.results, codes.map(MultiResult::Error));
    let ops = vec![
        MultiOp::Create(create("/m", Bytes::new(), 0)),
        MultiOp::Create2(create(
            "/m/s-",
            Bytes::new(),
            create::flags::PERSISTENT_SEQUENTIAL,
        )),
        MultiOp::SetData(set("/m", b"1")),
        MultiOp::Check(CheckRequest {
            path: "/m".into(),
            version: 1,
        }),
    ];
    let answer: MultiResponse = socket
        .ask(2, OpCode::Multi, &MultiRequest { ops })
        .await
        .expect("done");
    let [
        MultiResult::Create(path),
        MultiResult::Create2(second),
        MultiResult::SetData(stat),
        MultiResult::Check,
    ] = &answer.results[..]
    else {
        panic!("{answer:?}");
    };
    assert_eq!(
        (path.as_str(), second.path.as_str()),
        ("/m", "/m/s-0000000000")
    );
    assert_eq!(
        (stat.mzxid, stat.version),
        (second.stat.czxid, 1),
        "one zxid"
    );
    let reads = vec![
        MultiOp::GetData(get("/m", false)),
        MultiOp::GetData(get("/absent", false)),
    ];
    let answer: MultiResponse = socket
        .ask(3, OpCode::MultiRead, &MultiRequest { ops: reads })
        .await
        .expect("read");
    assert!(
        matches!(answer.results[0], MultiResult::GetData(_)),
        "{answer:?}"
    );
    assert_eq!(answer.results[1], MultiResult::Error(ErrorCode::NO_NODE));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_does_not_exist_or_cannot_be_read_is_answered_and_the_connection_lives() {
    let node = node().await;
    let mut socket = node.session().await;
    for op in [OpCode::Reconfig as i32, OpCode::CreateTtl as i32] {
        socket.send(&raw_frame(op, op, &[])).await;
        let (header, _) = socket.reply().await;
        assert_eq!((header.xid, header.err), (op, ErrorCode::UNIMPLEMENTED));
    }
    socket
        .send(&raw_frame(2, OpCode::GetData as i32, &[0, 0, 0, 9, b'/']))
        .await;
    let (header, _) = socket.reply().await;
    assert_eq!((header.xid, header.err), (2, ErrorCode::MARSHALLING_ERROR));
    let ttl = create("/ttl", Bytes::new(), 5);
    assert_eq!(
        socket.code(5, OpCode::Create, &ttl).await,
        ErrorCode::UNIMPLEMENTED
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_are_answered_and_oversized_frames_close() {
    let node = node().await;
    let mut socket = node.session().await;
    let mebibyte = Bytes::from(vec![7; (1 << 20) - 1]);
    let made = create("/large", mebibyte.clone(), 0);
    socket
        .ask::<CreateResponse>(1, OpCode::Create, &made)
        .await
        .expect("1 MiB is allowed");
    let read: GetDataResponse = socket
        .ask(2, OpCode::GetData, &get("/large", false))
        .await
        .expect("read");
    assert_eq!(read.data, Some(mebibyte));
    let too_large = set("/large", &vec![7; 4 << 20]);
    let refused = socket.code(3, OpCode::SetData, &too_large).await;
    assert_eq!(
        refused,
        ErrorCode::BAD_ARGUMENTS,
        "a frame of 4 MiB is read and answered"
    );
    socket.send(&(5_i32 << 20).to_be_bytes()).await;
    socket.expect_closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_closes_the_connection_and_nothing_else() {
    let node = node().await;
    let mut other = node.session().await;
    let starts: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0x16, 3, 1, 0, 200, 1, 0, 0],
        &[0, 0, 0, 3, 1, 2, 3],
        &[0, 0xff, 0xff, 0xff, 0, 0, 0],
        &[0xff; 32],
        &[0, 0, 0, 44, 0, 0, 0, 0],
    ];
    for start in &starts[..5] {
        let mut socket = node.socket().await;
        socket.send(start).await;
        socket.expect_closed().await;
    }
    // A handshake that never ends holds up nobody.
    let mut slow = node.socket().await;
    slow.send(starts[5]).await;
    let mut socket = node.session().await;
    socket.send(&[0, 0, 0, 2, 1, 2]).await;
    socket.expect_closed().await;
    let stat = other
        .ask::<Stat>(1, OpCode::Exists, &exists("/", false))
        .await;
    assert!(stat.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn identities_and_lists() {
    let node = node().await;
    let mut owner = node.session().await;
    let list = vec![Acl {
        perms: Permissions::ALL,
        id: Id {
            scheme: "auth".into(),
            id: String::new(),
        },
    }];
    let mine = CreateRequest {
        acl: list,
        ..create("/mine", Bytes::new(), 0)
    };
    assert_eq!(
        owner.code(1, OpCode::Create, &mine).await,
        ErrorCode::INVALID_ACL
    );
    let auth = |scheme: &str, text: &'static [u8]| AuthRequest {
        kind: 0,
        scheme: scheme.into(),
        auth: Some(Bytes::from_static(text)),
    };
    let added = owner
        .code(xid::AUTH, OpCode::Auth, &auth("digest", b"ada:secret"))
        .await;
    assert_eq!(added, ErrorCode::OK);
    owner
        .ask::<CreateResponse>(2, OpCode::Create, &mine)
        .await
        .expect("created");
    let list: GetAclResponse = owner
        .ask(
            3,
            OpCode::GetAcl,
            &GetAclRequest {
                path: "/mine".into(),
            },
        )
        .await
        .expect("read");
    assert_eq!(
        (list.acl.len(), list.acl[0].id.scheme.as_str()),
        (1, "digest")
    );
    assert!(list.acl[0].id.id.starts_with("ada:"), "{list:?}");
    owner.send(&raw_frame(4, OpCode::WhoAmI as i32, &[])).await;
    let (_, mut body) = owner.reply().await;
    let who = WhoAmIResponse::read(&mut body).expect("a body");
    let schemes: Vec<&str> = who
        .clients
        .iter()
        .map(|client| client.scheme.as_str())
        .collect();
    assert_eq!(schemes, ["ip", "digest"]);
    let mut stranger = node.session().await;
    let refused = stranger
        .code(1, OpCode::GetData, &get("/mine", false))
        .await;
    assert_eq!(refused, ErrorCode::NO_AUTH);
    let failed = stranger
        .code(xid::AUTH, OpCode::Auth, &auth("kerberos", b"x"))
        .await;
    assert_eq!(failed, ErrorCode::AUTH_FAILED);
    stranger.expect_closed().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ephemerals_are_listed_and_go_with_their_session() {
    let node = node().await;
    let (mut owner, mut other) = (node.session().await, node.session().await);
    let made = create("/e-", Bytes::new(), create::flags::EPHEMERAL_SEQUENTIAL);
    let created: Create2Response = owner.ask(1, OpCode::Create2, &made).await.expect("created");
    assert_eq!(created.path, "/e-0000000000");
    let listed: GetEphemeralsResponse = owner
        .ask(
            2,
            OpCode::GetEphemerals,
            &GetEphemeralsRequest { prefix: "/".into() },
        )
        .await
        .expect("listed");
    assert_eq!(listed.ephemerals, std::slice::from_ref(&created.path));
    let count: GetAllChildrenNumberResponse = owner
        .ask(
            3,
            OpCode::GetAllChildrenNumber,
            &GetAllChildrenNumberRequest { path: "/".into() },
        )
        .await
        .expect("counted");
    assert_eq!(count.total, 4, "the node and ZooKeeper's own three");
    let watched = other
        .ask::<Stat>(1, OpCode::Exists, &exists(&created.path, true))
        .await;
    assert!(watched.is_ok());
    owner
        .send(&raw_frame(4, OpCode::CloseSession as i32, &[]))
        .await;
    let (header, _) = owner.reply().await;
    assert_eq!((header.xid, header.err), (4, ErrorCode::OK));
    owner.expect_closed().await;
    let event = other.event().await;
    assert_eq!((event.kind, event.path), (kind::NODE_DELETED, created.path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ping_does_not_wait_and_four_letter_words_answer() {
    let node = node_with(&[("4lw.commands.whitelist", "ruok, mntr, srvr, isro, stat")]).await;
    let mut session = node.session().await;
    session
        .send(&raw_frame(xid::PING, OpCode::Ping as i32, &[]))
        .await;
    let (header, body) = session.reply().await;
    assert_eq!(
        (header.xid, header.err, body.left()),
        (xid::PING, ErrorCode::OK, 0)
    );
    let mut answers = Vec::new();
    for word in ["ruok", "isro", "srvr", "mntr", "stat", "conf"] {
        let mut socket = node.socket().await;
        socket.send(word.as_bytes()).await;
        answers.push(socket.text().await);
    }
    assert_eq!(&answers[..2], ["imok", "rw"]);
    assert!(
        answers[2].contains("\nMode: standalone\nNode count: 4\n"),
        "{}",
        answers[2]
    );
    assert!(
        answers[3].contains("zk_server_state\tstandalone\n"),
        "{}",
        answers[3]
    );
    assert!(
        answers[3].contains("zk_num_alive_connections\t1\n"),
        "{}",
        answers[3]
    );
    assert!(
        answers[4].contains("\nClients:\n /127.0.0.1:"),
        "{}",
        answers[4]
    );
    assert_eq!(
        answers[5],
        "conf is not executed because it is not in the whitelist.\n"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_address_are_bounded_and_stopping_closes_them() {
    let mut node = node_with(&[("maxClientCnxns", "2")]).await;
    let mut first = node.session().await;
    let mut second = node.session().await;
    let mut third = node.socket().await;
    third.send(b"ruok").await;
    third.expect_closed().await;
    node.stop().await;
    first.expect_closed().await;
    second.expect_closed().await;
}
