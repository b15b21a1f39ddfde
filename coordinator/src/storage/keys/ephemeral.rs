//! An ephemeral znode under its owner: i64 session id, path; the value is empty.
use crate::session::SessionId;

/// The key of an ephemeral znode.
pub fn key(owner: SessionId, path: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(8 + path.len());
    key.extend_from_slice(&owner.0.to_be_bytes());
    key.extend_from_slice(path.as_bytes());
    key
}

/// What the keys of all ephemerals of a session begin with.
pub fn prefix(owner: SessionId) -> [u8; 8] {
    owner.0.to_be_bytes()
}

/// The path in a key of this owner; `None` if it is not UTF-8.
pub fn path(key: &[u8], owner: SessionId) -> Option<&str> {
    std::str::from_utf8(key.strip_prefix(&prefix(owner)[..])?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    #[test]
    fn golden_bytes() {
        let key = key(SessionId(0x0100_0000_0000_0005), "/a");
        assert_eq!(hex(&key), "01000000000000052f61");
        assert_eq!(path(&key, SessionId(0x0100_0000_0000_0005)), Some("/a"));
        assert_eq!(path(&key, SessionId(6)), None);
    }
}
