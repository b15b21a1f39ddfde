//! The raft thread: one round carries out what the node wants done, in the order of `driver`.

use std::collections::VecDeque;
use std::path::PathBuf;

use zweig_coordinator::consensus::NotDone;
use zweig_coordinator::consensus::checkpoints::Checkpoints;
use zweig_coordinator::consensus::node::{Effects, Node, NodeInput};

use super::Member;
use super::apply_side::ApplyWork;
use super::log_side::LogWork;
use crate::env::Env;
use crate::fault::Step;

pub struct RaftSide {
    pub node: Node,
    /// Something happened since the last round.
    pub stirred: bool,
    /// The next round is due at once.
    pub due: bool,
    pub checkpoints: Checkpoints,
    reported_ms: Option<u64>,
    /// Reports, of which none is acknowledged yet: when each was made, by the member's own clock and in true time.
    reports: VecDeque<(u64, u64)>,
}

impl RaftSide {
    pub fn new(node: Node) -> Self {
        Self {
            node,
            stirred: true,
            due: true,
            checkpoints: Checkpoints::default(),
            reported_ms: None,
            reports: VecDeque::new(),
        }
    }
}

impl Member {
    /// What is to be done now.
    pub fn effects(&mut self, env: &mut Env) -> Effects {
        let now = self.now(env);
        let Some(up) = &mut self.up else {
            return Effects::default();
        };
        (up.raft.stirred, up.raft.due) = (false, false);
        if up.raft.node.wants_heard(now) {
            let heard = up.door.link.take_heard();
            up.raft.node.handle(now, NodeInput::Heard(heard));
            up.raft.reports.push_back((now.ms, env.now_us()));
        }
        up.raft.node.effects(now)
    }

    /// Gives the threads their work, and tells the clients; false when the process ends on the way.
    pub fn carry_within(&mut self, env: &mut Env, effects: &mut Effects) -> bool {
        self.note_effects(env, effects);
        let Some(up) = &mut self.up else { return false };
        if !effects.persist.is_empty() {
            let persist = std::mem::take(&mut effects.persist);
            up.log.queue.push_back(LogWork::Persist(persist));
        }
        if self.ends_at(Step::Persisting) {
            return false;
        }
        let Some(up) = &mut self.up else { return false };
        if !effects.committed.is_empty() {
            let committed = std::mem::take(&mut effects.committed);
            up.apply.queue.push_back(ApplyWork::Apply(committed));
        }
        if let Some(index) = effects.cut {
            up.log.queue.push_back(LogWork::Cut(index));
        }
        env.run.reads += effects.reads.len() as u64;
        env.run.reads_failed += effects.reads_failed.len() as u64;
        env.run.unknown += effects.unknown.len() as u64;
        for request in effects.not_done.iter().flat_map(|(requests, _)| requests) {
            let refused = (self.id, self.boot, *request);
            env.checks.agreement.not_done(refused);
        }
        for (requests, why) in &effects.not_done {
            assert!(
                *why != NotDone::NoSpace || env.run.short > 0,
                "member {}: {requests:?} are refused for want of space, and no disk was short",
                self.id
            );
        }
        up.door.link.carry(effects, up.door.published());
        up.door
            .link
            .observe(&up.raft.node, self.clock.now(env.now_us()));
        if effects.drop_checkpoint
            && let Some(number) = up.raft.checkpoints.dropped()
        {
            self.folders.remove(&checkpoint_folder(number));
        }
        if effects.make_checkpoint {
            let folder = checkpoint_folder(up.raft.checkpoints.begin());
            up.apply.queue.push_back(ApplyWork::Checkpoint(folder));
        }
        self.log_on(env);
        self.apply_on(env);
        !self.ends_at(Step::Carried)
    }

    fn note_effects(&self, env: &mut Env, effects: &Effects) {
        let persisted = effects.persist.last().map_or(0, |last| last.number);
        let committed = effects.committed.last().map_or(0, |last| last.index);
        if persisted | committed != 0 || effects.install.is_some() {
            let id = self.id;
            let install = effects
                .install
                .as_ref()
                .map(|install| install.mark.at.index);
            let numbers = [id, persisted, committed, install.unwrap_or(0)];
            env.note(1, &numbers, || {
                format!("{id}: persist {persisted}, apply {committed}, install {install:?}")
            });
        }
    }

    /// When the report was made that was acknowledged since the last question, in true time. The member's own clock
    /// says so in whole milliseconds and with a drift, which is too coarse for who was heard just before or behind it.
    pub fn news_of_touch(&mut self) -> Option<u64> {
        let up = self.up.as_mut()?;
        let reported_ms = up.raft.node.reported_ms();
        if std::mem::replace(&mut up.raft.reported_ms, reported_ms) == reported_ms {
            return None;
        }
        let reports = &mut up.raft.reports;
        let mut made_us = None;
        // Of two within one millisecond, the first covers less.
        while let Some((ms, us)) = reports.pop_front_if(|(ms, _)| Some(*ms) <= reported_ms) {
            if Some(ms) == reported_ms {
                made_us = made_us.or(Some(us));
            }
        }
        made_us
    }
}

/// Where a checkpoint lies.
pub fn checkpoint_folder(number: u64) -> PathBuf {
    format!("checkpoint-{number}").into()
}
