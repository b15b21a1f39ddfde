//! The native API as its bytes stand, on one real node: fenced batches, order in a session, and watch
//! streams that resume, hide what may not be read, and say when a zxid is too old.

mod disconnect;
mod node;
mod watch_behind;
mod watch_installed;

use node::*;
use tonic::transport::Channel;
use zweig_proto::grpc as proto;
use zweig_proto::grpc::ensemble_client::EnsembleClient;
use zweig_proto::grpc::session_request::Request as Asked;
use zweig_proto::grpc::session_response::Response as Said;
use zweig_proto::grpc::watch_response::Response as Told;

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_batch_is_each_group_on_its_own_or_nothing() {
    let node = Node::start().await;
    let mut session = node.session().await;
    let all = ["/fence", "/a", "/b"].map(|path| create(path, Vec::new()));
    assert!(
        session
            .write(all.to_vec())
            .await
            .iter()
            .all(|r| code(r).is_none())
    );
    let batch = |fence_version| {
        let groups = [vec![set("/a", 7)], vec![set("/b", 0)]];
        Asked::FencedBatch(proto::FencedBatch {
            fence_path: "/fence".into(),
            fence_version,
            ops: groups.map(|ops| proto::Write { ops }).to_vec(),
        })
    };
    match session.ask(batch(0)).await {
        Said::FencedBatch(done) => {
            let codes: Vec<_> = done
                .results
                .iter()
                .map(|group| code(&group.results[0]))
                .collect();
            assert_eq!(codes, [Some(proto::Code::BadVersion), None]);
        }
        other => panic!("{other:?}"),
    }
    match session.ask(batch(1)).await {
        Said::Error(error) => assert_eq!(error.code(), proto::Code::Fenced),
        other => panic!("{other:?}"),
    }
    node.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_at_once_takes_effect_in_order() {
    let node = Node::start().await;
    let mut session = node.session().await;
    session.write(vec![create("/a", Vec::new())]).await;
    // A linearizable read between two writes sees the first and not the second.
    let write = |version| {
        Asked::Write(proto::Write {
            ops: vec![set("/a", version)],
        })
    };
    session.send(1, write(0)).await;
    let read = proto::Read {
        ops: vec![proto::ReadOp {
            kind: proto::read_op::Kind::Get.into(),
            path: "/a".into(),
        }],
        consistency: proto::Consistency::Linearizable.into(),
    };
    session.send(2, Asked::Read(read)).await;
    session.send(3, write(1)).await;
    let mut order = Vec::new();
    for _ in 0..3 {
        let answer = session.answer().await;
        order.push(answer.id);
        if let Some(Said::Read(results)) = answer.response {
            let stat = results.results[0].stat.expect("a stat");
            assert_eq!(stat.version, 1);
        }
    }
    assert_eq!(order, [1, 2, 3]);
    node.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_resumes_from_a_mark_and_shows_no_data_that_may_not_be_read() {
    let node = Node::start().await;
    let mut session = node.session().await;
    session.write(vec![create("/w", Vec::new())]).await;
    session
        .write(vec![create("/w/hidden", only_others_may_read())])
        .await;
    let secret = Some("secret".to_owned());
    let mut stream = node.watch("/w", 0).await;
    let (nodes, mark) = until_mark(&mut stream).await;
    assert_eq!(
        nodes,
        [
            ("/w".to_owned(), secret.clone()),
            ("/w/hidden".to_owned(), None)
        ]
    );
    drop(stream);

    // While nobody listens: one transaction of two, one elsewhere.
    let both = ["/w/1", "/w/2"].map(|path| create(path, Vec::new()));
    session.write(both.to_vec()).await;
    session.write(vec![create("/elsewhere", Vec::new())]).await;
    let mut stream = node.watch("/w", mark).await;
    let (nodes, next) = until_mark(&mut stream).await;
    assert_eq!(
        nodes,
        [
            ("/w/1".to_owned(), secret.clone()),
            ("/w/2".to_owned(), secret)
        ]
    );
    assert!(next > mark);
    // Live from here on; what may not be read is told without its data.
    session.write(vec![set("/w/hidden", 0)]).await;
    let (nodes, last) = until_mark(&mut stream).await;
    assert_eq!(nodes, [("/w/hidden".to_owned(), None)]);
    assert!(last > next);
    // A zxid that this ensemble has never reached is another ensemble's.
    let mut stream = node.watch("/w", last + 1_000_000).await;
    let told = soon("an end", stream.message()).await.expect("no failure");
    let told = told.and_then(|message| message.response);
    assert!(matches!(told, Some(Told::TooOld(_))), "{told:?}");
    node.server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_of_one_address_are_bounded_by_whatever_protocol() {
    let node = Node::start_with(&[("maxClientCnxns", "2")]).await;
    let address = format!("http://{}", node.server.client_address());
    let status = async |client: &mut EnsembleClient<Channel>| {
        let asked = client.status(proto::StatusRequest::default());
        soon("an answer", asked).await.is_ok()
    };
    let connect = async || soon("a connection", EnsembleClient::connect(address.clone())).await;
    let mut first = node.client.clone();
    assert!(status(&mut first).await);
    let mut second = connect().await.expect("it listens");
    assert!(status(&mut second).await);
    // Closed at once: while connecting, or with the first call.
    if let Ok(mut third) = connect().await {
        assert!(!status(&mut third).await, "one too many");
    }
    drop(second);
    let again = async {
        loop {
            if let Ok(mut client) = connect().await
                && status(&mut client).await
            {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    soon("the place of one that left", again).await;
    node.server.stop().await;
}
