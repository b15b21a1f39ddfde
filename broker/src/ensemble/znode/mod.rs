//! Every znode that brokers write or read: path and content together, one file per family. Paths
//! and JSON are those of Kafka 3.9 in ZooKeeper mode, so that tools that read a Kafka cluster's
//! tree read this one; JSON is written without white space, unknown fields are ignored.
//!
//! What Kafka has no place for stands in fields that its readers ignore:
//! - `/brokers/ids/N`: `intact_since`, the oldest broker epoch since which that broker lost nothing;
//! - `…/partitions/P/state`: `leader_broker_epoch` and `isr_broker_epochs` (absent: 0);
//!
//! and in a subtree of our own, `/zweig` (see [`own`]).
//!
//! Called by `ensemble::{registration, cluster, watcher}` and `controller::drive`. Nothing else in
//! this package knows a path or a JSON field.

pub mod admin;
pub mod brokers;
pub mod cluster;
pub mod config;
pub mod controller;
pub mod own;
pub mod producer_ids;
pub mod topics;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// The content of a znode makes no sense.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {problem}")]
pub struct DecodeError {
    /// Which znode.
    pub path: String,
    /// What is wrong with it.
    pub problem: String,
}

impl DecodeError {
    fn new(path: &str, problem: &impl ToString) -> DecodeError {
        DecodeError {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }
}

/// Paths that every broker creates, empty, before it registers; parents first.
pub const TOP_LEVEL: &[&str] = &[
    "/cluster",
    "/consumers",
    "/brokers",
    brokers::IDS,
    topics::TOPICS,
    brokers::SEQID,
    "/config",
    config::CHANGES,
    config::TOPICS,
    "/config/clients",
    "/config/users",
    config::BROKERS,
    "/config/ips",
    "/admin",
    admin::DELETE_TOPICS,
    admin::ISR_CHANGES,
    admin::LOG_DIR_EVENTS,
    producer_ids::LATEST_BLOCK,
    own::ROOT,
    own::SHUTTING_DOWN,
    own::LOG_ENDS,
];

fn encode<T: Serialize>(value: &T) -> Bytes {
    let text = serde_json::to_vec(value);
    assert!(text.is_ok(), "plain structs with string keys are JSON");
    Bytes::from(text.unwrap_or_default())
}

fn decode<T: DeserializeOwned>(path: &str, data: &[u8]) -> Result<T, DecodeError> {
    serde_json::from_slice(data).map_err(|error| DecodeError::new(path, &error))
}

/// A 128-bit id as Kafka writes it: 22 characters of URL-safe base64.
#[must_use]
pub fn id_text(id: Uuid) -> String {
    URL_SAFE_NO_PAD.encode(id.as_bytes())
}

/// Reads an id as Kafka writes it.
#[must_use]
pub fn parse_id(text: &str) -> Option<Uuid> {
    let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    Some(Uuid::from_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_22_characters_and_come_back() {
        let id = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0fff);
        assert_eq!(id_text(id), "AQIDBAUGBwgJCgsMDQ4P_w");
        assert_eq!(parse_id(&id_text(id)), Some(id));
        assert_eq!(parse_id("short"), None);
    }

    #[test]
    fn parents_come_before_their_children() {
        for (at, path) in TOP_LEVEL.iter().enumerate() {
            let parent = &path[..path.rfind('/').expect("absolute")];
            assert!(
                parent.is_empty() || TOP_LEVEL[..at].contains(&parent),
                "{path}"
            );
        }
    }
}
