//! `zweig history`: every change that is kept, with its time and who made it.

use serde::Serialize;
use zweig_client::ensemble::{Cause, ChangeKind, Image, PastChange};

use super::who::Sessions;
use super::{kept, time, zxid};
use crate::context::Context;
use crate::output::{JsonData, Output, Tone, note, preview};
use crate::watch::kind_name;

/// Characters of data shown on a line.
const SHOWN: usize = 60;

/// Arguments of `zweig history`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  zweig history /controller\n  zweig history /brokers --recursive --last 20"
)]
pub struct Args {
    /// The znode; it need not exist any more.
    path: String,
    /// And everything below it.
    #[arg(short, long)]
    recursive: bool,
    /// Only what came after this transaction (as printed, `0x...`, or decimal).
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    after: Option<i64>,
    /// Only the newest ones.
    #[arg(short = 'n', long, value_name = "N")]
    last: Option<usize>,
}

#[derive(Serialize)]
struct Told<'a> {
    zxid: i64,
    time_ms: i64,
    time: String,
    path: &'a str,
    kind: &'static str,
    cause: &'static str,
    session: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker: Option<i32>,
    before: Option<JsonData>,
    after: Option<JsonData>,
}

/// Prints the changes, oldest first.
pub async fn run(context: Context, args: Args) -> anyhow::Result<()> {
    let output = context.output();
    let (after, last) = (args.after.unwrap_or(0), args.last.unwrap_or(usize::MAX));
    let (kept, sessions) = context
        .with_session(|ensemble| async move {
            let kept = kept(&ensemble, &args.path, args.recursive).await?;
            let sessions = Sessions::beside(&ensemble, &args.path).await?;
            Ok((kept, sessions))
        })
        .await?;
    let wanted: Vec<&PastChange> = kept
        .changes
        .iter()
        .filter(|change| change.zxid > after)
        .collect();
    let skipped = wanted.len().saturating_sub(last);
    if output.for_programs() {
        let told: Vec<Told<'_>> = wanted[skipped..]
            .iter()
            .map(|change| told(change, &sessions))
            .collect();
        output.document(&told)?;
        return Ok(());
    }
    if kept.begins_after > after {
        note(&format!(
            "what was before {:#x} is not kept any more",
            kept.begins_after
        ));
    }
    for change in &wanted[skipped..] {
        print(output, change, &sessions)?;
    }
    if wanted.is_empty() {
        note("nothing happened to it in the time that is kept");
    }
    Ok(())
}

/// Its name for programs.
pub fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Asked => "asked",
        Cause::SessionClosed => "session closed",
        Cause::SessionExpired => "session expired",
    }
}

/// Who made the change, and whether that was by asking for it.
pub fn why(change: &PastChange, sessions: &Sessions) -> String {
    let who = sessions.name(change.session);
    match change.cause {
        Cause::Asked => format!("by {who}"),
        Cause::SessionClosed => format!("{who} closed its session"),
        Cause::SessionExpired => format!("the session of {who} expired"),
    }
}

fn told<'a>(change: &'a PastChange, sessions: &Sessions) -> Told<'a> {
    let data = |image: &Image| image.data.as_deref().into();
    Told {
        zxid: change.zxid,
        time_ms: change.time_ms,
        time: time(change.time_ms),
        path: &change.path,
        kind: kind_name(change.kind),
        cause: cause_name(change.cause),
        session: change.session,
        broker: sessions.broker(change.session),
        before: change.before.as_ref().map(data),
        after: change.after.as_ref().map(data),
    }
}

fn print(output: Output, change: &PastChange, sessions: &Sessions) -> anyhow::Result<()> {
    let tone = match change.kind {
        ChangeKind::Created => Tone::Good,
        ChangeKind::Deleted => Tone::Bad,
        ChangeKind::Data | ChangeKind::Acl => Tone::Notice,
    };
    let why = why(change, sessions);
    let data = |image: &Image| match (&image.data, image.readable) {
        (_, false) => "(not to be read)".to_owned(),
        (None, true) => "null".to_owned(),
        (Some(data), true) => preview(data, SHOWN),
    };
    let what = match (change.kind, &change.before, &change.after) {
        (ChangeKind::Data, Some(before), Some(after)) => {
            let version = after.stat.version;
            format!("version {version}: {} -> {}", data(before), data(after))
        }
        (ChangeKind::Created, _, Some(image)) | (ChangeKind::Deleted, Some(image), _) => {
            data(image)
        }
        _ => String::new(),
    };
    let at = output.paint(
        Tone::Faint,
        &format!("{}  {:#x}", time(change.time_ms), change.zxid),
    );
    let kind = output.paint(tone, kind_name(change.kind));
    Ok(output.line(&format!(
        "{at}  {kind} {}  {what}  {}",
        change.path,
        output.paint(Tone::Faint, &why)
    ))?)
}
