//! Opcode 106, `addWatch`.

use crate::zk::ErrorCode;
use crate::zk::jute::record;

record! {
    /// Leave a persistent watch.
    pub struct AddWatchRequest {
        /// The node, which need not exist.
        pub path: String,
        /// Of the constants in [`mode`].
        pub mode: i32,
    }
}

record! {
    /// Always with a body, unlike other answers without content.
    pub struct AddWatchResponse {
        /// 0.
        pub err: ErrorCode,
    }
}

/// Values of [`AddWatchRequest::mode`].
pub mod mode {
    /// Data and children of the node.
    pub const PERSISTENT: i32 = 0;
    /// The node and all below it; no child events.
    pub const PERSISTENT_RECURSIVE: i32 = 1;
}
