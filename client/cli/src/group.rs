//! `zweig group`: list, describe and delete consumer groups.

use std::collections::BTreeMap;

use serde::Serialize;
use zweig_client::kafka::admin::GroupMember;
use zweig_client::kafka::consumer::{Position, TopicPartition};
use zweig_client::kafka::{Admin, KafkaError};

use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::kafka::{Brokers, failed};
use crate::output::{Cell, Table, Tone, cell};
use crate::suggest::about_group;

/// Arguments of `zweig group`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    brokers: Brokers,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// List the groups of all brokers.
    #[command(after_help = "Example:\n  zweig group list")]
    List,
    /// Show a group: its members, what each reads, and how far behind it is.
    #[command(after_help = "Example:\n  zweig group describe billing")]
    Describe {
        /// Its id.
        group: String,
    },
    /// Delete a group without members, and its offsets.
    #[command(after_help = "Example:\n  zweig group delete billing")]
    Delete {
        /// Its id.
        group: String,
    },
}

#[derive(Serialize)]
struct Read {
    topic: String,
    partition: i32,
    committed: Option<i64>,
    end: Option<i64>,
    lag: Option<i64>,
    member: Option<String>,
    client: Option<String>,
    host: Option<String>,
}

/// A group as it is shown.
#[derive(Serialize)]
pub struct Described {
    group: String,
    state: String,
    protocol: String,
    members: usize,
    partitions: Vec<Read>,
}

impl Described {
    /// How many consumers it has.
    pub fn members(&self) -> usize {
        self.members
    }

    /// Records that wait for it, in all partitions whose end is known.
    pub fn lag(&self) -> i64 {
        self.partitions.iter().filter_map(|read| read.lag).sum()
    }
}

/// Runs the subcommand.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let admin = args.brokers.admin(context.patience());
    match args.command {
        Command::List => list(&context, &admin).await,
        Command::Describe { group } => describe(&context, &admin, &group).await,
        Command::Delete { group } => {
            if let Err(error) = admin.delete_group(&group).await {
                return Err(about_group(&admin, failed(&error), &group).await);
            }
            let output = context.output();
            if output.for_programs() {
                return Ok(output.document(&serde_json::json!({ "deleted": group }))?);
            }
            Ok(output.line(&format!("deleted group {group}"))?)
        }
    }
}

async fn list(context: &Context, admin: &Admin) -> anyhow::Result<()> {
    let groups = admin.list_groups().await.map_err(|e| failed(&e))?;
    let output = context.output();
    if output.for_programs() {
        let groups: Vec<_> = groups
            .iter()
            .map(|g| serde_json::json!({"group": g.group, "state": g.state, "type": g.protocol_type}))
            .collect();
        return Ok(output.document(&groups)?);
    }
    let mut table = Table::new(["GROUP", "STATE", "TYPE"]);
    for group in groups {
        let state = group.state.unwrap_or_else(|| "-".to_owned());
        table.row([
            group.group.into(),
            state_cell(&state),
            group.protocol_type.into(),
        ]);
    }
    Ok(output.table(&table)?)
}

fn state_cell(state: &str) -> Cell {
    let tone = match state {
        "Stable" => Tone::Good,
        "Empty" => Tone::Faint,
        "Dead" => Tone::Bad,
        _ => Tone::Notice,
    };
    cell(tone, state)
}

async fn describe(context: &Context, admin: &Admin, group: &str) -> anyhow::Result<()> {
    let shown = look_at(admin, group).await.map_err(|e| failed(&e))?;
    if shown.state == "Dead" && shown.partitions.is_empty() {
        let none = Failure::error(Code::NotFound, format!("there is no group {group}"));
        return Err(about_group(admin, none, group).await);
    }
    print(context, &shown)
}

/// A group's members, what each reads, and how far behind it is; `Dead` and without partitions if there is none.
///
/// # Errors
/// [`KafkaError`] if its coordinator does not answer. Ends of partitions that cannot be had are left out.
pub async fn look_at(admin: &Admin, group: &str) -> Result<Described, KafkaError> {
    let described = admin.describe_group(group).await?;
    let committed = admin.committed_offsets(group).await?;
    let mut owners: BTreeMap<TopicPartition, Option<&GroupMember>> = BTreeMap::new();
    for (topic, partition) in committed.keys() {
        owners.insert(TopicPartition::new(topic.clone(), *partition), None);
    }
    for member in &described.members {
        for (topic, partitions) in &member.assignment {
            for &partition in partitions {
                owners.insert(TopicPartition::new(topic.clone(), partition), Some(member));
            }
        }
    }
    let wanted = owners
        .keys()
        .map(|p| (p.clone(), Position::Latest))
        .collect();
    let ends = admin.client().offsets(&wanted).await;
    let partitions = owners.into_iter().map(|(partition, member)| {
        let offset = committed
            .get(&(partition.topic.clone(), partition.partition))
            .map(|c| c.offset);
        let end = ends
            .get(&partition)
            .and_then(|end| end.as_ref().ok())
            .copied();
        Read {
            topic: partition.topic,
            partition: partition.partition,
            committed: offset,
            end,
            lag: offset.zip(end).map(|(offset, end)| (end - offset).max(0)),
            member: member.map(|m| m.member_id.clone()),
            client: member.map(|m| m.client_id.clone()),
            host: member.map(|m| m.client_host.clone()),
        }
    });
    Ok(Described {
        group: described.group,
        state: described.state,
        protocol: described.protocol,
        members: described.members.len(),
        partitions: partitions.collect(),
    })
}

fn print(context: &Context, group: &Described) -> anyhow::Result<()> {
    let output = context.output();
    if output.for_programs() {
        return Ok(output.document(group)?);
    }
    let protocol = if group.protocol.is_empty() {
        "-"
    } else {
        &group.protocol
    };
    output.line(&format!(
        "group {}  {}  {} members  protocol {protocol}",
        group.group, group.state, group.members
    ))?;
    let number = |n: Option<i64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
    let word = |w: &Option<String>| w.clone().unwrap_or_else(|| "-".to_owned());
    let mut table = Table::new([
        "TOPIC",
        "PARTITION",
        "COMMITTED",
        "END",
        "LAG",
        "MEMBER",
        "HOST",
    ]);
    for read in &group.partitions {
        let tone = if read.lag == Some(0) {
            Tone::Good
        } else {
            Tone::Notice
        };
        table.row([
            cell(Tone::Plain, &read.topic),
            read.partition.into(),
            number(read.committed).into(),
            number(read.end).into(),
            cell(tone, number(read.lag)),
            word(&read.member).into(),
            word(&read.host).into(),
        ]);
    }
    Ok(output.table(&table)?)
}
