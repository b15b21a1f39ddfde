//! Paths of znodes, by ZooKeeper's rules.
use std::cmp::Ordering;

/// The root.
pub const ROOT: &str = "/";
/// What the service itself keeps; present from the start.
pub const ZOOKEEPER: &str = "/zookeeper";
/// The ensemble's configuration; everyone may read it.
pub const CONFIG: &str = "/zookeeper/config";
/// Quotas; they are kept, and not enforced.
pub const QUOTA: &str = "/zookeeper/quota";

/// Whether a znode can never be deleted.
pub fn is_permanent(path: &str) -> bool {
    matches!(path, ROOT | ZOOKEEPER | CONFIG | QUOTA)
}

/// Checks a path as ZooKeeper does; `Err` says what is wrong with it.
pub fn validate(path: &str) -> Result<(), String> {
    if !path.starts_with('/') {
        return Err(format!("path {path:?} must begin with '/'"));
    }
    if path == ROOT {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err(format!("path {path:?} must not end with '/'"));
    }
    for name in path[1..].split('/') {
        match name {
            "" => return Err(format!("path {path:?} has an empty name")),
            "." | ".." => return Err(format!("path {path:?} must not be relative")),
            _ => {}
        }
    }
    match path.chars().find(|&c| is_forbidden(c)) {
        Some(c) => Err(format!(
            "path {path:?} has a character that is not allowed: {c:?}"
        )),
        None => Ok(()),
    }
}

/// Java sees UTF-16: what lies beyond U+FFFF is a pair of surrogates there, and forbidden.
fn is_forbidden(c: char) -> bool {
    matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// The path one level up; `None` for the root and for what has no '/'.
pub fn parent(path: &str) -> Option<&str> {
    match path.rfind('/')? {
        _ if path == ROOT => None,
        0 => Some(ROOT),
        slash => Some(&path[..slash]),
    }
}

/// The parent of a znode to create or to delete. ZooKeeper looks for it before it checks the path as a
/// whole, so that a missing parent is what is told of most paths that make no sense.
pub fn parent_of_named(path: &str) -> Result<&str, String> {
    if path.contains('\0') {
        return Err(format!("path {path:?} has a character that is not allowed"));
    }
    match path.rfind('/') {
        None => Err(format!("path {path:?} must begin with '/'")),
        Some(0) => Ok(ROOT),
        Some(slash) => Ok(&path[..slash]),
    }
}

/// The part behind the last '/'.
pub fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// The path of a child.
pub fn child(parent: &str, name: &str) -> String {
    if parent == ROOT {
        format!("/{name}")
    } else {
        format!("{parent}/{name}")
    }
}

/// A sequential znode's path, from its parent's create counter.
pub fn sequential(prefix: &str, creates: i32) -> String {
    format!("{prefix}{creates:010}")
}

/// Whether `path` is `root` or lies below it.
pub fn is_within(path: &str, root: &str) -> bool {
    match path.strip_prefix(root) {
        Some(rest) => root == ROOT || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// The order in which subtrees are told: a parent before its children, siblings by name, a znode's
/// whole subtree before its next sibling. (The order of bytes, with '/' below all others.)
pub fn compare(a: &str, b: &str) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { *byte };
    // The root is no longer than "/a" but its children's paths do not repeat its slash.
    match (a == ROOT, b == ROOT) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
        (false, false) => a
            .as_bytes()
            .iter()
            .map(rank)
            .cmp(b.as_bytes().iter().map(rank)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_by_zookeepers_rules() {
        for good in [
            "/",
            "/a",
            "/a/b",
            "/a b",
            "/a.b",
            "/..a",
            "/é",
            "/a-\u{d7ff}",
            "/\u{f900}",
        ] {
            assert_eq!(validate(good), Ok(()), "{good:?}");
        }
        let bad = [
            "",
            "a",
            "a/b",
            "/a/",
            "//",
            "//a",
            "/a//b",
            "/.",
            "/..",
            "/a/./b",
            "/a/../b",
            "/a\0",
            "/\u{1f}",
            "/\u{7f}",
            "/\u{9f}",
            "/\u{e000}",
            "/\u{f8ff}",
            "/\u{fff0}",
            "/\u{ffff}",
            "/\u{1f600}",
        ];
        for bad in bad {
            assert!(validate(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn parents_and_names() {
        let cases = [
            ("/a", Some("/"), "a"),
            ("/a/b", Some("/a"), "b"),
            ("/", None, ""),
            ("a", None, "a"),
        ];
        for (path, up, last) in cases {
            assert_eq!((parent(path), name(path)), (up, last), "{path}");
        }
        assert_eq!(
            (child("/", "a").as_str(), child("/a", "b").as_str()),
            ("/a", "/a/b")
        );
    }

    #[test]
    fn a_parent_is_looked_for_before_the_path_is_checked() {
        let cases = [
            ("/", Ok(ROOT)),
            ("/a", Ok(ROOT)),
            ("//", Ok(ROOT)),
            ("a/b", Ok("a")),
            ("/a/", Ok("/a")),
            ("/a//b", Ok("/a/")),
        ];
        for (path, parent) in cases {
            assert_eq!(parent_of_named(path), parent, "{path:?}");
        }
        for path in ["", "a", "/a\0"] {
            assert!(parent_of_named(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn sequence_numbers_have_ten_digits() {
        assert_eq!(sequential("/q/n-", 7), "/q/n-0000000007");
        assert_eq!(sequential("/q/", i32::MAX), "/q/2147483647");
        assert_eq!(
            sequential("/q/", -1),
            "/q/-000000001",
            "the counter wraps as in Java"
        );
    }

    #[test]
    fn subtrees_stay_together() {
        let mut paths = ["/b", "/a-", "/a/x", "/", "/a", "/a/x/y", "/a/-"];
        paths.sort_by(|a, b| compare(a, b));
        assert_eq!(paths, ["/", "/a", "/a/-", "/a/x", "/a/x/y", "/a-", "/b"]);
    }

    #[test]
    fn within_is_by_whole_names() {
        assert!(is_within("/a", "/a") && is_within("/a/b", "/a") && is_within("/a", "/"));
        assert!(!is_within("/ab", "/a") && !is_within("/", "/a"));
    }
}
