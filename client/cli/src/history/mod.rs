//! What happened to znodes: `zweig history`, `zweig diff`, `zweig get --at`, and, told of a partition, `zweig topic explain`.
//!
//! All of it comes out of the ensemble's history of changes, which holds the last hour (or 512 MiB). What is older is said to be
//! not kept, never guessed.

mod at;
mod diff;
pub mod explain;
mod lines;
mod list;
mod who;

pub use at::image_at;
pub use diff::{Args as DiffArgs, run as diff};
pub use lines::{Line, compare};
pub use list::{Args, cause_name, run, why};
pub use who::Sessions;

use std::collections::VecDeque;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use zweig_client::ensemble::{Ensemble, Error, PastChange};

/// A transaction's number, as it is printed or as a decimal.
pub fn zxid(text: &str) -> Result<i64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => i64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(zxid) if zxid > 0 => Ok(zxid),
        _ => Err("not a transaction number above 0".into()),
    }
}

/// Milliseconds since 1970 as `2026-11-29T03:20:01.123Z`.
pub fn time(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or(0));
    humantime::format_rfc3339_millis(UNIX_EPOCH + since).to_string()
}

/// What is kept of a path: its changes, oldest first, and after which zxid nothing is missing.
pub struct Kept {
    /// What was before is not kept.
    pub begins_after: i64,
    /// The newest transaction it could have happened in.
    pub up_to: i64,
    /// Oldest first.
    pub changes: Vec<PastChange>,
    /// Changes before these that are kept as well.
    pub more: usize,
}

async fn kept(ensemble: &Ensemble, path: &str, recursive: bool) -> Result<Kept, Error> {
    newest(ensemble, path, recursive, usize::MAX).await
}

/// Bytes of data that [`newest`] holds, about.
const HELD: usize = 32 << 20;

/// The newest changes of a path, at most so many, and fewer where they are large; no more than those are ever held.
///
/// # Errors
/// As [`Ensemble::history`].
pub async fn newest(
    ensemble: &Ensemble,
    path: &str,
    recursive: bool,
    most: usize,
) -> Result<Kept, Error> {
    let mut history = ensemble.history(path, recursive, (0, 0)).await?;
    let mut changes = VecDeque::new();
    let (mut more, mut held) = (0, 0);
    while let Some(change) = history.next().await? {
        held += bytes_of(&change);
        changes.push_back(change);
        while changes.len() > most || (held > HELD && changes.len() > 1) {
            held -= changes.pop_front().as_ref().map_or(0, bytes_of);
            more += 1;
        }
    }
    Ok(Kept {
        begins_after: history.begins_after(),
        up_to: history.up_to().unwrap_or_default(),
        changes: changes.into(),
        more,
    })
}

fn bytes_of(change: &PastChange) -> usize {
    let images = [&change.before, &change.after];
    let data = images
        .into_iter()
        .flatten()
        .filter_map(|image| image.data.as_ref());
    data.map(Bytes::len).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxids_are_read_as_they_are_printed() {
        assert_eq!(zxid("0x1f"), Ok(31));
        assert_eq!(zxid("31"), Ok(31));
        assert!(zxid("0").is_err() && zxid("0x").is_err() && zxid("-1").is_err());
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(time(1_764_386_401_123), "2025-11-29T03:20:01.123Z");
        assert_eq!(time(-5), "1970-01-01T00:00:00.000Z");
    }
}
