//! Logs that rotted while their broker was down.

use zweig_client::ensemble::WriteOp;

use super::*;
use crate::ensemble::port::Port as _;

const STATE: &str = "/brokers/topics/orders/partitions/0/state";
const LOG: &str = "orders-0/00000000000000000000.log";

/// What two brokers in sync leave that are killed in the same moment: the ISR names both, no clean stop is marked,
/// and nothing tells how far their logs were flushed.
async fn killed_together(ensemble: &FakeEnsemble, nodes: &mut BTreeMap<i32, Node>) {
    nodes.values_mut().for_each(|node| node.start(ensemble));
    let at = all_seen(ensemble, 2).await;
    create_topic(at, 2).await;
    leader_of(ensemble, &[1, 2], &[1, 2]).await;
    for batch in 0..5 {
        assert_eq!(produce_until_done(ensemble, &[1, 2], 3).await, batch * 3);
    }
    let read = || -> serde_json::Value {
        serde_json::from_str(&ensemble.text(STATE).expect("a state")).expect("JSON")
    };
    let killed = read();
    for node in nodes.values_mut() {
        node.stop().await;
        for name in [".kafka_cleanshutdown", "recovery-point-offset-checkpoint"] {
            std::fs::remove_file(node.dir.path().join(name)).expect("removed");
        }
    }
    let mut state = read();
    for field in ["isr", "isr_broker_epochs"] {
        state[field] = killed[field].clone();
    }
    let op = WriteOp::set(STATE, Bytes::from(state.to_string()), None);
    let written = ensemble.session().multi(vec![op]).await;
    written.expect("written");
}

fn leader_in(ensemble: &FakeEnsemble) -> Option<i64> {
    let state: serde_json::Value = serde_json::from_str(&ensemble.text(STATE)?).ok()?;
    state["leader"].as_i64()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_log_waits_for_an_intact_one_and_is_mended_from_it() {
    let ensemble = FakeEnsemble::default();
    let mut nodes: BTreeMap<i32, Node> = (1..=2).map(|id| (id, Node::new(id))).collect();
    killed_together(&ensemble, &mut nodes).await;
    let log = nodes[&1].dir.path().join(LOG);
    let good = std::fs::read(&log).expect("the log");
    let mut rotten = good.clone();
    rotten[good.len() / 2] ^= 8;
    std::fs::write(&log, &rotten).expect("rotten");

    nodes.get_mut(&1).expect("there").start(&ensemble);
    let at = until("registered", async || address(&ensemble, 1)).await;
    until("nobody leads", async || {
        (leader_in(&ensemble)? == -1).then_some(())
    })
    .await;
    let told = ensemble.text("/brokers/ids/1").expect("registered");
    let told: serde_json::Value = serde_json::from_str(&told).expect("JSON");
    assert!(told["intact_since"].is_null(), "{told}");
    let refused = until("an answer", async || produce(at, 1).await).await;
    assert!(refused.is_err(), "{refused:?}");
    let untouched = std::fs::read(&log).expect("the log");
    assert!(
        untouched == rotten,
        "only a peer that leads has what a cut loses"
    );

    nodes.get_mut(&2).expect("there").start(&ensemble);
    let (leader, at) = leader_of(&ensemble, &[1, 2], &[1, 2]).await;
    assert_eq!(leader, 2, "the intact one");
    until("all records", async || {
        fetched_end(at).await.filter(|&end| end == 15)
    })
    .await;
    nodes.get_mut(&2).expect("there").stop().await;
    let (leader, at) = leader_of(&ensemble, &[1], &[1]).await;
    assert_eq!(leader, 1);
    until("all records from the mended log", async || {
        fetched_end(at).await.filter(|&end| end == 15)
    })
    .await;
    assert!(std::fs::read(&log).expect("the log") == good);
    nodes.get_mut(&1).expect("there").stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_gone_does_not_lead_while_an_intact_one_may_come() {
    let ensemble = FakeEnsemble::default();
    let mut nodes: BTreeMap<i32, Node> = (1..=2).map(|id| (id, Node::new(id))).collect();
    killed_together(&ensemble, &mut nodes).await;
    std::fs::remove_dir_all(nodes[&1].dir.path().join("orders-0")).expect("removed");
    nodes.get_mut(&1).expect("there").start(&ensemble);
    until("registered", async || address(&ensemble, 1)).await;
    until("nobody leads", async || {
        (leader_in(&ensemble)? == -1).then_some(())
    })
    .await;
    nodes.get_mut(&2).expect("there").start(&ensemble);
    let (leader, at) = leader_of(&ensemble, &[1, 2], &[1, 2]).await;
    assert_eq!(leader, 2, "the intact one");
    until("all records", async || {
        fetched_end(at).await.filter(|&end| end == 15)
    })
    .await;
    for node in nodes.values_mut() {
        node.stop().await;
    }
}
