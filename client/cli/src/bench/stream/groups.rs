//! Many groups: members join, commit offsets and ask for them again, send heartbeats, and leave.
//!
//! Each member has a client of its own, as consumers have: brokers answer one request of a connection after the other, and hold a
//! join until all have come. Checked are the offsets (a member is told what it committed last) and, when the time is over, that
//! each group is stable, with all its members, and each partition given to exactly one of them. The time begins when all groups are
//! complete: until then members send heartbeats in quick succession, by which they hear of those who came after them.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use futures::future::try_join_all;
use zweig_client::kafka::{Admin, Client, ErrorCode};

use super::member::Member;
use super::plan::Plan;
use crate::bench::recorder::Recorder;
use crate::bench::threads;
use crate::bench::ticks::Ticks;
use crate::clock;
use crate::kafka::{Brokers, failed};

/// As Kafka's consumer has it.
const HEARTBEAT: Duration = Duration::from_secs(3);
/// After so many commits a member asks what is committed.
const ASKED: u64 = 10;
/// Between two looks at whether there is something to do.
const PAUSE: Duration = Duration::from_millis(50);

/// How many groups, and what each is like.
#[derive(Debug, Clone)]
pub struct Groups {
    /// Each begins with it.
    pub prefix: String,
    /// How many groups.
    pub groups: usize,
    /// Members of each.
    pub members: usize,
    /// Commits per second of each member; as many as are answered if not given.
    pub rate: Option<f64>,
    /// Leave the groups there.
    pub keep: bool,
    /// From when all groups are complete until measuring begins.
    pub warm_up: Duration,
    /// How long to measure.
    pub length: Duration,
}

/// When all groups are complete, and what is measured from then on.
#[derive(Debug)]
struct Start {
    /// Groups that are not complete yet.
    missing: AtomicUsize,
    /// A group has ended in failure: nobody needs to wait any more.
    failed: AtomicBool,
    measured: OnceLock<(Instant, Instant)>,
}

/// Has all groups run for a time; what their requests took.
///
/// # Errors
/// If a broker answers wrongly, or with an error that does not pass.
pub async fn run(
    wanted: Groups,
    threads: usize,
    plan: &Arc<Plan>,
    brokers: &Brokers,
) -> anyhow::Result<Recorder> {
    let numbers = (0..wanted.groups).collect();
    let (brokers, shared) = (brokers.clone(), Arc::clone(plan));
    let start = Arc::new(Start {
        missing: AtomicUsize::new(wanted.groups),
        failed: AtomicBool::new(false),
        measured: OnceLock::new(),
    });
    let work = move |share: Vec<usize>| async move {
        let (wanted, start, plan, brokers) = (&wanted, &*start, &shared, &brokers);
        let groups = share.into_iter().map(|number| async move {
            let done = group(wanted, number, start, plan, brokers).await;
            if done.is_err() {
                start.failed.store(true, Ordering::Release);
            }
            done
        });
        let mut all = Recorder::default();
        for recorder in try_join_all(groups).await? {
            all.merge(&recorder);
        }
        Ok(all)
    };
    threads::run(threads, numbers, &plan.progress, work).await
}

async fn group(
    wanted: &Groups,
    number: usize,
    start: &Start,
    plan: &Arc<Plan>,
    brokers: &Brokers,
) -> anyhow::Result<Recorder> {
    let name = format!("{}-{number}", wanted.prefix);
    let generations: Vec<Cell<i32>> = vec![Cell::new(-1); wanted.members];
    let mut members: Vec<Busy<'_>> = (0..wanted.members)
        .map(|nth| Busy {
            member: Member::new(
                brokers.client(plan.patience),
                &name,
                plan.field.topics.clone(),
            ),
            nth,
            generations: &generations,
            start,
            wanted,
            number: number * wanted.members + nth,
            plan: Arc::clone(plan),
            recorder: Recorder::default(),
            committed: 0,
        })
        .collect();
    let worked = try_join_all(members.iter_mut().map(Busy::run)).await;
    let client = brokers.client(plan.patience);
    let looked = match worked {
        Ok(_) => look(&name, plan, wanted.members, &client).await,
        Err(error) => Err(error),
    };
    let mut recorder = Recorder::default();
    for busy in &mut members {
        let left = busy.leave().await;
        recorder.merge(&busy.recorder);
        if looked.is_ok() {
            left?;
        }
    }
    if !wanted.keep {
        let deleted = Admin::new(client).delete_group(&name).await;
        if looked.is_ok() {
            deleted.map_err(|error| failed(&error))?;
        }
    }
    looked.map(|()| recorder)
}

/// A member at work.
struct Busy<'a> {
    member: Member,
    /// In its group.
    nth: usize,
    /// In which generation each member of its group is.
    generations: &'a [Cell<i32>],
    start: &'a Start,
    wanted: &'a Groups,
    /// Among all members.
    number: usize,
    plan: Arc<Plan>,
    recorder: Recorder,
    /// The offset that it commits next.
    committed: u64,
}

impl Busy<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        self.join().await?;
        let (_, until) = self.all_are_there().await?;
        self.work(until).await
    }

    /// Waits until its group and all others are complete.
    async fn all_are_there(&mut self) -> anyhow::Result<(Instant, Instant)> {
        let mut told = false;
        loop {
            if let Some(measured) = self.start.measured.get() {
                return Ok(*measured);
            }
            ensure!(
                !self.start.failed.load(Ordering::Acquire),
                "another group has failed"
            );
            let mut all = self.generations.iter().map(Cell::get);
            let first = self.generations[0].get();
            // The first member speaks for its group, once.
            if self.nth == 0 && !told && all.all(|generation| generation == first) {
                told = true;
                if self.start.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                    let from = clock::now() + self.wanted.warm_up;
                    let _ = self.start.measured.set((from, from + self.wanted.length));
                }
                continue;
            }
            tokio::time::sleep(PAUSE).await;
            let alive = self.member.heartbeat().await;
            self.told("heartbeat", clock::now(), alive).await?;
        }
    }

    async fn work(&mut self, until: Instant) -> anyhow::Result<()> {
        let rate = self.wanted.rate;
        let mut ticks = rate.map(|rate| Ticks::new(rate, self.number)).transpose()?;
        let mut heard = clock::now();
        loop {
            let mut due = clock::now();
            if due >= until {
                return Ok(());
            }
            if due.saturating_duration_since(heard) > HEARTBEAT {
                heard = due;
                let alive = self.member.heartbeat().await;
                self.told("heartbeat", due, alive).await?;
            }
            if let Some(ticks) = &mut ticks {
                match ticks.due(due) {
                    Some(at) => due = at,
                    None => {
                        let _ = tokio::time::timeout(PAUSE, ticks.next()).await;
                        continue;
                    }
                }
            }
            self.committed += 1;
            let offset = i64::try_from(self.committed).unwrap_or(i64::MAX);
            let committed = self.member.commit(offset).await;
            let stands = self.told("commit", due, committed).await?.is_some();
            if stands && self.committed.is_multiple_of(ASKED) {
                let asked = clock::now();
                let fetched = self.member.committed().await;
                if let Some(fetched) = self.told("offset fetch", asked, fetched).await? {
                    self.compare(&fetched, offset)?;
                }
            }
        }
    }

    async fn join(&mut self) -> anyhow::Result<()> {
        let began = clock::now();
        let rebalances = self
            .member
            .join(self.plan.patience)
            .await
            .map_err(|error| failed(&error))?;
        self.generations[self.nth].set(self.member.generation());
        self.recorder.refused += rebalances;
        self.record("join", began);
        Ok(())
    }

    /// Records an answer, or joins again where the group has moved on.
    async fn told<T>(
        &mut self,
        kind: &'static str,
        due: Instant,
        answer: Result<T, zweig_client::kafka::KafkaError>,
    ) -> anyhow::Result<Option<T>> {
        match answer {
            Ok(answer) => {
                self.record(kind, due);
                Ok(Some(answer))
            }
            Err(error) => match error.code() {
                Some(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => {
                    self.recorder.refused += 1;
                    self.join().await?;
                    Ok(None)
                }
                _ => Err(failed(&error)).context(kind),
            },
        }
    }

    fn record(&mut self, kind: &'static str, due: Instant) {
        let now = clock::now();
        let measured = self.start.measured.get();
        let since = measured.and_then(|(from, until)| {
            let since = now.checked_duration_since(*from)?;
            (now < *until).then_some(since)
        });
        // Joining is over before measuring begins, and leaving comes behind it.
        let latency = now.saturating_duration_since(due);
        match (since, kind) {
            (Some(since), _) => self.recorder.record(kind, since, latency),
            (None, "join" | "leave") => self.recorder.latencies(kind, [latency]),
            _ => {}
        }
        let operations = &self.plan.progress.operations;
        operations.fetch_add(1, Ordering::Relaxed);
    }

    fn compare(&self, fetched: &BTreeMap<(String, i32), i64>, offset: i64) -> anyhow::Result<()> {
        for (topic, partition) in self.member.partitions() {
            let found = fetched.get(&(topic.clone(), partition));
            ensure!(
                found == Some(&offset),
                "a wrong answer to offset fetch: {} has committed {found:?} for {topic}-{partition}, not {offset}",
                self.member.group()
            );
        }
        Ok(())
    }

    async fn leave(&mut self) -> anyhow::Result<()> {
        let began = clock::now();
        self.member.leave().await.map_err(|error| failed(&error))?;
        self.record("leave", began);
        Ok(())
    }
}

/// Looks at who has what.
async fn look(name: &str, plan: &Plan, wanted: usize, client: &Client) -> anyhow::Result<()> {
    let described = Admin::new(client.clone())
        .describe_group(name)
        .await
        .map_err(|error| failed(&error))?;
    let (state, found) = (described.state, described.members.len());
    ensure!(
        state == "Stable" && found == wanted,
        "group {name} is {state} with {found} members, and should be Stable with {wanted}"
    );
    let mut given: BTreeMap<(String, i32), usize> = BTreeMap::new();
    for member in described.members {
        for (topic, partitions) in member.assignment {
            for partition in partitions {
                *given.entry((topic.clone(), partition)).or_default() += 1;
            }
        }
    }
    let partitions = plan.field.partitions.len();
    ensure!(
        given.len() == partitions && given.values().all(|times| *times == 1),
        "group {name} has given {} of {partitions} partitions, {} of them more than once",
        given.len(),
        given.values().filter(|times| **times > 1).count()
    );
    Ok(())
}
