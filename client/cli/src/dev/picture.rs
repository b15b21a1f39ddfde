//! What is known of the running cluster: each coordinator's own status, and the brokers, the
//! controller and the partitions as they stand in the tree, folded from one native watch stream.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use parking_lot::Mutex;
use serde::Deserialize;
use tokio::task::JoinHandle;
use zweig_client::ensemble::{ChangeKind, Ensemble, Options, Status, WatchItem, status};

use super::layout::Layout;

const STATUS_PATIENCE: Duration = Duration::from_millis(300);

/// Of one partition, as its `state` says.
#[derive(Debug, Clone, Deserialize, PartialEq, Eq)]
pub struct Partition {
    /// The broker that leads; -1: none.
    pub leader: i32,
    /// Grows with each election.
    pub leader_epoch: i32,
    /// The in-sync replicas.
    pub isr: Vec<i32>,
}

/// What the tree says of the brokers' side.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// Registered brokers.
    pub registered: Vec<i32>,
    /// The broker that is controller.
    pub controller: Option<i32>,
    /// Of each topic, its partitions.
    pub topics: BTreeMap<String, BTreeMap<i32, Partition>>,
}

/// The whole picture.
pub struct Picture {
    endpoints: Vec<String>,
    /// By coordinator, in order; `None`: no answer.
    pub nodes: Vec<Option<Status>>,
    /// As of the last look.
    tree: Arc<Tree>,
    content: Arc<Mutex<Content>>,
    follower: JoinHandle<()>,
}

impl Picture {
    /// Begins to follow the cluster of `layout`, which may still be starting.
    #[must_use]
    pub fn follow(layout: &Layout) -> Self {
        let endpoints: Vec<_> = (1..=layout.nodes)
            .map(|node| layout.coordinator_address(node))
            .collect();
        let content = Arc::default();
        let follower = tokio::spawn(follow(endpoints.clone(), Arc::clone(&content)));
        Self {
            nodes: vec![None; endpoints.len()],
            endpoints,
            tree: Arc::default(),
            content,
            follower,
        }
    }

    /// Asks every coordinator for its status, and reads the tree where it has changed: once for all changes since the
    /// last look, for one death may be thousands.
    pub async fn refresh(&mut self) {
        let asked = self.endpoints.iter().map(|at| status(at, STATUS_PATIENCE));
        self.nodes = join_all(asked).await.into_iter().map(Result::ok).collect();
        let mut content = self.content.lock();
        if std::mem::take(&mut content.changed) {
            self.tree = Arc::new(content.tree());
        }
    }

    /// What the tree says.
    #[must_use]
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Whether every coordinator answers, one leads, every broker is registered and one of them
    /// is controller.
    #[must_use]
    pub fn is_ready(&self, layout: &Layout) -> bool {
        let led = self
            .nodes
            .iter()
            .all(|node| node.as_ref().is_some_and(|s| s.leader.is_some()));
        let brokers = self.tree.registered.len() == usize::from(layout.brokers);
        led && self.tree.controller.is_some() && brokers
    }

    /// Ends the session it looks through.
    pub async fn close(&mut self) {
        self.follower.abort();
    }
}

async fn follow(endpoints: Vec<String>, content: Arc<Mutex<Content>>) {
    let retry = Duration::from_millis(200);
    loop {
        if let Ok(ensemble) = Ensemble::connect(Options::new(endpoints.clone())).await
            && let Ok(mut changes) = ensemble.watch("/", true)
        {
            *content.lock() = Content::default();
            while let Some(item) = changes.next().await {
                content.lock().take(item);
            }
        }
        tokio::time::sleep(retry).await;
    }
}

/// The part of the tree that is looked at, by path.
#[derive(Debug, Default)]
struct Content {
    znodes: BTreeMap<String, Vec<u8>>,
    /// Whole again, and other than at the last look.
    changed: bool,
}

impl Content {
    fn take(&mut self, item: WatchItem) {
        match item {
            WatchItem::Reset => self.znodes.clear(),
            WatchItem::Node { path, data, .. } => self.put(path, data.as_deref()),
            WatchItem::Change {
                kind: ChangeKind::Deleted,
                path,
                ..
            } => {
                self.znodes.remove(&path);
            }
            WatchItem::Change { path, data, .. } => self.put(path, data.as_deref()),
            WatchItem::SubtreeEnd { .. } | WatchItem::End { .. } => self.changed = true,
        }
    }

    fn put(&mut self, path: String, data: Option<&[u8]>) {
        if path.starts_with("/brokers/") || path == "/controller" {
            self.znodes.insert(path, data.unwrap_or_default().to_vec());
        }
    }

    fn tree(&self) -> Tree {
        #[derive(Deserialize)]
        struct Controller {
            brokerid: i32,
        }
        let mut tree = Tree::default();
        for (path, data) in &self.znodes {
            let parts: Vec<_> = path.split('/').skip(1).collect();
            match parts[..] {
                ["controller"] => {
                    tree.controller = serde_json::from_slice(data)
                        .ok()
                        .map(|controller: Controller| controller.brokerid);
                }
                ["brokers", "ids", id] => tree.registered.extend(id.parse::<i32>()),
                ["brokers", "topics", topic] => {
                    tree.topics.entry(topic.to_owned()).or_default();
                }
                ["brokers", "topics", topic, "partitions", index, "state"] => {
                    if let (Ok(index), Ok(partition)) =
                        (index.parse(), serde_json::from_slice(data))
                    {
                        let partitions = tree.topics.entry(topic.to_owned()).or_default();
                        partitions.insert(index, partition);
                    }
                }
                _ => {}
            }
        }
        tree.registered.sort_unstable();
        tree
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tree_is_read_as_kafka_writes_it() {
        let mut content = Content::default();
        for (path, data) in [
            ("/brokers/ids/2", "{}"),
            ("/brokers/ids/10", "{}"),
            (
                "/controller",
                r#"{"version":2,"brokerid":2,"timestamp":"1"}"#,
            ),
            ("/brokers/topics/t", "{}"),
            (
                "/brokers/topics/t/partitions/0/state",
                r#"{"version":1,"leader":2,"leader_epoch":4,"controller_epoch":1,"isr":[2,10]}"#,
            ),
            ("/brokers/topics/t/partitions/1/state", "not JSON"),
            ("/config/topics/t", "{}"),
        ] {
            content.put(path.to_owned(), Some(data.as_bytes()));
        }
        let tree = content.tree();
        assert_eq!(tree.registered, [2, 10]);
        assert_eq!(tree.controller, Some(2));
        assert_eq!(tree.topics["t"].len(), 1);
        assert_eq!(tree.topics["t"][&0].isr, [2, 10]);
        assert!(!content.znodes.contains_key("/config/topics/t"));
    }
}
