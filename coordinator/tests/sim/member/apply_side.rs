//! The apply thread: drives the published state over the overlay with what is committed, makes and installs
//! checkpoints; and the flush thread, which hands layers to the database and now and then has it flushed.
//!
//! What is applied is seen at once; consensus hears of it when the job is done.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zweig_coordinator::consensus::core::Install;
use zweig_coordinator::consensus::node::NodeInput;
use zweig_coordinator::consensus::{
    Applier as _, CheckpointMark, Committed, CommittedData, Feedback, LiveSession, Position,
};
use zweig_coordinator::request::Published;
use zweig_coordinator::request::applier::PublishedApplier;
use zweig_coordinator::request::flush::FlushedIndex;
use zweig_coordinator::state_machine::StateMachine;
use zweig_coordinator::storage::{Database as _, MemoryStates, MemoryStore};

use super::Member;
use super::log_side::LogWork;
use super::raft_side::checkpoint_folder;
use crate::agenda::What;
use crate::env::Env;
use crate::fault::Step;

/// Layers between two flushes of the database, at most.
const LAYERS: u64 = 40;

pub enum ApplyWork {
    Apply(Vec<Committed>),
    Install(Install, Arc<MemoryStore>),
    Checkpoint(PathBuf),
}

/// What consensus hears when a job is done.
enum Done {
    Applied(Position, Feedback),
    Installed(Install),
    Checkpoint(CheckpointMark),
}

pub struct ApplySide {
    /// Node and boot: whose outcomes are this process's.
    origin: (u64, u64),
    published: Arc<Published>,
    applier: PublishedApplier,
    states: MemoryStates,
    pub queue: VecDeque<ApplyWork>,
    busy: Option<Done>,
    /// Index up to which the state survives a loss of power.
    flushed: FlushedIndex,
    /// Commands of this process that were done.
    pub done: u64,
    /// A fault of memory has changed the state.
    pub bent: bool,
}

impl ApplySide {
    /// Over what the last life has left.
    pub fn open(states: &MemoryStates, origin: (u64, u64)) -> Self {
        let machine = StateMachine::open(states.open().unwrap()).unwrap();
        let (node, boot) = origin;
        let on_fatal = Box::new(move |fatal: &_| panic!("member {node}: {fatal}"));
        let published = Published::new(machine, node, boot, on_fatal);
        let flushed = FlushedIndex::default();
        let applier =
            PublishedApplier::new(Arc::clone(&published), states.clone(), flushed.clone());
        Self {
            origin,
            published,
            applier,
            states: states.clone(),
            queue: VecDeque::new(),
            busy: None,
            flushed,
            done: 0,
            bent: false,
        }
    }

    pub fn published(&self) -> Arc<Published> {
        Arc::clone(&self.published)
    }

    pub fn applied(&self) -> Position {
        self.applier.applied()
    }

    pub fn conf_state(&self) -> Option<Vec<u8>> {
        self.applier.conf_state()
    }

    pub fn digest(&self) -> u64 {
        self.applier.digest() ^ u64::from(self.bent)
    }

    pub fn sessions(&self) -> Vec<LiveSession> {
        self.applier.sessions()
    }

    fn apply(&mut self, env: &mut Env, entries: Vec<Committed>) -> Done {
        let mut feedback = Feedback::default();
        let mut last = Position::default();
        let (node, boot) = self.origin;
        for entry in entries {
            env.checks.applied(node, &entry);
            env.witness.applied(env.agenda.now_us, &entry);
            let (index, term) = (entry.index, entry.term);
            last = Position { index, term };
            if matches!(entry.data, CommittedData::Conf(_)) {
                env.members_changed = env.members_changed.max(index);
            }
            let one = self.applier.apply(vec![entry]).unwrap();
            env.checks.digest(node, index, self.applier.digest());
            env.witness
                .truth
                .compare(node, index, self.applier.digest());
            for &request in &one.own {
                env.checks.agreement.answered((node, boot, request), index);
                self.done += 1;
            }
            feedback.own.extend(one.own);
            feedback.sessions.extend(one.sessions);
            feedback.digests.push(self.digest());
        }
        Done::Applied(last, feedback)
    }

    fn install(&mut self, install: Install, folder: &Path) -> Done {
        let mark = self.applier.install(folder).unwrap();
        assert_eq!(mark.at, install.mark.at, "another checkpoint");
        Done::Installed(install)
    }
}

impl Member {
    /// Begins the next job, if the thread is idle.
    pub fn apply_on(&mut self, env: &mut Env) {
        let apply_us = 1_000 * self.pace.apply_ms;
        let Some(up) = &mut self.up else { return };
        if up.apply.busy.is_some() {
            return;
        }
        let Some(work) = up.apply.queue.pop_front() else {
            return;
        };
        let step = match work {
            ApplyWork::Apply(mut entries) => {
                while let Some(ApplyWork::Apply(more)) = up.apply.queue.front_mut() {
                    entries.append(more);
                    up.apply.queue.pop_front();
                }
                up.apply.busy = Some(up.apply.apply(env, entries));
                Step::Applied
            }
            ApplyWork::Install(install, checkpoint) => {
                let folder = PathBuf::from("arrived");
                self.folders.put(&folder, (*checkpoint).clone());
                up.apply.busy = Some(up.apply.install(install, &folder));
                Step::StateInstalled
            }
            ApplyWork::Checkpoint(folder) => {
                let mark = up.apply.applier.checkpoint(&folder).unwrap();
                up.apply.busy = Some(Done::Checkpoint(mark));
                Step::CheckpointMade
            }
        };
        if self.ends_at(step) {
            return;
        }
        let us = 20 + env.chance.below(apply_us.max(1));
        self.later(env, us, What::Applied);
    }

    /// A job is done.
    pub fn applied(&mut self, env: &mut Env) {
        let Some(up) = &mut self.up else { return };
        match up.apply.busy.take() {
            Some(Done::Applied(at, feedback)) => {
                let flushed = up.apply.applier.flushed_index();
                let applied = NodeInput::Applied {
                    index: at.index,
                    term: at.term,
                    feedback,
                    flushed,
                };
                self.handle(env, applied);
            }
            Some(Done::Installed(install)) => {
                let (sessions, digest) = (up.apply.sessions(), up.apply.digest());
                let reset = LogWork::Reset(install, sessions, digest);
                up.log.queue.push_back(reset);
                self.log_on(env);
            }
            Some(Done::Checkpoint(mark)) => {
                if let Some(former) = up.raft.checkpoints.made(mark.at) {
                    self.folders.remove(&checkpoint_folder(former));
                }
                self.handle(env, NodeInput::Checkpoint(mark));
            }
            None => {}
        }
        self.apply_on(env);
    }

    /// The flush thread comes round.
    pub fn flush(&mut self, env: &mut Env) {
        self.later(env, 1_000 * self.pace.flush_ms.max(1), What::Flush);
        let Some(up) = &mut self.up else { return };
        up.apply.published.write_behind().unwrap();
        if self.ends_at(Step::WrittenBehind) {
            return;
        }
        let Some(up) = &mut self.up else { return };
        let db = up.apply.states.current();
        if db.layers_behind() as u64 > env.chance.below(LAYERS) {
            db.persist().unwrap();
            if self.ends_at(Step::Flushed) {
                return;
            }
            let Some(up) = &mut self.up else { return };
            let persisted = db.persisted().unwrap();
            let index = persisted.map_or(0, |meta| meta.applied.index);
            up.apply.flushed.set(index);
        }
    }
}
