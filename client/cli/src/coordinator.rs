//! `zweig coordinator`: one node of the ensemble.

use zweig_coordinator::Config;

use crate::failure::{Code, Failure};
use crate::role::{self, RoleArgs};

/// Arguments of `zweig coordinator`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// `zoo.cfg`, with ZooKeeper's keys.
    #[command(flatten)]
    role: RoleArgs,
    /// Which `server.N` this node is, instead of the file `myid` in `dataDir`.
    #[arg(long, value_name = "N")]
    myid: Option<u64>,
}

/// Runs the node until it is told to stop.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let RoleArgs {
        config,
        set,
        parent,
    } = &args.role;
    let config = match config {
        Some(path) => Config::load(path, set, args.myid),
        None => Config::from_overrides(set, args.myid),
    };
    let config = config.map_err(|wrong| Failure::error(Code::Usage, wrong.to_string()))?;
    zweig_coordinator::exit_on_panic();
    role::run(*parent, |shutdown| zweig_coordinator::run(config, shutdown))
}
