//! `zweig topic`: create, list, describe and delete topics, elect their leaders.

mod elect;

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Serialize;
use zweig_client::kafka::Admin;
use zweig_client::kafka::admin::NewTopic;
use zweig_client::kafka::client::{PartitionMetadata, TopicMetadata};

use crate::context::Context;
use crate::history::explain;
use crate::kafka::{Brokers, failed};
use crate::output::{Cell, Table, Tone, cell};
use crate::suggest::about_topic;

/// Arguments of `zweig topic`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    brokers: Brokers,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Create a topic.
    #[command(
        after_help = "Example:\n  zweig topic create orders --partitions 3 --replication-factor 3 \
                            --config retention.ms=3600000"
    )]
    Create(Create),
    /// List the topics.
    #[command(after_help = "Example:\n  zweig topic list --output json")]
    List {
        /// With the brokers' own topics.
        #[arg(long)]
        internal: bool,
    },
    /// Show a topic's partitions: leader, replicas, in-sync replicas; and the settings of its own.
    #[command(after_help = "Example:\n  zweig topic describe orders")]
    Describe {
        /// Its name; all topics if none is given.
        topic: Option<String>,
    },
    /// Why a partition has this leader, since when, and what happened before.
    Explain(explain::Args),
    /// Elect leaders: the preferred ones, or any where there is none.
    Elect(elect::Args),
    /// Delete a topic and its records.
    #[command(after_help = "Example:\n  zweig topic delete orders")]
    Delete {
        /// Its name.
        topic: String,
    },
}

#[derive(Debug, clap::Args)]
struct Create {
    /// Its name.
    topic: String,
    /// How many partitions; the brokers' `num.partitions` if not given.
    #[arg(long, short, value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// Replicas of each partition; the brokers' `default.replication.factor` if not given.
    #[arg(long, short, value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting of the topic; may be given several times.
    #[arg(long = "config", short, value_name = "KEY=VALUE", value_parser = setting)]
    configs: Vec<(String, String)>,
    /// No error if it exists.
    #[arg(long)]
    if_not_exists: bool,
}

/// `key=value`.
pub fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it as key=value")?;
    Ok((key.trim().to_owned(), value.trim().to_owned()))
}

#[derive(Serialize)]
struct Partition<'a> {
    partition: i32,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: &'a [i32],
    isr: &'a [i32],
    offline: &'a [i32],
}

#[derive(Serialize)]
struct Described<'a> {
    topic: &'a str,
    id: String,
    internal: bool,
    configs: BTreeMap<String, String>,
    partitions: Vec<Partition<'a>>,
}

/// Runs the subcommand.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let admin = args.brokers.admin(context.patience());
    match args.command {
        Command::Create(create) => run_create(&context, &admin, create).await,
        Command::List { internal } => list(&context, &admin, internal).await,
        Command::Describe { topic } => describe(&context, &admin, topic).await,
        Command::Explain(args) => explain::run(context, args).await,
        Command::Elect(args) => elect::run(&context, &admin, args).await,
        Command::Delete { topic } => {
            if let Err(error) = admin.delete_topic(&topic).await {
                return Err(about_topic(&admin, &error, &topic).await);
            }
            said(&context, "deleted", &topic)
        }
    }
}

fn said(context: &Context, what: &str, topic: &str) -> anyhow::Result<()> {
    let output = context.output();
    if output.for_programs() {
        output.document(&serde_json::json!({ what: topic }))?;
    } else {
        output.line(&match what {
            "exists" => format!("topic {topic} exists"),
            done => format!("{done} topic {topic}"),
        })?;
    }
    Ok(())
}

async fn run_create(context: &Context, admin: &Admin, create: Create) -> anyhow::Result<()> {
    let topic = NewTopic {
        name: create.topic,
        partitions: create.partitions,
        replication_factor: create.replication_factor,
        configs: create.configs.into_iter().collect(),
        ..NewTopic::default()
    };
    let exists = zweig_client::kafka::ErrorCode::TopicAlreadyExists;
    match admin.create_topic(&topic).await {
        Err(error) if create.if_not_exists && error.code() == Some(exists) => {
            said(context, "exists", &topic.name)
        }
        Err(error) => Err(failed(&error)),
        Ok(()) => said(context, "created", &topic.name),
    }
}

async fn list(context: &Context, admin: &Admin, internal: bool) -> anyhow::Result<()> {
    let cluster = admin.describe_cluster().await.map_err(|e| failed(&e))?;
    let topics = cluster.topics.into_values().filter_map(Result::ok);
    let topics: Vec<_> = topics.filter(|t| internal || !t.internal).collect();
    let output = context.output();
    if output.for_programs() {
        let names: Vec<&str> = topics.iter().map(|t| t.name.as_str()).collect();
        return Ok(output.document(&names)?);
    }
    let mut table = Table::new(["TOPIC", "PARTITIONS", "REPLICAS", "UNDER-REPLICATED"]);
    for topic in &topics {
        let replicas = topic
            .partitions
            .values()
            .map(|p| p.replicas.len())
            .max()
            .unwrap_or(0);
        let under = topic
            .partitions
            .values()
            .filter(|p| p.isr.len() < p.replicas.len())
            .count();
        let tone = if under > 0 { Tone::Notice } else { Tone::Plain };
        table.row([
            cell(Tone::Plain, &topic.name),
            topic.partitions.len().into(),
            replicas.into(),
            cell(tone, under),
        ]);
    }
    Ok(output.table(&table)?)
}

async fn describe(context: &Context, admin: &Admin, topic: Option<String>) -> anyhow::Result<()> {
    let cluster = match topic {
        Some(topic) => admin.describe_topics(&[topic]).await,
        None => admin.describe_cluster().await,
    };
    let output = context.output();
    for (name, topic) in cluster.map_err(|e| failed(&e))?.topics {
        let topic = match topic {
            Ok(topic) => topic,
            Err(error) => return Err(about_topic(admin, &error, &name).await),
        };
        let configs = admin
            .topic_configs(&topic.name)
            .await
            .map_err(|e| failed(&e))?;
        let configs: BTreeMap<String, String> = configs
            .into_iter()
            .filter(|c| c.is_topics_own)
            .map(|c| (c.name, c.value.unwrap_or_default()))
            .collect();
        if output.for_programs() {
            output.document(&described(&topic, configs))?;
            continue;
        }
        let settings: String = configs.iter().map(|(k, v)| format!("  {k}={v}")).collect();
        let (name, id) = (&topic.name, topic_id(&topic));
        output.line(&format!("topic {name}  id {id}{settings}"))?;
        output.table(&table(&topic))?;
    }
    Ok(())
}

fn described(topic: &TopicMetadata, configs: BTreeMap<String, String>) -> Described<'_> {
    let partition = |p: &'_ PartitionMetadata| p.index;
    let partitions = topic.partitions.values().map(|p| Partition {
        partition: partition(p),
        leader: p.leader,
        leader_epoch: p.leader_epoch,
        replicas: &p.replicas,
        isr: &p.isr,
        offline: &p.offline,
    });
    Described {
        topic: &topic.name,
        id: topic_id(topic),
        internal: topic.internal,
        configs,
        partitions: partitions.collect(),
    }
}

fn table(topic: &TopicMetadata) -> Table {
    let mut table = Table::new(["PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR"]);
    for p in topic.partitions.values() {
        let leader: Cell = match p.leader {
            Some(id) => id.into(),
            None => cell(Tone::Bad, "none"),
        };
        let short = p.isr.len() < p.replicas.len();
        table.row([
            p.index.into(),
            leader,
            p.leader_epoch.into(),
            ids(&p.replicas).into(),
            cell(if short { Tone::Notice } else { Tone::Good }, ids(&p.isr)),
        ]);
    }
    table
}

/// A topic's id as Kafka's tools and the tree have it.
fn topic_id(topic: &TopicMetadata) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(topic.id.as_bytes())
}

fn ids(ids: &[i32]) -> String {
    ids.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}
