//! One member: the real `Node`, `RaftLog`, overlay and state machine; its disk, threads and clients are simulated.
//!
//! - `raft_side`: the raft thread; `log_side`: the log thread; `apply_side`: the apply and flush threads, and what
//!   clients see of them.

pub mod apply_side;
pub mod log_side;
pub mod raft_side;

use prost011::Message as _;
use raft::eraftpb::ConfState;
use zweig_coordinator::consensus::Position;
use zweig_coordinator::consensus::core::{Core, CoreConfig, Input, Patience};
use zweig_coordinator::consensus::membership::raft_id;
use zweig_coordinator::consensus::node::{Node, NodeConfig, NodeInput, Now, Start};
use zweig_coordinator::mutants::{self, Mutant};
use zweig_coordinator::state_machine::Op;
use zweig_coordinator::storage::raft_log::{LogError, LogOptions, MemoryDisk, RaftLog};
use zweig_coordinator::storage::{HistoryBounds, MemoryDb, MemoryFolders, MemoryStates};

use crate::agenda::{Event, What};
use crate::clock::Clock;
use crate::door::{Birth, Door};
use crate::env::Env;
use crate::fault::{End, Step};
use apply_side::ApplySide;
use log_side::LogSide;
use raft_side::RaftSide;

pub const REPORT_PERIOD_MS: u64 = 250;
const ELECTION_MS: u64 = 300;
const HEARTBEAT_MS: u64 = 50;
/// A round of the raft thread may wait for more to come.
const ROUND_US: u64 = 600;

/// How slow a machine is: longest times, milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    pub sync_ms: u64,
    pub apply_ms: u64,
    pub flush_ms: u64,
}

/// As on a good day.
pub const BRISK: Pace = Pace {
    sync_ms: 2,
    apply_ms: 1,
    flush_ms: 100,
};

/// An end that waits for its step.
#[derive(Clone, Copy, Debug)]
pub struct Armed {
    pub step: Step,
    pub left: u8,
    pub end: End,
    pub down_ms: u64,
}

/// What survives the end of a process, and the process.
pub struct Member {
    /// The N of `server.N`.
    pub id: u64,
    /// Raised with each loss of the disk.
    pub incarnation: u64,
    pub disk: MemoryDisk,
    pub states: MemoryStates,
    pub folders: MemoryFolders,
    pub boot: u64,
    /// Counts the ends of processes.
    pub fall: u32,
    pub clock: Clock,
    pub pace: Pace,
    pub paused_until_us: u64,
    pub armed: Option<Armed>,
    /// The armed end's step has come.
    pub struck: Option<Armed>,
    /// Bits of its log have turned.
    pub rotten: bool,
    /// When a life of it with a bent state ended.
    pub bent_until_us: Option<u64>,
    /// Writes that were done through its former lives.
    done_before: u64,
    pub up: Option<Up>,
}

/// A running process.
pub struct Up {
    pub raft: RaftSide,
    pub log: LogSide,
    pub apply: ApplySide,
    pub door: Door,
}

fn empty_states(folders: &MemoryFolders) -> MemoryStates {
    let bounds = HistoryBounds {
        max_age_ms: 1_000,
        max_bytes: 64 << 10,
    };
    MemoryStates::new(MemoryDb::new(bounds, folders.clone()))
}

impl Member {
    pub fn new(id: u64, seed: u64, clock: Clock) -> Self {
        let folders = MemoryFolders::default();
        Self {
            id,
            incarnation: 0,
            disk: MemoryDisk::new(seed),
            states: empty_states(&folders),
            folders,
            boot: 0,
            fall: 0,
            clock,
            pace: BRISK,
            paused_until_us: 0,
            armed: None,
            struck: None,
            rotten: false,
            bent_until_us: None,
            done_before: 0,
            up: None,
        }
    }

    pub fn place(&self) -> u8 {
        self.id as u8 - 1
    }

    pub fn now(&self, env: &Env) -> Now {
        self.clock.now(env.now_us())
    }

    pub fn raft_id(&self) -> u64 {
        raft_id(self.id, self.incarnation)
    }

    /// Writes that were done through it.
    pub fn done(&self) -> u64 {
        self.done_before + self.up.as_ref().map_or(0, |up| up.apply.done)
    }

    /// Something of this life becomes due.
    pub fn later(&self, env: &mut Env, us: u64, what: What) {
        let event = Event::Member {
            at: self.place(),
            boot: self.boot as u32,
            what,
        };
        env.agenda.put_in(us, event);
    }

    /// Starts the process.
    ///
    /// # Errors
    /// When the log can't be opened.
    pub fn start(&mut self, env: &mut Env) -> Result<(), LogError> {
        self.boot += 1;
        self.clock.boot(env.now_us());
        let apply = ApplySide::open(&self.states, (self.id, self.boot));
        let options = LogOptions {
            segment_bytes: 32 << 10,
            spares: 1,
        };
        let (mut log, recovered) = RaftLog::open(self.disk.clone(), options)?;
        let applied = apply.applied();
        let recovered = log.reconcile(recovered, applied)?;
        let conf_state = match apply.conf_state() {
            Some(bytes) => ConfState::decode(bytes.as_slice()).unwrap(),
            None if self.incarnation > 0 => ConfState::default(),
            None => ConfState::from(((1..=env.size).collect::<Vec<u64>>(), vec![])),
        };
        let mut core = Core::new(self.core_config(env), recovered, conf_state, applied).unwrap();
        core.handle(Input::Started);
        let node = self.node(env, core, &apply, applied);
        let birth = Birth {
            node: self.id,
            boot: self.boot,
            seed: env.chance.next(),
        };
        let door = Door::new(&birth, apply.published(), self.now(env));
        door.audit(self.id);
        self.up = Some(Up {
            raft: RaftSide::new(node),
            log: LogSide::new(log),
            apply,
            door,
        });
        let period_us = self.pace.flush_ms.max(1) * 1_000;
        let delays = [
            (What::Tick, self.tick_us(env)),
            (What::Flush, period_us),
            (What::Space, 1_000_000),
            (What::Clients, 1_000 * env.load_ms),
        ];
        for (what, us) in delays {
            let us = env.chance.below(us);
            self.later(env, us, what);
        }
        Ok(())
    }

    fn core_config(&self, env: &mut Env) -> CoreConfig {
        CoreConfig {
            node: self.raft_id(),
            tick_ms: env.tick_ms,
            election_ticks: (ELECTION_MS / env.tick_ms) as usize,
            heartbeat_ticks: (HEARTBEAT_MS / env.tick_ms) as usize,
            patience: Patience::Seeded(env.chance.next()),
        }
    }

    fn node(&self, env: &Env, core: Core, apply: &ApplySide, applied: Position) -> Node {
        let config = NodeConfig {
            node: self.raft_id(),
            servers: (1..=env.size).map(|server| (server, true)).collect(),
            met: Default::default(),
            boot: self.boot,
            tick_ms: env.tick_ms,
            report_period_ms: REPORT_PERIOD_MS,
            forward_deadline_ms: 3_000,
            read_index_deadline_ms: 3_000,
            entry_bytes: 2 << 10,
            log_reserve_bytes: 24 << 10,
        };
        let start = Start {
            term: applied.term,
            digest: apply.digest(),
            sessions: &apply.sessions(),
        };
        Node::new(config, core, start, self.now(env))
    }

    fn tick_us(&self, env: &Env) -> u64 {
        self.clock.true_us(1_000 * env.tick_ms)
    }

    /// The machine's disks are gone while it is down; what comes back is a new incarnation.
    pub fn lose_disk(&mut self, seed: u64) {
        assert!(self.up.is_none());
        if !mutants::is(Mutant::RaftIdUsedTwice) {
            self.incarnation += 1;
        }
        self.disk = MemoryDisk::new(seed);
        self.states = empty_states(&self.folders);
        self.rotten = false;
    }

    /// Ends the process, perhaps in the middle of a write.
    pub fn end(&mut self, env: &mut Env, end: End) {
        let Some(up) = self.up.take() else { return };
        self.fall += 1;
        self.armed = None;
        self.struck = None;
        self.paused_until_us = 0;
        self.done_before += up.apply.done;
        up.log.interrupt(env, &self.disk);
        self.cease(env, end);
    }

    /// What a process that is not there any more leaves on its disks.
    pub fn cease(&mut self, env: &mut Env, end: End) {
        match end {
            End::Killed => self.disk.kill(),
            End::PowerLost => self.disk.crash(),
        }
        // The database's own memory goes with the process, whichever way it ends.
        let layers = self.states.current().layers_behind();
        let survivors = match layers {
            0 => 0,
            layers => env.chance.below(layers as u64 + 1) as usize,
        };
        env.run.layers_lost += (layers - survivors) as u64;
        self.states.crash(survivors);
    }

    /// Whether the process ends here, since a fault asked for it: then nothing behind this step happens.
    pub fn ends_at(&mut self, step: Step) -> bool {
        if self.struck.is_some() {
            return true;
        }
        let Some(armed) = self.armed.as_mut().filter(|armed| armed.step == step) else {
            return false;
        };
        armed.left = armed.left.saturating_sub(1);
        if armed.left == 0 {
            self.struck = self.armed.take();
        }
        self.struck.is_some()
    }

    /// Hands an input to the node.
    pub fn handle(&mut self, env: &mut Env, input: NodeInput) {
        let now = self.now(env);
        let Some(up) = &mut self.up else { return };
        up.raft.node.handle(now, input);
        if std::mem::replace(&mut up.raft.stirred, true) {
            return;
        }
        let us = match env.chance.once_in(8) {
            true => env.chance.below(ROUND_US),
            false => 0,
        };
        match us {
            0 => up.raft.due = true,
            us => self.later(env, us, What::Round),
        }
    }

    pub fn tick(&mut self, env: &mut Env) {
        let us = self.tick_us(env);
        self.later(env, us, What::Tick);
        self.handle(env, NodeInput::Tick);
    }

    /// Somebody wants to read what is newest, and to have something done.
    pub fn clients(&mut self, env: &mut Env) {
        let us = 1 + env.chance.below(2_000 * env.load_ms);
        self.later(env, us, What::Clients);
        let lowest = env.checks.agreement.answered_index;
        if let Some(up) = &mut self.up {
            up.door.read_newest(lowest);
            if env.writes {
                // As upkeep does, of no session; a refusal is none of its business.
                let _ = up.door.front.propose(vec![Op::Sync]);
            }
        }
    }
}
