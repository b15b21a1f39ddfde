//! `zweig coordinator`: one node of the ensemble; `zweig coordinator wipe`: sets a damaged one's data aside.

use futures::TryFutureExt as _;
use zweig_coordinator::Config;

use crate::coordinator_wipe;
use crate::failure::{Code, Failure};
use crate::role::{self, RoleArgs, Workers};

/// Arguments of `zweig coordinator`.
#[derive(Debug, clap::Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  zweig coordinator --config zoo.cfg\n  zweig coordinator --set dataDir=data/zk --set clientPort=2181"
)]
pub struct Args {
    /// `zoo.cfg`, with ZooKeeper's keys.
    #[command(flatten)]
    role: RoleArgs,
    /// Which `server.N` this node is, instead of the file `myid` in `dataDir`.
    #[arg(long, value_name = "N")]
    myid: Option<u64>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Set a lost or damaged node's data aside, so that it rejoins its ensemble as a new member.
    Wipe(coordinator_wipe::Args),
}

/// Runs the node until it is told to stop, or wipes it.
pub fn run(args: &Args) -> anyhow::Result<()> {
    if let Some(Command::Wipe(args)) = &args.command {
        return coordinator_wipe::run(&config(&args.role, args.myid)?, args);
    }
    let config = config(&args.role, args.myid)?;
    if args.role.check_config {
        return args.role.say_right(&config.warnings());
    }
    zweig_coordinator::exit_on_panic();
    role::run(&args.role, Workers::Half, |shutdown| {
        zweig_coordinator::run(config, shutdown).map_err(|error| {
            let conflict = error.is_conflict();
            Failure::of_server(error, conflict)
        })
    })
}

fn config(role: &RoleArgs, myid: Option<u64>) -> anyhow::Result<Config> {
    let RoleArgs { config, set, .. } = role;
    let config = match config {
        Some(path) => Config::load(path, set, myid),
        None => Config::from_overrides(set, myid),
    };
    config.map_err(|wrong| Failure::error(Code::Usage, wrong.to_string()))
}
