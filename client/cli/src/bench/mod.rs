//! `zweig bench`: load for an ensemble, with its latency and its answers checked.
//!
//! It speaks ZooKeeper's wire protocol and nothing else, so it drives a real ZooKeeper as it drives Zweig, and what it says of the
//! two can be set side by side. A wrong answer ends the run: a figure of a server that answers wrongly is worth nothing.

mod cpu;
mod ensemble;
mod html;
mod recorder;
mod report;

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
}

/// Runs the load and prints what came of it.
///
/// # Errors
/// If no server is reached, a connection breaks, or an answer is wrong.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    match args.what {
        What::Ensemble(args) => ensemble::run(&context, args).await,
    }
}
