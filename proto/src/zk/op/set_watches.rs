//! Opcode 101, `setWatches`, with xid -8; its answer has no body.

use crate::zk::jute::record;

record! {
    /// What the client watched before it reconnected.
    pub struct SetWatchesRequest {
        /// The last change it has seen; what came after it is told at once.
        pub relative_zxid: i64,
        /// Data watches.
        pub data: Vec<String>,
        /// Exists watches on nodes that did not exist.
        pub exist: Vec<String>,
        /// Child watches.
        pub child: Vec<String>,
    }
}
