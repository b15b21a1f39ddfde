//! Access control entries.

use super::jute::record;

record! {
    /// Whom an entry is about.
    pub struct Id {
        /// "world", "auth" or "digest".
        pub scheme: String,
        /// Within the scheme; "anyone" for "world".
        pub id: String,
    }
}

record! {
    /// One entry of a node's ACL.
    pub struct Acl {
        /// [`Permissions`] or-ed together.
        pub perms: i32,
        /// Who has them.
        pub id: Id,
    }
}

/// The bits of [`Acl::perms`].
pub struct Permissions;

impl Permissions {
    /// Data and children may be read.
    pub const READ: i32 = 1;
    /// Data may be replaced.
    pub const WRITE: i32 = 2;
    /// Children may be created.
    pub const CREATE: i32 = 4;
    /// Children may be deleted.
    pub const DELETE: i32 = 8;
    /// The ACL may be replaced.
    pub const ADMIN: i32 = 16;
    /// All of them.
    pub const ALL: i32 = 31;
}

impl Acl {
    /// Everything for everyone: `world:anyone`, ZooKeeper's `OPEN_ACL_UNSAFE`.
    pub fn open() -> Self {
        let id = Id {
            scheme: "world".to_owned(),
            id: "anyone".to_owned(),
        };
        Self {
            perms: Permissions::ALL,
            id,
        }
    }
}
