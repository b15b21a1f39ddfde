//! Opcode 1, `create`. Its request is that of `create2` too.

use bytes::Bytes;

use crate::zk::Acl;
use crate::zk::jute::record;

record! {
    /// Create a node.
    pub struct CreateRequest {
        /// Where; a sequential node gets its number behind it.
        pub path: String,
        /// Null is not the empty buffer.
        pub data: Option<Bytes>,
        /// Must not be empty.
        pub acl: Vec<Acl>,
        /// Of the constants in [`flags`].
        pub flags: i32,
    }
}

record! {
    /// Create a node with a time to live.
    pub struct CreateTtlRequest {
        /// As in [`CreateRequest`].
        pub path: String,
        /// As there.
        pub data: Option<Bytes>,
        /// As there.
        pub acl: Vec<Acl>,
        /// As there.
        pub flags: i32,
        /// Milliseconds.
        pub ttl: i64,
    }
}

record! {
    /// The node's path, with its number if it is sequential.
    pub struct CreateResponse {
        /// As created.
        pub path: String,
    }
}

/// Values of [`CreateRequest::flags`].
pub mod flags {
    /// A node that stays.
    pub const PERSISTENT: i32 = 0;
    /// A node that goes with its session.
    pub const EPHEMERAL: i32 = 1;
    /// A node with a number behind its name.
    pub const PERSISTENT_SEQUENTIAL: i32 = 2;
    /// Both.
    pub const EPHEMERAL_SEQUENTIAL: i32 = 3;
    /// A node that goes once its children have gone.
    pub const CONTAINER: i32 = 4;
    /// A node that goes when it has no children and was not written for a time.
    pub const WITH_TTL: i32 = 5;
    /// The same, with a number.
    pub const SEQUENTIAL_WITH_TTL: i32 = 6;
}
