//! Sessions: opened, taken, ended.

use super::*;

#[tokio::test]
async fn session_ids_carry_the_node_and_timeouts_are_brought_within_bounds() {
    let node = node();
    let client = node.client().await;
    assert_eq!(client.grant.id.0 >> 56, 3);
    assert_eq!(client.grant.timeout_ms, 5_000);
    let connection = node.door.connect(Arc::new(Recorder::default()));
    let opening = connection.open(1, None, Zxid(0));
    let applying = async {
        tokio::task::yield_now().await;
        node.fake.apply();
    };
    let (grant, ()) = tokio::join!(opening, applying);
    assert_eq!(grant.expect("a session").timeout_ms, 1_000);
}

#[tokio::test]
async fn attaching_elsewhere_closes_the_former_connection() {
    let node = node();
    let client = node.client().await;
    let (session, password) = (client.grant.id, client.grant.password);
    client.send(1, set("/a"));
    // The write is still held back when another node attaches the session.
    let held: Vec<Command> = node.fake.held.lock().drain(..).collect();
    let op = Op::AttachSession {
        timeout_ms: 5_000,
        password,
    };
    node.fake.apply_foreign(session, 0, op);
    let unknown = Err(RequestError::OutcomeUnknown);
    assert_eq!(
        client.seen(),
        [Seen::Answer(1, 2, unknown), Seen::Closed(Closed::Moved)]
    );
    node.fake.apply_commands(held);
    assert_eq!(client.seen(), [], "a late outcome is nobody's");
    let client = node
        .open(Some((session, password)))
        .await
        .expect("attached back");
    assert_eq!(client.grant.attach, 3);
}

#[tokio::test]
async fn attaching_on_the_same_node_closes_the_former_connection() {
    let node = node();
    let former = node.client().await;
    let resume = (former.grant.id, former.grant.password);
    let client = node.open(Some(resume)).await.expect("attached");
    assert_eq!(former.seen(), [Seen::Closed(Closed::Moved)]);
    drop(former);
    client.send(1, create("/e", true));
    node.fake.apply();
    assert!(matches!(client.seen()[..], [Seen::Answer(1, _, Ok(()))]));
    assert_eq!(node.door.client_counts().connections, 1);
}

#[tokio::test]
async fn a_wrong_password_is_expired_and_does_no_harm() {
    let node = node();
    let client = node.client().await;
    let wrong = node.open(Some((client.grant.id, [9; 16]))).await;
    assert_eq!(wrong.err(), Some(OpenError::Expired));
    client.send(1, create("/a", false));
    node.fake.apply();
    assert!(matches!(client.seen()[..], [Seen::Answer(1, _, Ok(()))]));
}

#[tokio::test]
async fn expiry_and_closing_end_the_connection() {
    let node = node();
    let client = node.client().await;
    node.fake
        .apply_foreign(client.grant.id, 1, Op::ExpireSession);
    assert_eq!(client.seen(), [Seen::Closed(Closed::Expired)]);
    let client = node.client().await;
    client.send(1, Request::Write(Op::CloseSession));
    node.fake.apply();
    let seen = client.seen();
    assert!(matches!(seen[0], Seen::Answer(1, _, Ok(()))), "{seen:?}");
    assert_eq!(seen[1], Seen::Closed(Closed::BySession));
}

#[tokio::test]
async fn a_client_from_the_future_is_refused_after_a_wait() {
    let node = node();
    let connection = node.door.connect(Arc::new(Recorder::default()));
    let refused = connection.open(5_000, None, Zxid(9)).await;
    let behind = OpenError::Behind {
        seen: Zxid(9),
        applied: Zxid(0),
    };
    assert_eq!(refused, Err(behind));
    assert!(node.fake.held.lock().is_empty(), "nothing was submitted");
}

#[tokio::test]
async fn a_node_out_of_touch_opens_nothing_and_gives_no_answers() {
    let node = node();
    let client = node.client().await;
    node.fake.in_touch.store(false, Ordering::Relaxed);
    let answer = client.connection.request(get("/", false)).await;
    assert_eq!(answer.result, Err(RequestError::OutcomeUnknown));
    let connection = node.door.connect(Arc::new(Recorder::default()));
    assert_eq!(
        connection.open(5_000, None, Zxid(0)).await,
        Err(OpenError::OutOfTouch)
    );
}
