//! `zweig broker`: one broker; `zweig broker list`: all of them, as a cluster sees itself.

use zweig_broker::config::Config;

use crate::brokers;
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::role::{self, RoleArgs, Workers};

/// Arguments of `zweig broker`.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// `server.properties`, with Kafka's keys.
    #[command(flatten)]
    role: RoleArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// The brokers of a cluster: where they are, what they lead, who is the controller.
    List(brokers::Args),
}

/// Runs the broker until it is told to stop, or lists the brokers there are.
pub fn run(context: Context, args: Args) -> anyhow::Result<()> {
    if let Some(Command::List(args)) = args.command {
        return context.tool(|c| brokers::run(c, args));
    }
    let RoleArgs {
        config,
        set,
        parent,
    } = args.role;
    let config = Config::load(config.as_deref(), &set);
    let config = config.map_err(|wrong| Failure::error(Code::Usage, wrong.to_string()))?;
    role::run(parent, Workers::All, |shutdown| {
        Box::pin(zweig_broker::run(config, shutdown))
    })
}
