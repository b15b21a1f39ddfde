//! The apply thread: drives the state machine over the overlay with what is committed, makes and installs
//! checkpoints; and the flush thread, which hands layers to the database and now and then has it flushed.
//!
//! What is applied is seen at once; consensus hears of it when the job is done.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use zweig_coordinator::consensus::core::Install;
use zweig_coordinator::consensus::node::{NodeInput, Now};
use zweig_coordinator::consensus::{
    CheckpointMark, Committed, CommittedData, Feedback, LiveSession, Position, SessionUpdate,
};
use zweig_coordinator::session::SessionId;
use zweig_coordinator::state_machine::{Outcome, SessionChange, StateMachine};
use zweig_coordinator::storage::{
    Database as _, MemoryStates, MemoryStore, Meta, OverlayStore, States as _, write_behind,
};

use super::Member;
use super::log_side::LogWork;
use super::raft_side::checkpoint_folder;
use crate::agenda::What;
use crate::clients::Clients;
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
    pub machine: StateMachine<OverlayStore>,
    states: MemoryStates,
    pub queue: VecDeque<ApplyWork>,
    busy: Option<Done>,
    /// Index up to which the state survives a loss of power.
    flushed: u64,
    /// A fault of memory has changed the state.
    pub bent: bool,
}

fn mark(meta: &Meta) -> CheckpointMark {
    let conf_state = meta.conf_state.as_ref();
    CheckpointMark {
        at: Position {
            index: meta.applied.index,
            term: meta.applied.term,
        },
        conf_state: conf_state.map_or_else(Vec::new, |conf| conf.to_vec()),
    }
}

fn live(session: SessionId, attach: u64, timeout_ms: u32) -> LiveSession {
    LiveSession {
        session,
        attach,
        timeout_ms,
    }
}

fn session_update(outcome: &Outcome) -> Option<SessionUpdate> {
    Some(match outcome.session_change.as_ref()? {
        SessionChange::Opened(grant) | SessionChange::Attached(grant) => {
            SessionUpdate::Live(live(grant.id, grant.attach, grant.timeout_ms))
        }
        SessionChange::Closed | SessionChange::Expired => SessionUpdate::Gone(outcome.session),
    })
}

impl ApplySide {
    /// Over what the last life has left.
    pub fn open(states: &MemoryStates, origin: (u64, u64)) -> Self {
        let side = Self {
            origin,
            machine: StateMachine::open(states.open().unwrap()).unwrap(),
            states: states.clone(),
            queue: VecDeque::new(),
            busy: None,
            flushed: 0,
            bent: false,
        };
        side.audit(origin.0);
        side
    }

    /// The numbers kept on the way must be those of the state itself.
    pub fn audit(&self, member: u64) {
        let (digest, _) = self.machine.audit().unwrap();
        let applied = self.machine.applied();
        assert_eq!(
            applied.digest, digest,
            "the state of member {member} at index {} is not what its digest says",
            applied.index
        );
    }

    pub fn applied(&self) -> Position {
        let applied = self.machine.applied();
        Position {
            index: applied.index,
            term: applied.term,
        }
    }

    pub fn conf_state(&self) -> Option<Vec<u8>> {
        self.machine.conf_state().map(|conf| conf.to_vec())
    }

    pub fn digest(&self) -> u64 {
        self.machine.applied().digest.0 ^ u64::from(self.bent)
    }

    pub fn sessions(&self) -> Vec<LiveSession> {
        let sessions = self.machine.sessions();
        sessions
            .map(|(id, state)| live(id, state.attach, state.timeout_ms))
            .collect()
    }

    /// Hands over everything that waits in memory.
    fn write_behind(&mut self) {
        let machine = RefCell::new(&mut self.machine);
        write_behind(|with| with(machine.borrow_mut().store_mut())).unwrap();
    }

    fn apply(
        &mut self,
        env: &mut Env,
        now: Now,
        entries: Vec<Committed>,
        clients: &mut Clients,
    ) -> Done {
        let mut feedback = Feedback::default();
        let mut last = Position::default();
        for entry in entries {
            env.checks.applied(self.origin.0, &entry);
            let (index, term) = (entry.index, entry.term);
            last = Position { index, term };
            let outcomes = match &entry.data {
                CommittedData::Normal(data) => self.machine.apply(index, term, data).unwrap(),
                CommittedData::Conf(conf) => {
                    env.members_changed = env.members_changed.max(index);
                    self.machine.apply_conf(index, term, conf).unwrap();
                    Vec::new()
                }
            };
            feedback.digests.push(self.digest());
            if !self.bent {
                env.checks.digest(self.origin.0, index, self.digest());
            }
            for outcome in outcomes {
                feedback.sessions.extend(session_update(&outcome));
                env.checks.outcome(&outcome, index);
                if (outcome.origin.node, outcome.origin.boot) == self.origin {
                    feedback.own.push(outcome.origin.request);
                }
                clients.outcome(env, now, &outcome, index);
            }
        }
        Done::Applied(last, feedback)
    }

    fn checkpoint(&mut self, folder: &Path) -> Done {
        self.write_behind();
        let meta = self.states.current().checkpoint(folder).unwrap();
        Done::Checkpoint(mark(&meta))
    }

    fn install(&mut self, install: Install, folder: &Path) -> Done {
        let store = self.states.install(folder).unwrap();
        self.machine = StateMachine::open(store).unwrap();
        assert_eq!(self.applied(), install.mark.at, "another checkpoint");
        self.flushed = install.mark.at.index;
        Done::Installed(install)
    }
}

impl Member {
    /// Begins the next job, if the thread is idle.
    pub fn apply_on(&mut self, env: &mut Env) {
        let (apply_us, now) = (1_000 * self.pace.apply_ms, self.now(env));
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
                up.apply.busy = Some(up.apply.apply(env, now, entries, &mut up.clients));
                Step::Applied
            }
            ApplyWork::Install(install, checkpoint) => {
                let folder = PathBuf::from("arrived");
                self.folders.put(&folder, (*checkpoint).clone());
                up.apply.busy = Some(up.apply.install(install, &folder));
                up.clients.state_replaced(env);
                Step::StateInstalled
            }
            ApplyWork::Checkpoint(folder) => {
                up.apply.busy = Some(up.apply.checkpoint(&folder));
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
                let flushed = up.apply.flushed;
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
                if let Some(former) = up.raft.checkpoints.made() {
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
        up.apply.write_behind();
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
            up.apply.flushed = persisted.map_or(0, |meta| meta.applied.index);
        }
    }
}
