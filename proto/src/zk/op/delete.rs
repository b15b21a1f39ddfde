//! Opcode 2, `delete`; its answer has no body.

use crate::zk::jute::record;

record! {
    /// Delete a node without children.
    pub struct DeleteRequest {
        /// The node.
        pub path: String,
        /// The version it must have; -1 for any.
        pub version: i32,
    }
}
