//! Writes actions by fenced batches and tells what has to be decided again.

use zweig_client::ensemble::{Batch, Error, WriteOp};

use crate::chance;
use crate::controller::action::Action;
use crate::ensemble::port::{GroupResult, Port};
use crate::ensemble::znode::controller;
use crate::ensemble::znode::topics::{TopicNode, topic_path};
use crate::metadata::Delta;
use crate::mutants::{self, Mutant};

use super::batch::{Group, groups, pack};

/// What came of some actions.
#[derive(Debug, Default)]
pub(super) struct Performed {
    /// What failed: to be decided again.
    pub(super) redo: Delta,
    /// The image must reach this zxid before that.
    pub(super) zxid: i64,
    /// Whether something was refused, or its fate is unknown: do not try again at once.
    pub(super) troubled: bool,
}

/// Performs actions in order; stops at the first batch that fails as a whole.
pub(super) async fn perform(port: &dyn Port, fence: i32, actions: &[Action]) -> Performed {
    let mut done = Performed::default();
    let mut list = Vec::new();
    for (at, action) in actions.iter().enumerate() {
        let of_action = match groups(action) {
            Some(of_action) => of_action,
            None => looked_up(port, action).await,
        };
        list.extend(of_action.into_iter().map(|ops| Group { action: at, ops }));
    }
    let mut failed_whole = false;
    for batch in pack(list) {
        if failed_whole {
            batch
                .iter()
                .for_each(|g| again(&actions[g.action], &mut done.redo));
            continue;
        }
        let ops = batch.iter().map(|group| group.ops.clone()).collect();
        let sent = match mutants::is(Mutant::ControllerUnfenced) {
            false => {
                let fence = (controller::EPOCH.to_owned(), fence);
                port.fenced_batch(fence, ops).await
            }
            true => unfenced(port, ops).await,
        };
        match sent {
            Ok(answer) => {
                done.zxid = done.zxid.max(answer.zxid);
                for (group, result) in batch.iter().zip(answer.results) {
                    if let Err(failed) = result {
                        let action = &actions[group.action];
                        tracing::debug!(?action, %failed, "decided again");
                        again(action, &mut done.redo);
                        done.troubled |= !matches!(failed.error, Error::BadVersion { .. });
                    }
                }
            }
            Err(error) => {
                tracing::warn!(%error, "a batch of the controller failed");
                failed_whole = true;
                done.troubled = true;
                batch
                    .iter()
                    .for_each(|g| again(&actions[g.action], &mut done.redo));
            }
        }
    }
    if failed_whole {
        // Whatever was on its way is then done or never will be.
        let synced = port.sync().await;
        tracing::debug!(?synced, "after a batch of unknown fate");
    }
    done
}

/// The mistake of a controller that writes whatever stands in the tree.
async fn unfenced(port: &dyn Port, groups: Vec<Vec<WriteOp>>) -> Result<Batch<GroupResult>, Error> {
    let (mut results, mut zxid) = (Vec::new(), 0);
    for group in groups {
        let blind = |op| match op {
            WriteOp::Set { path, data, .. } => WriteOp::Set {
                path,
                data,
                version: None,
            },
            op => op,
        };
        let done = port.multi(group.into_iter().map(blind).collect()).await;
        let done = done.map(|batch| {
            zxid = batch.zxid;
            batch.results
        });
        results.push(done);
    }
    Ok(Batch { zxid, results })
}

/// An action that needs a look at the tree: the rest of the content is kept as it is.
async fn looked_up(port: &dyn Port, action: &Action) -> Vec<Vec<WriteOp>> {
    let Action::FillTopicId { topic, version } = action else {
        return Vec::new();
    };
    let path = topic_path(topic);
    let Ok(Some((Some(data), stat))) = port.get(path.clone()).await else {
        return Vec::new();
    };
    match TopicNode::decode(&path, &data) {
        Ok(mut node) if stat.version == *version && node.id.is_nil() => {
            node.id = chance::uuid();
            vec![vec![WriteOp::set(path, node.encode(), Some(*version))]]
        }
        _ => Vec::new(),
    }
}

/// Marks what an action is about as to be decided again.
fn again(action: &Action, redo: &mut Delta) {
    match action {
        Action::SetState {
            topic, partition, ..
        }
        | Action::CreateState {
            topic, partition, ..
        } => {
            redo.partitions.insert((topic.clone(), *partition));
        }
        Action::CreatePartitionsNode { topic, .. }
        | Action::FillTopicId { topic, .. }
        | Action::DropDeletion { topic } => {
            redo.topics.insert(topic.clone());
            redo.requests = true;
        }
        Action::DeleteTopic(removal) => {
            redo.topics.insert(removal.topic.clone());
            redo.requests = true;
        }
        Action::EndElection { .. } | Action::DropNotification { .. } => {
            redo.requests = true;
        }
    }
}
