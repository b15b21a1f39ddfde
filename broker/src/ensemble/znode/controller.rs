//! `/controller` and `/controller_epoch`. Who creates the first raises the second in the same
//! transaction, and the second's znode version then fences every write of that controller.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{DecodeError, decode, encode};

/// Ephemeral; its owner is the controller.
pub const CONTROLLER: &str = "/controller";
/// Decimal text.
pub const EPOCH: &str = "/controller_epoch";

#[derive(Serialize, Deserialize)]
struct Json {
    version: i32,
    brokerid: i32,
    timestamp: String,
    #[serde(rename = "kraftControllerEpoch", default = "none")]
    kraft_controller_epoch: i32,
}

fn none() -> i32 {
    -1
}

/// The content of `/controller`; `now_ms` in milliseconds since 1970.
#[must_use]
pub fn encode_controller(broker: i32, now_ms: i64) -> Bytes {
    encode(&Json {
        version: 2,
        brokerid: broker,
        timestamp: now_ms.to_string(),
        kraft_controller_epoch: -1,
    })
}

/// The broker that holds `/controller`.
///
/// # Errors
/// [`DecodeError`] if it is not JSON of that shape.
pub fn decode_controller(data: &[u8]) -> Result<i32, DecodeError> {
    Ok(decode::<Json>(CONTROLLER, data)?.brokerid)
}

/// The content of `/controller_epoch`.
#[must_use]
pub fn encode_epoch(epoch: i32) -> Bytes {
    Bytes::from(epoch.to_string())
}

/// Reads `/controller_epoch`.
///
/// # Errors
/// [`DecodeError`] if it is not a decimal number.
pub fn decode_epoch(data: &[u8]) -> Result<i32, DecodeError> {
    let text = std::str::from_utf8(data).map_err(|e| DecodeError::new(EPOCH, &e))?;
    text.trim().parse().map_err(|e| DecodeError::new(EPOCH, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_are_kafkas() {
        let text = encode_controller(3, 1700);
        let expected = r#"{"version":2,"brokerid":3,"timestamp":"1700","kraftControllerEpoch":-1}"#;
        assert_eq!(text, expected);
        assert_eq!(decode_controller(&text), Ok(3));
        let v1 = br#"{"version":1,"brokerid":4,"timestamp":"1"}"#;
        assert_eq!(decode_controller(v1), Ok(4));
        assert_eq!(decode_epoch(&encode_epoch(12)), Ok(12));
        assert!(decode_epoch(b"twelve").is_err());
    }
}
