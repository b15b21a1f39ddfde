//! `zweig diff`: what a znode's data was and what it became.

use serde::Serialize;

use super::lines::compare;
use super::{image_at, zxid};
use crate::context::Context;
use crate::failure::{Code, Failure};
use crate::output::{JsonData, Tone};

/// Arguments of `zweig diff`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  zweig diff /controller --from 0x1a3")]
pub struct Args {
    /// The znode.
    path: String,
    /// As it was right behind this transaction.
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    from: i64,
    /// As it was right behind this one; as it is now if not given.
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    to: Option<i64>,
}

#[derive(Serialize)]
struct Side {
    zxid: Option<i64>,
    exists: bool,
    version: Option<i32>,
    #[serde(flatten)]
    data: JsonData,
}

impl Side {
    fn name(&self) -> String {
        let at = self
            .zxid
            .map_or("now".to_owned(), |zxid| format!("{zxid:#x}"));
        match self.version {
            Some(version) => format!("{at} (version {version})"),
            None => format!("{at} (there was none)"),
        }
    }
}

/// Prints the lines that went and those that came.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let (from, to) = context
        .with_session(|ensemble| async move {
            let mut sides = Vec::new();
            for at in [Some(args.from), args.to] {
                let image = image_at(&ensemble, &args.path, at).await?;
                sides.push(Side {
                    zxid: at,
                    exists: image.is_some(),
                    version: image.as_ref().map(|image| image.stat.version),
                    data: image.and_then(|image| image.data).as_deref().into(),
                });
            }
            let to = sides.pop();
            let from = sides.pop();
            from.zip(to)
                .ok_or_else(|| Failure::error(Code::Failed, "nothing to compare"))
        })
        .await?;
    let differ = from.exists != to.exists || from.data != to.data;
    if output.for_programs() {
        output.document(&serde_json::json!({ "differ": differ, "from": from, "to": to }))?;
    } else {
        output.line(&output.paint(Tone::Faint, &format!("--- {}", from.name())))?;
        output.line(&output.paint(Tone::Faint, &format!("+++ {}", to.name())))?;
        for line in compare(&from.data, &to.data) {
            let tone = match line.sign {
                '-' => Tone::Bad,
                '+' => Tone::Good,
                _ => Tone::Plain,
            };
            output.line(&output.paint(tone, &format!("{}{}", line.sign, line.text)))?;
        }
    }
    Ok(())
}
