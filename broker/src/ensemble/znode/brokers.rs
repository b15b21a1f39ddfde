//! `/brokers/ids/N`, the ephemeral registration of a broker, and `/brokers/seqid`, whose version
//! counts generated ids. The registration's czxid is the broker epoch.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::metadata::{Broker, Endpoint};

use super::{DecodeError, decode, encode};

/// Parent of all registrations.
pub const IDS: &str = "/brokers/ids";
/// Its version is the counter of generated broker ids; its data stays empty.
pub const SEQID: &str = "/brokers/seqid";

/// Path of a broker's registration.
#[must_use]
pub fn path(id: i32) -> String {
    format!("{IDS}/{id}")
}

/// What a broker says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Advertised listeners.
    pub endpoints: Vec<Endpoint>,
    /// `broker.rack`.
    pub rack: Option<String>,
    /// When it registered, milliseconds since 1970.
    pub timestamp_ms: i64,
    /// See [`Broker::intact_since`].
    pub intact_since: Option<i64>,
}

#[derive(Serialize, Deserialize)]
struct Json {
    version: i32,
    #[serde(default)]
    host: Option<String>,
    #[serde(default = "minus_one")]
    port: i32,
    #[serde(default)]
    endpoints: Vec<String>,
    #[serde(default)]
    listener_security_protocol_map: BTreeMap<String, String>,
    #[serde(default = "minus_one")]
    jmx_port: i32,
    #[serde(default)]
    timestamp: serde_json::Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rack: Option<String>,
    #[serde(default)]
    features: serde_json::Map<String, serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    intact_since: Option<i64>,
}

fn minus_one() -> i32 {
    -1
}

impl Registration {
    /// Version 5, as Kafka 3.9 writes it.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let plain = self.endpoints.iter().find(|e| e.protocol == "PLAINTEXT");
        let protocols = self.endpoints.iter();
        encode(&Json {
            version: 5,
            host: plain.map(|e| e.host.clone()),
            port: plain.map_or(-1, |e| i32::from(e.port)),
            endpoints: self.endpoints.iter().map(endpoint_text).collect(),
            listener_security_protocol_map: protocols
                .map(|e| (e.listener.clone(), e.protocol.clone()))
                .collect(),
            jmx_port: -1,
            timestamp: self.timestamp_ms.to_string().into(),
            rack: self.rack.clone(),
            features: serde_json::Map::new(),
            intact_since: self.intact_since,
        })
    }

    /// Reads versions 1 to 5.
    ///
    /// # Errors
    /// [`DecodeError`] if it is not JSON, or an endpoint cannot be taken apart.
    pub fn decode(path: &str, data: &[u8]) -> Result<Registration, DecodeError> {
        let json: Json = decode(path, data)?;
        let mut endpoints = Vec::new();
        for text in &json.endpoints {
            let endpoint = parse_endpoint(text, &json.listener_security_protocol_map);
            endpoints.push(endpoint.ok_or_else(|| {
                DecodeError::new(path, &format!("endpoint {text:?} is not NAME://host:port"))
            })?);
        }
        if let (true, Some(host), Ok(port)) =
            (endpoints.is_empty(), json.host, u16::try_from(json.port))
        {
            endpoints.push(Endpoint {
                listener: "PLAINTEXT".to_owned(),
                protocol: "PLAINTEXT".to_owned(),
                host,
                port,
            });
        }
        let timestamp = json.timestamp.as_str().and_then(|t| t.parse().ok());
        Ok(Registration {
            endpoints,
            rack: json.rack,
            timestamp_ms: timestamp.unwrap_or(0),
            intact_since: json.intact_since,
        })
    }

    /// The broker this registration makes, under its epoch.
    #[must_use]
    pub fn into_broker(self, id: i32, epoch: i64) -> Broker {
        Broker {
            id,
            epoch,
            endpoints: self.endpoints,
            rack: self.rack,
            intact_since: self.intact_since,
        }
    }
}

fn endpoint_text(endpoint: &Endpoint) -> String {
    let Endpoint {
        listener,
        host,
        port,
        ..
    } = endpoint;
    if host.contains(':') {
        format!("{listener}://[{host}]:{port}")
    } else {
        format!("{listener}://{host}:{port}")
    }
}

fn parse_endpoint(text: &str, protocols: &BTreeMap<String, String>) -> Option<Endpoint> {
    let (listener, address) = text.split_once("://")?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host
        .strip_prefix('[')
        .map_or(Some(host), |h| h.strip_suffix(']'))?;
    let protocol = protocols.get(listener).map_or(listener, String::as_str);
    Some(Endpoint {
        listener: listener.to_owned(),
        protocol: protocol.to_owned(),
        host: host.to_owned(),
        port: port.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(host: &str) -> Registration {
        Registration {
            endpoints: vec![Endpoint {
                listener: "PLAINTEXT".to_owned(),
                protocol: "PLAINTEXT".to_owned(),
                host: host.to_owned(),
                port: 9092,
            }],
            rack: Some("r1".to_owned()),
            timestamp_ms: 17,
            intact_since: Some(5),
        }
    }

    #[test]
    fn the_text_is_kafkas_with_one_field_more() {
        let expected = "{\"version\":5,\"host\":\"h\",\"port\":9092,\
            \"endpoints\":[\"PLAINTEXT://h:9092\"],\
            \"listener_security_protocol_map\":{\"PLAINTEXT\":\"PLAINTEXT\"},\"jmx_port\":-1,\
            \"timestamp\":\"17\",\"rack\":\"r1\",\"features\":{},\"intact_since\":5}";
        assert_eq!(one("h").encode(), expected);
        for host in ["h", "::1"] {
            let encoded = one(host).encode();
            assert_eq!(Registration::decode("/p", &encoded), Ok(one(host)));
        }
    }

    #[test]
    fn what_kafka_wrote_is_read() {
        let v5 = br#"{"features":{},"listener_security_protocol_map":{"IN":"SSL","OUT":"PLAINTEXT"},"endpoints":["IN://a:9093","OUT://a:9092"],"jmx_port":9999,"port":9092,"host":"a","version":5,"timestamp":"1"}"#;
        let read = Registration::decode("/p", v5).expect("v5");
        assert_eq!(read.endpoints[0].protocol, "SSL");
        assert_eq!(read.intact_since, None);
        let v1 = br#"{"version":1,"host":"old","port":9092,"jmx_port":-1,"timestamp":"1"}"#;
        let read = Registration::decode("/p", v1).expect("v1");
        assert_eq!(read.endpoints[0].host, "old");
        assert!(Registration::decode("/p", br#"{"version":5,"endpoints":["x"]}"#).is_err());
        assert!(Registration::decode("/p", b"not json").is_err());
    }
}
