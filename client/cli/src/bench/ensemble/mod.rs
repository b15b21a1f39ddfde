//! `zweig bench ensemble`: what an ensemble bears, and how long it takes.

mod content;
mod fan_out;
mod load;
mod mix;
mod nodes;
mod storm;
mod threads;
mod wire;

use std::time::Duration;

use clap::{Args as ClapArgs, ValueEnum};

use super::recorder::Recorder;
use super::report::{Files, Report, Setting};
use crate::context::Context;
use mix::Mix;
use wire::Connection;

/// How long a session lives that nobody keeps alive: longer than any run is silent.
const SESSION_TIMEOUT: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Operations of `--mix`, on nodes drawn at random.
    Operations,
    /// All connections but one watch a node, and the last changes it.
    Watches,
    /// Sessions with an ephemeral node each, opened as fast as they can be.
    Sessions,
}

/// `zweig bench ensemble …`.
#[derive(Debug, ClapArgs)]
#[command(after_help = "Examples:\n  \
    zweig bench ensemble --connections 30 --pipeline 32 --mix read=90,write=10\n  \
    zweig bench ensemble --workload sessions --seconds 5")]
pub struct Args {
    /// What the load is made of.
    #[arg(long, value_enum, default_value_t = Workload::Operations)]
    workload: Workload,
    /// Kinds of operations and their weights: read, write, exists, children, create (deleted again), multi.
    #[arg(
        long,
        default_value = "read=90,write=10",
        value_name = "KIND=WEIGHT[,..]"
    )]
    mix: Mix,
    /// Connections, each with a session, spread over the servers; of `sessions`: so many opened at a time.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=50_000))]
    connections: u32,
    /// Most requests under way on a connection.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pipeline: u32,
    /// Requests per second in all, at fixed times, and latency counted from these; without it, as many as are answered.
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    rate: Option<u32>,
    /// How long to measure.
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    seconds: u32,
    /// How long to load before measuring.
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(0..=3_600))]
    warm_up: u32,
    /// Nodes that are read and written; of `sessions`: how many of them.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    znodes: u32,
    /// Bytes in each node.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(content::SHORTEST..=1_000_000))]
    value_size: u32,
    /// The node to work below; it must not exist. One of its own for each run by default.
    #[arg(long, value_name = "PATH")]
    root: Option<String>,
    /// Only make the nodes, and leave them there.
    #[arg(long)]
    fill: bool,
    /// Threads of this generator.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,
    /// Go on with another server where a connection is lost, instead of failing.
    #[arg(long)]
    reconnect: bool,
    /// Processes of the servers, if they run on this machine: tells how much processor time `operations` cost them.
    #[arg(long, value_name = "PID[,..]", value_delimiter = ',')]
    cpu_of: Vec<u32>,
    /// Of everything drawn at random; printed if not given.
    #[arg(long)]
    seed: Option<u64>,
    #[command(flatten)]
    files: Files,
}

/// Runs one workload and reports.
///
/// # Errors
/// If no server is reached, a connection breaks, or an answer is wrong.
pub async fn run(context: &Context, args: Args) -> anyhow::Result<()> {
    let options = context.options()?;
    #[allow(
        clippy::disallowed_methods,
        reason = "the seed is printed, and can be given"
    )]
    let seed = args.seed.unwrap_or_else(rand::random);
    let root = args
        .root
        .clone()
        .unwrap_or_else(|| format!("{}/bench-{seed:016x}", options.chroot));
    let bed = Bed {
        servers: options.endpoints,
        root,
        seed,
        patience: context.patience(),
    };
    let (recorder, length) = match args.workload {
        Workload::Operations => threads::run(&args, &bed).await?,
        Workload::Watches => watches(&args, &bed).await?,
        Workload::Sessions => {
            let (sessions, lanes) = (args.znodes as usize, args.connections as usize);
            storm::run(&bed.servers, sessions, lanes, &bed.root, bed.patience).await?
        }
    };
    let report = Report::new("ensemble", settings(&args, &bed), &recorder, length);
    report.print(context.output())?;
    args.files.write(&report)
}

/// Where a run takes place.
#[derive(Debug, Clone)]
struct Bed {
    servers: Vec<String>,
    root: String,
    seed: u64,
    patience: Duration,
}

impl Bed {
    /// A connection to the server whose turn it is.
    async fn open(&self, number: usize) -> Result<Connection, wire::Broken> {
        Connection::open(
            &self.servers[number % self.servers.len()],
            SESSION_TIMEOUT,
            self.patience,
        )
        .await
    }

    /// The same, or to the next server that will do.
    async fn open_any(&self, number: usize) -> Result<Connection, wire::Broken> {
        let mut opened = self.open(number).await;
        for next in 1..self.servers.len() {
            if opened.is_ok() {
                break;
            }
            opened = self.open(number + next).await;
        }
        opened
    }
}

async fn watches(args: &Args, bed: &Bed) -> anyhow::Result<(Recorder, Duration)> {
    let mut writer = bed.open(0).await?;
    let mut watchers = Vec::new();
    for number in 1..args.connections as usize {
        watchers.push(bed.open(number).await?);
    }
    let length = Duration::from_secs(args.seconds.into());
    fan_out::run(&mut writer, &mut watchers, &bed.root, length).await
}

fn settings(args: &Args, bed: &Bed) -> Vec<Setting> {
    let mut settings = vec![
        Setting::new("servers", bed.servers.join(",")),
        Setting::new("workload", format!("{:?}", args.workload).to_lowercase()),
        Setting::new("connections", args.connections.to_string()),
    ];
    match args.workload {
        Workload::Operations => settings.extend([
            Setting::new("mix", args.mix.to_string()),
            Setting::new("pipeline", args.pipeline.to_string()),
            Setting::new(
                "rate",
                args.rate
                    .map_or("as answered".to_owned(), |rate| format!("{rate}/s")),
            ),
            Setting::new("znodes", args.znodes.to_string()),
            Setting::new("value size", format!("{} B", args.value_size)),
        ]),
        Workload::Sessions => settings.push(Setting::new("sessions", args.znodes.to_string())),
        Workload::Watches => {}
    }
    settings.push(Setting::new("seed", bed.seed.to_string()));
    settings
}
