//! A child's place under its parent: the parent's path, byte 0, the name; the value is empty.
use crate::tree::path;

/// The key of the child at `path`; `None` for the root.
pub fn key(child: &str) -> Option<Vec<u8>> {
    let parent = path::parent(child)?;
    Some(key_behind(parent, path::name(child)))
}

/// What the keys of all children of `parent` begin with.
pub fn prefix(parent: &str) -> Vec<u8> {
    key_behind(parent, "")
}

/// The key of the child `name` of `parent`.
pub fn key_behind(parent: &str, name: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(parent.len() + 1 + name.len());
    key.extend_from_slice(parent.as_bytes());
    key.push(0);
    key.extend_from_slice(name.as_bytes());
    key
}

/// The name in a key under this prefix; `None` if it is not UTF-8.
pub fn name<'a>(key: &'a [u8], prefix: &[u8]) -> Option<&'a str> {
    std::str::from_utf8(key.strip_prefix(prefix)?).ok()
}

#[cfg(test)]
mod tests {
    use super::super::hex;
    use super::*;

    #[test]
    fn golden_bytes() {
        assert_eq!(hex(&key("/a/b").unwrap()), "2f610062");
        assert_eq!(hex(&key("/a").unwrap()), "2f0061");
        assert_eq!(key("/"), None);
    }

    #[test]
    fn only_children_share_the_prefix() {
        let prefix = prefix("/a");
        assert_eq!(name(&key("/a/b").unwrap(), &prefix), Some("b"));
        assert_eq!(name(&key("/a/b/c").unwrap(), &prefix), None);
        assert_eq!(name(&key("/ab/c").unwrap(), &prefix), None);
    }
}
