//! What a cluster looks like from outside, as `zweig` and the four-letter words tell it.

use super::{Cluster, PATIENCE, four_letter_word, wait_for};

impl Cluster {
    /// The children of a znode; none if it does not exist.
    pub fn ls(&self, path: &str) -> Vec<String> {
        let output = self.zweig(&["--timeout", "10", "ls", path]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(str::to_owned).collect()
    }

    /// The content of a znode as JSON.
    pub fn json(&self, path: &str) -> Option<serde_json::Value> {
        let output = self.zweig(&["--timeout", "10", "get", path]);
        serde_json::from_slice(&output.stdout).ok()
    }

    /// Which broker is controller.
    pub fn controller(&self) -> Option<usize> {
        let id = self.json("/kafka/controller")?.get("brokerid")?.as_u64()?;
        usize::try_from(id).ok()
    }

    /// Which broker is controller, once there is one.
    pub fn any_controller(&self) -> usize {
        wait_for("there is a controller", PATIENCE, || self.controller())
    }

    /// Which broker leads a partition, once one does.
    pub fn any_leader_of(&self, topic: &str, index: usize) -> usize {
        wait_for("the partition has a leader", PATIENCE, || {
            self.leader_of(topic, index)
        })
    }

    /// Which coordinator leads the ensemble, once one does.
    pub fn any_ensemble_leader(&self) -> usize {
        wait_for("a coordinator leads", PATIENCE, || self.ensemble_leader())
    }

    /// The `state` of a partition.
    pub fn partition(&self, topic: &str, index: usize) -> Option<serde_json::Value> {
        self.json(&format!(
            "/kafka/brokers/topics/{topic}/partitions/{index}/state"
        ))
    }

    /// Which broker leads a partition.
    pub fn leader_of(&self, topic: &str, index: usize) -> Option<usize> {
        let leader = self.partition(topic, index)?.get("leader")?.as_i64()?;
        usize::try_from(leader).ok()
    }

    /// How many replicas of a partition are in sync.
    pub fn in_sync(&self, topic: &str, index: usize) -> usize {
        let state = self.partition(topic, index);
        let isr = state.as_ref().and_then(|state| state.get("isr"));
        isr.and_then(|isr| isr.as_array()).map_or(0, Vec::len)
    }

    /// Which coordinator leads the ensemble.
    pub fn ensemble_leader(&self) -> Option<usize> {
        self.running_coordinators().into_iter().find(|node| {
            let answer = four_letter_word(&self.coordinator(*node), "srvr");
            answer.contains("Mode: leader")
        })
    }
}
