//! The workloads: which lanes each is made of, and what of it is measured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use zweig_client::kafka::Client;
use zweig_client::kafka::raw::{FETCH_VERSION, FetchLimits, PRODUCE_VERSION};

use super::batches::{Batches, Shape};
use super::groups::{self, Groups};
use super::lanes::{self, Bound, Lane};
use super::ledger::Ledger;
use super::plan::Plan;
use super::reader::{Reader, Reading};
use super::topics::{Field, Wanted, by_leader};
use super::writer::{Schedule, Told, Writer};
use super::{Acks, Args, Workload};
use crate::bench::recorder::Recorder;
use crate::bench::threads::Progress;
use crate::clock;
use crate::kafka::failed;

/// The most that something may take that has no time of its own.
const LONG: Duration = Duration::from_secs(86_400);
/// How long a broker waits for records before it answers a fetch, as Kafka's consumer has it.
const FETCH_WAIT_MS: i32 = 500;
/// Bytes of a key.
const KEY_SIZE: u64 = 16;

/// Makes topics, runs the workload there and deletes them; what was measured, and for how long.
///
/// # Errors
/// If a broker cannot be reached, or answers wrongly.
pub async fn run(
    patience: Duration,
    args: &Args,
    seed: u64,
) -> anyhow::Result<(Recorder, Duration)> {
    ensure!(
        !args.idempotent || args.acks == Acks::All,
        "--idempotent needs --acks all"
    );
    let client = args.brokers.client(patience);
    speaks(&client).await?;
    let wanted = Wanted {
        prefix: prefix(args, seed),
        topics: args.topics,
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        configs: args.topic_configs(),
    };
    let field = Arc::new(Field::create(&client, &wanted).await?);
    let measured = async {
        let leaders = field
            .ready(&client, patience.max(Duration::from_secs(60)))
            .await?;
        let run = Run::new(args, seed, patience, &field, leaders);
        Box::pin(run.workload()).await
    }
    .await;
    if args.keep {
        return measured;
    }
    // Of a run that failed too, if the brokers still let us.
    let deleted = field.delete(&client).await;
    let measured = measured?;
    deleted.with_context(|| format!("the topics {}-* are left behind", wanted.prefix))?;
    Ok(measured)
}

fn prefix(args: &Args, seed: u64) -> String {
    match &args.prefix {
        Some(prefix) => prefix.clone(),
        None => format!("bench-{seed:016x}"),
    }
}

/// Whether the brokers serve the versions that this generator writes itself.
async fn speaks(client: &Client) -> anyhow::Result<()> {
    let connection = client.any().await.map_err(|error| failed(&error))?;
    let versions: BTreeMap<i16, (i16, i16)> = connection.broker_versions().collect();
    for (key, name, version) in [(0, "Produce", PRODUCE_VERSION), (1, "Fetch", FETCH_VERSION)] {
        let served = versions.get(&key);
        let does = served.is_some_and(|(from, to)| (*from..=*to).contains(&version));
        let server = connection.address();
        ensure!(does, "{server} does not serve {name} version {version}");
    }
    Ok(())
}

/// One workload on topics that are ready.
struct Run<'a> {
    args: &'a Args,
    seed: u64,
    /// Names of topics and groups begin with it.
    prefix: String,
    leaders: Vec<Arc<str>>,
    plan: Plan,
}

impl<'a> Run<'a> {
    fn new(
        args: &'a Args,
        seed: u64,
        patience: Duration,
        field: &Arc<Field>,
        leaders: Vec<Arc<str>>,
    ) -> Self {
        let now = clock::now();
        let key = if args.keys { KEY_SIZE } else { 0 };
        let plan = Plan {
            field: Arc::clone(field),
            ledger: Arc::new(Ledger::new(field.partitions.len())),
            progress: Arc::new(Progress::default()),
            acks: match args.acks {
                Acks::None => 0,
                Acks::Leader => 1,
                Acks::All => -1,
            },
            idempotent: args.idempotent,
            in_flight: args.in_flight as usize,
            batches: args.batches_per_request as usize,
            linger: Duration::from_millis(args.linger_ms.into()),
            limits: FetchLimits {
                max_wait_ms: FETCH_WAIT_MS,
                min_bytes: 1,
                max_bytes: args.fetch_max_bytes,
                partition_max_bytes: args.fetch_partition_bytes,
            },
            record_bytes: u64::from(args.record_size) + key,
            measured: (now, now + LONG),
            patience: patience.max(Duration::from_secs(10)),
            reconnect: args.reconnect,
        };
        Self {
            args,
            seed,
            prefix: prefix(args, seed),
            leaders,
            plan,
        }
    }

    async fn workload(&self) -> anyhow::Result<(Recorder, Duration)> {
        let length = Duration::from_secs(self.args.seconds.into());
        let produce = Told {
            kind: "produce",
            counted: true,
        };
        let recorder = match self.args.workload {
            Workload::Produce => {
                let plan = self.measured(length);
                let lanes = self.writers(&plan, produce, self.args.rate, None)?;
                let recorder = self.drive(lanes, &plan).await?;
                if !self.args.unread {
                    crate::output::note("reading again what was sent");
                    let plan = self.unmeasured();
                    let lanes = self.readers(&plan, Reading::Check);
                    self.drive(lanes, &plan).await?;
                }
                recorder
            }
            Workload::Consume => {
                crate::output::note("sending what is to be read");
                let plan = self.unmeasured();
                let bytes = u64::from(self.args.megabytes) * 1_000_000;
                let lanes = self.writers(&plan, produce, None, Some(bytes))?;
                self.drive(lanes, &plan).await?;
                let plan = self.measured(length);
                self.drive(self.readers(&plan, Reading::Again), &plan)
                    .await?
            }
            Workload::EndToEnd => {
                let told = Told {
                    kind: "acknowledged",
                    counted: false,
                };
                let plan = self.measured(length);
                let rate = self.args.rate.unwrap_or(super::TAIL_RATE);
                let mut lanes = self.writers(&plan, told, Some(rate), None)?;
                lanes.extend(self.readers(&plan, Reading::Tail));
                self.drive(lanes, &plan).await?
            }
            Workload::Groups => {
                let plan = self.unmeasured();
                let (count, members) = (self.args.groups, self.args.members);
                let each = f64::from(count) * f64::from(members);
                let wanted = Groups {
                    prefix: self.prefix.clone(),
                    groups: count as usize,
                    members: members as usize,
                    rate: self.args.rate.map(|rate| f64::from(rate) / each),
                    keep: self.args.keep,
                    warm_up: Duration::from_secs(self.args.warm_up.into()),
                    length,
                };
                let threads = self.args.threads as usize;
                groups::run(wanted, threads, &plan, &self.args.brokers).await?
            }
        };
        Ok((recorder, length))
    }

    fn within(&self, measured: (Instant, Instant)) -> Arc<Plan> {
        Arc::new(Plan {
            field: Arc::clone(&self.plan.field),
            ledger: Arc::clone(&self.plan.ledger),
            progress: Arc::clone(&self.plan.progress),
            measured,
            ..self.plan
        })
    }

    fn measured(&self, length: Duration) -> Arc<Plan> {
        let from = clock::now() + Duration::from_secs(self.args.warm_up.into());
        self.within((from, from + length))
    }

    fn unmeasured(&self) -> Arc<Plan> {
        let never = clock::now() + LONG;
        self.within((never, never))
    }

    async fn drive(&self, lanes: Vec<Bound>, plan: &Plan) -> anyhow::Result<Recorder> {
        lanes::run(self.args.threads as usize, lanes, plan, &self.args.brokers).await
    }

    /// The broker and the partitions of each connection.
    fn deal(&self) -> Vec<(Arc<str>, Vec<usize>)> {
        let connections = self.args.connections as usize;
        let mut dealt = Vec::new();
        for (leader, partitions) in by_leader(&self.leaders, 0..self.leaders.len()) {
            for number in 0..connections {
                let mut own: Vec<usize> = partitions
                    .iter()
                    .copied()
                    .skip(number)
                    .step_by(connections)
                    .collect();
                if own.is_empty() {
                    own.push(partitions[number % partitions.len()]);
                }
                dealt.push((Arc::clone(&leader), own));
            }
        }
        dealt
    }

    /// Lanes that send: at this rate in all or as fast as they are answered, until the plan's end or so many bytes.
    fn writers(
        &self,
        plan: &Arc<Plan>,
        told: Told,
        rate: Option<u32>,
        bytes: Option<u64>,
    ) -> anyhow::Result<Vec<Bound>> {
        let shape = Shape {
            record_size: self.args.record_size as usize,
            batch_size: self.args.batch_size as usize,
            keys: self.args.keys,
            compression: self.args.compression.into(),
        };
        let dealt = self.deal();
        let total: usize = dealt.iter().map(|(_, own)| own.len()).sum();
        let now = clock::now();
        let mut lanes = Vec::new();
        for (number, (server, own)) in dealt.into_iter().enumerate() {
            let share = own.len() as f64 / total as f64;
            let batches = Batches::new(shape, self.seed, number)?;
            let schedule = rate.map(|rate| Schedule::new(f64::from(rate) * share, number, now));
            let mut writer =
                Writer::new(Arc::clone(plan), told, batches, &own).with_schedule(schedule);
            if let Some(bytes) = bytes {
                let records = bytes / plan.record_bytes / total as u64 * own.len() as u64;
                writer = writer.with_limit(records.max(1));
            }
            let lane = Lane::Write(Box::new(writer));
            lanes.push(Bound { server, lane });
        }
        Ok(lanes)
    }

    fn readers(&self, plan: &Arc<Plan>, reading: Reading) -> Vec<Bound> {
        let mut read = vec![false; self.leaders.len()];
        let mut lanes = Vec::new();
        for (server, mut own) in self.deal() {
            if reading != Reading::Again {
                // One reader each: nothing is to be counted twice.
                own.retain(|partition| !std::mem::replace(&mut read[*partition], true));
            }
            if !own.is_empty() {
                let lane = Lane::Read(Reader::new(Arc::clone(plan), reading, &own));
                lanes.push(Bound { server, lane });
            }
        }
        lanes
    }
}
