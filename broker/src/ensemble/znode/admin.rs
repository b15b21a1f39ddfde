//! `/admin/…`: what operators ask of the controller; and the notification parents of other
//! implementations, which the controller empties.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{DecodeError, decode, encode, own};
use crate::metadata::ElectionKind;

/// Parent of the topics to delete.
pub const DELETE_TOPICS: &str = "/admin/delete_topics";
/// Partitions whose preferred replica shall lead; the controller removes it when done.
pub const PREFERRED_ELECTION: &str = "/admin/preferred_replica_election";
/// Parent of the ISR notifications of older Kafka brokers.
pub const ISR_CHANGES: &str = "/isr_change_notification";
/// Parent of the notifications of failed log directories.
pub const LOG_DIR_EVENTS: &str = "/log_dir_event_notification";

/// Path of the request to delete a topic.
#[must_use]
pub fn delete_path(topic: &str) -> String {
    format!("{DELETE_TOPICS}/{topic}")
}

/// Path of the request for elections of a kind.
#[must_use]
pub const fn election_path(kind: ElectionKind) -> &'static str {
    match kind {
        ElectionKind::Preferred => PREFERRED_ELECTION,
        ElectionKind::Unclean => own::UNCLEAN_ELECTION,
    }
}

#[derive(Serialize, Deserialize)]
struct Json {
    version: i32,
    partitions: Vec<PartitionJson>,
}

#[derive(Serialize, Deserialize)]
struct PartitionJson {
    topic: String,
    partition: i32,
}

/// The content that asks for elections, of either kind.
#[must_use]
pub fn encode_election(partitions: &[(String, i32)]) -> Bytes {
    let partitions = partitions.iter().map(|(topic, partition)| PartitionJson {
        topic: topic.clone(),
        partition: *partition,
    });
    encode(&Json {
        version: 1,
        partitions: partitions.collect(),
    })
}

/// Reads for which partitions elections are asked for.
///
/// # Errors
/// [`DecodeError`] if it is not JSON of that shape.
pub fn decode_election(data: &[u8]) -> Result<Vec<(String, i32)>, DecodeError> {
    let json: Json = decode(PREFERRED_ELECTION, data)?;
    let partitions = json.partitions.into_iter();
    Ok(partitions.map(|p| (p.topic, p.partition)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas() {
        let asked = vec![("t".to_owned(), 0)];
        let text = encode_election(&asked);
        assert_eq!(
            text,
            r#"{"version":1,"partitions":[{"topic":"t","partition":0}]}"#
        );
        assert_eq!(decode_election(&text), Ok(asked));
    }
}
