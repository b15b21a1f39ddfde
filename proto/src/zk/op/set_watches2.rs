//! Opcode 105, `setWatches2`, with xid -8; its answer has no body.

use crate::zk::jute::record;

record! {
    /// What the client watched before it reconnected. Persistent watches are only armed again.
    pub struct SetWatches2Request {
        /// The last change it has seen; what came after it is told at once.
        pub relative_zxid: i64,
        /// Data watches.
        pub data: Vec<String>,
        /// Exists watches on nodes that did not exist.
        pub exist: Vec<String>,
        /// Child watches.
        pub child: Vec<String>,
        /// Persistent watches.
        pub persistent: Vec<String>,
        /// Persistent recursive watches.
        pub persistent_recursive: Vec<String>,
    }
}
