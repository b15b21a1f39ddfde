//! What `/` means to one client: paths go out with the prefix and come back without it.

use super::error::Error;

/// Empty, or an absolute path without a slash at its end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Chroot(String);

impl Chroot {
    pub(super) fn new(prefix: &str) -> Result<Self, Error> {
        let prefix = prefix.trim_end_matches('/');
        if !prefix.is_empty() {
            check(prefix)?;
        }
        Ok(Self(prefix.to_owned()))
    }

    /// The path as the ensemble knows it.
    pub(super) fn full(&self, path: &str) -> Result<String, Error> {
        check(path)?;
        Ok(match (self.0.as_str(), path) {
            ("", _) => path.to_owned(),
            (prefix, "/") => prefix.to_owned(),
            (prefix, _) => format!("{prefix}{path}"),
        })
    }

    /// As `full`, for a name that the parent's counter will be appended to: it may end in a slash.
    pub(super) fn full_sequential(&self, path: &str) -> Result<String, Error> {
        match path.strip_suffix('/') {
            Some("") => Ok(format!("{}/", self.0)),
            Some(parent) => Ok(format!("{}/", self.full(parent)?)),
            None => self.full(path),
        }
    }

    /// The path as this client knows it; a path outside the chroot is the server's mistake.
    pub(super) fn strip(&self, full: &str) -> Result<String, Error> {
        match full.strip_prefix(self.0.as_str()) {
            Some("") => Ok("/".to_owned()),
            Some(rest) if rest.starts_with('/') => Ok(rest.to_owned()),
            _ => Err(Error::Protocol(format!(
                "{full} is outside the chroot {}",
                self.0
            ))),
        }
    }
}

/// The rules a client can check without asking: the server checks them all again.
fn check(path: &str) -> Result<(), Error> {
    let bad = |why: &str| Err(Error::BadArguments(format!("path '{path}' {why}")));
    if !path.starts_with('/') {
        return bad("does not begin with /");
    }
    if path.len() > 1 && path.ends_with('/') {
        return bad("ends with /");
    }
    if path.contains("//") {
        return bad("has an empty name: //");
    }
    if path.split('/').any(|name| name == "." || name == "..") {
        return bad("has a relative name");
    }
    if path.contains('\0') {
        return bad("has a null character");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_go_out_with_the_prefix_and_come_back_without() {
        let chroot = Chroot::new("/kafka/").expect("valid");
        for (path, full) in [("/", "/kafka"), ("/a", "/kafka/a"), ("/a/b", "/kafka/a/b")] {
            assert_eq!(chroot.full(path).as_deref(), Ok(full));
            assert_eq!(chroot.strip(full).as_deref(), Ok(path));
        }
        assert!(chroot.strip("/kafkaesque").is_err());
        assert!(chroot.strip("/other").is_err());
    }

    #[test]
    fn without_a_chroot_paths_stay_as_they_are() {
        let chroot = Chroot::new("").expect("valid");
        assert_eq!(chroot.full("/").as_deref(), Ok("/"));
        assert_eq!(chroot.strip("/").as_deref(), Ok("/"));
        assert_eq!(chroot.strip("/a/b").as_deref(), Ok("/a/b"));
    }

    #[test]
    fn a_sequential_name_may_be_the_number_alone() {
        let chroot = Chroot::new("/k").expect("valid");
        assert_eq!(chroot.full_sequential("/a/").as_deref(), Ok("/k/a/"));
        assert_eq!(chroot.full_sequential("/").as_deref(), Ok("/k/"));
        assert_eq!(chroot.full_sequential("/a/n_").as_deref(), Ok("/k/a/n_"));
    }

    #[test]
    fn malformed_paths_are_refused_here() {
        let chroot = Chroot::default();
        for path in ["", "a", "/a/", "//", "/a//b", "/a/../b", "/.", "/a\0"] {
            assert!(
                matches!(chroot.full(path), Err(Error::BadArguments(_))),
                "{path:?}"
            );
        }
    }
}
