//! `zweig set`: new data for a znode.

use serde::Serialize;
use zweig_client::ensemble::Stat;

use crate::context::Context;
use crate::create::data_of;

/// Arguments of `zweig set`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  zweig set /app '{\"workers\":8}'\n  date | zweig set /app -")]
pub struct Args {
    /// The znode.
    path: String,
    /// The data; `-` reads it from standard input.
    data: String,
    /// Only if this is its version.
    #[arg(long, value_name = "N")]
    version: Option<i32>,
}

#[derive(Serialize)]
struct Answer {
    path: String,
    stat: Stat,
}

/// Sets the data and prints the new version.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let data = data_of(&args.data)?;
    let path = args.path.clone();
    let stat = context
        .with_session(|ensemble| async move {
            Ok(ensemble.set(&args.path, Some(data), args.version).await?)
        })
        .await?;
    if output.for_programs() {
        output.document(&Answer { path, stat })?;
    } else {
        output.line(&format!("{path} is at version {}", stat.version))?;
    }
    Ok(())
}
