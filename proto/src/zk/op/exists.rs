//! Opcode 3, `exists`.

use crate::zk::Stat;
use crate::zk::jute::record;

record! {
    /// A node's stat.
    pub struct ExistsRequest {
        /// The node.
        pub path: String,
        /// Leave a one-shot watch, also if there is no node.
        pub watch: bool,
    }
}

record! {
    /// The node exists.
    pub struct ExistsResponse {
        /// Of the node.
        pub stat: Stat,
    }
}
