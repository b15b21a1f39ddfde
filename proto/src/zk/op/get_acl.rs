//! Opcode 6, `getACL`.

use crate::zk::jute::record;
use crate::zk::{Acl, Stat};

record! {
    /// A node's ACL and stat.
    pub struct GetAclRequest {
        /// The node.
        pub path: String,
    }
}

record! {
    /// The node's ACL.
    pub struct GetAclResponse {
        /// Its entries.
        pub acl: Vec<Acl>,
        /// Of the node.
        pub stat: Stat,
    }
}
