//! `/zweig`: what Kafka has no znode for.
//!
//! - `/zweig/controller` (ephemeral): created by the same transaction as `/controller`. A
//!   `/controller` of another czxid than this one's was not written by a broker of this project.
//! - `/zweig/shutting_down/N` (ephemeral): broker N asks to be relieved of its leaderships.
//! - `/zweig/log_ends/TOPICID:P:N` (ephemeral): broker N, which cannot vouch for its log, tells how
//!   far it reaches, for an election among replicas none of which can.
//! - `/zweig/unclean_election`: partitions that shall get any replica as their leader, in the shape of
//!   `/admin/preferred_replica_election`. Kafka asks for these by its protocol only.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::metadata::LogEnd;

use super::{DecodeError, decode, encode, id_text, parse_id};

/// The subtree.
pub const ROOT: &str = "/zweig";
/// The marker beside `/controller`.
pub const CONTROLLER: &str = "/zweig/controller";
/// Parent of the requests for a controlled shutdown.
pub const SHUTTING_DOWN: &str = "/zweig/shutting_down";
/// Parent of the told ends of logs.
pub const LOG_ENDS: &str = "/zweig/log_ends";

/// Partitions that shall have a leader, whichever replica it is; the controller removes it when done.
pub const UNCLEAN_ELECTION: &str = "/zweig/unclean_election";

/// Path of a broker's request for a controlled shutdown.
#[must_use]
pub fn shutting_down_path(broker: i32) -> String {
    format!("{SHUTTING_DOWN}/{broker}")
}

#[derive(Serialize, Deserialize)]
struct ShutdownJson {
    version: i32,
    broker_epoch: i64,
}

/// The content of a request for a controlled shutdown.
#[must_use]
pub fn encode_shutdown(broker_epoch: i64) -> Bytes {
    encode(&ShutdownJson {
        version: 1,
        broker_epoch,
    })
}

/// The broker epoch under which a controlled shutdown is asked for.
///
/// # Errors
/// [`DecodeError`] if it is not JSON of that shape.
pub fn decode_shutdown(path: &str, data: &[u8]) -> Result<i64, DecodeError> {
    Ok(decode::<ShutdownJson>(path, data)?.broker_epoch)
}

/// Path of the end of one replica's log.
#[must_use]
pub fn log_end_path(topic: Uuid, partition: i32, broker: i32) -> String {
    format!("{LOG_ENDS}/{}:{partition}:{broker}", id_text(topic))
}

/// Topic id, partition and broker of a name below [`LOG_ENDS`].
#[must_use]
pub fn parse_log_end_name(name: &str) -> Option<(Uuid, i32, i32)> {
    let mut parts = name.split(':');
    let topic = parse_id(parts.next()?)?;
    let partition = parts.next()?.parse().ok()?;
    let broker = parts.next()?.parse().ok()?;
    parts.next().is_none().then_some((topic, partition, broker))
}

#[derive(Serialize, Deserialize)]
struct LogEndJson {
    version: i32,
    broker_epoch: i64,
    last_epoch: i32,
    end_offset: i64,
}

/// The content for the end of a log.
#[must_use]
pub fn encode_log_end(end: &LogEnd) -> Bytes {
    encode(&LogEndJson {
        version: 1,
        broker_epoch: end.broker_epoch,
        last_epoch: end.last_epoch,
        end_offset: end.end_offset,
    })
}

/// Reads the end of a log.
///
/// # Errors
/// [`DecodeError`] if it is not JSON of that shape.
pub fn decode_log_end(path: &str, data: &[u8]) -> Result<LogEnd, DecodeError> {
    let json: LogEndJson = decode(path, data)?;
    Ok(LogEnd {
        broker_epoch: json.broker_epoch,
        last_epoch: json.last_epoch,
        end_offset: json.end_offset,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_contents_come_back() {
        let id = Uuid::from_u128(u128::MAX - 5);
        let path = log_end_path(id, 3, 2);
        let name = path.strip_prefix("/zweig/log_ends/").expect("below");
        assert_eq!(parse_log_end_name(name), Some((id, 3, 2)));
        assert_eq!(parse_log_end_name("x:3:2"), None);
        let end = LogEnd {
            broker_epoch: 9,
            last_epoch: 4,
            end_offset: 1000,
        };
        let text = encode_log_end(&end);
        let expected = r#"{"version":1,"broker_epoch":9,"last_epoch":4,"end_offset":1000}"#;
        assert_eq!(text, expected);
        assert_eq!(decode_log_end(&path, &text), Ok(end));
        assert_eq!(decode_shutdown("/s", &encode_shutdown(12)), Ok(12));
    }
}
