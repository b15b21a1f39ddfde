//! What happened to a znode, and why a partition is led by whom it is: `zweig history`, `zweig diff` and `zweig topic
//! explain` on the page.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use zweig_client::ensemble::{Image, PastChange, Stat};

use super::Console;
use super::browse::{Data, session_name};
use super::refusal::Refusal;
use crate::clock::{elapsed, now};
use crate::history::explain::{Explained, explain};
use crate::history::{Line, Sessions, cause_name, compare, newest, why};
use crate::output::JsonData;
use crate::watch::kind_name;

/// Changes that are sent; the rest is counted.
const SHOWN: usize = 200;

/// Lines of one diff that are sent; the rest is counted.
const LINES: usize = 400;

/// Unchanged lines that are left around those that differ.
const AROUND: usize = 3;

/// Characters of a line that are sent.
const WIDTH: usize = 1_000;

/// How long changes are compared for one page; the others are shown without.
const COMPARING: Duration = Duration::from_secs(2);

/// Which znode.
#[derive(Deserialize)]
pub struct HistoryQuery {
    path: String,
}

/// What happened to a znode.
#[derive(Serialize)]
pub struct History {
    path: String,
    /// Newest first.
    changes: Vec<Change>,
    /// Older changes that are kept as well.
    more: usize,
    /// What was before this transaction is not kept; 0: all of it is.
    begins_after: i64,
}

#[derive(Serialize)]
struct Change {
    zxid: i64,
    time_ms: i64,
    kind: &'static str,
    cause: &'static str,
    /// Whose doing it was, in words.
    why: String,
    /// Whose session; empty: nobody's. Scripts round numbers as long as these.
    session: String,
    /// Before and after.
    versions: (Option<Versions>, Option<Versions>),
    diff: Diff,
}

/// The versions that a change may count up.
#[derive(Serialize)]
struct Versions {
    data: i32,
    acl: i32,
}

impl Versions {
    fn of(stat: &Stat) -> Self {
        Self {
            data: stat.version,
            acl: stat.aversion,
        }
    }
}

/// The data before and after.
#[derive(Serialize)]
#[serde(tag = "is", rename_all = "lowercase")]
enum Diff {
    /// Whoever asks may not read it.
    Secret,
    /// Too long to be compared here.
    Long,
    /// Line by line; the lines that are not sent are counted.
    Lines { lines: Vec<Line>, more: usize },
}

/// `GET /api/history`: also of a znode that is gone.
pub async fn znode(
    State(console): State<Arc<Console>>,
    Query(query): Query<HistoryQuery>,
) -> Result<Json<History>, Refusal> {
    let ensemble = console.session().await?;
    let kept = newest(&ensemble, &query.path, false, SHOWN).await?;
    let sessions = Sessions::beside(&ensemble, &query.path).await?;
    // Comparing takes a while where much was written.
    let told = spawn_blocking(move || {
        let begun = now();
        let changes = kept.changes.iter().rev();
        changes
            .map(|change| told(change, &sessions, elapsed(begun) < COMPARING))
            .collect::<Vec<_>>()
    });
    let changes = told.await.map_err(anyhow::Error::from)?;
    Ok(Json(History {
        path: query.path,
        changes,
        more: kept.more,
        begins_after: kept.begins_after,
    }))
}

fn told(change: &PastChange, sessions: &Sessions, compared: bool) -> Change {
    let versions = |image: &Option<Image>| image.as_ref().map(|image| Versions::of(&image.stat));
    Change {
        zxid: change.zxid,
        time_ms: change.time_ms,
        kind: kind_name(change.kind),
        cause: cause_name(change.cause),
        why: why(change, sessions),
        session: session_name(change.session),
        versions: (versions(&change.before), versions(&change.after)),
        diff: match compared {
            true => diff(change.before.as_ref(), change.after.as_ref()),
            false => Diff::Long,
        },
    }
}

fn diff(before: Option<&Image>, after: Option<&Image>) -> Diff {
    let images = [before, after];
    if images.iter().flatten().any(|image| !image.readable) {
        return Diff::Secret;
    }
    let [before, after] = images.map(|image| image.map(|image| Data::of(image.data.as_ref())));
    let nothing = JsonData::default();
    let whole = |data: &'_ Option<Data>| match data {
        Some(data) => data.whole().cloned(),
        None => Some(nothing.clone()),
    };
    let (Some(before), Some(after)) = (whole(&before), whole(&after)) else {
        return Diff::Long;
    };
    let mut lines = near(compare(&before, &after));
    let more = lines.len().saturating_sub(LINES);
    lines.truncate(LINES);
    for line in &mut lines {
        if let Some((cut, _)) = line.text.char_indices().nth(WIDTH) {
            line.text.truncate(cut);
            line.text.push('…');
        }
    }
    Diff::Lines { lines, more }
}

/// The lines that differ and those around them; `…` stands for others.
fn near(lines: Vec<Line>) -> Vec<Line> {
    let differ: Vec<usize> = (0..lines.len())
        .filter(|at| lines[*at].sign != ' ')
        .collect();
    let is_near = |at: usize| {
        let behind = differ.partition_point(|one| one + AROUND < at);
        differ.get(behind).is_some_and(|one| *one <= at + AROUND)
    };
    let mut kept: Vec<Line> = Vec::new();
    let mut far: Vec<Line> = Vec::new();
    for (at, line) in lines.into_iter().enumerate() {
        if is_near(at) {
            kept.append(&mut shortened(&mut far));
            kept.push(line);
        } else {
            far.push(line);
        }
    }
    if !kept.is_empty() {
        kept.append(&mut shortened(&mut far));
    }
    kept
}

/// A mark for these lines, or the line itself if it is one.
fn shortened(far: &mut Vec<Line>) -> Vec<Line> {
    let mut lines = std::mem::take(far);
    if let [first, _, ..] = &mut *lines {
        "…".clone_into(&mut first.text);
        lines.truncate(1);
    }
    lines
}

/// Which partition.
#[derive(Deserialize)]
pub struct ExplainQuery {
    topic: String,
    partition: i32,
}

/// `GET /api/explain`
pub async fn partition(
    State(console): State<Arc<Console>>,
    Query(query): Query<ExplainQuery>,
) -> Result<Json<Explained>, Refusal> {
    let ensemble = console.session().await?;
    let explained = explain(&ensemble, &query.topic, query.partition, SHOWN).await?;
    Ok(Json(explained))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn image(data: &str) -> Image {
        Image {
            data: Some(Bytes::copy_from_slice(data.as_bytes())),
            stat: Stat::default(),
            readable: true,
        }
    }

    fn lines(before: Option<&Image>, after: Option<&Image>) -> Vec<String> {
        match diff(before, after) {
            Diff::Lines { lines, .. } => lines
                .iter()
                .map(|line| format!("{}{}", line.sign, line.text))
                .collect(),
            Diff::Secret => vec!["secret".to_owned()],
            Diff::Long => vec!["long".to_owned()],
        }
    }

    #[test]
    fn only_what_differs_and_its_neighbours_are_told() {
        let numbers = |change: usize| {
            let lines = (0..20).map(|at| if at == change { 99 } else { at });
            lines
                .map(|number| number.to_string())
                .collect::<Vec<_>>()
                .join("\n")
        };
        let (before, after) = (image(&numbers(20)), image(&numbers(10)));
        let expected = [
            " …", " 7", " 8", " 9", "-10", "+99", " 11", " 12", " 13", " …",
        ];
        assert_eq!(lines(Some(&before), Some(&after)), expected);
        let (before, after) = (image("a\nb\nc\nd\ne"), image("a\nb\nc\nd\nf"));
        let expected = [" a", " b", " c", " d", "-e", "+f"];
        assert_eq!(
            lines(Some(&before), Some(&after)),
            expected,
            "one is no less than a mark"
        );
        assert_eq!(lines(Some(&before), Some(&before)), Vec::<String>::new());
        assert_eq!(lines(None, Some(&image("x"))), ["+x"]);
        assert_eq!(lines(Some(&image("x")), None), ["-x"]);
    }

    #[test]
    fn what_may_not_be_read_or_is_too_long_is_not_compared() {
        let mut secret = image("x");
        secret.readable = false;
        assert_eq!(lines(Some(&secret), Some(&image("y"))), ["secret"]);
        let long = image(&"x".repeat(1 << 20));
        assert_eq!(lines(Some(&long), None), ["long"]);
        let wide = lines(None, Some(&image(&"ä".repeat(WIDTH + 1))));
        assert_eq!(wide[0].chars().count(), WIDTH + 2, "its sign, and a mark");
        let many = image(&"x\n".repeat(LINES + 7));
        assert!(matches!(
            diff(None, Some(&many)),
            Diff::Lines { more: 7, .. }
        ));
    }
}
