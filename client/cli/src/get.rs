//! `zweig get`: the data of a znode, as it is.

use std::io::{IsTerminal, stdout};

use serde::Serialize;
use zweig_client::ensemble::{Error, Stat};

use crate::context::Context;
use crate::history::{image_at, zxid};
use crate::output::JsonData;

/// Arguments of `zweig get`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  zweig get /controller\n  zweig get --linearizable /controller --output yaml"
)]
pub struct Args {
    /// The znode.
    path: String,
    /// Ask the quorum first, so that nothing acknowledged before is missing.
    #[arg(short, long)]
    linearizable: bool,
    /// As it was right behind this transaction, if that is kept (`zweig history` lists them).
    #[arg(long, value_name = "ZXID", value_parser = zxid, conflicts_with = "linearizable")]
    at: Option<i64>,
}

#[derive(Serialize)]
struct Answer {
    path: String,
    #[serde(flatten)]
    data: JsonData,
    stat: Stat,
}

/// Prints the data; a line break is added only on a terminal.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let path = args.path.clone();
    let (data, stat) = context
        .with_session(|ensemble| async move {
            if args.at.is_some() {
                let image = image_at(&ensemble, &args.path, args.at).await?;
                let image = image.ok_or_else(|| Error::NoNode(args.path.clone()))?;
                return match image.readable {
                    true => Ok((image.data, image.stat)),
                    false => Err(Error::NoAuth(args.path).into()),
                };
            }
            Ok(match args.linearizable {
                true => ensemble.get_linearizable(&args.path).await?,
                false => ensemble.get(&args.path).await?,
            })
        })
        .await?;
    if output.for_programs() {
        let data = data.as_deref().into();
        output.document(&Answer { path, data, stat })?;
        return Ok(());
    }
    let data = data.unwrap_or_default();
    output.bytes(&data)?;
    if stdout().is_terminal() && !data.ends_with(b"\n") {
        output.line("")?;
    }
    Ok(())
}
