//! `zweig broker disks`: the log directories of the brokers, what lies in them, and their room.

use serde::Serialize;
use zweig_client::kafka::admin::LogDir;

use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::kafka::{Brokers, failed};
use crate::output::{Cell, Table, Tone, cell};

/// Less than this part of a disk is nearly full.
const FREE_PART: u64 = 10;

/// Arguments of `zweig broker disks`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zweig broker disks --output json")]
pub struct Args {
    #[command(flatten)]
    brokers: Brokers,
}

#[derive(Serialize)]
struct Described {
    broker: i32,
    folder: String,
    replicas: usize,
    bytes_of_replicas: u64,
    /// What is wrong with it.
    error: Option<String>,
    free_bytes: Option<u64>,
    bytes: Option<u64>,
}

/// Lists the log directories of every broker.
///
/// # Errors
/// With [`Code::Failed`], after those that did, if a broker does not answer.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let admin = args.brokers.admin(context.patience());
    let cluster = admin.describe_cluster().await.map_err(|e| failed(&e))?;
    let (mut described, mut silent) = (Vec::new(), Vec::new());
    for broker in cluster.brokers.keys() {
        match admin.log_dirs(*broker).await {
            Ok(dirs) => described.extend(dirs.into_iter().map(|dir| describe(*broker, dir))),
            Err(error) => silent.push(format!("broker {broker}: {error}")),
        }
    }
    let output = context.output();
    if output.for_programs() {
        output.document(&described)?;
    } else {
        output.table(&table(&described))?;
    }
    match silent.is_empty() {
        true => Ok(()),
        false => Err(Failure::error(Code::Failed, silent.join("; "))),
    }
}

fn describe(broker: i32, dir: LogDir) -> Described {
    Described {
        broker,
        folder: dir.path,
        replicas: dir.replicas.len(),
        bytes_of_replicas: dir
            .replicas
            .iter()
            .fold(0, |sum, replica| sum.saturating_add(replica.bytes)),
        error: dir.error.map(|error| error.to_string()),
        free_bytes: dir.free_bytes,
        bytes: dir.bytes,
    }
}

fn table(described: &[Described]) -> Table {
    let mut table = Table::new([
        "BROKER", "FOLDER", "REPLICAS", "SIZE", "FREE", "OF", "WRONG",
    ]);
    for dir in described {
        let mebibytes = |bytes: Option<u64>| -> String {
            bytes.map_or("-".to_owned(), |bytes| format!("{} MiB", bytes >> 20))
        };
        let full = matches!((dir.free_bytes, dir.bytes), (Some(free), Some(all)) if free <= all / FREE_PART);
        let wrong: Cell = match &dir.error {
            None => "".into(),
            Some(error) => cell(Tone::Bad, error),
        };
        let tone = if full { Tone::Bad } else { Tone::Plain };
        table.row([
            dir.broker.into(),
            dir.folder.as_str().into(),
            dir.replicas.into(),
            format!(
                "{:.1} MiB",
                dir.bytes_of_replicas as f64 / f64::from(1 << 20)
            )
            .into(),
            cell(tone, mebibytes(dir.free_bytes)),
            mebibytes(dir.bytes).into(),
            wrong,
        ]);
    }
    table
}
