//! `zweig delete`: a znode, or a whole subtree.

use serde::Serialize;

use crate::context::Context;
use crate::failure::{Code, Failure};

/// Arguments of `zweig delete`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zweig delete --recursive /app")]
pub struct Args {
    /// The znode.
    path: String,
    /// With everything below it, deepest first; others may see parts of it meanwhile.
    #[arg(short, long)]
    recursive: bool,
    /// Only if this is its version.
    #[arg(long, value_name = "N", conflicts_with = "recursive")]
    version: Option<i32>,
}

#[derive(Serialize)]
struct Answer {
    path: String,
    deleted: usize,
}

/// Deletes, and prints how many znodes are gone.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let path = args.path.clone();
    if path == "/" {
        return Err(Failure::error(Code::Usage, "the root cannot be deleted"));
    }
    let deleted = context
        .with_session(|ensemble| async move {
            if args.recursive {
                return Ok(ensemble.delete_recursive(&args.path).await?);
            }
            ensemble.delete(&args.path, args.version).await?;
            Ok(1)
        })
        .await?;
    if output.for_programs() {
        output.document(&Answer { path, deleted })?;
    } else if deleted == 1 {
        output.line(&format!("deleted {path}"))?;
    } else {
        output.line(&format!("deleted {path}: {deleted} znodes"))?;
    }
    Ok(())
}
