//! `.kafka_cleanshutdown`: there after a clean stop, with the broker epoch it ended in (KIP-966).
//!
//! JSON: `{"version":0,"brokerEpoch":<n>}`. Brokers before 3.7 wrote an empty file: a clean stop
//! whose epoch is unknown, as is -1. Unknown fields are passed over.

use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Content {
    version: i32,
    broker_epoch: Option<i64>,
}

/// The file's text.
pub fn encode(broker_epoch: i64) -> String {
    format!("{{\"version\":0,\"brokerEpoch\":{broker_epoch}}}")
}

/// The broker epoch in a file's text, `None` where the file doesn't tell.
pub fn decode(text: &str) -> Option<i64> {
    let content: Content = serde_json::from_str(text).ok()?;
    content.broker_epoch.filter(|&epoch| epoch >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_and_back() {
        assert_eq!(encode(42), r#"{"version":0,"brokerEpoch":42}"#);
        assert_eq!(decode(r#"{"version":0,"brokerEpoch":42,"x":1}"#), Some(42));
        assert_eq!(decode(""), None);
        assert_eq!(decode(r#"{"version":0}"#), None);
        assert_eq!(decode(r#"{"version":0,"brokerEpoch":-1}"#), None);
    }
}
