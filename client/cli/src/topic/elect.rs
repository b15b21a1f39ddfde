//! `zweig topic elect`: leaders as they were assigned, or any leader at all.

use serde::Serialize;
use zweig_client::kafka::admin::{Election, ElectionKind};
use zweig_client::kafka::{Admin, ErrorCode, KafkaError};

use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::kafka::failed;
use crate::output::{Table, Tone, cell};

/// Arguments of `zweig topic elect`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  zweig topic elect                 # preferred leaders, wherever another one leads\n  \
                  zweig topic elect orders 0"
)]
pub struct Args {
    /// Its topic; all topics if none is given.
    #[arg(required_if_eq("unclean", "true"))]
    topic: Option<String>,
    /// The partitions; all of the topic if none is given.
    partitions: Vec<i32>,
    /// Make any replica that runs the leader of a partition that has none. What only others had is LOST.
    #[arg(long)]
    unclean: bool,
}

#[derive(Serialize)]
struct Elected {
    topic: String,
    partition: i32,
    elected: bool,
    error: Option<String>,
}

/// Has leaders elected and prints what became of each partition.
///
/// # Errors
/// With [`Code::Failed`] if a partition that needs an election got none.
pub async fn run(context: &Context, admin: &Admin, args: Args) -> anyhow::Result<()> {
    let kind = match args.unclean {
        true => ElectionKind::Unclean,
        false => ElectionKind::Preferred,
    };
    let asked = match &args.topic {
        Some(topic) => Some(partitions_of(admin, topic, &args.partitions).await?),
        None => None,
    };
    let elections = admin
        .elect_leaders(kind, asked.as_deref(), context.patience())
        .await;
    let elections = elections.map_err(|error| failed(&error))?;
    let output = context.output();
    let needed = elections.iter().filter(|election| !is_well(election));
    let failures = needed.filter(|election| election.outcome.is_err()).count();
    if output.for_programs() {
        let elected: Vec<Elected> = elections.into_iter().map(elected).collect();
        output.document(&elected)?;
    } else if elections.is_empty() {
        output.line("every partition is led by its preferred replica")?;
    } else {
        output.table(&table(&elections))?;
    }
    match failures {
        0 => Ok(()),
        1 => Err(Failure::error(Code::Failed, "1 partition got no leader")),
        count => {
            let what = format!("{count} partitions got no leader");
            Err(Failure::error(Code::Failed, what))
        }
    }
}

async fn partitions_of(
    admin: &Admin,
    topic: &str,
    named: &[i32],
) -> anyhow::Result<Vec<(String, i32)>> {
    let of_topic = |index: &i32| (topic.to_owned(), *index);
    if !named.is_empty() {
        return Ok(named.iter().map(of_topic).collect());
    }
    let described = admin.describe_topics(&[topic.to_owned()]).await;
    let mut partitions = Vec::new();
    for described in described.map_err(|e| failed(&e))?.topics.into_values() {
        match described {
            Ok(described) => partitions.extend(described.partitions.keys().map(of_topic)),
            Err(error) => return Err(crate::suggest::about_topic(admin, &error, topic).await),
        }
    }
    Ok(partitions)
}

/// Nothing was to be done.
fn is_well(election: &Election) -> bool {
    let code = election.outcome.as_ref().err().and_then(KafkaError::code);
    code == Some(ErrorCode::ElectionNotNeeded)
}

fn elected(election: Election) -> Elected {
    Elected {
        topic: election.topic,
        partition: election.partition,
        elected: election.outcome.is_ok(),
        error: election.outcome.err().map(|error| error.to_string()),
    }
}

fn table(elections: &[Election]) -> Table {
    let mut table = Table::new(["TOPIC", "PARTITION", "OUTCOME"]);
    for election in elections {
        let outcome = match &election.outcome {
            Ok(()) => cell(Tone::Good, "elected"),
            Err(_) if is_well(election) => cell(Tone::Plain, "not needed"),
            Err(error) => cell(Tone::Bad, why(error)),
        };
        table.row([
            election.topic.as_str().into(),
            election.partition.into(),
            outcome,
        ]);
    }
    table
}

fn why(error: &KafkaError) -> String {
    match error.code() {
        Some(ErrorCode::PreferredLeaderNotAvailable) => {
            "its preferred replica is gone or not in sync".to_owned()
        }
        Some(ErrorCode::EligibleLeadersNotAvailable) => {
            "none of its replicas can lead now".to_owned()
        }
        _ => error.to_string(),
    }
}
