//! `/latest_producer_id_block`: the last block of producer ids that was handed out. A broker takes
//! the next one by a write that is conditional on the znode's version.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{DecodeError, decode, encode};

/// Its path; empty until the first block.
pub const LATEST_BLOCK: &str = "/latest_producer_id_block";
/// Ids in a block.
pub const BLOCK_LEN: i64 = 1000;

/// A block of producer ids, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Whose it is.
    pub broker: i32,
    /// First id.
    pub start: i64,
    /// Last id.
    pub end: i64,
}

#[derive(Serialize, Deserialize)]
struct Json {
    version: i32,
    broker: i32,
    block_start: String,
    block_end: String,
}

impl Block {
    /// The content for a block.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(&Json {
            version: 1,
            broker: self.broker,
            block_start: self.start.to_string(),
            block_end: self.end.to_string(),
        })
    }

    /// Reads the last block; `None` before the first.
    ///
    /// # Errors
    /// [`DecodeError`] if it is not JSON of that shape.
    pub fn decode(data: &[u8]) -> Result<Option<Block>, DecodeError> {
        if data.is_empty() {
            return Ok(None);
        }
        let json: Json = decode(LATEST_BLOCK, data)?;
        let number = |text: &str| {
            text.parse::<i64>()
                .map_err(|e| DecodeError::new(LATEST_BLOCK, &e))
        };
        Ok(Some(Block {
            broker: json.broker,
            start: number(&json.block_start)?,
            end: number(&json.block_end)?,
        }))
    }

    /// The block after `last`, for `broker`; `None` when the ids are used up.
    #[must_use]
    pub fn after(last: Option<Block>, broker: i32) -> Option<Block> {
        let start = match last {
            Some(last) => last.end.checked_add(1)?,
            None => 0,
        };
        let end = start.checked_add(BLOCK_LEN - 1)?;
        Some(Block { broker, start, end })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_follow_one_another_in_kafkas_text() {
        let first = Block::after(None, 1).expect("first");
        let text = first.encode();
        let expected = r#"{"version":1,"broker":1,"block_start":"0","block_end":"999"}"#;
        assert_eq!(text, expected);
        assert_eq!(Block::decode(&text), Ok(Some(first)));
        let second = Block::after(Some(first), 2).expect("second");
        assert_eq!((second.start, second.end), (1000, 1999));
        let last = Block {
            broker: 1,
            start: 0,
            end: i64::MAX - 5,
        };
        assert_eq!(Block::after(Some(last), 1), None);
        assert_eq!(Block::decode(b""), Ok(None));
        let bad = br#"{"version":1,"broker":1,"block_start":"a","block_end":"9"}"#;
        assert!(Block::decode(bad).is_err());
    }
}
