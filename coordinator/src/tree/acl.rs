//! Who may do what with a znode: ZooKeeper's access control lists.
//!
//! Schemes: `world` (only `anyone`), `digest` (`user:base64(sha1(user:password))`) and, in requests
//! alone, `auth`, which stands for the ids the caller has authenticated and is replaced by them when
//! the list is stored. The superuser, `ip`, `x509` and `sasl` are absent on purpose, for now.
use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use crate::limits::{ACL_BYTES, ACL_ENTRIES};

/// May read the data and list the children.
pub const READ: u32 = 1;
/// May write the data.
pub const WRITE: u32 = 2;
/// May create children.
pub const CREATE: u32 = 4;
/// May delete children.
pub const DELETE: u32 = 8;
/// May change the ACL.
pub const ADMIN: u32 = 16;
/// All of them.
pub const ALL: u32 = READ | WRITE | CREATE | DELETE | ADMIN;

/// An authenticated identity; for `digest` the id is already hashed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct AuthId {
    /// `world`, `digest` or, in requests, `auth`.
    pub scheme: String,
    /// Its meaning depends on the scheme.
    pub id: String,
}

impl AuthId {
    /// Bytes of both strings.
    pub fn size_bytes(&self) -> usize {
        self.scheme.len() + self.id.len()
    }
}

/// One entry of an access control list.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Acl {
    /// A sum of [`READ`], [`WRITE`], [`CREATE`], [`DELETE`] and [`ADMIN`]. Other bits are kept, as
    /// ZooKeeper does, and give nothing.
    pub permissions: u32,
    /// To whom they are given.
    pub id: AuthId,
}

/// The list of a znode, shared by all znodes that have the same where that is cheap.
pub type AclList = Arc<[Acl]>;

static OPEN: LazyLock<AclList> = LazyLock::new(|| Arc::from([Acl::anyone(ALL)]));

impl Acl {
    /// `permissions` for everyone.
    pub fn anyone(permissions: u32) -> Acl {
        Acl {
            permissions,
            id: AuthId {
                scheme: "world".to_owned(),
                id: "anyone".to_owned(),
            },
        }
    }

    /// Everything for everyone, shared.
    pub fn open() -> AclList {
        Arc::clone(&OPEN)
    }

    /// Whether a list is [`Acl::open`].
    pub fn is_open(list: &AclList) -> bool {
        Arc::ptr_eq(list, &OPEN) || *list == *OPEN
    }

    /// Bytes of its scheme and id.
    pub fn size_bytes(&self) -> usize {
        self.id.size_bytes()
    }

    fn is_anyone(&self) -> bool {
        self.id.scheme == "world" && self.id.id == "anyone"
    }
}

/// Whether one of `auth` has one of the `permissions` (ZooKeeper asks for any of them, not for all).
pub fn allows(acl: &[Acl], permissions: u32, auth: &[AuthId]) -> bool {
    if acl.is_empty() {
        return true;
    }
    acl.iter()
        .filter(|entry| entry.permissions & permissions != 0)
        .any(|entry| entry.is_anyone() || (entry.id.scheme == "digest" && auth.contains(&entry.id)))
}

/// The list as requested, or an empty one where it is larger than any list may be: both are refused
/// with the same error, and the log need not hold the former.
pub fn bounded(requested: Vec<Acl>) -> Vec<Acl> {
    match is_bounded(&requested) {
        true => requested,
        false => Vec::new(),
    }
}

fn is_bounded(list: &[Acl]) -> bool {
    list.len() <= ACL_ENTRIES && list.iter().map(Acl::size_bytes).sum::<usize>() <= ACL_BYTES
}

/// The list to store for a requested one: duplicates go, `auth` becomes the caller's ids. `None` if
/// the list is empty or names something that does not exist (ZooKeeper's `InvalidACL`), or if it is
/// beyond [`ACL_ENTRIES`] or [`ACL_BYTES`], before or after that.
pub fn resolve(requested: &[Acl], auth: &[AuthId]) -> Option<AclList> {
    if let [only] = requested
        && only.permissions == ALL
        && only.is_anyone()
    {
        return Some(Acl::open());
    }
    if !is_bounded(requested) {
        return None;
    }
    let mut seen = HashSet::with_capacity(requested.len());
    let mut resolved = Resolved::default();
    for entry in requested {
        if !seen.insert(entry) {
            continue;
        }
        match entry.id.scheme.as_str() {
            "world" if entry.id.id == "anyone" => resolved.push(entry.permissions, &entry.id)?,
            "digest" if is_valid_digest(&entry.id.id) => {
                resolved.push(entry.permissions, &entry.id)?
            }
            "auth" => {
                let mut own = auth.iter().filter(|id| id.scheme == "digest").peekable();
                own.peek()?;
                for id in own {
                    resolved.push(entry.permissions, id)?;
                }
            }
            _ => return None,
        }
    }
    (!resolved.list.is_empty()).then(|| resolved.list.into())
}

/// A list in the making that never grows beyond its bounds.
#[derive(Default)]
struct Resolved {
    list: Vec<Acl>,
    bytes: usize,
}

impl Resolved {
    /// `None` if there is no room for it.
    fn push(&mut self, permissions: u32, id: &AuthId) -> Option<()> {
        self.bytes += id.size_bytes();
        if self.list.len() == ACL_ENTRIES || self.bytes > ACL_BYTES {
            return None;
        }
        let id = id.clone();
        self.list.push(Acl { permissions, id });
        Some(())
    }
}

/// The list as shown to `auth`: hashes of passwords only to those who may change the list.
pub fn shown(acl: &[Acl], auth: &[AuthId]) -> Vec<Acl> {
    if allows(acl, ADMIN, auth) {
        return acl.to_vec();
    }
    let hide = |entry: &Acl| match entry.id.id.split_once(':') {
        Some((user, _)) if entry.id.scheme == "digest" => Acl {
            permissions: entry.permissions,
            id: AuthId {
                scheme: entry.id.scheme.clone(),
                id: format!("{user}:x"),
            },
        },
        _ => entry.clone(),
    };
    acl.iter().map(hide).collect()
}

/// ZooKeeper's test: a user and a hash, parted by one colon. The user may be empty.
fn is_valid_digest(id: &str) -> bool {
    let mut parts = id.trim_end_matches(':').split(':');
    matches!(
        (parts.next(), parts.next(), parts.next()),
        (Some(_), Some(_), None)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(id: &str) -> AuthId {
        AuthId {
            scheme: "digest".to_owned(),
            id: id.to_owned(),
        }
    }

    fn entry(permissions: u32, scheme: &str, id: &str) -> Acl {
        Acl {
            permissions,
            id: AuthId {
                scheme: scheme.to_owned(),
                id: id.to_owned(),
            },
        }
    }

    #[test]
    fn auth_becomes_each_id_of_the_caller() {
        let me = [digest("ada:h1"), digest("bob:h2")];
        let stored = resolve(&[entry(READ, "auth", "")], &me).unwrap();
        assert_eq!(
            *stored,
            [
                entry(READ, "digest", "ada:h1"),
                entry(READ, "digest", "bob:h2")
            ]
        );
        assert_eq!(resolve(&[entry(READ, "auth", "")], &[]), None);
    }

    #[test]
    fn lists_that_mean_nothing_are_refused() {
        assert_eq!(resolve(&[], &[]), None);
        for (scheme, id) in [
            ("world", "me"),
            ("digest", "ada"),
            ("digest", "a:b:c"),
            ("digest", "a:"),
            ("ip", "1.2.3.4"),
            ("", ""),
        ] {
            assert_eq!(
                resolve(&[entry(ALL, scheme, id)], &[]),
                None,
                "{scheme}:{id}"
            );
        }
        assert!(resolve(&[entry(ALL, "digest", ":hash")], &[]).is_some());
    }

    #[test]
    fn bits_that_mean_nothing_stay_and_give_nothing() {
        let list = [entry(0xffff_ffe0, "world", "anyone")];
        assert_eq!(*resolve(&list, &[]).unwrap(), list);
        assert!(!allows(&list, ALL, &[]));
    }

    #[test]
    fn duplicates_go_and_order_stays() {
        let list = [
            Acl::anyone(READ),
            entry(ALL, "digest", "a:h"),
            Acl::anyone(READ),
        ];
        assert_eq!(*resolve(&list, &[]).unwrap(), list[..2]);
    }

    #[test]
    fn a_list_beyond_its_bounds_is_refused_before_it_grows() {
        let auth: Vec<AuthId> = (0..400).map(|n| digest(&format!("u{n}:h"))).collect();
        let wanted = |count| -> Vec<Acl> { (0..count).map(|n| entry(n, "auth", "")).collect() };
        assert_eq!(resolve(&wanted(40_000), &auth), None);
        assert_eq!(resolve(&wanted(3), &auth), None, "3 x 400 entries");
        assert_eq!(resolve(&wanted(2), &auth).map(|list| list.len()), Some(800));
        let many = |count| -> Vec<Acl> { (0..count).map(Acl::anyone).collect() };
        let most = u32::try_from(ACL_ENTRIES).unwrap();
        assert_eq!(resolve(&many(most + 1), &[]), None);
        assert_eq!(bounded(many(most + 1)), []);
        assert_eq!(
            resolve(&many(most), &[]).map(|l| l.len()),
            Some(ACL_ENTRIES)
        );
        assert_eq!(bounded(many(most)), many(most));
        let long = format!("{}:h", "u".repeat(ACL_BYTES));
        assert_eq!(resolve(&[entry(READ, "digest", &long)], &[]), None);
        let half = [digest(&long[..ACL_BYTES / 2])];
        assert!(resolve(&wanted(1), &half).is_some());
        assert_eq!(
            resolve(&wanted(2), &half),
            None,
            "what `auth` stands for counts"
        );
    }

    #[test]
    fn any_of_the_permissions_is_enough() {
        let list = [Acl::anyone(READ), entry(WRITE | ADMIN, "digest", "ada:h")];
        assert!(allows(&list, READ | ADMIN, &[]));
        assert!(!allows(&list, WRITE, &[]));
        assert!(allows(&list, WRITE, &[digest("ada:h")]));
        assert!(!allows(&list, WRITE, &[digest("ada:other")]));
        assert!(!allows(&list, CREATE, &[digest("ada:h")]));
    }

    #[test]
    fn hashes_are_hidden_from_those_without_admin() {
        let list = [Acl::anyone(READ), entry(ALL, "digest", "ada:h")];
        assert_eq!(
            shown(&list, &[]),
            [Acl::anyone(READ), entry(ALL, "digest", "ada:x")]
        );
        assert_eq!(shown(&list, &[digest("ada:h")]), list);
    }
}
