//! Opcode 13, `check`: only inside a multi; its answer has no body.

use crate::zk::jute::record;

record! {
    /// Fails the multi unless the node has this version.
    pub struct CheckRequest {
        /// The node.
        pub path: String,
        /// The version it must have; -1 for any.
        pub version: i32,
    }
}
