//! `zweig broker`: one broker; `zweig broker list` and `disks`: all of them, as a cluster sees itself.

use futures::TryFutureExt as _;
use zweig_broker::config::Config;

use crate::brokers;
use crate::context::Context;
use crate::disks;
use crate::failure::{Code, Failure};
use crate::role::{self, RoleArgs, Workers};

/// Arguments of `zweig broker`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  zweig broker --config server.properties\n  zweig broker --set broker.id=1 --set log.dirs=data/kafka --set zookeeper.connect=127.0.0.1:2181"
)]
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
    /// The brokers' log directories: what lies in them, and their room.
    Disks(disks::Args),
}

/// Runs the broker until it is told to stop, or tells of the brokers there are.
pub fn run(context: Context, args: Args) -> anyhow::Result<()> {
    match args.command {
        Some(Command::List(args)) => return context.tool(|c| brokers::run(c, args)),
        Some(Command::Disks(args)) => return context.tool(|c| disks::run(c, args)),
        None => {}
    }
    let role = args.role;
    let config = Config::load(role.config.as_deref(), &role.set);
    let config = config.map_err(|wrong| Failure::error(Code::Usage, wrong.to_string()))?;
    if role.check_config {
        return role.say_right(config.warnings());
    }
    role::run(&role, Workers::All, |shutdown| {
        let ended = zweig_broker::run(config, shutdown);
        Box::pin(ended.map_err(|error| {
            let conflict = error.is_conflict();
            Failure::of_server(error, conflict)
        }))
    })
}
