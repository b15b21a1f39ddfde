//! Znodes that nobody can read must never cost records.

use zweig_client::ensemble::WriteOp;

use super::*;
use crate::ensemble::port::Port as _;

const NODE: &str = "/brokers/topics/orders";
const ALONE: [(&str, &str); 1] = [("min.insync.replicas", "1")];

async fn write(ensemble: &FakeEnsemble, content: &str) {
    let op = WriteOp::set(NODE, Bytes::from(content.to_owned()), None);
    let written = ensemble.session().multi(vec![op]).await;
    written.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_cannot_be_read_keeps_its_log_and_is_served_once_it_can() {
    let ensemble = FakeEnsemble::default();
    let mut node = Node::new(1);
    node.start_with(&ensemble, &ALONE);
    let at = until("registered", async || address(&ensemble, 1)).await;
    create_topic(at, 1).await;
    leader_of(&ensemble, &[1], &[1]).await;
    assert_eq!(produce_until_done(&ensemble, &[1], 3).await, 0);
    let good = ensemble.text(NODE).expect("the topic");
    node.stop().await;

    write(&ensemble, "{not json").await;
    node.start_with(&ensemble, &ALONE);
    let at = until("registered", async || address(&ensemble, 1)).await;
    assert_eq!(seen(at).await, None, "nothing is known of it");
    let folder = node.dir.path().join("orders-0");
    assert!(folder.join("00000000000000000000.log").exists());

    write(&ensemble, &good).await;
    let (_, at) = leader_of(&ensemble, &[1], &[1]).await;
    until("all records", async || {
        fetched_end(at).await.filter(|&end| end == 3)
    })
    .await;

    // Broken while the broker runs, and read anew by a stream that begins again.
    write(&ensemble, "").await;
    let before = ensemble.stat("/brokers/ids/1").expect("registered");
    ensemble.expire(before.ephemeral_owner);
    until("registered anew", async || ensemble.stat("/brokers/ids/1")).await;
    until("nothing is known of it", async || {
        let at = address(&ensemble, 1)?;
        seen(at).await.is_none().then_some(())
    })
    .await;
    assert!(folder.exists());
    write(&ensemble, &good).await;
    leader_of(&ensemble, &[1], &[1]).await;
    assert_eq!(produce_until_done(&ensemble, &[1], 2).await, 3);
    node.stop().await;
}
