//! Watches: armed, told, armed again, bounded.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_sent_before_the_answer_that_shows_the_change() {
    let node = node().await;
    let (mut watcher, mut writer) = (node.session().await, node.session().await);
    let absent = watcher
        .ask::<Stat>(1, OpCode::Exists, &exists("/w", true))
        .await;
    assert_eq!(absent, Err(ErrorCode::NO_NODE));
    let made = create("/w", Bytes::new(), 0);
    writer
        .ask::<CreateResponse>(1, OpCode::Create, &made)
        .await
        .expect("created");
    watcher
        .send(&frame(2, OpCode::Sync, &SyncRequest { path: "/w".into() }))
        .await;
    watcher
        .send(&frame(3, OpCode::GetData, &get("/w", true)))
        .await;
    let event = watcher.event().await;
    assert_eq!(
        (event.kind, event.path.as_str()),
        (kind::NODE_CREATED, "/w")
    );
    let (header, mut body) = watcher.reply().await;
    assert_eq!(header.xid, 2);
    assert_eq!(SyncResponse::read(&mut body).expect("a body").path, "/w");
    assert_eq!(watcher.reply().await.0.xid, 3);
    // A write of the same session: its event comes before its answer.
    watcher
        .send(&frame(4, OpCode::SetData, &set("/w", b"1")))
        .await;
    assert_eq!(watcher.event().await.kind, kind::NODE_DATA_CHANGED);
    assert_eq!(watcher.reply().await.0.xid, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn watches_are_armed_again_and_tell_what_was_missed() {
    let node = node().await;
    let mut socket = node.session().await;
    for (n, path) in (1..).zip(["/a", "/a/b"]) {
        let made = create(path, Bytes::new(), 0);
        socket
            .ask::<CreateResponse>(n, OpCode::Create, &made)
            .await
            .expect("created");
    }
    let watches = SetWatchesRequest {
        relative_zxid: 0,
        data: vec!["/gone".into()],
        exist: vec!["/later".into()],
        child: vec!["/a".into()],
    };
    socket
        .send(&frame(xid::SET_WATCHES, OpCode::SetWatches, &watches))
        .await;
    let mut missed = [socket.event().await, socket.event().await];
    missed.sort_by(|one, other| one.path.cmp(&other.path));
    let [children, gone] = missed;
    assert_eq!(
        (children.kind, children.path.as_str()),
        (kind::NODE_CHILDREN_CHANGED, "/a")
    );
    assert_eq!(
        (gone.kind, gone.path.as_str()),
        (kind::NODE_DELETED, "/gone")
    );
    assert_eq!(socket.reply().await.0.xid, xid::SET_WATCHES);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn persistent_watches_are_added_checked_and_removed() {
    let node = node().await;
    let mut socket = node.session().await;
    for (n, path) in (1..).zip(["/a", "/a/b"]) {
        let made = create(path, Bytes::new(), 0);
        socket
            .ask::<CreateResponse>(n, OpCode::Create, &made)
            .await
            .expect("created");
    }
    let add = AddWatchRequest {
        path: "/a".into(),
        mode: add_watch::mode::PERSISTENT_RECURSIVE,
    };
    let added: AddWatchResponse = socket.ask(4, OpCode::AddWatch, &add).await.expect("added");
    assert_eq!(added.err, ErrorCode::OK);
    for n in 0..2 {
        socket
            .send(&frame(5 + n, OpCode::SetData, &set("/a/b", b"1")))
            .await;
        let event = socket.event().await;
        assert_eq!(
            (event.kind, event.path.as_str()),
            (kind::NODE_DATA_CHANGED, "/a/b")
        );
        assert_eq!(socket.reply().await.0.xid, 5 + n);
    }
    let watches = |kind| CheckWatchesRequest {
        path: "/a".into(),
        kind,
    };
    let recursive = remove_watches::kind::PERSISTENT_RECURSIVE;
    assert_eq!(
        socket
            .code(7, OpCode::CheckWatches, &watches(recursive))
            .await,
        ErrorCode::OK
    );
    let data = watches(remove_watches::kind::DATA);
    assert_eq!(
        socket.code(8, OpCode::CheckWatches, &data).await,
        ErrorCode::NO_WATCHER
    );
    for expected in [ErrorCode::OK, ErrorCode::NO_WATCHER] {
        let removed = socket
            .code(9, OpCode::RemoveWatches, &watches(recursive))
            .await;
        assert_eq!(removed, expected);
    }
    let set: Stat = socket
        .ask(10, OpCode::SetData, &set("/a/b", b"2"))
        .await
        .expect("no event");
    assert_eq!(set.version, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_watches_too_much_is_told_and_at_last_cut_off() {
    let node = node().await;
    let mut socket = node.session().await;
    let long = |number: usize| format!("/{number}{}", "x".repeat(3 << 20));
    let mut refused = None;
    for number in 0..64 {
        match socket
            .code(1, OpCode::Exists, &exists(&long(number), true))
            .await
        {
            ErrorCode::NO_NODE => {}
            other => {
                refused = Some(other);
                break;
            }
        }
    }
    assert_eq!(refused, Some(ErrorCode::BAD_ARGUMENTS));
    let code = socket.code(2, OpCode::Exists, &exists("/a", false)).await;
    assert_eq!(code, ErrorCode::NO_NODE, "it may still read");
    // Nobody looks at the answer to this one.
    let rearm = SetWatchesRequest {
        relative_zxid: 0,
        data: Vec::new(),
        exist: vec![long(99)],
        child: Vec::new(),
    };
    socket
        .send(&frame(xid::SET_WATCHES, OpCode::SetWatches, &rearm))
        .await;
    while socket.frame().await.is_some() {}
}
