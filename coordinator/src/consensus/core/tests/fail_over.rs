//! Who stands for election, and when.

use super::*;

/// Trap 5.
#[test]
fn patience_is_fixed_when_asked_for() {
    let mut cluster = Cluster::new(&[1, 2, 3]);
    cluster.tick(2, ELECTION + 5);
    cluster.settle();
    assert_eq!(cluster.at(2).core.role(), Role::Follower);
    cluster.tick(2, 1);
    cluster.settle();
    assert_eq!(cluster.at(2).core.role(), Role::Leader);
}

/// Trap 6: without forgetting the leader on both sides, the lease swallows pre-votes until the timeout.
#[test]
fn a_lost_link_to_the_leader_brings_a_new_one_at_once() {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    cluster.cut = vec![1];
    let term = cluster.at(2).core.term();
    cluster.at(2).core.handle(Input::LinkLost(1));
    cluster.at(3).core.handle(Input::LinkLost(1));
    cluster.tick(2, 1);
    cluster.tick(3, 1);
    cluster.settle();
    assert!(
        cluster.at(2).core.is_leader(),
        "first behind node 1 in the ring"
    );
    assert_eq!(cluster.at(2).core.term(), term + 1);
    assert_eq!(cluster.at(3).core.leader(), Some(2));
}

#[test]
fn a_false_alarm_disturbs_nobody() {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    let term = cluster.at(1).core.term();
    cluster.at(2).core.handle(Input::LinkLost(1));
    cluster.tick(2, 1);
    cluster.settle();
    cluster.tick(1, 2);
    cluster.settle();
    assert!(cluster.at(1).core.is_leader());
    assert_eq!(
        (cluster.at(2).core.leader(), cluster.at(2).core.term()),
        (Some(1), term)
    );
}
