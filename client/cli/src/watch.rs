//! `zweig watch`: changes as they happen, without a gap.

use serde::Serialize;
use zweig_client::ensemble::{ChangeKind, Error, Stat, WatchItem};

use crate::context::Context;
use crate::history::zxid;
use crate::output::{JsonData, Output, Tone, note, preview};
use crate::signals::Signals;

/// Characters of data shown on a line.
const SHOWN: usize = 100;

/// Arguments of `zweig watch`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  zweig watch /brokers\n  zweig watch /brokers/topics/orders --output json"
)]
pub struct Args {
    /// The znode, which need not exist yet.
    #[arg(default_value = "/")]
    path: String,
    /// This znode alone, not what is below it.
    #[arg(long)]
    alone: bool,
    /// Begin after this transaction (as printed, `0x...`, or decimal) instead of now.
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    after: Option<i64>,
    /// End after this many changes.
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<u64>,
}

#[derive(Serialize)]
struct Event<'a> {
    zxid: i64,
    kind: &'static str,
    path: &'a str,
    #[serde(flatten)]
    data: JsonData,
    #[serde(skip_serializing_if = "Option::is_none")]
    stat: Option<Stat>,
}

/// The name of a kind of change.
pub fn kind_name(kind: ChangeKind) -> &'static str {
    match kind {
        ChangeKind::Created => "created",
        ChangeKind::Data => "data",
        ChangeKind::Deleted => "deleted",
        ChangeKind::Acl => "acl",
    }
}

/// Prints changes until interrupted.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    context
        .with_session(|ensemble| async move {
            let mut signals = Signals::with_reader()?;
            let mut changes = ensemble.watch_from(&args.path, !args.alone, args.after)?;
            let mut left = args.count.unwrap_or(u64::MAX);
            while left > 0 {
                let item = tokio::select! {
                    _ = signals.told() => return Ok(()),
                    item = changes.next() => item,
                };
                match item {
                    None => return Err(Error::Protocol("the watch was refused".into()).into()),
                    Some(WatchItem::Reset) if args.after.is_some() => {
                        note("that zxid is not, or no longer, kept: changes from now on");
                    }
                    Some(change @ WatchItem::Change { .. }) => {
                        print(output, &change)?;
                        left -= 1;
                    }
                    Some(_) => {}
                }
            }
            Ok(())
        })
        .await
}

/// Prints one change; other items print nothing.
pub fn print(output: Output, item: &WatchItem) -> anyhow::Result<()> {
    let WatchItem::Change {
        kind,
        path,
        data,
        stat,
        zxid,
        ..
    } = item
    else {
        return Ok(());
    };
    if output.for_programs() {
        output.document(&Event {
            zxid: *zxid,
            kind: kind_name(*kind),
            path,
            data: data.as_deref().into(),
            stat: *stat,
        })?;
        return Ok(());
    }
    let tone = match kind {
        ChangeKind::Created => Tone::Good,
        ChangeKind::Data => Tone::Notice,
        ChangeKind::Deleted => Tone::Bad,
        ChangeKind::Acl => Tone::Plain,
    };
    let zxid = output.paint(Tone::Faint, &format!("{zxid:#x}"));
    let kind = output.paint(tone, &format!("{:<7}", kind_name(*kind)));
    let data = data.as_deref().map_or(String::new(), |data| {
        format!("  {}", output.paint(Tone::Faint, &preview(data, SHOWN)))
    });
    output.line(&format!("{zxid}  {kind}  {path}{data}"))?;
    Ok(())
}
