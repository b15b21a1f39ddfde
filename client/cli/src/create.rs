//! `zweig create`: a znode. An ephemeral one lives as long as the command runs.

use std::io::{Read, stdin};

use anyhow::Context as _;
use bytes::Bytes;
use zweig_client::ensemble::{CreateMode, Ensemble, Error, SessionState};

use crate::context::Context;
use crate::output::{Output, Tone};
use crate::signals::Signals;

/// Arguments of `zweig create`.
#[derive(Debug, clap::Args)]
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
            let created = ensemble.create(&args.path, data, mode).await?;
            let signals = Signals::listen()?;
            if output.is_json() {
                output.json(&created)?;
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
