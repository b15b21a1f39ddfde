//! `partition.metadata`: the topic id of a partition's folder.
//!
//! Text: `version: 0`, a line break, `topic_id: ` and the id as 22 characters of unpadded
//! URL-safe base64. Kafka writes no line break at the end; readers take both.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::TopicId;
use super::FormatError;

/// The file's text.
pub fn encode(topic_id: TopicId) -> String {
    format!("version: 0\ntopic_id: {}", topic_id_text(topic_id))
}

/// The topic id in a file's text.
pub fn decode(text: &str) -> Result<TopicId, FormatError> {
    let mut version = None;
    let mut topic_id = None;
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match line
            .split_once(':')
            .map(|(key, value)| (key.trim(), value.trim()))
        {
            Some(("version", value)) => version = Some(value),
            Some(("topic_id", value)) => topic_id = Some(value),
            _ => return Err(FormatError(format!("malformed line {line:?}"))),
        }
    }
    match version {
        Some("0") => {}
        other => return Err(FormatError(format!("unknown version {other:?}"))),
    }
    let text = topic_id.ok_or_else(|| FormatError::new("no topic id"))?;
    parse_topic_id(text)
}

/// A topic id as Kafka prints it, 22 characters.
pub fn topic_id_text(topic_id: TopicId) -> String {
    URL_SAFE_NO_PAD.encode(topic_id.as_bytes())
}

/// A topic id as Kafka prints it; the zero id stands for none and is refused.
pub fn parse_topic_id(text: &str) -> Result<TopicId, FormatError> {
    let bytes: [u8; 16] = URL_SAFE_NO_PAD
        .decode(text.trim_end_matches('='))
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| FormatError(format!("malformed topic id {text:?}")))?;
    let topic_id = TopicId::from_bytes(bytes);
    if topic_id.is_nil() {
        return Err(FormatError::new("the zero topic id"));
    }
    Ok(topic_id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_and_back() {
        let id = TopicId::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let text = "version: 0\ntopic_id: AQIDBAUGBwgJCgsMDQ4PEA";
        assert_eq!(encode(id), text);
        assert_eq!(decode(text).unwrap(), id);
        assert_eq!(decode(&format!("{text}\n")).unwrap(), id);
        assert!(decode("version: 1\ntopic_id: AQIDBAUGBwgJCgsMDQ4PEA").is_err());
        assert!(decode("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA").is_err());
        assert!(decode("version: 0").is_err());
        assert!(decode("").is_err());
    }
}
