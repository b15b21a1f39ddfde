//! `zweig broker list`: who is registered, who is the controller.

use serde::Serialize;

use crate::context::Context;
use crate::kafka::{Brokers, failed};
use crate::output::{Cell, Table, Tone, cell};

/// Arguments of `zweig broker list`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zweig broker list --bootstrap 127.0.0.1:9092")]
pub struct Args {
    #[command(flatten)]
    brokers: Brokers,
}

#[derive(Serialize)]
struct Listed {
    id: i32,
    address: String,
    rack: Option<String>,
    controller: bool,
    leads: usize,
    replicas: usize,
}

/// Lists the brokers.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let admin = args.brokers.admin(context.patience());
    let cluster = admin.describe_cluster().await.map_err(|e| failed(&e))?;
    let partitions: Vec<_> = cluster
        .topics
        .values()
        .filter_map(|t| t.as_ref().ok())
        .flat_map(|t| t.partitions.values())
        .collect();
    let listed: Vec<Listed> = cluster
        .brokers
        .values()
        .map(|broker| Listed {
            id: broker.id,
            address: broker.address(),
            rack: broker.rack.clone(),
            controller: cluster.controller == Some(broker.id),
            leads: partitions
                .iter()
                .filter(|p| p.leader == Some(broker.id))
                .count(),
            replicas: partitions
                .iter()
                .filter(|p| p.replicas.contains(&broker.id))
                .count(),
        })
        .collect();
    let output = context.output();
    if output.for_programs() {
        return Ok(output.document(&listed)?);
    }
    let mut table = Table::new(["BROKER", "ADDRESS", "RACK", "LEADS", "REPLICAS", "ROLE"]);
    for broker in listed {
        let role: Cell = match broker.controller {
            true => cell(Tone::Good, "controller"),
            false => "".into(),
        };
        table.row([
            broker.id.into(),
            broker.address.into(),
            broker.rack.unwrap_or_else(|| "-".to_owned()).into(),
            broker.leads.into(),
            broker.replicas.into(),
            role,
        ]);
    }
    Ok(output.table(&table)?)
}
