//! A node that forgot everything: what it breaks under its former raft id, and does not break under a new one.

use super::*;
use crate::consensus::membership::{Applicant, Step, former_of, next_step, raft_id};

const REJOINED: u64 = 5 << 16 | 3;

/// "precious" is acknowledged by nodes 1 and 3; then node 1 is gone, and node 3 loses its disk.
fn acknowledged_by_one_that_is_down_and_one_that_is_lost() -> Cluster {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    cluster.cut = vec![2];
    cluster.propose(1, b"precious");
    cluster.settle();
    assert_eq!(cluster.data(1), [b"precious"]);
    cluster.cut = vec![1];
    cluster.nodes.remove(&3);
    cluster
}

/// A node that joins: it knows of no configuration.
fn stranger(id: u64) -> Node {
    Node::new(core(id, &[], Recovered::default(), Position::default()))
}

#[test]
fn under_its_former_id_a_wiped_node_loses_what_was_acknowledged() {
    let mut cluster = acknowledged_by_one_that_is_down_and_one_that_is_lost();
    let naive = core(3, &[1, 2, 3], Recovered::default(), Position::default());
    cluster.nodes.insert(3, Node::new(naive));
    cluster.tick(2, 3 * ELECTION);
    cluster.settle();
    assert!(
        cluster.at(2).core.is_leader(),
        "two of three, and none of them knows"
    );
    cluster.propose(2, b"other");
    cluster.settle();
    cluster.cut.clear();
    cluster.tick(2, 2);
    cluster.settle();
    assert_eq!(
        cluster.data(2),
        [b"other"],
        "what was acknowledged is lost: this is why ids are not used twice"
    );
}

#[test]
fn under_a_new_id_it_waits_for_who_knows_and_nothing_is_lost() {
    let mut cluster = acknowledged_by_one_that_is_down_and_one_that_is_lost();
    cluster.nodes.insert(REJOINED, stranger(REJOINED));
    for _ in 0..10 {
        cluster.tick(2, ELECTION);
        cluster.tick(REJOINED, ELECTION);
        cluster.settle();
    }
    assert!(!cluster.at(2).core.is_leader() && !cluster.at(REJOINED).core.is_leader());

    cluster.cut.clear();
    let mut leader = None;
    for _ in 0..10 * ELECTION {
        for id in [1, 2] {
            cluster.tick(id, 1);
            cluster.settle();
        }
        leader = [1, 2]
            .into_iter()
            .find(|&id| cluster.at(id).core.is_leader());
        if leader.is_some() {
            break;
        }
    }
    let leader = leader.expect("two of the three founders");
    assert_eq!(
        let_in(&mut cluster, leader),
        [
            Step::Add(REJOINED),
            Step::Remove(3),
            Step::Promote(REJOINED),
            Step::Settled,
        ]
    );
    for id in [1, 2] {
        assert_eq!(cluster.data(id)[0], b"precious", "node {id}");
    }
    assert_eq!(cluster.at(REJOINED).core.voters(), [1, 2, REJOINED]);

    // It votes: with one of the others gone, the rest goes on.
    cluster.cut = vec![leader];
    for id in [1, 2, REJOINED].into_iter().filter(|&id| id != leader) {
        cluster.at(id).core.handle(Input::LinkLost(leader));
        cluster.tick(id, 8);
        cluster.settle();
    }
    let next = [1, 2, REJOINED].into_iter().filter(|&id| id != leader);
    let next = next.into_iter().find(|&id| cluster.at(id).core.is_leader());
    assert!(next.is_some(), "two of the three that are members now");
}

/// As the leader does on each request, until there is nothing more to do; the steps it took.
fn let_in(cluster: &mut Cluster, leader: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for _ in 0..50 {
        let core = &mut cluster.at(leader).core;
        let conf = core.conf_state();
        let applicant = Applicant {
            id: REJOINED,
            votes: true,
            caught_up: core.is_caught_up(REJOINED),
            former_alive: false,
        };
        let step = next_step(&conf, &applicant);
        if let Some(change) = step.change() {
            core.propose_conf_change(&change).unwrap();
            if step == Step::Remove(3) {
                assert_eq!(former_of(&conf, REJOINED), Some(3));
            }
        }
        if step != Step::Wait {
            steps.push(step);
        }
        if step == Step::Settled {
            break;
        }
        cluster.settle();
        send_checkpoint(cluster, leader);
        cluster.tick(leader, 2);
        cluster.settle();
    }
    steps
}

/// The apply threads and the bulk port, in one.
fn send_checkpoint(cluster: &mut Cluster, leader: u64) {
    if std::mem::take(&mut cluster.at(leader).wants_checkpoint) {
        let core = &mut cluster.at(leader).core;
        let at = core.view().last();
        let conf_state = core.conf_state().encode_to_vec();
        core.handle(Input::Checkpoint(CheckpointMark { at, conf_state }));
        cluster.tick(leader, 2);
        cluster.settle();
    }
    if cluster.at(REJOINED).install.take().is_some() {
        cluster.at(REJOINED).core.handle(Input::Installed);
        cluster.at(leader).core.handle(Input::SnapshotSent {
            to: REJOINED,
            done: true,
        });
        cluster.settle();
    }
}

#[test]
fn a_joiner_takes_no_log_from_its_beginning() {
    let mut joiner = stranger(REJOINED);
    let mut append = Message::default();
    append.set_msg_type(MessageType::MsgAppend);
    (append.from, append.to, append.term) = (1, REJOINED, 1);
    append.entries = vec![Entry {
        index: 1,
        term: 1,
        ..Entry::default()
    }];
    joiner.core.handle(Input::Message(Box::new(append)));
    assert_eq!(
        joiner.core.last_index(),
        0,
        "it does not know who the first members were"
    );
    assert!(joiner.core.is_stranger() && !joiner.core.is_member());
}

#[test]
fn a_removed_incarnation_is_known_as_such() {
    let cluster = Cluster::elect(&[1, 2, REJOINED]);
    let core = &cluster.nodes[&1].core;
    assert!(core.has_replaced(3) && core.has_replaced(raft_id(3, 4)));
    assert!(!core.has_replaced(REJOINED) && !core.has_replaced(raft_id(3, 6)));
    assert!(
        !core.has_replaced(4),
        "a stranger, which was never a member"
    );
}
