//! The files of a log directory as bytes: one file here per kind of file there.
//!
//! Everything is Kafka's format, so that a log directory can be taken over from Kafka 3.9 and given
//! back. Each module describes its format, refuses what isn't in it with a reason, and encodes and
//! decodes side by side; golden bytes in the tests hold it fast. No I/O here.

pub mod clean_shutdown;
pub mod leader_epoch_checkpoint;
pub mod meta_properties;
pub mod names;
pub mod offset_checkpoint;
pub mod offset_index;
pub mod partition_metadata;
pub mod producer_snapshot;
pub mod record;
pub mod record_batch;
pub mod record_stream;
pub mod time_index;

/// Why bytes are not in the format they should be in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FormatError(pub String);

impl FormatError {
    /// A reason in words.
    pub fn new(reason: impl Into<String>) -> FormatError {
        FormatError(reason.into())
    }
}

/// The version line and the entry count that every text checkpoint begins with, then its lines.
pub(crate) fn checkpoint_lines(text: &str) -> Result<Vec<&str>, FormatError> {
    let mut lines = text.lines();
    let version = lines.next().unwrap_or("").trim();
    if version != "0" {
        return Err(FormatError(format!("unknown version {version:?}")));
    }
    let count: usize = match lines.next().map(|line| line.trim().parse()) {
        Some(Ok(count)) => count,
        _ => return Err(FormatError::new("no entry count in the second line")),
    };
    let lines: Vec<&str> = lines.filter(|line| !line.trim().is_empty()).collect();
    if lines.len() != count {
        let found = lines.len();
        return Err(FormatError(format!(
            "{count} entries announced, {found} found"
        )));
    }
    Ok(lines)
}
