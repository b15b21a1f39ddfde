//! One run: a cluster, its clients, the faults of a seed, and the verdict.

mod look;
mod upset;

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Pace, Running, Setting};
use crate::ensemble::{Counts, SimEnsemble};
use crate::faults::{Event, FAULTS_END_MS, Fault};
use crate::history::{Book, History, Part};
use crate::inspect::Inspector;
use crate::log::Lines;
use crate::net::Net;
use crate::node::{Node, Parts};
use crate::panics;
use crate::states::{State, States};
use crate::trace::Trace;
use crate::{consumers, groups, producers, topics};

use upset::Undo;

/// Between two looks of the driver.
const STEP: Duration = Duration::from_millis(25);

/// Faults that last have ended by then.
const ALL_HEALED_MS: u64 = FAULTS_END_MS + 6_000;

/// So long after the faults everything serves again.
const RECOVERY: Duration = Duration::from_secs(40);

/// Once all is whole again, everyone works for so long without a fault.
const AFTERWARDS: Duration = Duration::from_secs(8);

/// Members may pause for twice their session's length, one after the other: the group has longer to commit something.
const GROUP_AFTERWARDS: Duration = Duration::from_secs(24);

/// How much slower clients are while nothing goes wrong.
const QUIET: u64 = 4;

/// Clients are quick from so long before a fault on ...
const BEFORE_FAULT_MS: u64 = 500;

/// ... until so long after it began or ended.
const AFTER_FAULT_MS: u64 = 2_500;

/// What became of a run.
#[derive(Debug)]
pub struct Outcome {
    /// What may not be.
    pub wrong: Vec<String>,
    /// Hash of everything, and of how much.
    pub trace: (u64, u64),
    /// Simulated time.
    pub simulated: Duration,
    /// What happened.
    pub tally: Tally,
}

/// Numbers that say whether a run did anything.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Of the ensemble.
    pub ensemble: Counts,
    /// Chunks that arrived, connections that broke.
    pub net: (u64, u64),
    /// Batches acknowledged, records seen.
    pub clients: (u64, u64),
    /// Commits acknowledged, commits refused, generations.
    pub group: (u64, u64, u64),
    /// Lives of brokers.
    pub lives: u64,
    /// Leader epochs of partitions.
    pub elections: u64,
    /// From the end of the faults until everything served.
    pub recovery_ms: u64,
}

/// Runs a seed with some faults.
pub fn run(seed: u64, faults: &[Event], print: bool) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    panics::watch();
    let mut outcome = runtime.block_on(async {
        let mut world = World::new(seed, print);
        let log = print.then(|| Lines::new(world.trace.clone()));
        let _log = log.map(tracing::subscriber::set_default);
        world.live(faults).await
    });
    drop(runtime);
    let panics = panics::noted().into_iter();
    outcome
        .wrong
        .extend(panics.map(|panic| format!("panic: {panic}")));
    outcome
}

struct World {
    seed: u64,
    trace: Trace,
    net: Net,
    ensemble: SimEnsemble,
    nodes: BTreeMap<i32, Node>,
    history: History,
    inspector: Inspector,
    begun: Instant,
    /// What ends or begins anew, and when.
    later: BTreeMap<u64, Vec<Undo>>,
    restarts: BTreeMap<i32, u64>,
    states: States,
    /// By broker: registrations up to this epoch lost their page cache.
    lost: BTreeMap<i32, i64>,
    churn: Option<JoinHandle<()>>,
    pace: Pace,
    /// Until then clients are quick, as something goes on.
    busy_until: u64,
}

impl World {
    fn new(seed: u64, print: bool) -> World {
        let trace = Trace::new(print);
        let net = Net::new(seed, trace.clone());
        let ensemble = SimEnsemble::new(seed, trace.clone());
        World {
            seed,
            history: History::new(trace.clone()),
            trace,
            net,
            ensemble,
            nodes: BTreeMap::new(),
            inspector: Inspector::default(),
            begun: Instant::now(),
            later: BTreeMap::new(),
            restarts: BTreeMap::new(),
            states: States::default(),
            lost: BTreeMap::new(),
            churn: None,
            pace: Pace::default(),
            busy_until: 0,
        }
    }

    fn ms(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn live(&mut self, faults: &[Event]) -> Outcome {
        let expiring = tokio::spawn(self.ensemble.clone().expire());
        for id in 1..=3 {
            let parts = Parts {
                id,
                settings: settings(),
                seed: self.seed,
            };
            let mut node = Node::new(parts, &self.ensemble, &self.net, &self.trace);
            node.start();
            self.nodes.insert(id, node);
        }
        let setting = self.setting();
        let making = tokio::spawn(topics::make_all(Client::new(&setting, 160, self.seed)));
        while !making.is_finished() && self.ms() < 30_000 {
            self.step().await;
        }
        if !making.is_finished() {
            self.history.wrong("no topics within 30 s".to_owned());
        }
        let running = Running::default();
        let clients = self.begin_clients(&setting, &running);
        let mut coming = faults.iter().peekable();
        while self.ms() < ALL_HEALED_MS {
            while let Some(event) = coming.next_if(|event| event.at <= self.ms()) {
                self.begin(event.fault);
                self.busy_for(AFTER_FAULT_MS);
            }
            if coming
                .peek()
                .is_some_and(|e| e.at < self.ms() + BEFORE_FAULT_MS)
            {
                self.busy_for(BEFORE_FAULT_MS);
            }
            self.step().await;
        }
        self.heal();
        let recovery_ms = self.recover().await;
        self.serve_again().await;
        running.stop();
        self.finish_clients(clients).await;
        self.judge();
        let expected = |event: &Event| matches!(event.fault, Fault::FailSync { .. });
        if !faults.iter().any(expected) {
            let exits = self.nodes.values().flat_map(|node| {
                let id = node.hardware.id;
                node.exits()
                    .into_iter()
                    .map(move |exit| format!("b{id} ended itself: {exit}"))
            });
            exits.for_each(|exit| self.history.wrong(exit));
        }
        expiring.abort();
        let tally = self.tally(recovery_ms);
        for node in self.nodes.values_mut() {
            node.kill();
        }
        Outcome {
            wrong: self.history.book().wrong.clone(),
            trace: self.trace.finish(),
            simulated: self.begun.elapsed(),
            tally,
        }
    }

    fn begin_clients(&self, setting: &Setting, running: &Running) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        let client = |host| Client::new(setting, host, self.seed);
        let parts = [("a", 0), ("a", 1), ("s", 0)];
        for (number, (topic, partition)) in (0..).zip(parts) {
            let part = (topic.to_owned(), partition);
            let producing = producers::idempotent(
                client(100 + number),
                number as u32,
                part.clone(),
                running.clone(),
            );
            tasks.push(tokio::spawn(producing));
            let consuming = consumers::consume(client(120 + number), part.clone(), running.clone());
            tasks.push(tokio::spawn(consuming));
            let careless = producers::careless(
                client(140 + number),
                10 + number as u32,
                part,
                running.clone(),
            );
            tasks.push(tokio::spawn(careless));
        }
        let churned = ("c".to_owned(), 0);
        let careless = producers::careless(client(145), 15, churned, running.clone());
        tasks.push(tokio::spawn(careless));
        for number in 0..3 {
            let member = groups::take_part(client(150 + number), running.clone());
            tasks.push(tokio::spawn(member));
        }
        tasks
    }

    /// Without faults everyone gets on.
    async fn serve_again(&mut self) {
        let parts: [Part; 3] = [("a", 0), ("a", 1), ("s", 0)].map(|(t, p)| (t.to_owned(), p));
        let count = |book: &Book| {
            let of = |part| (!book.is_excused(part)).then(|| book.acknowledged_of(part));
            (
                parts.iter().map(of).collect::<Vec<_>>(),
                book.counts.1,
                book.commits.acknowledged(),
            )
        };
        let before = count(&self.history.book());
        let begun = Instant::now();
        let history = self.history.clone();
        let committed = || history.book().commits.acknowledged() > before.2;
        while begun.elapsed() < AFTERWARDS || (begun.elapsed() < GROUP_AFTERWARDS && !committed()) {
            self.step().await;
        }
        let after = count(&self.history.book());
        for (index, part) in parts.iter().enumerate() {
            if after.0[index].is_some_and(|now| before.0[index] == Some(now)) {
                self.history.wrong(format!(
                    "nothing was acknowledged of {part:?} after the faults"
                ));
            }
        }
        if before.1 == after.1 {
            self.history
                .wrong("nothing was consumed after the faults".to_owned());
        }
        if before.2 == after.2 {
            self.history
                .wrong("nothing was committed after the faults".to_owned());
        }
    }

    fn busy_for(&mut self, ms: u64) {
        self.busy_until = self.busy_until.max(self.ms() + ms);
    }

    /// Clients are quick while something is going on, and slow while nothing is.
    fn set_pace(&self, now: u64) {
        let quiet = now > self.busy_until && self.later.is_empty() && self.restarts.is_empty();
        self.pace.set(if quiet { QUIET } else { 1 });
    }

    /// One step of the driver: what is due, who ended, a look inside.
    async fn step(&mut self) {
        sleep(STEP).await;
        let now = self.ms();
        while let Some(entry) = self.later.first_entry()
            && *entry.key() <= now
        {
            for undo in entry.remove() {
                self.undo(undo);
            }
            self.busy_until = self.busy_until.max(now + AFTER_FAULT_MS);
        }
        for (id, node) in &mut self.nodes {
            if node.reap().is_some() {
                self.restarts.entry(*id).or_insert(now + 1_000);
            }
        }
        let due: Vec<i32> = self
            .restarts
            .iter()
            .filter(|(_, at)| **at <= now)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            self.restarts.remove(&id);
            self.busy_until = self.busy_until.max(now + AFTER_FAULT_MS);
            if let Some(node) = self.nodes.get_mut(&id) {
                node.start();
            }
        }
        self.nodes.values().for_each(Node::tick);
        self.follow_states();
        self.excuse();
        self.look_inside(now);
        self.set_pace(now);
    }

    /// Waits until every partition has a leader and all replicas in sync; tells how long that took.
    async fn recover(&mut self) -> u64 {
        let begun = Instant::now();
        loop {
            let lacking = self.lacking();
            if lacking.is_empty() {
                return u64::try_from(begun.elapsed().as_millis()).unwrap_or(0);
            }
            if begun.elapsed() > RECOVERY {
                self.history.wrong(format!(
                    "not whole {RECOVERY:?} after the faults: {lacking:?}"
                ));
                return u64::MAX;
            }
            self.step().await;
        }
    }

    /// Partitions that are not as they should be.
    fn lacking(&self) -> Vec<String> {
        let whole = |state: &State| state.leader > 0 && state.members().count() == 3;
        let lacking = self.states.all().filter(|(_, state)| !whole(state));
        lacking
            .map(|(part, state)| format!("{part:?} {state:?}"))
            .collect()
    }

    async fn finish_clients(&mut self, clients: Vec<JoinHandle<()>>) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while clients.iter().any(|task| !task.is_finished()) && Instant::now() < deadline {
            self.step().await;
        }
        for (index, task) in clients.into_iter().enumerate() {
            if !task.is_finished() {
                self.history.wrong(format!(
                    "client {index} did not end: its last request was never answered well"
                ));
            }
            task.abort();
        }
    }

    fn tally(&self, recovery_ms: u64) -> Tally {
        let epochs = self.states.all().map(|(_, state)| state.leader_epoch);
        let elections = epochs.map(|epoch| u64::try_from(epoch).unwrap_or(0)).sum();
        let book = self.history.book();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Tally {
            group: (
                count(book.commits.acknowledged()),
                count(book.commits.refused()),
                count(book.commits.generations()),
            ),
            ensemble: self.ensemble.counts(),
            net: self.net.counts(),
            clients: book.counts,
            lives: self.nodes.values().map(|node| u64::from(node.lives)).sum(),
            elections,
            recovery_ms,
        }
    }
}

fn settings() -> Vec<(String, String)> {
    let settings = [
        ("min.insync.replicas", "2"),
        ("replica.lag.time.max.ms", "4000"),
        ("replica.fetch.wait.max.ms", "300"),
        ("replica.fetch.backoff.ms", "200"),
        ("replica.socket.timeout.ms", "4000"),
        ("offsets.topic.num.partitions", "2"),
        ("group.initial.rebalance.delay.ms", "300"),
        ("group.min.session.timeout.ms", "1000"),
        ("controlled.shutdown.max.retries", "1"),
        ("controlled.shutdown.retry.backoff.ms", "2000"),
        ("auto.create.topics.enable", "false"),
        ("leader.imbalance.check.interval.seconds", "15"),
        ("log.segment.bytes", "6000"),
        ("log.index.interval.bytes", "300"),
        ("log.flush.scheduler.interval.ms", "5000"),
        ("log.flush.offset.checkpoint.interval.ms", "5000"),
        ("log.segment.delete.delay.ms", "1000"),
    ];
    settings
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}
