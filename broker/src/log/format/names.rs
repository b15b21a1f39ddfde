//! Names of files and folders.
//!
//! A partition's folder is `<topic>-<partition>`; one to be removed is
//! `<topic>.<32 hex digits>-delete` with partition before the dot, one set aside ends in `-stray`
//! likewise. In it, a segment's files are named by its base offset in twenty digits.

use super::super::TopicPartition;

/// The record batches.
pub const LOG: &str = "log";
/// Offset index.
pub const OFFSET_INDEX: &str = "index";
/// Time index.
pub const TIME_INDEX: &str = "timeindex";
/// Aborted transactions; kept with its segment, not written yet.
pub const TXN_INDEX: &str = "txnindex";
/// Producer state as of its name's offset.
pub const SNAPSHOT: &str = "snapshot";
/// Appended to a segment file that is about to be removed.
pub const DELETED: &str = "deleted";
/// Appended to a segment file that compaction is still writing.
pub const CLEANED: &str = "cleaned";
/// Appended to a segment file that compaction finished and is about to put in place.
pub const SWAP: &str = "swap";

/// End of the name of a folder that is to be removed.
pub const DELETE_FOLDER: &str = "-delete";
/// End of the name of a folder that was set aside and is never touched again.
pub const STRAY_FOLDER: &str = "-stray";
/// End of the name of a folder that is being moved between log directories.
pub const FUTURE_FOLDER: &str = "-future";

/// Start offsets by leader epoch, in a partition's folder.
pub const LEADER_EPOCH_CHECKPOINT: &str = "leader-epoch-checkpoint";
/// The topic id, in a partition's folder.
pub const PARTITION_METADATA: &str = "partition.metadata";
/// Offsets up to which logs are flushed, in a log directory.
pub const RECOVERY_POINT_CHECKPOINT: &str = "recovery-point-offset-checkpoint";
/// First offsets of logs, in a log directory.
pub const LOG_START_CHECKPOINT: &str = "log-start-offset-checkpoint";
/// High watermarks, in a log directory.
pub const HIGH_WATERMARK_CHECKPOINT: &str = "replication-offset-checkpoint";
/// Broker and cluster id, in a log directory.
pub const META_PROPERTIES: &str = "meta.properties";
/// There after a clean stop only, in a log directory.
pub const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
/// Locked while a broker uses the log directory.
pub const LOCK: &str = ".lock";

/// Longest name of a folder that file systems take.
const MAX_NAME: usize = 255;

/// `00000000000000000042.log`.
pub fn segment_file(base_offset: i64, kind: &str) -> String {
    format!("{base_offset:020}.{kind}")
}

/// The base offset and the kind of a segment's file; `None` for any other name.
pub fn parse_segment_file(name: &str) -> Option<(i64, &str)> {
    let (digits, kind) = name.split_once('.')?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, kind))
}

/// `<topic>-<partition>`.
pub fn partition_folder(partition: &TopicPartition) -> String {
    partition.to_string()
}

/// The partition a folder holds; `None` when the name isn't one of a partition in use.
pub fn parse_partition_folder(name: &str) -> Option<TopicPartition> {
    let (topic, number) = name.rsplit_once('-')?;
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    if topic.is_empty() || !digits {
        return None;
    }
    Some(TopicPartition::new(topic, number.parse().ok()?))
}

/// The name a folder gets when its partition leaves: `unique` is a fresh random number, `end` is
/// `DELETE_FOLDER` or `STRAY_FOLDER`. Long topic names are cut to fit.
pub fn departed_folder(partition: &TopicPartition, unique: u128, end: &str) -> String {
    let tail = format!("-{}.{unique:032x}{end}", partition.partition);
    let mut keep = partition.topic.len().min(MAX_NAME - tail.len());
    while !partition.topic.is_char_boundary(keep) {
        keep -= 1;
    }
    format!("{}{tail}", &partition.topic[..keep])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segment_files() {
        assert_eq!(segment_file(42, LOG), "00000000000000000042.log");
        assert_eq!(
            parse_segment_file("00000000000000000042.log.deleted"),
            Some((42, "log.deleted"))
        );
        assert_eq!(parse_segment_file("42.log"), None);
        assert_eq!(parse_segment_file("99999999999999999999.log"), None);
        assert_eq!(parse_segment_file("leader-epoch-checkpoint"), None);
    }

    #[test]
    fn folders() {
        let partition = TopicPartition::new("a-b.c", 7);
        assert_eq!(partition_folder(&partition), "a-b.c-7");
        assert_eq!(parse_partition_folder("a-b.c-7"), Some(partition.clone()));
        let departed = departed_folder(&partition, 0xab, DELETE_FOLDER);
        assert_eq!(departed, "a-b.c-7.000000000000000000000000000000ab-delete");
        assert_eq!(parse_partition_folder(&departed), None);
        let long = TopicPartition::new("t".repeat(249), 12);
        assert_eq!(departed_folder(&long, 1, STRAY_FOLDER).len(), 255);
    }
}
