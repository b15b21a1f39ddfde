//! `zweig coordinator wipe`: sets a lost or damaged node's data aside, so that it rejoins its ensemble.

use std::io::{IsTerminal, Write, stdin, stdout};
use std::path::Path;

use zweig_coordinator::Config;
use zweig_coordinator::wipe::{Wipe, WipeError};

use crate::failure::{Code, Failure};
use crate::role::RoleArgs;

/// Arguments of `zweig coordinator wipe`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zweig coordinator wipe --config zoo.cfg")]
pub struct Args {
    /// The `zoo.cfg` of the node, as it is started with.
    #[command(flatten)]
    pub role: RoleArgs,
    /// Which `server.N` this node is, instead of the file `myid` in `dataDir`.
    #[arg(long, value_name = "N")]
    pub myid: Option<u64>,
    /// Do it without asking.
    #[arg(long, short)]
    yes: bool,
    /// For an ensemble of one: start a new, empty one.
    #[arg(long)]
    new_ensemble: bool,
}

/// Says what it will do, asks, and does it.
pub fn run(config: &Config, args: &Args) -> anyhow::Result<()> {
    let now_ms = u64::try_from(zweig_coordinator::clock::wall_clock_ms()).unwrap_or(0);
    let wipe = Wipe::plan(config, now_ms, args.new_ensemble).map_err(|error| refused(&error))?;
    announce(&wipe)?;
    if !args.yes {
        confirm(wipe.node)?;
    }
    wipe.carry_out()?;
    farewell(&wipe)?;
    Ok(())
}

fn refused(error: &WipeError) -> anyhow::Error {
    let code = match error {
        WipeError::Alone { .. } | WipeError::NotAlone { .. } => Code::Usage,
        WipeError::Running(_) => Code::Conflict,
        _ => Code::Failed,
    };
    Failure::error(code, error.to_string())
}

fn announce(wipe: &Wipe) -> std::io::Result<()> {
    let mut out = stdout().lock();
    match wipe.moves.as_slice() {
        [] => writeln!(out, "Node {} holds no data.", wipe.node)?,
        _ => writeln!(
            out,
            "The data of node {} is set aside, nothing is deleted:",
            wipe.node
        )?,
    }
    for (from, to) in &wipe.moves {
        writeln!(out, "  {} -> {}", from.display(), to.display())?;
    }
    if wipe.others.is_empty() {
        return writeln!(out, "At its next start it is a new, empty ensemble.");
    }
    let others: Vec<_> = wipe.others.iter().map(u64::to_string).collect();
    writeln!(
        out,
        "At its next start it gets everything from the others (nodes {}): they remove its former self and let it\n\
         in anew. That needs a quorum of them, so make sure they run. The data set aside can't come back afterwards.",
        others.join(", ")
    )
}

fn confirm(node: u64) -> anyhow::Result<()> {
    if !stdin().is_terminal() {
        let why = "nothing was done: this is no terminal to ask on; --yes does it without asking";
        return Err(Failure::error(Code::Usage, why));
    }
    print!("Wipe node {node}? [y/N] ");
    stdout().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::error(Code::Failed, "nothing was done")),
    }
}

fn farewell(wipe: &Wipe) -> std::io::Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "Done. Start the node as usual.")?;
    let mut folders: Vec<_> = wipe
        .moves
        .iter()
        .filter_map(|(_, to)| to.parent())
        .collect();
    folders.dedup();
    if folders.is_empty() {
        return Ok(());
    }
    let quoted = |folder: &&Path| format!("'{}'", folder.display());
    let folders: Vec<_> = folders.iter().map(quoted).collect();
    writeln!(
        out,
        "Once it is back, free the space: rm -r {}",
        folders.join(" ")
    )
}
