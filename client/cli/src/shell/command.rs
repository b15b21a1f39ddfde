//! What can be typed: the commands of ZooKeeper's own shell, by its names and letters.

use clap::{Parser, Subcommand};

/// A line.
#[derive(Debug, Parser)]
#[command(multicall = true, disable_help_flag = true)]
pub struct Line {
    #[command(subcommand)]
    pub command: Command,
}

/// Commands of ZooKeeper's shell; any other word is a command of `zweig`.
#[derive(Debug, Subcommand)]
#[command(rename_all = "camelCase", disable_help_subcommand = true)]
pub enum Command {
    /// The children of a znode.
    Ls {
        /// With its stat.
        #[arg(short)]
        stat: bool,
        /// Tell once when a child comes or goes.
        #[arg(short)]
        watch: bool,
        /// Everything below it.
        #[arg(short = 'R')]
        recursive: bool,
        #[arg(default_value = "/")]
        path: String,
    },
    /// The data of a znode.
    Get {
        /// With its stat.
        #[arg(short)]
        stat: bool,
        /// Tell once when it changes.
        #[arg(short)]
        watch: bool,
        path: String,
    },
    /// The stat of a znode.
    Stat {
        /// Tell once when it changes.
        #[arg(short)]
        watch: bool,
        path: String,
    },
    /// A new znode.
    Create {
        /// With a number appended.
        #[arg(short)]
        sequential: bool,
        /// Goes with the session of this shell.
        #[arg(short)]
        ephemeral: bool,
        path: String,
        data: Option<String>,
        /// `scheme:id:permissions`, by commas.
        acl: Option<String>,
    },
    /// New data for a znode.
    Set {
        /// With its stat.
        #[arg(short)]
        stat: bool,
        /// Only if this is its version.
        #[arg(short, allow_negative_numbers = true)]
        version: Option<i32>,
        path: String,
        #[arg(allow_hyphen_values = true)]
        data: String,
    },
    /// Delete a znode.
    Delete {
        /// Only if this is its version.
        #[arg(short, allow_negative_numbers = true)]
        version: Option<i32>,
        path: String,
    },
    /// Delete a znode and everything below it.
    #[command(alias = "rmr")]
    Deleteall { path: String },
    /// The access list of a znode.
    GetAcl {
        /// With its stat.
        #[arg(short)]
        stat: bool,
        path: String,
    },
    /// A new access list.
    SetAcl {
        /// With its stat.
        #[arg(short)]
        stat: bool,
        /// Only if this is the version of the list.
        #[arg(short)]
        version: Option<i32>,
        path: String,
        /// `scheme:id:permissions`, by commas.
        acl: String,
    },
    /// Your own ephemeral znodes.
    GetEphemerals {
        #[arg(default_value = "/")]
        path: String,
    },
    /// How many znodes are below one.
    GetAllChildrenNumber { path: String },
    /// Wait until this node has everything that was acknowledged anywhere.
    Sync {
        #[arg(default_value = "/")]
        path: String,
    },
    /// Tell of every change from now on.
    AddWatch {
        /// PERSISTENT (this znode and its children's coming and going) or PERSISTENT_RECURSIVE.
        #[arg(short, default_value = "PERSISTENT_RECURSIVE")]
        mode: String,
        path: String,
    },
    /// Tell of changes there no more.
    #[command(alias = "removeWatches")]
    Removewatches { path: String },
    /// Who you are from now on, as scheme and credentials; begins a new session.
    Addauth { scheme: String, credentials: String },
    /// Who you are.
    Whoami,
    /// The coordinators of the ensemble.
    Config,
    /// A new session, there.
    Connect { server: Option<String> },
    /// End the session.
    Close,
    /// The lines typed before; with a path, what happened to that znode.
    History { path: Option<String> },
    /// Do a line of the history again.
    Redo { number: usize },
    /// The version of this program.
    Version,
    /// End.
    #[command(alias = "exit")]
    Quit,
    /// What there is.
    #[command(alias = "?")]
    Help,
    /// A command of `zweig`.
    #[command(external_subcommand)]
    Other(Vec<String>),
}

impl Line {
    /// Reads words.
    ///
    /// # Errors
    /// Says what is wrong with them, for people.
    pub fn read(words: Vec<String>) -> Result<Command, String> {
        match Self::try_parse_from(words) {
            Ok(line) => Ok(line.command),
            Err(error) => Err(error.to_string().trim_end().to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Command, String> {
        Line::read(line.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn lines_are_read_as_zookeepers_shell_reads_them() {
        use clap::CommandFactory as _;
        Line::command().debug_assert();
        assert!(matches!(
            read("ls -s -w /a"),
            Ok(Command::Ls {
                stat: true,
                watch: true,
                ..
            })
        ));
        assert!(matches!(read("ls"), Ok(Command::Ls { path, .. }) if path == "/"));
        assert!(matches!(
            read("create -s -e /a data world:anyone:r"),
            Ok(Command::Create {
                sequential: true,
                ephemeral: true,
                acl: Some(_),
                ..
            })
        ));
        assert!(matches!(
            read("set -v 3 /a -5"),
            Ok(Command::Set {
                version: Some(3),
                ..
            })
        ));
        assert!(matches!(
            read("getAllChildrenNumber /"),
            Ok(Command::GetAllChildrenNumber { .. })
        ));
        assert!(matches!(
            read("deleteall /a"),
            Ok(Command::Deleteall { .. })
        ));
        assert!(matches!(read("rmr /a"), Ok(Command::Deleteall { .. })));
        assert!(matches!(read("quit"), Ok(Command::Quit)));
        assert!(
            matches!(read("topic list"), Ok(Command::Other(words)) if words == ["topic", "list"])
        );
        assert!(read("get").is_err_and(|why| why.contains("<PATH>")));
        assert!(read("set -v x /a b").is_err());
    }
}
