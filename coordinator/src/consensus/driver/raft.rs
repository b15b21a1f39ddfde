//! The raft thread: feeds the node, and carries out what it wants done.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::DropGuard;

use super::beginning::Beginning;
use super::inbox::{Inbox, Woken};
use super::{ApplyJob, Event, Events, LogJob};
use crate::consensus::applier::{Fatal, NotDone, Unanswered};
use crate::consensus::checkpoints::Checkpoints;
use crate::consensus::config::ConsensusConfig;
use crate::consensus::handle::{ReadIndexError, Shared};
use crate::consensus::membership::server_of;
use crate::consensus::node::{Effects, Node, NodeInput, Now};
use crate::consensus::status::Status;
use crate::consensus::transport::{Identity, Transport};
use crate::spans::Spans;
use crate::storage::raft_log::Space;

/// Events taken before what they ask for is carried out.
const EVENTS_PER_ROUND: usize = 4_096;
/// A status without news is published this often.
const STATUS_PERIOD: Duration = Duration::from_millis(50);
/// How long a stopping leader tries to hand over.
const HAND_OVER: Duration = Duration::from_millis(500);

/// Ways to the other nodes.
pub struct Links {
    pub transport: Transport,
    pub identity: Identity,
    pub bulk_addresses: BTreeMap<u64, String>,
    pub aside: PathBuf,
    pub events: Events,
    /// Ends the bulk port's task.
    pub _stop_bulk: DropGuard,
}

/// State of the raft thread.
pub struct RaftThread {
    /// Of no account while there is a beginning.
    pub(super) node: Node,
    pub(super) beginning: Option<Beginning>,
    pub(super) shared: Arc<Shared>,
    log: Sender<LogJob>,
    apply: Sender<ApplyJob>,
    pub(super) links: Links,
    pub(super) unanswered: Arc<dyn Unanswered>,
    pub(super) spans: Arc<Spans>,
    tick_length: Duration,
    readers: HashMap<u64, oneshot::Sender<Result<u64, ReadIndexError>>>,
    next_reader: u64,
    pub(super) checkpoints: Checkpoints,
    stopping: Option<Stopping>,
    fatal: Option<Fatal>,
}

struct Stopping {
    deadline: Instant,
    stopped: Option<oneshot::Sender<()>>,
}

impl RaftThread {
    pub fn new(
        (node, beginning): (Node, Option<Beginning>),
        config: &ConsensusConfig,
        shared: Arc<Shared>,
        (log, apply): (Sender<LogJob>, Sender<ApplyJob>),
        links: Links,
        unanswered: Arc<dyn Unanswered>,
    ) -> Self {
        Self {
            node,
            beginning,
            shared,
            log,
            apply,
            links,
            unanswered,
            spans: Arc::clone(&config.spans),
            tick_length: Duration::from_millis(config.tick_ms),
            readers: HashMap::new(),
            next_reader: 0,
            checkpoints: Checkpoints::default(),
            stopping: None,
            fatal: None,
        }
    }

    /// Runs until told to stop, or until another thread fails.
    pub fn run(
        mut self,
        mut inbox: Inbox,
        publish: &watch::Sender<Arc<Status>>,
    ) -> Result<(), Fatal> {
        let mut next_tick = crate::clock::now() + self.tick_length;
        let mut next_status = next_tick;
        let mut carried = self.now();
        loop {
            let wait = match self.links.transport.is_behind() {
                true => Duration::ZERO,
                false => self.until_gathered(next_tick, carried),
            };
            let woken = inbox
                .wait(wait)
                .map_err(|error| Fatal::new(format!("the sockets can't be asked: {error}")))?;
            let mut event = match woken {
                Woken::Event(event) => Some(event),
                Woken::Other => None,
                Woken::Disconnected => return Ok(()),
            };
            if event.is_some() {
                // Whoever is about to hand over more does so first: one round carries more, and costs the same.
                std::thread::yield_now();
            }
            let now = self.now();
            self.receive(now, &inbox);
            let mut taken = 0;
            while let Some(some) = event.take() {
                let goes_on = match self.beginning {
                    Some(_) => self.event_before(now, some),
                    None => self.event(now, some),
                };
                if !goes_on {
                    return Ok(());
                }
                taken += 1;
                event = if taken < EVENTS_PER_ROUND {
                    inbox.next()
                } else {
                    None
                };
            }
            let instant = crate::clock::now();
            if instant >= next_tick {
                self.tick(now)?;
                // Missed ticks are not made up for.
                next_tick = (next_tick + self.tick_length).max(instant);
            }
            self.carry_out(now);
            carried = now;
            if let Some(fatal) = self.fatal.take() {
                return Err(fatal);
            }
            self.publish(instant, &mut next_status, publish);
            if self.is_over(instant) {
                return Ok(());
            }
        }
    }

    /// How long there is nothing to do by itself: until the next tick, or until a batch has gathered that had not when
    /// all was `carried` out.
    fn until_gathered(&self, next_tick: Instant, carried: Now) -> Duration {
        let tick = next_tick.saturating_duration_since(crate::clock::now());
        match self.node.gathers_until_ms() {
            Some(until_ms) if until_ms > carried.ms => tick.min(Duration::from_millis(
                until_ms.saturating_sub(self.now().ms),
            )),
            // What has gathered waits for something else, such as room in the log.
            _ => tick,
        }
    }

    fn now(&self) -> Now {
        let since = crate::clock::now().saturating_duration_since(self.shared.started);
        let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        Now {
            ms,
            wall_ms: crate::clock::wall_clock_ms(),
        }
    }

    fn tick(&mut self, now: Now) -> Result<(), Fatal> {
        if self.beginning.is_some() {
            return self.begin(now);
        }
        self.node.handle(now, NodeInput::Tick);
        Ok(())
    }

    /// Handles one event; false when the thread has to end.
    pub(super) fn event(&mut self, now: Now, event: Event) -> bool {
        match event {
            Event::Submit(commands) => {
                self.shared
                    .queued
                    .fetch_sub(commands.len(), Ordering::Relaxed);
                if self.stopping.is_some() {
                    let requests: Vec<u64> = commands
                        .iter()
                        .map(|command| command.origin.request)
                        .collect();
                    self.unanswered.not_done(&requests, NotDone::Stopping);
                } else {
                    if self.leads() {
                        self.spans.taken_own(self.node.core().term(), &commands);
                    }
                    self.node.handle(now, NodeInput::Submit(commands));
                }
            }
            Event::Read(answer) => {
                self.next_reader += 1;
                self.readers.insert(self.next_reader, answer);
                self.node.handle(now, NodeInput::Read(self.next_reader));
            }
            Event::Left(left) => self.node.handle(now, NodeInput::Left(left)),
            Event::ChangeMembers(change, answer) => {
                // The caller may have given up waiting.
                let _ = answer.send(self.node.core_mut().propose_conf_change(&change));
            }
            Event::Socket(arrival) => self.links.transport.arrived(arrival),
            Event::Arrived(arrived) => self.arrived(now, arrived),
            Event::Persisted(number) => self.node.handle(now, NodeInput::Persisted(number)),
            Event::Installed {
                mark,
                sessions,
                digest,
            } => {
                let installed = NodeInput::Installed {
                    mark,
                    sessions,
                    digest,
                };
                self.node.handle(now, installed);
            }
            Event::Space(space) => {
                say_space(space);
                self.node.handle(now, NodeInput::SpaceLow(space.low));
            }
            Event::Node(input) => self.node_input(now, *input),
            Event::Failed => return false,
            Event::Stop { gently, stopped } => return self.stop(gently, stopped),
        }
        true
    }

    pub(super) fn leads(&self) -> bool {
        self.node.core().is_leader()
    }

    fn node_input(&mut self, now: Now, input: NodeInput) {
        if let NodeInput::Checkpoint(mark) = &input {
            let former = self.checkpoints.made(mark.at);
            self.remove_checkpoint(former);
        }
        self.node.handle(now, input);
    }

    pub(super) fn stop(&mut self, gently: bool, stopped: Option<oneshot::Sender<()>>) -> bool {
        if !gently {
            return false;
        }
        self.node.hand_over();
        self.stopping = Some(Stopping {
            deadline: crate::clock::now() + HAND_OVER,
            stopped,
        });
        true
    }

    /// Whether a gentle stop has come to its end.
    fn is_over(&mut self, now: Instant) -> bool {
        let alone = !self.leads() || !self.node.has_successor();
        match &mut self.stopping {
            Some(stopping) if alone || now >= stopping.deadline => {
                if let Some(stopped) = stopping.stopped.take() {
                    // Whoever asked may be gone.
                    let _ = stopped.send(());
                }
                true
            }
            _ => false,
        }
    }

    pub(super) fn carry_out(&mut self, now: Now) {
        if self.node.wants_heard(now) {
            let heard = std::mem::take(&mut *self.shared.heard.lock());
            self.node.handle(now, NodeInput::Heard(heard));
        }
        let effects = self.node.effects(now);
        self.carry(now, effects);
        if let Some(reported_ms) = self.node.reported_ms() {
            self.shared
                .reported_ms
                .store(reported_ms, Ordering::Release);
        }
        self.shared
            .in_flight
            .store(self.node.in_flight(), Ordering::Relaxed);
        self.shared
            .refuses
            .store(self.node.refuses(now), Ordering::Relaxed);
    }

    pub(super) fn carry(&mut self, now: Now, effects: Effects) {
        assert!(
            effects.install.is_none(),
            "a checkpoint is installed only when one has arrived"
        );
        if effects.fatal.is_some() {
            self.fatal = effects.fatal;
            return;
        }
        for (to, message) in effects.send {
            if !self.links.transport.send(to, message) {
                self.node.handle(now, NodeInput::Unreachable(server_of(to)));
            }
        }
        self.links.transport.flush();
        if !effects.persist.is_empty() {
            // A log thread that has ended has told so, or is about to.
            let _ = self.log.send(LogJob::Persist(effects.persist));
        }
        if !effects.committed.is_empty() {
            self.to_apply(ApplyJob::Apply(effects.committed));
        }
        if let Some(index) = effects.cut {
            let _ = self.log.send(LogJob::Cut(index));
        }
        for (reader, index) in effects.reads {
            self.answer(reader, Ok(index));
        }
        for reader in effects.reads_failed {
            self.answer(reader, Err(ReadIndexError::NoQuorum));
        }
        for (requests, why) in effects.not_done {
            self.unanswered.not_done(&requests, why);
        }
        if !effects.unknown.is_empty() {
            self.unanswered.unknown(&effects.unknown);
        }
        if effects.drop_checkpoint {
            let dropped = self.checkpoints.dropped();
            self.remove_checkpoint(dropped);
        }
        if effects.make_checkpoint {
            let number = self.checkpoints.begin();
            self.to_apply(ApplyJob::Checkpoint(self.checkpoint_folder(number)));
        }
        for message in effects.snapshots {
            self.send_checkpoint(message);
        }
    }

    pub(super) fn to_apply(&self, job: ApplyJob) {
        // An apply thread that has ended has told so, or is about to.
        let _ = self.apply.send(job);
    }

    fn answer(&mut self, reader: u64, index: Result<u64, ReadIndexError>) {
        if let Some(answer) = self.readers.remove(&reader) {
            // The reader may have given up.
            let _ = answer.send(index);
        }
    }

    fn publish(&self, now: Instant, next: &mut Instant, publish: &watch::Sender<Arc<Status>>) {
        let core = self.node.core();
        let news = {
            let last = publish.borrow();
            let leader = core.leader().map(server_of);
            (last.term, last.leader, last.role) != (core.term(), leader, core.role())
        };
        if news || now >= *next {
            *next = now + STATUS_PERIOD;
            let status = self.node.status();
            status.say_leading(&publish.borrow());
            publish.send_if_modified(|last| {
                let changed = **last != status;
                if changed {
                    *last = Arc::new(status);
                }
                changed
            });
        }
    }
}

fn say_space(space: Space) {
    let free_bytes = space.free_bytes;
    if space.low {
        tracing::warn!(free_bytes, "the disk is nearly full: others are to lead");
    } else {
        tracing::info!(free_bytes, "the disk has space again");
    }
}
