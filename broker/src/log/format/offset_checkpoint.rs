//! `recovery-point-offset-checkpoint`, `log-start-offset-checkpoint` and
//! `replication-offset-checkpoint`: one offset per partition of a log directory.
//!
//! Text: a line `0` (the version), a line with the number of entries, then one line
//! `<topic> <partition> <offset>` each.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::TopicPartition;
use super::{FormatError, checkpoint_lines};

/// The file's text.
pub fn encode(offsets: &BTreeMap<TopicPartition, i64>) -> String {
    let mut text = format!("0\n{}\n", offsets.len());
    for (partition, offset) in offsets {
        let _ = writeln!(text, "{} {} {offset}", partition.topic, partition.partition);
    }
    text
}

/// The offsets in a file's text.
pub fn decode(text: &str) -> Result<BTreeMap<TopicPartition, i64>, FormatError> {
    let mut offsets = BTreeMap::new();
    for line in checkpoint_lines(text)? {
        let words: Vec<&str> = line.split_whitespace().collect();
        let entry = match words[..] {
            [topic, partition, offset] => partition.parse().ok().zip(offset.parse().ok()).map(
                |(partition, offset): (i32, i64)| (TopicPartition::new(topic, partition), offset),
            ),
            _ => None,
        };
        let Some((partition, offset)) = entry else {
            return Err(FormatError(format!("malformed line {line:?}")));
        };
        offsets.insert(partition, offset);
    }
    Ok(offsets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_and_back() {
        let offsets = BTreeMap::from([
            (TopicPartition::new("orders", 0), 17),
            (TopicPartition::new("orders", 10), 0),
        ]);
        let text = "0\n2\norders 0 17\norders 10 0\n";
        assert_eq!(encode(&offsets), text);
        assert_eq!(decode(text).unwrap(), offsets);
        assert!(decode("1\n0\n").is_err());
        assert!(decode("0\n2\norders 0 17\n").is_err());
        assert!(decode("0\n1\norders zero 17\n").is_err());
        assert!(decode("").is_err());
    }
}
