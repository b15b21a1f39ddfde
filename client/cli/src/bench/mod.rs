//! `zweig bench`: load for an ensemble or for brokers, with its latency and its answers checked.
//!
//! It speaks ZooKeeper's and Kafka's wire protocols and nothing else, so it drives a real ZooKeeper and a real Kafka as it drives
//! Zweig, and what it says of the two can be set side by side. A wrong answer ends the run: a figure of a server that answers
//! wrongly is worth nothing.
//!
//! `recorder`, `report`, `html`, `threads` and `ticks` are those of both; `ensemble` and `stream` know what is driven.

mod cpu;
mod ensemble;
mod html;
mod recorder;
mod report;
mod stream;
mod threads;
mod ticks;

use clap::{Args as ClapArgs, Subcommand};

use crate::context::Context;

/// `zweig bench …`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// An ensemble of Zweig or of ZooKeeper, by ZooKeeper's protocol.
    Ensemble(ensemble::Args),
    /// Brokers of Zweig or of Kafka, by Kafka's protocol.
    Stream(stream::Args),
}

/// Runs the load and prints what came of it.
///
/// # Errors
/// If no server is reached, a connection breaks, or an answer is wrong.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Stream(args) => stream::run(&context, args).await,
        What::Ensemble(args) => ensemble::run(&context, args).await,
    }
}
