//! Sessions: opened, attached, refused.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_of_44_bytes_is_answered_with_36_and_one_of_45_with_37() {
    let node = node().await;
    drop(node.session().await);
    for (read_only, expected) in [(None, 36), (Some(false), 37)] {
        let request = ConnectRequest {
            read_only,
            ..new_session()
        };
        let answer = node.socket().await.connect(&request).await;
        let (response, len) = answer.expect("a session");
        assert_eq!(len, expected);
        assert_eq!(response.timeout_ms, 10_000);
        assert_eq!(response.session >> 56, 1, "the node's id");
        assert_eq!(response.password.map(|password| password.len()), Some(16));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_attached_with_its_password_and_the_former_connection_closes() {
    let node = node().await;
    drop(node.session().await);
    let mut former = node.socket().await;
    let (opened, _) = former.connect(&new_session()).await.expect("a session");
    let ephemeral = create("/e", Bytes::new(), create::flags::EPHEMERAL);
    let created: CreateResponse = former
        .ask(1, OpCode::Create, &ephemeral)
        .await
        .expect("created");
    assert_eq!(created.path, "/e");
    let again = ConnectRequest {
        session: opened.session,
        password: opened.password.clone(),
        ..new_session()
    };
    let mut socket = node.socket().await;
    let (attached, _) = socket.connect(&again).await.expect("attached");
    assert_eq!(
        (attached.session, attached.password),
        (opened.session, opened.password)
    );
    former.expect_closed().await;
    let stat: Stat = socket
        .ask(1, OpCode::Exists, &exists("/e", false))
        .await
        .expect("still there");
    assert_eq!(stat.ephemeral_owner, opened.session);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_told_as_expired_and_the_connection_closes() {
    let node = node().await;
    drop(node.session().await);
    let mut holder = node.socket().await;
    let (opened, _) = holder.connect(&new_session()).await.expect("a session");
    for password in [Some(Bytes::from_static(&[9; 16])), Some(Bytes::new()), None] {
        let wrong = ConnectRequest {
            session: opened.session,
            password,
            ..new_session()
        };
        let mut socket = node.socket().await;
        let (answer, len) = socket.connect(&wrong).await.expect("an answer");
        assert_eq!((answer.timeout_ms, answer.session, len), (0, 0, 37));
        assert_eq!(answer.password, Some(Bytes::from_static(&[0; 16])));
        socket.expect_closed().await;
    }
    let code = holder
        .ask::<Stat>(1, OpCode::Exists, &exists("/", false))
        .await;
    assert!(code.is_ok(), "the session took no harm");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_seen_the_future_is_refused() {
    let node = node().await;
    drop(node.session().await);
    let request = ConnectRequest {
        last_zxid_seen: 1 << 40,
        ..new_session()
    };
    assert_eq!(node.socket().await.connect(&request).await, None);
}
