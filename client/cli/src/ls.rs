//! `zweig ls`: the children of a znode.

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use zweig_client::ensemble::{Error, Stat};

use crate::context::Context;
use crate::output::{Table, Tone, cell};

/// How many stats are asked for at a time.
const AT_A_TIME: usize = 64;

/// Arguments of `zweig ls`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zweig ls -l /brokers/ids")]
pub struct Args {
    /// The znode.
    #[arg(default_value = "/")]
    path: String,
    /// With each child's version, size, number of children and owner.
    #[arg(short, long)]
    long: bool,
}

#[derive(Serialize)]
struct Child {
    name: String,
    #[serde(flatten)]
    stat: Stat,
}

/// Lists the children.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let (names, children) = context
        .with_session(|ensemble| async move {
            let (names, _) = ensemble.children(&args.path).await?;
            if !args.long {
                return Ok((names, None));
            }
            let prefix = args.path.trim_end_matches('/');
            let stats = stream::iter(&names).map(|name| {
                let path = format!("{prefix}/{name}");
                let ensemble = &ensemble;
                async move { Ok::<_, Error>((name, ensemble.exists(&path).await?)) }
            });
            let stats: Vec<_> = stats.buffered(AT_A_TIME).try_collect().await?;
            // What was deleted since it was listed is left out.
            let there = stats.into_iter().filter_map(|(name, stat)| {
                let name = name.clone();
                stat.map(|stat| Child { name, stat })
            });
            let children = there.collect::<Vec<_>>();
            Ok((names.clone(), Some(children)))
        })
        .await?;
    match children {
        None if output.for_programs() => output.document(&names)?,
        Some(children) if output.for_programs() => output.document(&children)?,
        None => {
            for name in names {
                output.line(&name)?;
            }
        }
        Some(children) => output.table(&table(&children))?,
    }
    Ok(())
}

fn table(children: &[Child]) -> Table {
    let mut table = Table::new(["NAME", "VERSION", "BYTES", "CHILDREN", "OWNER"]);
    for Child { name, stat } in children {
        let (tone, owner) = match stat.ephemeral_owner {
            0 => (Tone::Plain, "-".to_owned()),
            owner => (Tone::Ephemeral, format!("{owner:#x}")),
        };
        table.row([
            cell(tone, name),
            stat.version.into(),
            stat.data_length.into(),
            stat.num_children.into(),
            cell(tone, owner),
        ]);
    }
    table
}
