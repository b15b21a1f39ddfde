//! Looks inside of the brokers, and the verdict at the end.

use std::sync::Arc;

use uuid::Uuid;
use zweig_broker::ensemble::znode::topics::TopicNode;
use zweig_broker::replica::hosted::Partition;

use super::World;
use crate::history::Part;
use crate::inspect::{Look, batches, values};
use crate::node::Node;
use crate::states::State;

impl World {
    fn partitions(&self) -> Vec<((i32, u32), Arc<Partition>)> {
        let mut all = Vec::new();
        for (id, node) in &self.nodes {
            if let Some(replicas) = node.replicas() {
                let online = replicas.online();
                all.extend(online.into_iter().map(|p| ((*id, node.lives), p)));
            }
        }
        all
    }

    pub(super) fn look_inside(&mut self, now: u64) {
        let deep = now % 2_000 < 25;
        for (broker, partition) in self.partitions() {
            let part: Part = (partition.name().topic.clone(), partition.name().partition);
            let in_sync = self.in_sync(&part, broker.0);
            let look = self.look(&part, broker, &partition, now);
            let mut wrong = self.inspector.look(&part, &look);
            let due = deep && in_sync.is_some() && self.is_present(&part, look.topic_id);
            wrong.extend(self.hold(&part, &look, &partition, due));
            wrong
                .into_iter()
                .for_each(|wrong| self.history.wrong(wrong));
        }
    }

    fn look(&self, part: &Part, broker: (i32, u32), partition: &Partition, now: u64) -> Look {
        let log = partition.log();
        let high_watermark = partition.high_watermark();
        let in_sync = self.in_sync(part, broker.0);
        // The deleted topic's successor has the same name, and another log.
        let vouches = in_sync.is_some_and(|epoch| !self.is_lost(part, broker.0, epoch))
            && part.0 != "c"
            && !self.history.book().is_excused(part);
        let paused = self.nodes.get(&broker.0).is_some_and(Node::is_paused);
        Look {
            broker,
            topic_id: partition.topic_id(),
            leads: partition.leading_epoch(),
            log_start: log.log_start_offset(),
            last_stable: log
                .first_unstable_offset()
                .map_or(high_watermark, |first| first.min(high_watermark)),
            high_watermark,
            log_end: log.log_end_offset(),
            vouches,
            now,
            told_of_end: self.ensemble.told_of_end(broker.0).filter(|_| !paused),
        }
    }

    /// Holds a log against the committed one where that is due, and adds to it what a leader shows.
    fn hold(&mut self, part: &Part, look: &Look, partition: &Partition, due: bool) -> Vec<String> {
        let mut wrong = Vec::new();
        let (log, id) = (partition.log(), look.topic_id);
        let fresh = |epoch: &i32| self.inspector.is_new_leader(part, id, *epoch);
        let fresh = look.leads.filter(fresh);
        if fresh.is_some() || due {
            let from = match fresh {
                Some(_) => look.log_start,
                None => self.inspector.compared_upto(part, id, look.broker),
            };
            match batches(log, from.max(look.log_start), look.log_end) {
                Ok(stored) => {
                    let leads = (id, fresh);
                    wrong.extend(self.inspector.compare(part, leads, look.broker, &stored));
                }
                Err(error) => wrong.push(format!("{part:?} on b{}: {error}", look.broker.0)),
            }
        }
        let known = self.inspector.committed_end(part, id);
        if let Some(epoch) = look.leads.filter(|_| look.high_watermark > known) {
            match batches(log, known, look.high_watermark) {
                Ok(more) => {
                    let shown_by = (id, epoch);
                    self.inspector
                        .commit(part, shown_by, &more, look.high_watermark);
                }
                Err(error) => wrong.push(format!("{part:?} on b{}: {error}", look.broker.0)),
            }
        }
        wrong
    }

    /// Whether the topic of this id is the one in the tree, and not a deleted one of the same name.
    fn is_present(&self, part: &Part, id: Uuid) -> bool {
        let path = format!("/brokers/topics/{}", part.0);
        let node = self.ensemble.look(|nodes| nodes.get(&path).cloned());
        let data = node.and_then(|(data, _)| data).unwrap_or_default();
        TopicNode::decode(&path, &data).is_ok_and(|topic| topic.id == id)
    }

    /// Under which epoch the tree names a broker as in sync.
    fn in_sync(&self, part: &Part, broker: i32) -> Option<i64> {
        let mut members = self.states.of(part)?.members();
        members
            .find(|(id, _)| *id == broker)
            .map(|(_, epoch)| epoch)
    }

    /// What was written to the tree since the last look.
    pub(super) fn follow_states(&mut self) {
        for wrong in self.states.follow(&self.ensemble) {
            self.history.wrong(wrong);
        }
    }

    /// A broker loses what it had not synced: whoever is in sync under that life may lack something.
    pub(super) fn lose(&mut self, broker: i32) {
        let zxid = self.ensemble.zxid();
        self.lost.insert(broker, zxid);
    }

    /// Whether a broker under some epoch may lack what it had. What is synced before each acknowledgement is not lost.
    fn is_lost(&self, part: &Part, broker: i32, epoch: i64) -> bool {
        part.0 != "s" && self.lost.get(&broker).is_some_and(|upto| epoch <= *upto)
    }

    /// Excuses what nobody in sync can vouch for.
    pub(super) fn excuse(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        let lost = |part: &Part, state: &State| {
            let mut members = state.members().peekable();
            members.peek().is_some() && members.all(|(id, epoch)| self.is_lost(part, id, epoch))
        };
        let all = self.states.all().filter(|(part, state)| lost(part, state));
        let all: Vec<(Part, i32)> = all
            .map(|(part, state)| (part.clone(), state.leader_epoch))
            .collect();
        for (part, epoch) in all {
            if !self.history.book().is_excused(&part) {
                self.trace
                    .line(|| format!("{part:?}: all in sync lost their page cache"));
                self.history.book().excuse(&part);
            }
            // Each time: what was committed since the last time may be gone as well.
            self.inspector.forget(&part, epoch);
        }
    }

    /// At the end: logs against each other, and against what clients know.
    pub(super) fn judge(&mut self) {
        let mut wrong = Vec::new();
        for (broker, partition) in self.partitions() {
            let part: Part = (partition.name().topic.clone(), partition.name().partition);
            let log = partition.log();
            let leads = partition.leading_epoch();
            let stored = batches(log, log.log_start_offset(), log.log_end_offset());
            match stored {
                Ok(stored) => {
                    let compared = self.inspector.compare(
                        &part,
                        (partition.topic_id(), leads),
                        broker,
                        &stored,
                    );
                    wrong.extend(compared);
                }
                Err(error) => wrong.push(error),
            }
            if part.0.starts_with("__") {
                continue;
            }
            match values(log) {
                Ok(values) => wrong.extend(self.history.book().against_log(&part, &values)),
                Err(error) => wrong.push(error),
            }
        }
        wrong.extend(self.served_out_of_turn());
        wrong.sort();
        wrong.dedup();
        wrong
            .into_iter()
            .for_each(|wrong| self.history.wrong(wrong));
    }

    /// Who answered a consumer under a leader epoch (KIP-320) that the tree gave to another broker.
    fn served_out_of_turn(&self) -> Vec<String> {
        let book = self.history.book();
        // The deleted topic's successor counts its epochs anew.
        let served = book.served().filter(|(part, ..)| part.0 != "c");
        let out_of_turn = served.filter_map(|(part, epoch, broker)| {
            let leader = self.states.leader_in(part, *epoch)?;
            (leader != *broker).then(|| {
                format!(
                    "{part:?}: b{broker} answered under leader epoch {epoch}, which is b{leader}'s"
                )
            })
        });
        out_of_turn.collect()
    }
}
