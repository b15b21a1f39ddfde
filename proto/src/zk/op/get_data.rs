//! Opcode 4, `getData`.

use bytes::Bytes;

use crate::zk::Stat;
use crate::zk::jute::record;

record! {
    /// A node's data and stat.
    pub struct GetDataRequest {
        /// The node.
        pub path: String,
        /// Leave a one-shot data watch.
        pub watch: bool,
    }
}

record! {
    /// The node.
    pub struct GetDataResponse {
        /// Null is not the empty buffer.
        pub data: Option<Bytes>,
        /// Of the node.
        pub stat: Stat,
    }
}
