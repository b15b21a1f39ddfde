//! `meta.properties`: whose log directory this is.
//!
//! Java properties, version 0 as brokers that use an ensemble write it: `broker.id`, `cluster.id`,
//! `version`. Version 1 (`node.id`) and `directory.id` are read; what is there is kept when written.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;

use super::FormatError;

/// The contents of the file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct MetaProperties {
    /// `broker.id` (or `node.id`), if set.
    pub broker_id: Option<i32>,
    /// `cluster.id`, if set.
    pub cluster_id: Option<String>,
    /// Anything else, kept as it is.
    pub other: BTreeMap<String, String>,
}

/// The file's text, version 0.
pub fn encode(properties: &MetaProperties) -> String {
    let mut text = String::from("#\n");
    for (key, value) in &properties.other {
        let _ = writeln!(text, "{}={}", escape(key), escape(value));
    }
    if let Some(broker_id) = properties.broker_id {
        let _ = writeln!(text, "broker.id={broker_id}");
    }
    if let Some(cluster_id) = &properties.cluster_id {
        let _ = writeln!(text, "cluster.id={}", escape(cluster_id));
    }
    text.push_str("version=0\n");
    text
}

/// The contents of a file's text.
pub fn decode(text: &str) -> Result<MetaProperties, FormatError> {
    let mut map: HashMap<String, String> = java_properties::read(text.as_bytes())
        .map_err(|error| FormatError(format!("not a properties file: {error}")))?;
    let version = map.remove("version").unwrap_or_else(|| "0".to_owned());
    if version != "0" && version != "1" {
        return Err(FormatError(format!("unknown version {version:?}")));
    }
    let id = map.remove("broker.id").or_else(|| map.remove("node.id"));
    let broker_id = match id {
        None => None,
        Some(id) => Some(
            id.parse()
                .map_err(|_| FormatError(format!("malformed broker.id {id:?}")))?,
        ),
    };
    Ok(MetaProperties {
        broker_id,
        cluster_id: map.remove("cluster.id"),
        other: map.into_iter().collect(),
    })
}

/// Java's rules for values: these would start a comment, a separator or an escape.
/// As Java writes it, so that it reads as `text` whatever is in it.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\\' | '#' | '!' | '=' | ':' | ' ' => escaped.extend(['\\', character]),
            '!'..='~' => escaped.push(character),
            // Read as Latin-1, so all the others are told by their numbers.
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let _ = write!(escaped, "\\u{unit:04x}");
                }
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_and_back() {
        let properties = MetaProperties {
            broker_id: Some(3),
            cluster_id: Some("4L6g3nShT-eMCtK==X86sw".into()),
            other: BTreeMap::from([("directory.id".into(), "abc".into())]),
        };
        let text = encode(&properties);
        assert_eq!(
            text,
            "#\ndirectory.id=abc\nbroker.id=3\ncluster.id=4L6g3nShT-eMCtK\\=\\=X86sw\nversion=0\n"
        );
        assert_eq!(decode(&text).unwrap(), properties);
        let kafka = "#\n#Thu Nov 21 10:00:00 UTC 2024\ncluster.id=abc\nversion=1\nnode.id=7\n";
        let read = decode(kafka).unwrap();
        assert_eq!(read.broker_id, Some(7));
        assert_eq!(read.cluster_id.as_deref(), Some("abc"));
        let odd = [(" a=\u{e4}", "\n b\u{20ac} \\"), ("#c", "\t")];
        let odd = odd.map(|(key, value)| (key.to_owned(), value.to_owned()));
        let properties = MetaProperties {
            other: BTreeMap::from(odd),
            ..MetaProperties::default()
        };
        assert_eq!(decode(&encode(&properties)).unwrap(), properties);
        assert!(decode("version=9\n").is_err());
        assert!(decode("broker.id=x\n").is_err());
        assert_eq!(decode("").unwrap(), MetaProperties::default());
    }
}
