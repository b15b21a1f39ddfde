//! `zweig doctor`: looks at a cluster and says what is wrong with it, in plain words, and what to do.
//!
//! It reads and changes nothing. [`ensemble`] and [`brokers`] judge what was seen, without looking themselves; here is the looking.

mod brokers;
mod ensemble;
mod finding;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures::future::join_all;
use futures::{StreamExt, stream};
use zweig_client::ensemble::{Ensemble, Error, status};
use zweig_client::kafka::Admin;
use zweig_client::kafka::client::ClusterMetadata;
use zweig_client::kafka::connection::{Connection, ConnectionOptions};

use self::brokers::{Knock, Registered};
use self::ensemble::Probe;
use self::finding::{Finding, Severity};
use crate::clock::{elapsed, now, unix_ms};
use crate::context::Context;
use crate::ensemble::{Row, ask_all};
use crate::failure::{Code, Failure};
use crate::group::look_at;
use crate::kafka::Brokers;
use crate::output::{Cell, Output, Table, Tone, cell};

/// How long one process is waited for, at most.
const PATIENCE: Duration = Duration::from_secs(3);

/// Times each process is asked; the median counts.
const TRIES: usize = 5;

/// Between two of them, so that they do not all meet the same moment.
const BETWEEN: Duration = Duration::from_millis(40);

/// Groups and topics looked at one by one, at most.
const LOOKS: usize = 200;

/// Asked of at a time.
const AT_A_TIME: usize = 16;

/// Arguments of `zweig doctor`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Ends with 1 if it finds an error or a warning, with 0 if there are at most notes.\n\n\
    Examples:\n  zweig doctor\n  zweig doctor --all --server 127.0.0.1:2181 --bootstrap 127.0.0.1:9092\n  \
    zweig doctor --output json"
)]
pub struct Args {
    #[command(flatten)]
    brokers: Brokers,
    /// Print what is as it should be, too.
    #[arg(short, long)]
    all: bool,
}

/// Prints what is found, the worst first.
///
/// # Errors
/// With [`Code::Failed`] if there is something that somebody has to do.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let mut found = examine(&context, &args.brokers).await?;
    // Stable: what belongs together stays together.
    found.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    let worst = found
        .first()
        .map_or(Severity::Well, |finding| finding.severity);
    let output = context.output();
    if output.for_programs() {
        output.document(&found)?;
    } else {
        let shown = found
            .iter()
            .filter(|f| args.all || f.severity > Severity::Well);
        print(output, &shown.collect::<Vec<_>>(), found.len())?;
    }
    match found
        .iter()
        .filter(|f| f.severity >= Severity::Warning)
        .count()
    {
        0 => Ok(()),
        1 => Err(Failure::error(
            Code::Failed,
            "1 thing has to be looked after",
        )),
        count => Err(Failure::error(
            Code::Failed,
            format!(
                "{count} things have to be looked after, the worst first{}",
                if worst == Severity::Error {
                    ""
                } else {
                    "; all works still"
                }
            ),
        )),
    }
}

fn print(output: Output, found: &[&Finding], looked_at: usize) -> anyhow::Result<()> {
    if !found.is_empty() {
        let mut table = Table::new(["", "ABOUT", "WHAT"]);
        for finding in found {
            let about: Cell = finding.about.as_str().into();
            table.row([finding.severity.cell(), about, finding.what.as_str().into()]);
            if let Some(advice) = &finding.advice {
                table.row([
                    "".into(),
                    "".into(),
                    cell(Tone::Faint, format!("→ {advice}")),
                ]);
            }
        }
        output.table(&table)?;
    }
    let worst = found.iter().map(|finding| finding.severity).max();
    if worst.is_none_or(|worst| worst < Severity::Warning) {
        output.line(&output.paint(Tone::Good, &format!("well: {looked_at} things looked at")))?;
    }
    Ok(())
}

async fn examine(context: &Context, brokers: &Brokers) -> anyhow::Result<Vec<Finding>> {
    let patience = PATIENCE.min(context.patience());
    let probes = probe_all(context.options()?.endpoints, patience).await;
    let mut found = ensemble::findings(&probes);
    let registered = match registrations(context).await {
        Ok(registered) => Some(registered),
        Err(failure) => {
            let failure = Failure::of(&failure);
            found.push(Finding::error("ensemble", failure.message));
            None
        }
    };
    let known = registered.as_deref().unwrap_or_default();
    let knocks = knock_at_all(known, patience).await;
    found.extend(brokers::listeners(known, &knocks));
    found.extend(examine_brokers(context, brokers, registered.as_deref(), &knocks).await);
    Ok(found)
}

/// What the brokers say, asked through one that answers. Who is `registered` is not known while nobody leads the ensemble.
async fn examine_brokers(
    context: &Context,
    brokers: &Brokers,
    registered: Option<&[Registered]>,
    knocks: &[Knock],
) -> Vec<Finding> {
    let nobody = registered.unwrap_or_default().is_empty();
    // Where they are registered wins over `--bootstrap`: that is where clients are sent.
    let open = knocks.iter().filter(|knock| knock.answer.is_ok());
    let mut addresses: Vec<String> = open.map(|knock| knock.address.clone()).collect();
    if nobody {
        addresses = vec![brokers.bootstrap.clone()];
    }
    if addresses.is_empty() {
        return vec![Finding::error(
            "brokers",
            "none of those that are registered answers",
        )];
    }
    let client = Brokers {
        bootstrap: addresses.join(","),
    };
    let admin = client.admin(PATIENCE.min(context.patience()));
    let cluster = match admin.describe_cluster().await {
        Ok(cluster) => cluster,
        Err(error) if nobody => {
            let what = format!(
                "none is known to be registered, and there is none at {}: {error}",
                brokers.bootstrap
            );
            return vec![Finding::error("brokers", what)];
        }
        Err(error) => return vec![Finding::error("brokers", error.to_string())],
    };
    let mut found = match registered {
        Some([]) => vec![Finding::error(
            "brokers",
            "they answer, but none is registered below the chroot of --server, nor one level further down",
        )],
        Some(registered) => brokers::membership(&cluster, registered),
        None => Vec::new(),
    };
    found.extend(brokers::partitions(
        &cluster,
        &min_isr(&admin, &cluster).await,
    ));
    found.extend(groups(&admin).await);
    found.extend(disks(&admin, knocks).await);
    found
}

/// The room of every broker that answers.
async fn disks(admin: &Admin, knocks: &[Knock]) -> Vec<Finding> {
    let open = knocks.iter().filter(|knock| knock.answer.is_ok());
    let ids: BTreeSet<i32> = open.map(|knock| knock.broker).collect();
    let asked = stream::iter(ids).map(|id| async move { (id, admin.log_dirs(id).await) });
    let asked: Vec<_> = asked.buffered(AT_A_TIME).collect().await;
    asked
        .into_iter()
        .flat_map(|(id, dirs)| brokers::disks(id, dirs.as_deref()))
        .collect()
}

async fn probe_all(endpoints: Vec<String>, patience: Duration) -> Vec<Probe> {
    let rows = ask_all(endpoints, patience).await;
    join_all(rows.into_iter().map(|row| probe(row, patience))).await
}

/// Asks a node again, to see how fast it is and how late its clock says it is.
async fn probe(row: Row, patience: Duration) -> Probe {
    let mut times = Vec::new();
    let mut best: Option<(Duration, i64)> = None;
    let mut applied = row.status.as_ref().map_or(0, |status| status.applied);
    let tries = if row.status.is_some() { TRIES } else { 0 };
    for _ in 0..tries {
        let (begun, sent_ms) = (now(), unix_ms());
        let Ok(answer) = status(&row.address, patience).await else {
            continue;
        };
        let took = elapsed(begun);
        times.push(took);
        applied = answer.applied;
        // The quickest answer says most about a clock.
        if let Some(time_ms) = answer.time_ms
            && best.is_none_or(|(least, _)| took < least)
        {
            let half = i64::try_from(took.as_millis() / 2).unwrap_or(0);
            let ahead_ms = time_ms.saturating_sub(sent_ms).saturating_sub(half);
            best = Some((took, ahead_ms));
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Probe {
        row,
        ms: median_ms(times),
        ahead_ms: best.map(|(_, ahead_ms)| ahead_ms),
        applied,
    }
}

/// In milliseconds; 0 of nothing.
fn median_ms(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    let median = times.get(times.len() / 2);
    median.map_or(0.0, |time| time.as_secs_f64() * 1_000.0)
}

/// The brokers that are registered: below the chroot of `--server` or, if there are none, one level further down.
async fn registrations(context: &Context) -> anyhow::Result<Vec<Registered>> {
    context
        .with_session(|ensemble| async move {
            let mut prefixes = vec![String::new()];
            while let Some(prefix) = prefixes.pop() {
                let found = registered_below(&ensemble, &prefix).await?;
                if !found.is_empty() {
                    return Ok(found);
                }
                if prefix.is_empty() {
                    let (names, _) = ensemble.children("/").await?;
                    prefixes.extend(names.iter().take(LOOKS).map(|name| format!("/{name}")));
                }
            }
            Ok(Vec::new())
        })
        .await
}

async fn registered_below(ensemble: &Ensemble, prefix: &str) -> Result<Vec<Registered>, Error> {
    let folder = format!("{prefix}/brokers/ids");
    let (names, _) = match ensemble.children(&folder).await {
        Err(Error::NoNode(_)) => return Ok(Vec::new()),
        found => found?,
    };
    let ids = names.iter().filter_map(|name| name.parse::<i32>().ok());
    let read = stream::iter(ids).map(|id| registration(ensemble, &folder, id));
    let read: Vec<_> = read.buffered(AT_A_TIME).collect().await;
    // What went since it was listed is left out.
    read.into_iter().filter_map(Result::transpose).collect()
}

async fn registration(
    ensemble: &Ensemble,
    folder: &str,
    id: i32,
) -> Result<Option<Registered>, Error> {
    match ensemble.get(&format!("{folder}/{id}")).await {
        Ok((data, stat)) => {
            let data = data.unwrap_or_default();
            Ok(Some(Registered::read(id, &data, stat.ctime_ms)))
        }
        Err(Error::NoNode(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn knock_at_all(registered: &[Registered], patience: Duration) -> Vec<Knock> {
    let doors = registered
        .iter()
        .flat_map(|broker| broker.addresses.iter().map(|address| (broker.id, address)));
    stream::iter(doors)
        .map(|(broker, address)| knock(broker, address, patience))
        .buffered(AT_A_TIME)
        .collect()
        .await
}

async fn knock(broker: i32, address: &str, patience: Duration) -> Knock {
    let options = ConnectionOptions {
        client_id: "zweig-doctor".to_owned(),
        connect_timeout: patience,
        request_timeout: patience,
    };
    let mut times = Vec::new();
    let mut failure = "not tried".to_owned();
    for _ in 0..TRIES {
        let begun = now();
        match Connection::open(address, &options).await {
            Ok(_) => times.push(elapsed(begun)),
            Err(error) => failure = error.to_string(),
        }
        if times.is_empty() {
            break;
        }
        tokio::time::sleep(BETWEEN).await;
    }
    Knock {
        broker,
        address: address.to_owned(),
        answer: match times.is_empty() {
            true => Err(failure),
            false => Ok(median_ms(times)),
        },
    }
}

/// In-sync replicas that are enough whatever a topic wants, as a rule.
const ENOUGH: usize = 3;

/// `min.insync.replicas` of the topics that have few in-sync replicas somewhere.
async fn min_isr(admin: &Admin, cluster: &ClusterMetadata) -> BTreeMap<String, usize> {
    let topics = cluster
        .topics
        .values()
        .filter_map(|topic| topic.as_ref().ok());
    let short = topics.filter(|topic| topic.partitions.values().any(|p| p.isr.len() < ENOUGH));
    let asked = stream::iter(short.take(LOOKS)).map(|topic| async {
        let configs = admin.topic_configs(&topic.name).await.ok()?;
        let min = configs
            .into_iter()
            .find(|config| config.name == "min.insync.replicas")?;
        Some((topic.name.clone(), min.value?.parse().ok()?))
    });
    asked
        .buffered(AT_A_TIME)
        .filter_map(std::future::ready)
        .collect()
        .await
}

async fn groups(admin: &Admin) -> Vec<Finding> {
    let listed = match admin.list_groups().await {
        Ok(listed) => listed,
        Err(error) => {
            return vec![Finding::warning(
                "groups",
                format!("cannot be listed: {error}"),
            )];
        }
    };
    let empty = listed
        .into_iter()
        .filter(|group| group.state.as_deref() == Some("Empty"));
    let asked = stream::iter(empty.take(LOOKS)).map(|group| async move {
        let seen = look_at(admin, &group.group).await.ok()?;
        brokers::lagging(&group.group, seen.members(), seen.lag())
    });
    asked
        .buffered(AT_A_TIME)
        .filter_map(std::future::ready)
        .collect()
        .await
}
