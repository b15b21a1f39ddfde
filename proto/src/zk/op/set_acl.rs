//! Opcode 7, `setACL`.

use crate::zk::jute::record;
use crate::zk::{Acl, Stat};

record! {
    /// Replace a node's ACL.
    pub struct SetAclRequest {
        /// The node.
        pub path: String,
        /// The new entries.
        pub acl: Vec<Acl>,
        /// The ACL version (aversion) it must have; -1 for any.
        pub version: i32,
    }
}

record! {
    /// The node after the change.
    pub struct SetAclResponse {
        /// Of the node.
        pub stat: Stat,
    }
}
