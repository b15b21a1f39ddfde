//! `leader-epoch-checkpoint`: the first offset written in each leader epoch.
//!
//! Text: a line `0` (the version), a line with the number of entries, then one line
//! `<leader epoch> <start offset>` each, both rising.

use std::fmt::Write;

use super::super::leader_epoch::EpochEntry;
use super::{FormatError, checkpoint_lines};

/// The file's text.
pub fn encode(entries: &[EpochEntry]) -> String {
    let mut text = format!("0\n{}\n", entries.len());
    for entry in entries {
        let _ = writeln!(text, "{} {}", entry.leader_epoch, entry.start_offset);
    }
    text
}

/// The entries in a file's text.
pub fn decode(text: &str) -> Result<Vec<EpochEntry>, FormatError> {
    let mut entries: Vec<EpochEntry> = Vec::new();
    for line in checkpoint_lines(text)? {
        let words: Vec<&str> = line.split_whitespace().collect();
        let entry = match words[..] {
            [epoch, offset] => epoch.parse().ok().zip(offset.parse().ok()),
            _ => None,
        };
        let Some((leader_epoch, start_offset)) = entry else {
            return Err(FormatError(format!("malformed line {line:?}")));
        };
        let entry = EpochEntry {
            leader_epoch,
            start_offset,
        };
        if entries.last().is_some_and(|last| !last.precedes(&entry)) {
            return Err(FormatError(format!("line {line:?} is out of order")));
        }
        entries.push(entry);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_and_back() {
        let entries = [(0, 0), (3, 120)].map(|(leader_epoch, start_offset)| EpochEntry {
            leader_epoch,
            start_offset,
        });
        assert_eq!(encode(&entries), "0\n2\n0 0\n3 120\n");
        assert_eq!(decode("0\n2\n0 0\n3 120\n").unwrap(), entries);
        assert_eq!(decode("0\n0\n").unwrap(), []);
        assert!(decode("0\n2\n3 0\n1 120\n").is_err());
        assert!(decode("0\n1\n3\n").is_err());
    }
}
