//! `/cluster/id`: the cluster's id, created by the first broker and never changed.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{DecodeError, decode, encode};

/// Its path.
pub const ID: &str = "/cluster/id";

/// The version is a string, unlike everywhere else in the tree.
#[derive(Serialize, Deserialize)]
struct Json {
    version: String,
    id: String,
}

/// The content for an id of 22 characters.
#[must_use]
pub fn encode_id(id: &str) -> Bytes {
    encode(&Json {
        version: "1".to_owned(),
        id: id.to_owned(),
    })
}

/// Reads the id.
///
/// # Errors
/// [`DecodeError`] if it is not JSON of that shape.
pub fn decode_id(data: &[u8]) -> Result<String, DecodeError> {
    Ok(decode::<Json>(ID, data)?.id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_kafkas() {
        let text = encode_id("AQIDBAUGBwgJCgsMDQ4P_w");
        assert_eq!(text, r#"{"version":"1","id":"AQIDBAUGBwgJCgsMDQ4P_w"}"#);
        assert_eq!(decode_id(&text).as_deref(), Ok("AQIDBAUGBwgJCgsMDQ4P_w"));
    }
}
