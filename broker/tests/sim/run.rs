//! One run: a cluster, its clients, the faults of a seed, and the verdict.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use zweig_broker::replica::hosted::Partition;
use zweig_client::ensemble::{CreateMode, WriteOp};

use crate::client::{Client, Running, Setting};
use crate::ensemble::{Counts, SimEnsemble};
use crate::faults::{Event, FAULTS_END_MS, Fault};
use crate::history::{Book, History, Part};
use crate::inspect::{Inspector, Look, batches, values};
use crate::log::Lines;
use crate::net::Net;
use crate::node::{Node, Parts, host_number};
use crate::panics;
use crate::trace::Trace;
use crate::{consumers, groups, producers, topics};

/// Between two looks of the driver.
const STEP: Duration = Duration::from_millis(25);

/// Faults that last have ended by then.
const ALL_HEALED_MS: u64 = FAULTS_END_MS + 6_000;

/// So long after the faults everything serves again.
const RECOVERY: Duration = Duration::from_secs(40);

/// Once all is whole again, everyone works for so long without a fault.
const AFTERWARDS: Duration = Duration::from_secs(8);

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
    /// Broker and epoch that a partition's ISR may name though its page cache is lost.
    lost: BTreeSet<(Part, i32, i64)>,
    churn: Option<JoinHandle<()>>,
}

#[derive(Clone, Copy, Debug)]
enum Undo {
    Resume(i32),
    Ensemble(i32),
    Quorum,
    Link(i32, i32),
    Everyone(i32),
    Disk(i32),
    Room(i32),
    Lag(i32),
    Spoil,
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
            lost: BTreeSet::new(),
            churn: None,
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
        while begun.elapsed() < AFTERWARDS {
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

    /// A broker loses what it had not synced: whoever is in sync under that life may lack something.
    fn lose(&mut self, broker: i32) {
        for (part, state) in self.states() {
            let named = state.members().find(|(id, _)| *id == broker);
            // Synced before each acknowledgement: nothing is lost there.
            if let Some((id, epoch)) = named.filter(|_| part.0 != "s") {
                self.lost.insert((part, id, epoch));
            }
        }
    }

    /// Excuses what nobody in sync can vouch for.
    fn excuse(&mut self) {
        if self.lost.is_empty() {
            return;
        }
        for (part, state) in self.states() {
            let mut members = state.members().peekable();
            let lost = |(id, epoch)| self.lost.contains(&(part.clone(), id, epoch));
            if members.peek().is_some()
                && members.all(lost)
                && !self.history.book().is_excused(&part)
            {
                self.trace
                    .line(|| format!("{part:?}: all in sync lost their page cache"));
                self.history.book().excuse(&part);
                self.inspector.forget(&part);
            }
        }
    }

    /// The states of all partitions in the tree.
    fn states(&self) -> Vec<(Part, State)> {
        self.ensemble.look(|nodes| {
            let states = nodes.iter().filter_map(|(path, (data, _))| {
                let rest = path.strip_prefix("/brokers/topics/")?;
                let (topic, rest) = rest.split_once("/partitions/")?;
                let partition = rest.strip_suffix("/state")?.parse().ok()?;
                let state = serde_json::from_slice(data.as_deref()?).ok()?;
                Some(((topic.to_owned(), partition), State(state)))
            });
            states.collect()
        })
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
            if let Some(node) = self.nodes.get_mut(&id) {
                node.start();
            }
        }
        self.nodes.values().for_each(Node::tick);
        self.excuse();
        self.look_inside(now);
    }

    fn begin(&mut self, fault: Fault) {
        self.trace.line(|| format!("FAULT {fault:?}"));
        let now = self.ms();
        let hosts = |id| host_number(id);
        match fault {
            Fault::Kill { broker, down } => {
                if let Some(node) = self.nodes.get_mut(&broker) {
                    node.kill();
                }
                self.restarts.insert(broker, now + down);
            }
            Fault::PowerLoss { broker, down, all } => {
                self.lose(broker);
                if let Some(node) = self.nodes.get_mut(&broker) {
                    node.cut_power(all);
                }
                self.restarts.insert(broker, now + down);
            }
            Fault::Blackout { down, all } => {
                for broker in 1..=3 {
                    self.begin(Fault::PowerLoss { broker, down, all });
                }
            }
            Fault::FullDisk { broker, lasts } => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.fill_disk(true);
                }
                self.after(lasts, Undo::Room(broker));
            }
            Fault::FailSync { broker } => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.fail_sync();
                }
            }
            Fault::Stop { broker, down } => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.begin_stop();
                }
                self.restarts.insert(broker, now + 4_000 + down);
            }
            Fault::Pause { broker, lasts } => {
                if let Some(node) = self.nodes.get_mut(&broker) {
                    node.pause();
                }
                self.after(lasts, Undo::Resume(broker));
            }
            Fault::CutEnsemble { broker, lasts } => {
                self.ensemble.set_cut(broker, true);
                self.after(lasts, Undo::Ensemble(broker));
            }
            Fault::EnsembleOut { lasts } => {
                self.ensemble.set_out(true);
                self.after(lasts, Undo::Quorum);
            }
            Fault::CutLink { from, to, lasts } => {
                self.net.cut(hosts(from), hosts(to));
                self.after(lasts, Undo::Link(from, to));
            }
            Fault::Isolate { broker, lasts } => {
                self.cut_off(broker);
                self.after(lasts, Undo::Everyone(broker));
            }
            Fault::CutAll { broker, lasts } => {
                self.cut_off(broker);
                self.ensemble.set_cut(broker, true);
                self.after(lasts, Undo::Everyone(broker));
                self.after(lasts, Undo::Ensemble(broker));
            }
            Fault::SlowLink {
                from,
                to,
                by,
                lasts,
            } => {
                self.net.slow(hosts(from), hosts(to), by);
                self.after(lasts, Undo::Link(from, to));
            }
            Fault::Reset { broker } => {
                let host = hosts(broker);
                self.net.reset(|from, to| from == host || to == host);
            }
            Fault::Expire { broker } => self.ensemble.expire_now(broker),
            Fault::Jump { broker, by } => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.jump_clock(by);
                }
            }
            Fault::SlowDisk { broker, by, lasts } => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.slow_disk(by);
                }
                self.after(lasts, Undo::Disk(broker));
            }
            Fault::Lag { broker, by, lasts } => {
                self.ensemble.set_lag(broker, by);
                self.after(lasts, Undo::Lag(broker));
            }
            Fault::Spoil { each, lasts } => {
                self.ensemble.set_spoiled([each; 3]);
                self.after(lasts, Undo::Spoil);
            }
            Fault::Churn => {
                let host = 170 + usize::try_from(now % 80).unwrap_or(0);
                let client = Client::new(&self.setting(), host, self.seed);
                let churning = topics::churn(client, self.ensemble.clone());
                if self.churn.as_ref().is_none_or(JoinHandle::is_finished) {
                    self.churn = Some(tokio::spawn(churning));
                }
            }
            Fault::Prefer => self.prefer(),
        }
    }

    fn after(&mut self, lasts: u64, undo: Undo) {
        let at = self.ms() + lasts;
        self.later.entry(at).or_default().push(undo);
    }

    /// Asks for the preferred leaders, as Kafka's tool does.
    fn prefer(&self) {
        let parts = r#"[{"topic":"a","partition":0},{"topic":"a","partition":1},{"topic":"s","partition":0}]"#;
        let content = format!(r#"{{"version":1,"partitions":{parts}}}"#);
        let path = "/admin/preferred_replica_election";
        let op = WriteOp::create(path, content, CreateMode::Persistent);
        let written = self.ensemble.write(&[op]);
        self.trace
            .line(|| format!("preferred leaders: {written:?}"));
    }

    fn setting(&self) -> Setting {
        Setting {
            net: self.net.clone(),
            history: self.history.clone(),
            brokers: vec![1, 2, 3],
        }
    }

    fn cut_off(&self, broker: i32) {
        let host = host_number(broker);
        for other in (1..=3).chain(100..170).filter(|other| *other != host) {
            self.net.cut(host, other);
            self.net.cut(other, host);
        }
    }

    fn undo(&mut self, undo: Undo) {
        self.trace.line(|| format!("OVER {undo:?}"));
        match undo {
            Undo::Resume(broker) => {
                if let Some(node) = self.nodes.get_mut(&broker) {
                    node.resume();
                }
            }
            Undo::Ensemble(broker) => self.ensemble.set_cut(broker, false),
            Undo::Quorum => self.ensemble.set_out(false),
            Undo::Link(from, to) => self.net.heal(host_number(from), host_number(to)),
            Undo::Everyone(broker) => {
                let host = host_number(broker);
                for other in (1..=3).chain(100..170).filter(|other| *other != host) {
                    self.net.heal(host, other);
                    self.net.heal(other, host);
                }
            }
            Undo::Disk(broker) => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.slow_disk(0);
                }
            }
            Undo::Room(broker) => {
                if let Some(node) = self.nodes.get(&broker) {
                    node.fill_disk(false);
                }
            }
            Undo::Lag(broker) => self.ensemble.set_lag(broker, 0),
            Undo::Spoil => self.ensemble.set_spoiled([0; 3]),
        }
    }

    /// Ends every fault.
    fn heal(&mut self) {
        self.trace.line(|| "every fault ends".to_owned());
        for undo in std::mem::take(&mut self.later).into_values().flatten() {
            self.undo(undo);
        }
        self.net.heal_all();
        let now = self.ms();
        for (id, node) in &self.nodes {
            if !node.runs() {
                self.restarts.insert(*id, now);
            }
        }
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
        let whole = |state: &State| {
            state.0["leader"].as_i64().is_some_and(|id| id > 0) && state.members().count() == 3
        };
        let states = self.states();
        let lacking = states.iter().filter(|(_, state)| !whole(state));
        lacking
            .map(|(part, state)| format!("{part:?} {}", state.0))
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

    fn look_inside(&mut self, now: u64) {
        let deep = now % 2_000 < 25;
        for (broker, partition) in self.partitions() {
            let part: Part = (partition.name().topic.clone(), partition.name().partition);
            let log = partition.log();
            let high_watermark = partition.high_watermark();
            let look = Look {
                broker,
                topic_id: partition.topic_id(),
                leads: partition.leading_epoch(),
                log_start: log.log_start_offset(),
                last_stable: log
                    .first_unstable_offset()
                    .map_or(high_watermark, |first| first.min(high_watermark)),
                high_watermark,
                log_end: log.log_end_offset(),
            };
            let mut wrong = self.inspector.look(&part, &look);
            let id = look.topic_id;
            let fresh = look
                .leads
                .is_some_and(|epoch| self.inspector.is_new_leader(&part, id, epoch));
            let compares = fresh || deep && self.in_sync(&part, broker.0);
            if compares {
                match batches(log, look.log_start, look.log_end) {
                    Ok(stored) => {
                        let leads = (id, look.leads.filter(|_| fresh));
                        wrong.extend(self.inspector.compare(&part, leads, broker.0, &stored));
                    }
                    Err(error) => wrong.push(format!("{part:?} on b{}: {error}", broker.0)),
                }
            }
            let known = self.inspector.committed_end(&part, id);
            if look.leads.is_some() && high_watermark > known {
                match batches(log, known, high_watermark) {
                    Ok(more) => self.inspector.commit(&part, id, &more, high_watermark),
                    Err(error) => wrong.push(format!("{part:?} on b{}: {error}", broker.0)),
                }
            }
            wrong
                .into_iter()
                .for_each(|wrong| self.history.wrong(wrong));
        }
    }

    /// Whether the tree names a broker as in sync.
    fn in_sync(&self, part: &Part, broker: i32) -> bool {
        let states = self.states();
        let state = states.iter().find(|(known, _)| known == part);
        state.is_some_and(|(_, state)| state.members().any(|(id, _)| id == broker))
    }

    /// At the end: logs against each other, and against what clients know.
    fn judge(&mut self) {
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
                        broker.0,
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
        wrong.sort();
        wrong.dedup();
        wrong
            .into_iter()
            .for_each(|wrong| self.history.wrong(wrong));
    }

    fn tally(&self, recovery_ms: u64) -> Tally {
        let states = self.states();
        let epochs = states
            .iter()
            .map(|(_, state)| state.0["leader_epoch"].as_u64());
        let elections = epochs.map(Option::unwrap_or_default).sum();
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

/// The state of a partition, as it stands in the tree.
struct State(serde_json::Value);

impl State {
    /// Who is in sync, under which epoch.
    fn members(&self) -> impl Iterator<Item = (i32, i64)> + '_ {
        let ids = self.0["isr"].as_array().into_iter().flatten();
        let epochs = self.0["isr_broker_epochs"].as_array().into_iter().flatten();
        let pairs = ids.zip(epochs);
        pairs.filter_map(|(id, epoch)| {
            let id = i32::try_from(id.as_i64()?).ok()?;
            Some((id, epoch.as_i64()?))
        })
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
