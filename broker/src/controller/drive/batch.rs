//! Actions as groups of writes, and groups packed into fenced batches.

use zweig_client::ensemble::{CreateMode, WriteOp};

use crate::controller::action::{Action, Removal};
use crate::ensemble::znode::topics::{encode_state, partition_path, partitions_path};
use crate::ensemble::znode::topics::{state_path, topic_path};
use crate::ensemble::znode::{admin, config};
use crate::limits::{CONTROLLER_BATCH_BYTES, CONTROLLER_BATCH_GROUPS};

/// A group of writes, all or nothing, and the action it belongs to by its place in the list.
#[derive(Clone, Debug)]
pub struct Group {
    /// Which action.
    pub action: usize,
    /// The writes.
    pub ops: Vec<WriteOp>,
}

/// The groups of an action, in order. `None` for what needs a look at the tree first.
#[must_use]
pub fn groups(action: &Action) -> Option<Vec<Vec<WriteOp>>> {
    let one = match action {
        Action::CreatePartitionsNode { topic, version } => vec![
            WriteOp::check(topic_path(topic), Some(*version)),
            create_null(partitions_path(topic)),
        ],
        Action::CreateState {
            topic,
            partition,
            topic_version,
            has_node,
            state,
        } => {
            let mut ops = vec![WriteOp::check(topic_path(topic), Some(*topic_version))];
            if !has_node {
                ops.push(create_null(partition_path(topic, *partition)));
            }
            let path = state_path(topic, *partition);
            let mode = CreateMode::Persistent;
            ops.push(WriteOp::create(path, encode_state(state), mode));
            ops
        }
        Action::SetState {
            topic,
            partition,
            expected,
            state,
            ..
        } => {
            let path = state_path(topic, *partition);
            vec![WriteOp::set(path, encode_state(state), Some(*expected))]
        }
        Action::DeleteTopic(removal) => return Some(delete_topic(removal)),
        Action::DropDeletion { topic } => vec![WriteOp::delete(admin::delete_path(topic), None)],
        Action::EndElection { kind, version } => {
            vec![WriteOp::delete(admin::election_path(*kind), Some(*version))]
        }
        Action::DropNotification { path } => vec![WriteOp::delete(&**path, None)],
        Action::FillTopicId { .. } => return None,
    };
    Some(vec![one])
}

fn create_null(path: String) -> WriteOp {
    WriteOp::Create {
        path,
        data: None,
        mode: CreateMode::Persistent,
        acl: Vec::new(),
    }
}

/// Partition by partition, then what is above them. The states' versions do not matter any more:
/// leaders may still be changing them.
fn delete_topic(removal: &Removal) -> Vec<Vec<WriteOp>> {
    let topic = &removal.topic;
    let check = || WriteOp::check(topic_path(topic), Some(removal.version));
    let mut groups = Vec::new();
    for (partition, has_state) in &removal.partitions {
        let mut ops = vec![check()];
        if *has_state {
            ops.push(WriteOp::delete(state_path(topic, *partition), None));
        }
        ops.push(WriteOp::delete(partition_path(topic, *partition), None));
        groups.push(ops);
    }
    let mut last = Vec::new();
    if removal.has_partitions_node {
        last.push(WriteOp::delete(partitions_path(topic), None));
    }
    last.push(WriteOp::delete(topic_path(topic), Some(removal.version)));
    if removal.has_config {
        last.push(WriteOp::delete(config::topic_path(topic), None));
    }
    last.push(WriteOp::delete(admin::delete_path(topic), None));
    groups.push(last);
    groups
}

/// Packs groups, in order, into batches within the bounds of `limits`. One group larger than a
/// batch travels alone.
#[must_use]
pub fn pack(groups: Vec<Group>) -> Vec<Vec<Group>> {
    let mut batches: Vec<Vec<Group>> = Vec::new();
    let mut bytes = 0;
    for group in groups {
        let size: usize = group.ops.iter().map(size).sum();
        match batches.last_mut() {
            Some(batch)
                if batch.len() < CONTROLLER_BATCH_GROUPS
                    && bytes + size <= CONTROLLER_BATCH_BYTES =>
            {
                batch.push(group);
                bytes += size;
            }
            _ => {
                batches.push(vec![group]);
                bytes = size;
            }
        }
    }
    batches
}

/// About how long an operation is on the wire.
fn size(op: &WriteOp) -> usize {
    let data = match op {
        WriteOp::Create { data, .. } | WriteOp::Set { data, .. } => {
            data.as_ref().map_or(0, bytes::Bytes::len)
        }
        _ => 0,
    };
    op.path().len() + data + 32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_keep_the_order_and_stay_within_their_bounds() {
        let data = vec![b'x'; CONTROLLER_BATCH_BYTES / 3];
        let group = |action, len: usize| Group {
            action,
            ops: vec![WriteOp::set("/p", data[..len].to_vec(), None)],
        };
        let third = data.len() - 100;
        let big: Vec<_> = (0..7).map(|action| group(action, third)).collect();
        let packed = pack(big);
        let lens: Vec<_> = packed.iter().map(Vec::len).collect();
        assert_eq!(lens, [3, 3, 1]);
        let small = (0..CONTROLLER_BATCH_GROUPS + 1).map(|action| group(action, 1));
        let packed = pack(small.collect());
        assert_eq!(packed.len(), 2);
        let order = packed.iter().flatten().map(|g| g.action);
        assert!(order.eq(0..CONTROLLER_BATCH_GROUPS + 1));
    }
}
