//! Opcode 5, `setData`.

use bytes::Bytes;

use crate::zk::Stat;
use crate::zk::jute::record;

record! {
    /// Replace a node's data.
    pub struct SetDataRequest {
        /// The node.
        pub path: String,
        /// Null is not the empty buffer.
        pub data: Option<Bytes>,
        /// The version it must have; -1 for any.
        pub version: i32,
    }
}

record! {
    /// The node after the change.
    pub struct SetDataResponse {
        /// Of the node.
        pub stat: Stat,
    }
}
