//! `zweig create`: a znode. An ephemeral one lives as long as the command runs.

use std::io::{Read, stdin};

use anyhow::Context as _;
use bytes::Bytes;
use zweig_client::ensemble::{Acl, CreateMode, Ensemble, Error, Permissions, SessionState};

use crate::context::Context;
use crate::failure::Failure;
use crate::output::{Output, Tone};
use crate::signals::Signals;

/// Arguments of `zweig create`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  zweig create --parents /app/config '{\"workers\":4}'\n  zweig create --ephemeral --sequential /app/member-"
)]
pub struct Args {
    /// The znode. With --sequential a number is appended.
    path: String,
    /// Its data; `-` reads it from standard input; nothing means none.
    data: Option<String>,
    /// Goes with the session: this command stays until it is interrupted.
    #[arg(short, long)]
    ephemeral: bool,
    /// Append the parent's counter to the name.
    #[arg(short, long)]
    sequential: bool,
    /// Create missing parents as well.
    #[arg(short, long)]
    parents: bool,
    /// Who may do what: permissions out of `cdrwa` to `world:anyone`, to whom --auth names (`auth:`), or to
    /// `digest:user:hash`; may be given many times. Without it, everyone everything.
    #[arg(long, value_name = "SCHEME:ID:PERMISSIONS", value_parser = acl)]
    acl: Vec<Acl>,
}

/// As ZooKeeper's shell has it; what follows the last colon are the permissions.
pub fn acl(text: &str) -> Result<Acl, String> {
    let (who, letters) = text
        .rsplit_once(':')
        .ok_or("write it as scheme:id:permissions")?;
    let (scheme, id) = who.split_once(':').unwrap_or((who, ""));
    let mut permissions = 0;
    for letter in letters.chars() {
        permissions |= match letter {
            'r' => Permissions::READ.0,
            'w' => Permissions::WRITE.0,
            'c' => Permissions::CREATE.0,
            'd' => Permissions::DELETE.0,
            'a' => Permissions::ADMIN.0,
            other => return Err(format!("'{other}' is no permission; they are c d r w a")),
        };
    }
    if permissions == 0 || scheme.is_empty() {
        return Err("write it as scheme:id:permissions, with one permission or more".to_owned());
    }
    Ok(Acl {
        permissions: Permissions(permissions),
        scheme: scheme.to_owned(),
        id: id.to_owned(),
    })
}

/// Creates the znode and prints its path.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let data = args.data.as_deref().map(data_of).transpose()?;
    let mode = match (args.ephemeral, args.sequential) {
        (false, false) => CreateMode::Persistent,
        (false, true) => CreateMode::PersistentSequential,
        (true, false) => CreateMode::Ephemeral,
        (true, true) => CreateMode::EphemeralSequential,
    };
    context
        .with_session(|ensemble| async move {
            if args.parents {
                ensemble.create_parents(&args.path).await?;
            }
            let created = ensemble
                .create_with_acl(&args.path, data, mode, args.acl)
                .await
                .map_err(parents_missing)?;
            let signals = Signals::listen()?;
            if output.for_programs() {
                output.document(&created)?;
            } else {
                output.line(&created.path)?;
            }
            if mode.ephemeral() {
                hold(&ensemble, output, signals).await?;
            }
            Ok(())
        })
        .await
}

fn parents_missing(error: Error) -> anyhow::Error {
    let missing = matches!(error, Error::NoNode(_));
    let failure = anyhow::Error::from(error);
    match missing {
        true => {
            let hint = "Its parent does not exist; --parents creates what is missing.";
            Failure::of(&failure).with_hint(hint).into()
        }
        false => failure,
    }
}

/// Keeps the session until somebody interrupts, or the ensemble ends it.
async fn hold(ensemble: &Ensemble, output: Output, mut signals: Signals) -> anyhow::Result<()> {
    if output.is_screen() {
        let session = ensemble.credentials().session;
        let told = format!("session {session:#x} holds it; Ctrl-C ends it");
        output.line(&output.paint(Tone::Faint, &told))?;
    }
    let mut state = ensemble.state();
    tokio::select! {
        _ = signals.told() => Ok(()),
        _ = state.wait_for(|state| *state == SessionState::Expired) => {
            Err(Error::SessionExpired.into())
        }
    }
}

/// The data an argument stands for.
pub fn data_of(argument: &str) -> anyhow::Result<Bytes> {
    if argument != "-" {
        return Ok(Bytes::copy_from_slice(argument.as_bytes()));
    }
    let mut data = Vec::new();
    stdin()
        .read_to_end(&mut data)
        .context("cannot read standard input")?;
    Ok(data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_list_is_written_as_zookeepers_shell_has_it() {
        let parsed = acl("digest:ada:h=:rw").expect("parses");
        assert_eq!(
            (parsed.scheme.as_str(), parsed.id.as_str()),
            ("digest", "ada:h=")
        );
        assert_eq!(parsed.permissions, Permissions(3));
        assert_eq!(
            acl("auth::cdrwa").expect("parses").permissions,
            Permissions::ALL
        );
        assert_eq!(acl("auth:cdrwa").expect("parses").id, "");
        for bad in [
            "",
            "world:anyone",
            "world:anyone:x",
            ":a:r",
            "world:anyone:",
        ] {
            assert!(acl(bad).is_err(), "{bad}");
        }
    }
}
