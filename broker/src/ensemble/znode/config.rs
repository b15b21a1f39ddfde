//! `/config/topics/T`, `/config/brokers/N` and their change notifications.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::metadata::Configs;

use super::{DecodeError, decode, encode};

/// Parent of the topics' settings.
pub const TOPICS: &str = "/config/topics";
/// Parent of the brokers' settings.
pub const BROKERS: &str = "/config/brokers";
/// Parent of the notifications, `config_change_<sequence>`.
pub const CHANGES: &str = "/config/changes";
/// In place of a broker id: the default of all brokers.
pub const DEFAULT: &str = "<default>";

/// Path of a topic's settings.
#[must_use]
pub fn topic_path(topic: &str) -> String {
    format!("{TOPICS}/{topic}")
}

#[derive(Serialize, Deserialize)]
struct Json {
    version: i32,
    #[serde(default)]
    config: Configs,
}

/// The content for some settings.
#[must_use]
pub fn encode_configs(configs: &Configs) -> Bytes {
    encode(&Json {
        version: 1,
        config: configs.clone(),
    })
}

/// Reads settings; an empty znode has none.
///
/// # Errors
/// [`DecodeError`] if it is not JSON of that shape.
pub fn decode_configs(path: &str, data: &[u8]) -> Result<Configs, DecodeError> {
    if data.is_empty() {
        return Ok(Configs::new());
    }
    Ok(decode::<Json>(path, data)?.config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas() {
        let mut configs = Configs::new();
        assert_eq!(encode_configs(&configs), r#"{"version":1,"config":{}}"#);
        configs.insert("retention.ms".to_owned(), "1000".to_owned());
        let text = encode_configs(&configs);
        assert_eq!(text, r#"{"version":1,"config":{"retention.ms":"1000"}}"#);
        assert_eq!(decode_configs("/c", &text), Ok(configs));
        assert_eq!(decode_configs("/c", b""), Ok(Configs::new()));
    }
}
