//! Changes of the members.

use prost011::Message as _;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use super::*;

fn change(kind: ConfChangeType, node: u64) -> ConfChangeV2 {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = node;
    let mut change = ConfChangeV2::default();
    change.changes = vec![single];
    change
}

#[test]
fn members_change_one_at_a_time_and_joint_state_is_left() {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    cluster
        .at(1)
        .core
        .propose_conf_change(&change(ConfChangeType::AddLearnerNode, 4))
        .unwrap();
    let second = cluster
        .at(1)
        .core
        .propose_conf_change(&change(ConfChangeType::RemoveNode, 3));
    assert_eq!(second, Err(ProposeError::Busy), "one at a time");
    cluster.cut = vec![4];
    // Node 4 is not there; what is sent to it is lost.
    cluster
        .nodes
        .insert(4, Cluster::new(&[4]).nodes.remove(&4).unwrap());
    cluster.settle();
    assert_eq!(cluster.at(1).core.members().len(), 4);
    let mut two = change(ConfChangeType::RemoveNode, 3);
    two.changes
        .extend(change(ConfChangeType::AddNode, 4).changes);
    cluster.at(1).core.propose_conf_change(&two).unwrap();
    cluster.settle();
    for _ in 0..3 {
        cluster.tick(1, 2);
        cluster.settle();
    }
    let voters: Vec<u64> = cluster
        .at(1)
        .core
        .members()
        .iter()
        .filter(|m| m.voter)
        .map(|m| m.node)
        .collect();
    assert_eq!(voters, [1, 2, 4]);
    assert!(!cluster.at(1).core.is_joint());
    let last = cluster
        .at(2)
        .applied
        .iter()
        .rev()
        .find_map(|entry| match &entry.data {
            CommittedData::Conf(bytes) => Some(ConfState::decode(bytes.as_ref()).unwrap()),
            CommittedData::Normal(_) => None,
        });
    assert_eq!(
        last.unwrap().voters.len(),
        3,
        "the ConfState goes to the state machine"
    );
}

/// Until nothing moves: whose log was synced for a commit alone, and for which.
fn commits_synced(cluster: &mut Cluster) -> Vec<(u64, u64)> {
    let mut synced = vec![];
    for _ in 0..20 {
        for id in [1, 2, 3] {
            cluster.take(id);
            let alone = cluster.at(id).unsynced.iter();
            let alone = alone.filter(|persist| persist.entries.is_empty());
            synced.extend(alone.map(|persist| (id, persist.hard_state.commit)));
            cluster.sync(id);
            cluster.apply(id);
        }
        for message in std::mem::take(&mut cluster.wire) {
            if let Some(node) = cluster.nodes.get_mut(&message.to) {
                node.core.handle(Input::Message(Box::new(message)));
            }
        }
    }
    synced
}

/// Raft asks for no sync of a commit alone; who does not know a change after a restart would ask former members.
#[test]
fn that_a_change_is_committed_is_synced() {
    let mut cluster = Cluster::elect(&[1, 2, 3]);
    cluster.propose(1, b"a");
    assert_eq!(commits_synced(&mut cluster), [], "another entry");
    let learner = change(ConfChangeType::AddLearnerNode, 4);
    cluster.at(1).core.propose_conf_change(&learner).unwrap();
    let index = cluster.at(1).core.last_index();
    let synced = commits_synced(&mut cluster);
    assert_eq!(synced, [(1, index), (2, index), (3, index)]);
}
