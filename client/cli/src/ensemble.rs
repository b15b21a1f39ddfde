//! `zweig ensemble`: the coordinators themselves.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use serde::Serialize;
use zweig_client::ensemble::{Member, Status, status};

use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output::{Cell, Output, Table, Tone, cell};

/// How long one node is waited for, at most.
const PATIENCE: Duration = Duration::from_secs(2);

/// Arguments of `zweig ensemble`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Each node's role, position and clients, asked of the nodes one by one; needs no quorum.
    #[command(after_help = "Example:\n  zweig ensemble status")]
    Status,
}

/// Dispatches the subcommand.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    match args.command {
        Command::Status => show_status(context).await,
    }
}

/// What one node said, or why it said nothing.
#[derive(Serialize)]
pub struct Row {
    /// Where it was asked.
    pub address: String,
    /// What it said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Status>,
    /// Why it said nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Asks the nodes at these addresses, and those that they know of.
pub async fn ask_all(endpoints: Vec<String>, patience: Duration) -> Vec<Row> {
    let mut rows = ask(endpoints, patience).await;
    let strangers = unasked(&rows);
    rows.extend(ask(strangers, patience).await);
    one_per_node(rows)
}

async fn show_status(context: Context) -> anyhow::Result<()> {
    let output = context.output();
    let patience = PATIENCE.min(context.patience());
    let rows = ask_all(context.options()?.endpoints, patience).await;
    if output.for_programs() {
        output.document(&rows)?;
    } else {
        show(output, &rows)?;
    }
    let answered = rows.iter().filter_map(|row| row.status.as_ref());
    let leads = answered.clone().any(|status| status.role == "leader");
    // One that was asked alone, and cannot say where the others are, still knows whom it follows.
    let all_answered = rows.iter().all(|row| row.status.is_some());
    let follows = all_answered && answered.clone().any(|status| status.leader.is_some());
    if !leads && !follows {
        let reached = answered.count();
        let why = format!("no leader is known to the {reached} nodes that answered");
        return Err(Failure::error(Code::Unavailable, why));
    }
    Ok(())
}

async fn ask(endpoints: Vec<String>, patience: Duration) -> Vec<Row> {
    let each = endpoints.into_iter().map(|address| async move {
        match status(&address, patience).await {
            Ok(status) => Row {
                address,
                status: Some(status),
                failure: None,
            },
            Err(failed) => Row {
                address,
                status: None,
                failure: Some(failed.to_string()),
            },
        }
    });
    join_all(each).await
}

/// Client addresses that the nodes know and nobody has asked.
fn unasked(rows: &[Row]) -> Vec<String> {
    let known = rows.iter().filter_map(|row| row.status.as_ref());
    let answered: Vec<u64> = known.clone().map(|status| status.node).collect();
    let mut strangers: Vec<String> = known
        .flat_map(|status| &status.members)
        .filter(|member| !answered.contains(&member.node) && !member.client_address.is_empty())
        .map(|member| member.client_address.clone())
        .filter(|address| rows.iter().all(|row| row.address != *address))
        .collect();
    strangers.sort();
    strangers.dedup();
    strangers
}

/// A node may be known by two addresses; those that answered come first, by their number.
fn one_per_node(rows: Vec<Row>) -> Vec<Row> {
    let mut by_node = BTreeMap::new();
    let mut silent = Vec::new();
    for row in rows {
        match &row.status {
            Some(status) => {
                by_node.entry(status.node).or_insert(row);
            }
            None => silent.push(row),
        }
    }
    by_node.into_values().chain(silent).collect()
}

fn show(output: Output, rows: &[Row]) -> anyhow::Result<()> {
    let answered = || rows.iter().filter_map(|row| row.status.as_ref());
    let committed = answered().map(|status| status.committed).max().unwrap_or(0);
    let mut table = Table::new([
        "NODE",
        "CLIENTS AT",
        "ROLE",
        "TERM",
        "ZXID",
        "APPLIED",
        "LAG",
        "CLIENTS",
        "WATCHES",
    ]);
    for row in rows {
        match &row.status {
            Some(status) => table.row(node(&row.address, status, committed)),
            None => {
                let node = number_of(rows, &row.address);
                let mut cells = vec![node.map_or_else(|| "?".into(), Cell::from)];
                cells.push(row.address.as_str().into());
                cells.push(cell(Tone::Bad, "unreachable"));
                cells.resize_with(9, || "-".into());
                table.row(cells);
            }
        }
    }
    output.table(&table)?;
    if let Some(status) = answered().max_by_key(|status| status.zxid) {
        let voters = status.members.iter().filter(|member| member.voter).count();
        let told = format!(
            "{} sessions, {} znodes; {voters} voters, quorum {}",
            status.sessions,
            status.znodes,
            voters / 2 + 1
        );
        output.line(&output.paint(Tone::Faint, &told))?;
    }
    for row in rows {
        if let Some(failure) = &row.failure {
            output.line(&output.paint(Tone::Faint, failure))?;
        }
    }
    Ok(())
}

fn number_of(rows: &[Row], address: &str) -> Option<u64> {
    let known = rows.iter().filter_map(|row| row.status.as_ref());
    let mut members = known.flat_map(|status| &status.members);
    let found = members.find(|member: &&Member| member.client_address == address);
    found.map(|member| member.node)
}

fn node(address: &str, status: &Status, committed: u64) -> Vec<Cell> {
    let tone = match status.role.as_str() {
        "leader" => Tone::Good,
        "follower" | "learner" => Tone::Plain,
        _ => Tone::Notice,
    };
    let lag = committed.saturating_sub(status.applied);
    vec![
        status.node.into(),
        address.into(),
        cell(tone, &status.role),
        status.term.into(),
        format!("{:#x}", status.zxid).into(),
        status.applied.into(),
        cell(
            if lag > 1000 {
                Tone::Notice
            } else {
                Tone::Plain
            },
            lag,
        ),
        status.connections.into(),
        status.watches.into(),
    ]
}
