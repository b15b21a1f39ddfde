//! An idempotent producer that nobody here wrote goes on while processes die: the ensemble's leader, the
//! controller, a partition's leader. Afterwards every acknowledged record is there, once, in order.

mod support;

use support::numbers::{CATCHING_UP, Producer, TOPIC, all_in_sync};
use support::{Cluster, PATIENCE, Role, wait_until};

fn a_leader_dies_and_comes_back(cluster: &mut Cluster, producer: &Producer) {
    let leader = cluster.any_leader_of(TOPIC, 0);
    cluster.kill(Role::Broker(leader));
    wait_until("partition 0 has another leader", PATIENCE, || {
        cluster.leader_of(TOPIC, 0).is_some_and(|id| id != leader)
    });
    producer.wait_for_progress("after a partition's leader died");
    cluster.start_process(Role::Broker(leader));
    wait_until("the former leader is in sync again", CATCHING_UP, || {
        all_in_sync(cluster)
    });
}

/// Its connections close with it, so nobody waits for its session's timeout.
#[test]
fn a_broker_that_was_killed_is_missed_before_its_session_would_end() {
    // Longer than anything here waits.
    let (zoo, properties) = (
        "maxSessionTimeout=600000",
        "zookeeper.session.timeout.ms=600000",
    );
    let mut cluster = Cluster::start_prepared((3, zoo), (3, properties), |_, _| {});
    let producer = Producer::start(&cluster);
    producer.wait_for_progress("before any fault");
    a_leader_dies_and_comes_back(&mut cluster, &producer);
    producer.finish(&cluster);
}

#[test]
fn no_acknowledged_record_is_lost_doubled_or_out_of_order() {
    let mut cluster = Cluster::start(3, 3);
    let producer = Producer::start(&cluster);
    producer.wait_for_progress("before any fault");

    let node = cluster.any_ensemble_leader();
    cluster.kill(Role::Coordinator(node));
    producer.wait_for_progress("after the ensemble's leader died");
    cluster.start_process(Role::Coordinator(node));

    let controller = cluster.any_controller();
    cluster.kill(Role::Broker(controller));
    wait_until("another broker is controller", PATIENCE, || {
        cluster.controller().is_some_and(|id| id != controller)
    });
    producer.wait_for_progress("after the controller died");
    cluster.start_process(Role::Broker(controller));
    wait_until(
        "the former controller is in sync again",
        CATCHING_UP,
        || all_in_sync(&cluster),
    );

    a_leader_dies_and_comes_back(&mut cluster, &producer);
    producer.wait_for_progress("after everything is back");

    producer.finish(&cluster);
}
