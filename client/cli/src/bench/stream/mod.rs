//! `zweig bench stream`: what brokers bear, and how long it takes.
//!
//! A run makes topics, deals their partitions to *lanes* (one connection each, to the broker that leads them), drives these, and
//! reads everything again that was sent. `ledger` knows what was sent and judges what is read; `writer` and `reader` are the two
//! halves of the load, `batches` what is sent, `wire` a connection, `lanes` what happens to them when leaders change. `groups` and
//! `member` are a load of another kind, on the coordinators of groups.

mod batches;
mod groups;
mod lanes;
mod ledger;
mod member;
mod plan;
mod reader;
mod topics;
mod wire;
mod workloads;
mod writer;

use std::collections::BTreeMap;

use clap::{Args as ClapArgs, ValueEnum};
use zweig_client::kafka::records::Compression;

use super::report::{Files, Report, Setting};
use crate::context::Context;
use crate::kafka::Brokers;

/// What this generator calls itself towards brokers.
const CLIENT_ID: &str = "zweig-bench";

/// Records per second of `end-to-end`, if not given.
const TAIL_RATE: u32 = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Records are sent; then all of them are read again and compared.
    Produce,
    /// `--megabytes` of records are sent; then they are read again and again.
    Consume,
    /// Records are sent at `--rate` and read at the tail; latency counts from when a record was due until it was there.
    EndToEnd,
    /// `--groups` of `--members` each: they join, commit, ask for what is committed, and leave; `--rate` is that of the commits.
    Groups,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Acks {
    #[value(name = "0")]
    None,
    #[value(name = "1")]
    Leader,
    #[value(name = "all")]
    All,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Self {
        match codec {
            Codec::None => Self::None,
            Codec::Gzip => Self::Gzip,
            Codec::Snappy => Self::Snappy,
            Codec::Lz4 => Self::Lz4,
            Codec::Zstd => Self::Zstd,
        }
    }
}

/// `zweig bench stream …`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    zweig bench stream --acks all --record-size 1024 --partitions 6 --replication-factor 3\n  \
    zweig bench stream --workload consume --megabytes 1000\n  \
    zweig bench stream --workload end-to-end --rate 20000 --linger-ms 1 --html report.html\n  \
    zweig bench stream --workload groups --groups 50 --members 4\n  \
    zweig bench stream --topics 20 --partitions 10 --batches-per-request 16")]
pub struct Args {
    #[command(flatten)]
    brokers: Brokers,
    /// What the load is made of.
    #[arg(long, value_enum, default_value_t = Workload::Produce)]
    workload: Workload,
    /// Topics, made before the run and deleted behind it.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    topics: u32,
    /// Partitions of each topic.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(i32).range(1..=100_000))]
    partitions: i32,
    /// Replicas of each partition; the brokers' `default.replication.factor` if not given.
    #[arg(long, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting of the topics; may be given several times.
    #[arg(long = "config", value_name = "KEY=VALUE", value_parser = crate::topic::setting)]
    configs: Vec<(String, String)>,
    /// How the topics' names begin; each run has its own by default.
    #[arg(long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Leave the topics there.
    #[arg(long)]
    keep: bool,
    /// Whose acknowledgement a sent batch needs.
    #[arg(long, value_enum, default_value_t = Acks::All)]
    acks: Acks,
    /// With producer ids and sequences, as Kafka's own producer sends by default.
    #[arg(long)]
    idempotent: bool,
    /// Bytes of each record's value: random capital letters.
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    record_size: u32,
    /// Give each record a key of 16 bytes.
    #[arg(long)]
    keys: bool,
    /// Most bytes of a batch, before it is compressed; one record is in it at least.
    #[arg(long, default_value_t = 16_384, value_parser = clap::value_parser!(u32).range(100..=100_000_000))]
    batch_size: u32,
    /// The codec of batches; they are compressed once, before the run.
    #[arg(long, value_enum, default_value_t = Codec::None)]
    compression: Codec,
    /// How long a record waits for others to fill its batch; only with `--rate`, for batches are full without it.
    #[arg(long, default_value_t = 0, value_name = "MS", value_parser = clap::value_parser!(u32).range(0..=60_000))]
    linger_ms: u32,
    /// Connections to each broker: so many that send, and so many that read.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// Most Produce requests under way on a connection.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Batches in a Produce request, of a partition each; only without `--rate`.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    batches_per_request: u32,
    /// Records per second in all, at fixed times, and latency counted from these; without it, as many as are answered.
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How much `consume` has to read before it begins again, in millions of bytes.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    megabytes: u32,
    /// Groups of the workload of that name.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    groups: u32,
    /// Members of each group.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    members: u32,
    /// Most bytes of a Fetch answer.
    #[arg(long, default_value_t = 50 << 20, value_parser = clap::value_parser!(i32).range(1..=400_000_000))]
    fetch_max_bytes: i32,
    /// Most bytes of a partition in it.
    #[arg(long, default_value_t = 1 << 20, value_parser = clap::value_parser!(i32).range(1..=400_000_000))]
    fetch_partition_bytes: i32,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// How long to load before measuring.
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=3_600))]
    warm_up: u32,
    /// Do not read again, behind `produce`, what was sent.
    #[arg(long)]
    unread: bool,
    /// Threads of this generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Go on with the new leaders where a connection is lost or a leadership has moved, instead of failing.
    #[arg(long)]
    reconnect: bool,
    /// Of everything drawn at random; printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    files: Files,
}

impl Args {
    /// Settings of the topics: brokers have to keep batches as they are sent, and all of them.
    fn topic_configs(&self) -> BTreeMap<String, String> {
        let mut configs = BTreeMap::new();
        for (name, value) in [("compression.type", "producer"), ("retention.ms", "-1")] {
            configs.insert(name.to_owned(), value.to_owned());
        }
        configs.extend(self.configs.iter().cloned());
        configs
    }
}

/// Runs one workload and reports.
///
/// # Errors
/// If no broker is reached, a connection breaks, or an answer is wrong.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    #[allow(
        clippy::disallowed_methods,
        reason = "the seed is printed, and can be given"
    )]
    let seed = args.seed.unwrap_or_else(rand::random);
    let (recorder, length) = workloads::run(context.patience(), &args, seed).await?;
    let mut report = Report::new("stream", settings(&args, seed), &recorder, length);
    // Kinds that say different things of the same records have nothing in common.
    report.kinds.retain(|kind| kind.kind != "all");
    report.print(context.output())?;
    args.files.write(&report)
}

fn settings(args: &Args, seed: u64) -> Vec<Setting> {
    let name = |value: Option<clap::builder::PossibleValue>| {
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    };
    let mut settings = vec![
        Setting::new("brokers", args.brokers.bootstrap.clone()),
        Setting::new("workload", name(args.workload.to_possible_value())),
        Setting::new("topics", args.topics.to_string()),
        Setting::new("partitions of each", args.partitions.to_string()),
    ];
    if args.workload == Workload::Groups {
        settings.push(Setting::new("groups", args.groups.to_string()));
        settings.push(Setting::new("members of each", args.members.to_string()));
    } else {
        settings.extend([
            Setting::new("acks", name(args.acks.to_possible_value())),
            Setting::new("idempotent", args.idempotent.to_string()),
            Setting::new("record size", format!("{} B", args.record_size)),
            Setting::new("batch size", format!("{} B", args.batch_size)),
            Setting::new("compression", name(args.compression.to_possible_value())),
            Setting::new("connections per broker", args.connections.to_string()),
            Setting::new("in flight", args.in_flight.to_string()),
        ]);
    }
    if let Some(rate) = args.rate {
        settings.push(Setting::new("rate", format!("{rate}/s")));
        settings.push(Setting::new("linger", format!("{} ms", args.linger_ms)));
    }
    settings.push(Setting::new("seed", seed.to_string()));
    settings
}
