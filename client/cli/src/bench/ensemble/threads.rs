//! The load of `--workload operations`: nodes are made, connections run until the end, and the nodes are removed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use futures::future::try_join_all;

use super::load::{Failed, Load, Plan};
use super::wire::{Broken, Connection};
use super::{Args, Bed, SESSION_TIMEOUT, nodes};
use crate::bench::cpu;
use crate::bench::recorder::Recorder;
use crate::bench::threads::{self, Progress};
use crate::clock;

/// Connections that make and remove the nodes.
const MAKERS: usize = 8;
/// Before another server is tried, where one refused.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs `--workload operations`; what was measured, and for how long.
///
/// # Errors
/// [`Failed`] of any connection.
pub async fn run(args: &Args, bed: &Bed) -> anyhow::Result<(Recorder, Duration)> {
    let length = Duration::from_secs(args.seconds.into());
    let mut plan = Plan {
        mix: args.mix.clone(),
        pipeline: args.pipeline as usize,
        rate: args
            .rate
            .map(|rate| f64::from(rate) / f64::from(args.connections)),
        root: bed.root.clone(),
        znodes: args.znodes,
        value_size: args.value_size as usize,
        measured: (clock::now(), clock::now()),
        reconnect: args.reconnect,
    };
    let mut makers = open_makers(bed).await?;
    let began = clock::now();
    nodes::make(&plan, &mut makers).await?;
    let took = clock::elapsed(began);
    if args.fill {
        let mut recorder = Recorder::default();
        recorder.record("fill", took, took);
        return Ok((recorder, took));
    }
    drop(makers);
    let from = clock::now() + Duration::from_secs(args.warm_up.into());
    plan.measured = (from, from + length);
    let plan = Arc::new(plan);
    let measured = tokio::try_join!(
        measure(args, bed, &plan),
        cpu::spent(&args.cpu_of, plan.measured)
    );
    // Of a run that failed too, if the servers still let us.
    let removed = match open_makers(bed).await {
        Ok(mut makers) => nodes::remove(&plan, &mut makers)
            .await
            .map_err(anyhow::Error::from),
        Err(error) => Err(error),
    };
    let (mut recorder, server_cpu) = measured?;
    recorder.server_cpu_seconds = server_cpu;
    removed.with_context(|| format!("{} is left behind", bed.root))?;
    Ok((recorder, length))
}

async fn open_makers(bed: &Bed) -> anyhow::Result<Vec<Connection>> {
    Ok(try_join_all((0..MAKERS).map(|number| bed.open_any(number))).await?)
}

async fn measure(args: &Args, bed: &Bed, plan: &Arc<Plan>) -> anyhow::Result<Recorder> {
    let warm_up_and_length = args.warm_up + args.seconds;
    let progress = Arc::new(Progress {
        whole: Some(Duration::from_secs(warm_up_and_length.into())),
        ..Progress::default()
    });
    let numbers = (0..args.connections as usize).collect();
    let (bed, plan, counted) = (bed.clone(), Arc::clone(plan), Arc::clone(&progress));
    threads::run(
        args.threads as usize,
        numbers,
        &progress,
        move |share| async move { all_of(&plan, &bed, share, &counted).await },
    )
    .await
}

async fn all_of(
    plan: &Arc<Plan>,
    bed: &Bed,
    numbers: Vec<usize>,
    progress: &Progress,
) -> anyhow::Result<Recorder> {
    let recorders = try_join_all(
        numbers
            .into_iter()
            .map(|number| one(plan, bed, number, progress)),
    )
    .await?;
    let mut all = Recorder::default();
    recorders.iter().for_each(|recorder| all.merge(recorder));
    Ok(all)
}

/// The load of one connection, or of one after the other if they are lost.
async fn one(
    plan: &Arc<Plan>,
    bed: &Bed,
    number: usize,
    progress: &Progress,
) -> Result<Recorder, Failed> {
    let mut recorder = Recorder::default();
    let mut load = Load::new(Arc::clone(plan), number, bed.seed);
    for attempt in number.. {
        let done = match open(plan, bed, attempt).await {
            Ok(mut connection) => load.drive(&mut connection, &mut recorder, progress).await,
            Err(broken) => Err(broken.into()),
        };
        match done {
            Ok(()) => break,
            Err(Failed::Broken(Broken::Lost { .. })) if plan.reconnect => {
                recorder.lost_connections += 1;
                if clock::now() >= plan.measured.1 {
                    break;
                }
                tokio::time::sleep(PAUSE).await;
            }
            Err(failed) => return Err(failed),
        }
    }
    Ok(recorder)
}

/// Where another server may be tried, none gets long to answer.
async fn open(plan: &Plan, bed: &Bed, number: usize) -> Result<Connection, Broken> {
    let server = &bed.servers[number % bed.servers.len()];
    let patience = if plan.reconnect {
        Duration::from_secs(1)
    } else {
        bed.patience
    };
    let mut connection = Connection::open(server, SESSION_TIMEOUT, patience).await?;
    // It may be behind the one by which the nodes were made.
    connection.catch_up().await?;
    Ok(connection)
}
