//! The one binary: both servers and every tool. Each subcommand is a file of its own; here is only
//! the list of them and the way out.

mod bench;
mod broker;
mod brokers;
mod clock;
mod console;
mod consume;
mod context;
mod coordinator;
mod coordinator_wipe;
mod create;
mod delete;
mod dev;
mod disks;
mod doctor;
mod ensemble;
mod failure;
mod get;
mod group;
mod history;
mod kafka;
mod ls;
mod manual;
mod output;
mod produce;
mod progress;
mod role;
mod set;
mod shell;
mod signals;
mod stat;
mod suggest;
mod topic;
mod tree;
mod watch;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use context::Context;

/// Takes a fifth less memory than the C library's with a million znodes, and a little less time everywhere
/// (`coordinator/docs/performance.md`); RocksDB's memory comes from it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A coordination service and a log that know each other: ensemble, brokers and their tools.
#[derive(Debug, Parser)]
#[command(name = "zweig", version, after_help = failure::EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    context: Context,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run one node of the ensemble, or wipe one that is damaged.
    Coordinator(coordinator::Args),
    /// Run one broker, or list the brokers there are.
    Broker(broker::Args),
    /// Draw the tree of znodes.
    Tree(tree::Args),
    /// List the children of a znode.
    Ls(ls::Args),
    /// Print the data of a znode.
    Get(get::Args),
    /// Print what the ensemble knows of a znode beside its data.
    Stat(stat::Args),
    /// Create a znode and print its path.
    Create(create::Args),
    /// Replace the data of a znode.
    Set(set::Args),
    /// Delete a znode.
    Delete(delete::Args),
    /// Print the changes of a znode, or of everything below it, as they happen.
    Watch(watch::Args),
    /// Commands typed one after another in one session, with completion; those of ZooKeeper's shell too.
    Shell(shell::Args),
    /// What happened to a znode: when, by whom, what it was before.
    History(history::Args),
    /// How a znode's data differs between two transactions.
    Diff(history::DiffArgs),
    /// The coordinators themselves.
    Ensemble(ensemble::Args),
    /// What is wrong with a cluster, in plain words, and what to do about it.
    Doctor(doctor::Args),
    /// Create, list, describe and delete topics.
    Topic(topic::Args),
    /// Send lines as records.
    Produce(produce::Args),
    /// Print records.
    Consume(consume::Args),
    /// Consumer groups: who reads what, and how far behind it is.
    Group(group::Args),
    /// Load for an ensemble, of Zweig or of ZooKeeper, with latencies and checked answers.
    Bench(bench::Args),
    /// A page that shows ensemble, brokers, topics, groups and the tree, live.
    Console(console::Args),
    /// Print a script that completes commands and options in your shell.
    Completions(manual::Completions),
    /// Write man pages.
    Man(manual::Man),
    /// A whole local cluster as separate processes, on one screen.
    Dev(dev::Args),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => failure::report(&failed),
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let Cli { context, command } = cli;
    match command {
        Command::Coordinator(args) => coordinator::run(&args),
        Command::Broker(args) => broker::run(context, args),
        Command::Tree(args) => context.tool(|c| tree::run(c, args)),
        Command::Ls(args) => context.tool(|c| ls::run(c, args)),
        Command::Get(args) => context.tool(|c| get::run(c, args)),
        Command::Stat(args) => context.tool(|c| stat::run(c, args)),
        Command::Create(args) => context.tool(|c| create::run(c, args)),
        Command::Set(args) => context.tool(|c| set::run(c, args)),
        Command::Delete(args) => context.tool(|c| delete::run(c, args)),
        Command::Watch(args) => context.tool(|c| watch::run(c, args)),
        Command::Shell(args) => context.tool(|c| shell::run(c, args)),
        Command::History(args) => context.tool(|c| history::run(c, args)),
        Command::Diff(args) => context.tool(|c| history::diff(c, args)),
        Command::Ensemble(args) => context.tool(|c| ensemble::run(c, args)),
        Command::Doctor(args) => context.tool(|c| doctor::run(c, args)),
        Command::Topic(args) => context.tool(|c| topic::run(c, args)),
        Command::Produce(args) => context.tool(|c| produce::run(c, args)),
        Command::Consume(args) => context.tool(|c| consume::run(c, args)),
        Command::Group(args) => context.tool(|c| group::run(c, args)),
        Command::Bench(args) => context.tool(|c| bench::run(c, args)),
        Command::Console(args) => context.tool(|c| console::run(c, args)),
        Command::Completions(args) => manual::completions(&context, Cli::command(), &args),
        Command::Man(args) => manual::man(&context, Cli::command(), &args),
        Command::Dev(args) => context.tool(|_| dev::run(args)),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
