//! One node: the real `Node`, `RaftLog` and `StateMachine`; its disk, threads and clients are simulated.

use std::collections::{BTreeMap, VecDeque};

use prost011::Message as _;
use raft::eraftpb::ConfState;
use zweig_coordinator::consensus::core::{Core, CoreConfig, Install, Patience, Persist};
use zweig_coordinator::consensus::membership::raft_id;
use zweig_coordinator::consensus::node::{Effects, Node, NodeConfig, NodeInput, Now, Start};
use zweig_coordinator::consensus::pending::Pending;
use zweig_coordinator::consensus::{
    CheckpointMark, Committed, CommittedData, Feedback, LiveSession, Position, SessionUpdate,
};
use zweig_coordinator::session::SessionId;
use zweig_coordinator::state_machine::{Outcome, SessionChange, StateMachine};
use zweig_coordinator::storage::raft_log::{LogOptions, MemoryDisk, RaftLog};
use zweig_coordinator::storage::{HistoryBounds, MemoryStore, Store};

use crate::chance::Chance;
use crate::checks::Checks;
use crate::client::Client;

pub const TICK_MS: u64 = 5;
const ELECTION_TICKS: usize = 60;
pub const REPORT_PERIOD_MS: u64 = 250;
const ERA_MS: i64 = 1_700_000_000_000;

/// What survives a crash.
pub struct Member {
    /// The N of `server.N`.
    pub id: u64,
    /// Raised with each loss of the disk.
    pub incarnation: u64,
    pub disk: MemoryDisk,
    /// The state as last flushed.
    pub durable: MemoryStore,
    pub boot: u64,
    /// How wrong its clock is, milliseconds.
    pub skew_ms: i64,
    pub up: Option<Up>,
    pub paused_until: u64,
    pub restart_at: u64,
    /// Longest sync, milliseconds.
    pub sync_ms: u64,
    /// Longest application of a batch, milliseconds.
    pub apply_ms: u64,
}

enum LogWork {
    Persist(Vec<Persist>),
    Cut(u64),
    Reset(Install, Vec<LiveSession>, u64),
}

enum ApplyWork {
    Apply(Vec<Committed>),
    Install(Install, Box<MemoryStore>),
    Checkpoint,
}

/// A running process.
pub struct Up {
    pub node: Node,
    log: RaftLog<MemoryDisk>,
    pub machine: StateMachine<MemoryStore>,
    log_queue: VecDeque<LogWork>,
    log_busy: Option<(u64, Vec<LogWork>)>,
    apply_queue: VecDeque<ApplyWork>,
    apply_ready_at: u64,
    pub checkpoint: Option<Box<MemoryStore>>,
    next_tick: u64,
    pub client: Client,
    /// Readers: the lowest index that would be right.
    pub readers: BTreeMap<u64, u64>,
    pub next_reader: u64,
    /// Something happened since the last effects.
    pub stirred: bool,
}

fn empty_state() -> MemoryStore {
    MemoryStore::new(HistoryBounds {
        max_age_ms: 1_000,
        max_bytes: 64 << 10,
    })
}

fn live(id: SessionId, attach: u64, timeout_ms: u32) -> LiveSession {
    LiveSession {
        session: id,
        attach,
        timeout_ms,
    }
}

fn live_sessions(machine: &StateMachine<MemoryStore>) -> Vec<LiveSession> {
    machine
        .sessions()
        .map(|(id, state)| live(id, state.attach, state.timeout_ms))
        .collect()
}

impl Member {
    pub fn new(id: u64, seed: u64, skew_ms: i64) -> Self {
        Self {
            id,
            incarnation: 0,
            disk: MemoryDisk::new(seed),
            durable: empty_state(),
            boot: 0,
            skew_ms,
            up: None,
            paused_until: 0,
            restart_at: 0,
            sync_ms: 3,
            apply_ms: 3,
        }
    }

    pub fn now(&self, ms: u64) -> Now {
        Now {
            ms,
            wall_ms: ERA_MS + self.skew_ms + ms as i64,
        }
    }

    pub fn start(&mut self, ms: u64, size: u64, chance: &mut Chance) {
        self.boot += 1;
        let machine = StateMachine::open(self.durable.clone()).unwrap();
        let options = LogOptions {
            segment_bytes: 32 << 10,
            spares: 1,
        };
        let (mut log, recovered) = RaftLog::open(self.disk.clone(), options).unwrap();
        let applied = machine.applied();
        let applied = Position {
            index: applied.index,
            term: applied.term,
        };
        let recovered = log.reconcile(recovered, applied).unwrap();
        let patience =
            Patience::Fixed(ELECTION_TICKS + chance.below(ELECTION_TICKS as u64) as usize);
        let config = CoreConfig {
            node: self.raft_id(),
            tick_ms: TICK_MS,
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: 6,
            patience,
        };
        let conf_state = match machine.conf_state() {
            Some(bytes) => ConfState::decode(bytes.as_ref()).unwrap(),
            None if self.incarnation > 0 => ConfState::default(),
            None => ConfState::from(((1..=size).collect::<Vec<u64>>(), vec![])),
        };
        let core = Core::new(config, recovered, conf_state, applied).unwrap();
        let config = NodeConfig {
            node: self.raft_id(),
            servers: (1..=size).map(|server| (server, true)).collect(),
            met: BTreeMap::new(),
            boot: self.boot,
            tick_ms: TICK_MS,
            report_period_ms: REPORT_PERIOD_MS,
            forward_deadline_ms: 3_000,
            read_index_deadline_ms: 3_000,
            entry_bytes: 2 << 10,
            log_reserve_bytes: 24 << 10,
        };
        let node = Node::new(
            config,
            core,
            Start {
                term: applied.term,
                digest: machine.applied().digest.0,
                sessions: &live_sessions(&machine),
            },
            self.now(ms),
        );
        self.up = Some(Up {
            node,
            log,
            machine,
            log_queue: VecDeque::new(),
            log_busy: None,
            apply_queue: VecDeque::new(),
            apply_ready_at: 0,
            checkpoint: None,
            next_tick: ms,
            client: Client::new(self.id, self.boot),
            readers: BTreeMap::new(),
            next_reader: 0,
            stirred: true,
        });
    }

    pub fn raft_id(&self) -> u64 {
        raft_id(self.id, self.incarnation)
    }

    /// Loses its disk while it is down; what comes back is a new incarnation.
    pub fn lose_disk(&mut self, seed: u64) {
        assert!(self.up.is_none());
        self.incarnation += 1;
        self.disk = MemoryDisk::new(seed);
        self.durable = empty_state();
    }

    /// Loses power, perhaps in the middle of a write.
    pub fn crash(&mut self, chance: &mut Chance) {
        let Some(mut up) = self.up.take() else { return };
        if let Some((_, work)) = up.log_busy.take() {
            self.disk.fail_sync_in(1 + chance.below(3) as u32);
            for job in work {
                let LogWork::Persist(list) = job else { break };
                let mut pending = Pending::default();
                list.into_iter().for_each(|persist| pending.add(persist));
                if pending.flush(&mut up.log).is_err() {
                    break;
                }
            }
        }
        drop(up);
        self.disk.crash();
    }

    pub fn is_awake(&self, now: u64) -> bool {
        self.up.is_some() && now >= self.paused_until
    }

    /// Hands an input to the node.
    pub fn handle(&mut self, ms: u64, input: NodeInput) {
        let now = self.now(ms);
        if let Some(up) = &mut self.up {
            up.node.handle(now, input);
            up.stirred = true;
        }
    }

    pub fn tick(&mut self, ms: u64) {
        let now = self.now(ms);
        let Some(up) = &mut self.up else { return };
        if ms >= up.next_tick {
            up.next_tick = ms + TICK_MS;
            up.node.handle(now, NodeInput::Tick);
            if up.node.wants_heard(now) {
                up.node.handle(now, NodeInput::Heard(up.client.heard()));
            }
            up.stirred = true;
        }
    }

    pub fn effects(&mut self, ms: u64) -> Effects {
        let now = self.now(ms);
        let Some(up) = &mut self.up else {
            return Effects::default();
        };
        up.stirred = false;
        up.node.effects(now)
    }

    /// Gives the threads their work.
    pub fn queue(&mut self, effects: &mut Effects, arrived: Option<Box<MemoryStore>>) {
        let Some(up) = &mut self.up else { return };
        if !effects.persist.is_empty() {
            up.log_queue
                .push_back(LogWork::Persist(std::mem::take(&mut effects.persist)));
        }
        if !effects.committed.is_empty() {
            up.apply_queue
                .push_back(ApplyWork::Apply(std::mem::take(&mut effects.committed)));
        }
        if let Some(install) = effects.install.take() {
            up.apply_queue.push_back(ApplyWork::Install(
                install,
                arrived.expect("it has just arrived"),
            ));
        }
        if let Some(index) = effects.cut {
            up.log_queue.push_back(LogWork::Cut(index));
        }
        if effects.make_checkpoint {
            up.apply_queue.push_back(ApplyWork::Checkpoint);
        }
        if effects.drop_checkpoint {
            up.checkpoint = None;
        }
    }

    /// The log thread: begins a sync, or ends one.
    pub fn run_log(&mut self, ms: u64, chance: &mut Chance) {
        let Some(up) = &mut self.up else { return };
        if let Some((_, work)) = up.log_busy.take_if(|(until, _)| ms >= *until) {
            let mut inputs = Vec::new();
            let mut pending = Pending::default();
            for job in work {
                match job {
                    LogWork::Persist(list) => {
                        list.into_iter().for_each(|persist| pending.add(persist))
                    }
                    LogWork::Cut(index) => {
                        inputs.extend(
                            pending
                                .flush(&mut up.log)
                                .unwrap()
                                .map(NodeInput::Persisted),
                        );
                        up.log.cut(index).unwrap();
                    }
                    LogWork::Reset(install, sessions, digest) => {
                        inputs.extend(
                            pending
                                .flush(&mut up.log)
                                .unwrap()
                                .map(NodeInput::Persisted),
                        );
                        up.log.reset(install.mark.at, &install.hard_state).unwrap();
                        inputs.push(NodeInput::Installed {
                            mark: install.mark,
                            sessions,
                            digest,
                        });
                    }
                }
            }
            inputs.extend(
                pending
                    .flush(&mut up.log)
                    .unwrap()
                    .map(NodeInput::Persisted),
            );
            up.log.prepare_spares().unwrap();
            inputs.into_iter().for_each(|input| self.handle(ms, input));
        }
        let Some(up) = &mut self.up else { return };
        if up.log_busy.is_none() && !up.log_queue.is_empty() {
            up.log_busy = Some((
                ms + chance.below(self.sync_ms.max(1)),
                up.log_queue.drain(..).collect(),
            ));
        }
    }

    /// The apply thread: one job.
    pub fn run_apply(&mut self, ms: u64, chance: &mut Chance, checks: &mut Checks) {
        let Some(up) = &mut self.up else { return };
        if ms < up.apply_ready_at {
            return;
        }
        let Some(work) = up.apply_queue.pop_front() else {
            return;
        };
        up.apply_ready_at = ms + chance.below(self.apply_ms.max(1));
        match work {
            ApplyWork::Apply(entries) => {
                let (index, term) = entries.last().map(|last| (last.index, last.term)).unwrap();
                let feedback = up.apply(self.id, self.boot, ms, entries, checks);
                if chance.once_in(20) {
                    self.durable = up.machine.store().clone();
                }
                let flushed = self.durable.meta().map_or(0, |meta| meta.applied.index);
                self.handle(
                    ms,
                    NodeInput::Applied {
                        index,
                        term,
                        feedback,
                        flushed,
                    },
                );
            }
            ApplyWork::Install(install, store) => {
                up.machine = StateMachine::open((*store).clone()).unwrap();
                self.durable = *store;
                let sessions = live_sessions(&up.machine);
                up.client.lose_session();
                let digest = up.machine.applied().digest.0;
                up.log_queue
                    .push_back(LogWork::Reset(install, sessions, digest));
            }
            ApplyWork::Checkpoint => {
                let applied = up.machine.applied();
                let at = Position {
                    index: applied.index,
                    term: applied.term,
                };
                let conf_state = up.machine.conf_state().map(|conf| conf.to_vec());
                up.checkpoint = Some(Box::new(up.machine.store().clone()));
                self.handle(
                    ms,
                    NodeInput::Checkpoint(CheckpointMark {
                        at,
                        conf_state: conf_state.unwrap_or_default(),
                    }),
                );
            }
        }
    }
}

impl Up {
    fn apply(
        &mut self,
        id: u64,
        boot: u64,
        ms: u64,
        entries: Vec<Committed>,
        checks: &mut Checks,
    ) -> Feedback {
        let mut feedback = Feedback::default();
        for committed in entries {
            checks.applied(id, &committed);
            let outcomes = match &committed.data {
                CommittedData::Normal(data) => self
                    .machine
                    .apply(committed.index, committed.term, data)
                    .unwrap(),
                CommittedData::Conf(conf) => {
                    self.machine
                        .apply_conf(committed.index, committed.term, conf)
                        .unwrap();
                    Vec::new()
                }
            };
            feedback.digests.push(self.machine.applied().digest.0);
            checks.digest(id, committed.index, &self.machine.applied().digest);
            for outcome in outcomes {
                feedback.sessions.extend(session_update(&outcome));
                if (outcome.origin.node, outcome.origin.boot) == (id, boot) {
                    feedback.own.push(outcome.origin.request);
                    checks.answered(id, boot, outcome.origin.request, committed.index);
                    self.client.answered(&outcome, ms, committed.index);
                }
                if outcome.session_change == Some(SessionChange::Expired) {
                    self.client.expired(outcome.session);
                    checks.expired.insert(outcome.session.0);
                }
            }
        }
        feedback
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
