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
    /// The node's path, with its number if it is sequential.
    pub struct CreateResponse {
        /// As created.
        pub path: String,
    }
}

/// Values of [`CreateRequest::flags`]; 4 to 6 are containers and nodes with a time to live.
pub mod flags {
    /// A node that stays.
    pub const PERSISTENT: i32 = 0;
    /// A node that goes with its session.
    pub const EPHEMERAL: i32 = 1;
    /// A node with a number behind its name.
    pub const PERSISTENT_SEQUENTIAL: i32 = 2;
    /// Both.
    pub const EPHEMERAL_SEQUENTIAL: i32 = 3;
}
